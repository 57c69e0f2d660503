"""HTTP requests and replies, as the exchange receives and sends them."""

from collections.abc import Mapping

from msgspec import Struct


class HttpRequest(Struct, frozen=True):
    """A request: ``target`` is the raw path and query, ``host`` the Host header."""

    method: str
    host: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The path, without the query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str:
        """Return a header by its lower-case name; ``""`` if there is none."""
        return next((value for key, value in self.headers.items() if key.lower() == name), "")

    def __repr__(self) -> str:
        return f"<HttpRequest {self.method} {self.host}{self.path}>"


class HttpResponse(Struct, frozen=True):
    """A reply, its body already in the content encoding that its headers name."""

    status: int
    headers: Mapping[str, str]
    body: bytes
