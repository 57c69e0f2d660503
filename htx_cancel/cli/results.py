"""Turn results into JSON lines, and read from the lines of an earlier run what they settle.

Rules:

* A cancel-all has a line of its own, without an id, before the lines of the ids that it lists.
* The last line about an id counts. A cancel-all is settled if its own line and the lines of all ids
  that it lists are.
* The lines of a cancel-all name its filters; a cancel-all with other filters is another call.
* Only the last line of a file may be cut: it has no end of line, and may end in NUL bytes.
"""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from htx_cancel import CallResult, CancelStatus, CloseReason, OrderResult, arguments
from htx_cancel.cli.groups import SETTLED, Filters, Group
from htx_cancel.cli.input_file import BadInputError
from htx_cancel.endpoints import ENDPOINTS

#: Endpoint name, contract, filters, field, and an id; field and id are ``""`` for a cancel-all.
Key = tuple[str, str, Filters, str, str]

_START = b'{"endpoint":"'  #: of every encoded ``Line``
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
        """The filters of a cancel-all."""
        values = ((name, getattr(self, name)) for name in arguments.FILTERS)
        return tuple((name, value) for name, value in values if value)


_decode = msgspec.json.Decoder(Line).decode


def line(group: Group, result: OrderResult | CallResult) -> Line:
    """Return the line for one result of a group."""
    order_id = result.order_id if isinstance(result, OrderResult) else None
    by_client_id = group.field == "client_order_id"
    return Line(
        endpoint=group.endpoint.name,
        contract_code=group.contract_code,
        order_id=None if by_client_id else order_id,
        client_order_id=order_id if by_client_id else None,
        status=result.status,
        code=result.code,
        message=result.message,
        reason=result.reason if isinstance(result, OrderResult) else None,
        attempts=result.attempts,
        **dict(group.filters),
    )


def is_cut(raw: bytes) -> bool:
    """Return whether a last line was not written to its end, for example because of a crash."""
    start = raw.rstrip(b"\0")[: len(_START)]
    if raw.endswith(b"\n") or not _START.startswith(start):
        return False
    try:
        _decode(raw)
    except (msgspec.ValidationError, UnicodeDecodeError):  # whole, but not a line of results
        return False
    except msgspec.DecodeError:
        return True
    return False


def settled(lines: Iterable[bytes]) -> set[Key]:
    """Return the keys that the lines of an earlier run settle; ignore a last line that was cut."""
    done: set[Key] = set()
    for number, raw in enumerate(lines, 1):
        if not raw.strip():
            continue
        try:
            _note(done, _decode(raw))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if not is_cut(raw):
                raise BadInputError(
                    f"line {number}: must be a line of results, got {raw[:_SHOWN]!r}: {error}"
                ) from None
    return done


def _note(done: set[Key], line: Line) -> None:
    cancels_all = line.endpoint in ENDPOINTS and not ENDPOINTS[line.endpoint].batch_size
    if cancels_all:
        field, order_id = "", ""
    elif line.client_order_id is not None:
        field, order_id = "client_order_id", line.client_order_id
    else:
        field, order_id = "order_id", line.order_id or ""
    key = (line.endpoint, line.contract_code, line.filters, field, order_id)
    if line.status not in SETTLED:
        done.discard(key)
    elif not cancels_all or line.order_id is None:
        done.add(key)


def unsettled(groups: Iterable[Group], done: set[Key]) -> list[Group]:
    """Return the groups without the ids and cancel-alls that are settled."""
    rest = []
    for group in groups:
        call = (group.endpoint.name, group.contract_code, group.filters, group.field)
        if group.field:
            ids = tuple([order_id for order_id in group.ids if (*call, order_id) not in done])
            if ids:
                rest.append(msgspec.structs.replace(group, ids=ids))
        elif (*call, "") not in done:
            rest.append(group)
    return rest
