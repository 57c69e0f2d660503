"""What became of each id as JSON lines: written as soon as it is known, and read to resume.

Rules:

* Lines are appended to a file, never over it, and each batch is flushed.
* A call that names no ids has a line of its own, without an id, before those of the ids it lists.
* The last line about an id counts. A cancel-all is settled if its call is and all ids it lists are.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from htx_cancel import CallResult, CancelStatus, CloseReason, OrderResult
from htx_cancel.cli.groups import SETTLED, Group
from htx_cancel.cli.orders import BadInputError
from htx_cancel.endpoints import ENDPOINTS

#: A group's endpoint, contract, direction, offset and field, and an id or ``""``.
Key = tuple[str, str, str | None, str | None, str, str]


class Line(Struct, frozen=True, kw_only=True):
    """One line of results."""

    endpoint: str
    contract_code: str
    order_id: str | None = None
    client_order_id: str | None = None
    direction: str | None = None
    offset: str | None = None
    status: CancelStatus
    code: int | None = None
    message: str = ""
    reason: CloseReason | None = None
    attempts: int = 0


def line(group: Group, result: OrderResult | CallResult) -> Line:
    """Return the line for one result of a group."""
    order_id = result.order_id if isinstance(result, OrderResult) else None
    by_client_id = group.field == "client_order_id"
    return Line(
        endpoint=group.endpoint.name,
        contract_code=group.contract_code,
        order_id=None if by_client_id else order_id,
        client_order_id=order_id if by_client_id else None,
        direction=group.direction,
        offset=group.offset,
        status=result.status,
        code=result.code,
        message=result.message,
        reason=result.reason if isinstance(result, OrderResult) else None,
        attempts=result.attempts,
    )


class Results:
    """Writes lines. If that fails it stops writing and keeps the ``error``; cancelling goes on."""

    def __init__(self, file: BinaryIO | None) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, group: Group, results: Iterable[OrderResult | CallResult]) -> None:
        """Write a line for each result of a group, and flush."""
        if self._file is None or self.error is not None:
            return
        try:
            self._file.write(
                b"".join([msgspec.json.encode(line(group, it)) + b"\n" for it in results])
            )
            self._file.flush()
        except OSError as error:
            self.error = error


@contextmanager
def opened(path: Path | None) -> Iterator[Results]:
    """Open a file to append to, standard output for ``-``, or nothing."""
    if path is None:
        yield Results(None)
        return
    if str(path) == "-":
        results = Results(sys.stdout.buffer)
        try:
            yield results
        finally:
            if results.error is not None:
                with suppress(OSError):  # or the interpreter tries what is left at its very end
                    sys.stdout.close()
        return
    try:
        start = b"\n" if _cut_off(path) else b""
        file = path.open("ab")
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror}") from None
    file.write(start)
    try:
        yield Results(file)
    finally:
        with suppress(OSError):  # what could not be flushed was noticed when it was written
            file.close()


def _cut_off(path: Path) -> bool:
    """Say whether a file ends within a line."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read() != b"\n"


def settled(lines: Iterable[bytes]) -> set[Key]:
    """Return what earlier lines settled; a line that was cut off says nothing."""
    done: set[Key] = set()
    decode = msgspec.json.Decoder(Line).decode
    for number, raw in enumerate(lines, 1):
        text = raw.strip()
        if not text or (text.startswith(b"{") and not text.endswith(b"}")):
            continue
        try:
            _note(done, decode(text))
        except msgspec.DecodeError as error:
            raise BadInputError(f"line {number}: no line of results: {error}") from None
    return done


def _note(done: set[Key], said: Line) -> None:
    head = (said.endpoint, said.contract_code, said.direction, said.offset)
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
        row = (group.endpoint.name, group.contract_code, group.direction, group.offset)
        keys = group.ids if group.field else ("",)
        ids = tuple([key for key in keys if (*row, group.field, key) not in done])
        if ids:
            rest.append(msgspec.structs.replace(group, ids=ids) if group.field else group)
    return rest
