"""Results as JSON lines: how one is written, and what the lines of an earlier run settled.

Rules:

* A call that names no ids has a line of its own, without an id, before those of the ids it lists.
* The last line about an id counts. A cancel-all is settled if its call is and all ids it lists are.
* The words that narrow a cancel-all are in its lines; a call with other words is another call.
* Only the last line of a file may be cut: it has no end of line, and may end in NUL bytes.
"""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from htx_cancel import CallResult, CancelStatus, CloseReason, OrderResult, arguments
from htx_cancel.cli.groups import SETTLED, Filters, Group
from htx_cancel.cli.input_file import BadInputError
from htx_cancel.endpoints import ENDPOINTS

#: A group's endpoint, contract, filters and field, and an id or ``""``.
Key = tuple[str, str, Filters, str, str]

_START = b'{"endpoint":"'  #: of every line that ``Line`` becomes
_SHOWN = 60  #: characters of a bad line in an error


class Line(Struct, frozen=True, kw_only=True):
    """One line of results."""

    endpoint: str
    contract_code: str
    order_id: str | None = None
    client_order_id: str | None = None
    direction: str | None = None
    offset: str | None = None
    contract_type: str | None = None
    side: str | None = None
    position_side: str | None = None
    status: CancelStatus
    code: int | None = None
    message: str = ""
    reason: CloseReason | None = None
    attempts: int = 0

    @property
    def filters(self) -> Filters:
        """The words that narrowed a call without ids."""
        words = ((name, getattr(self, name)) for name in arguments.FILTERS)
        return tuple((name, word) for name, word in words if word)


_decode = msgspec.json.Decoder(Line).decode


def line(group: Group, result: OrderResult | CallResult) -> Line:
    """Return the line for one result of a group."""
    order_id = result.order_id if isinstance(result, OrderResult) else None
    by_client_id = group.field == "client_order_id"
    said = Line(
        endpoint=group.endpoint.name,
        contract_code=group.contract_code,
        order_id=None if by_client_id else order_id,
        client_order_id=order_id if by_client_id else None,
        status=result.status,
        code=result.code,
        message=result.message,
        reason=result.reason if isinstance(result, OrderResult) else None,
        attempts=result.attempts,
    )
    return msgspec.structs.replace(said, **dict(group.filters)) if group.filters else said


def is_cut(raw: bytes) -> bool:
    """Say whether a last line was not written to its end, as after a crash."""
    start = raw.rstrip(b"\0")[: len(_START)]
    if raw.endswith(b"\n") or not _START.startswith(start):
        return False
    try:
        _decode(raw)
    except msgspec.ValidationError:  # whole, but no line of results
        return False
    except msgspec.DecodeError:
        return True
    return False


def settled(lines: Iterable[bytes]) -> set[Key]:
    """Return what earlier lines settled; a last line that was cut says nothing."""
    done: set[Key] = set()
    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        try:
            _note(done, _decode(raw))
        except msgspec.DecodeError as error:
            if not is_cut(raw):
                raise BadInputError(
                    f"line {number}: must be a line of results, got {raw[:_SHOWN]!r}: {error}"
                ) from None
    return done


def _note(done: set[Key], said: Line) -> None:
    head = (said.endpoint, said.contract_code, said.filters)
    key: Key = (*head, "order_id", said.order_id or "")
    if said.client_order_id is not None:
        key = (*head, "client_order_id", said.client_order_id)
    names_none = said.endpoint in ENDPOINTS and not ENDPOINTS[said.endpoint].batch_size
    if names_none:
        key = (*head, "", "")
    if said.status not in SETTLED:
        done.discard(key)
    elif not names_none or said.order_id is None:
        done.add(key)


def left(groups: Iterable[Group], done: set[Key]) -> list[Group]:
    """Return the groups without what is settled."""
    rest = []
    for group in groups:
        row = (group.endpoint.name, group.contract_code, group.filters)
        keys = group.ids if group.field else ("",)
        ids = tuple([key for key in keys if (*row, group.field, key) not in done])
        if ids:
            rest.append(msgspec.structs.replace(group, ids=ids) if group.field else group)
    return rest
