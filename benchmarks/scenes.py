"""Scripted trouble: what the exchange holds, how it answers the first request, and what is true.

A scene's stage keeps a small book. Every request is carried out on it unless the scene says that
it is not; the scene's trouble then changes what the client gets to see of the first request. A
client that tries again is answered truly.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

from msgspec import Struct

from benchmarks.lean import CUT, HANG, AttemptResult, ids_of, reply
from benchmarks.workload import order_ids

CODES = {"filled": 1063, "canceled": 1071, "canceling": 1062, "missing": 1061, "odd": 4999}
MESSAGES = {
    1061: "This order doesnt exist.",
    1062: "Cancelling. Please be patient.",
    1063: "The order has been executed.",
    1071: "Repeated cancellation. Your order has been canceled.",
    4999: "Some new words.",
    1032: "The number of access exceeded the limit.",
}


class Scene(Struct, frozen=True):
    """One kind of trouble. ``states`` are those of the orders before."""

    words: str
    kind: str
    states: tuple[str, ...]
    trouble: Literal["", "hang", "cut", "1032", "429", "page", "unnamed", "down"] = ""
    done: bool = True  #: whether the first request is carried out


_NINE = ("open",) * 9

SCENES: dict[str, Scene] = {
    "plain": Scene("all well, 10 orders", "swap", (*_NINE, "open")),
    "first_missing": Scene(
        "first of 10 does not exist (1061), 9 canceled", "swap", ("missing", *_NINE)
    ),
    "last_missing": Scene(
        "last of 10 does not exist (1061), 9 canceled", "swap", (*_NINE, "missing")
    ),
    "canceling": Scene("one order: cancel under way (1062)", "swap", ("canceling",)),
    "canceled": Scene("one order: canceled before (1071)", "swap", ("canceled",)),
    "filled": Scene("one order: executed (1063)", "swap", ("filled",)),
    "odd": Scene("one order: refused with a code of no table (4999)", "swap", ("odd",)),
    "unnamed": Scene(
        "one of 10 canceled, but named nowhere in the reply", "swap", (*_NINE, "open"), "unnamed"
    ),
    "many": Scene("35 orders in one call", "swap", ("open",) * 35),
    "v5_items": Scene("v5: one canceled, one 1062, one 4999", "v5", ("open", "canceling", "odd")),
    "v5_filled": Scene("v5: one order: executed (1063)", "v5", ("filled",)),
    "rate": Scene("refused for the rate (1032)", "swap", (*_NINE, "open"), "1032", done=False),
    "v5_rate": Scene(
        "v5: refused for the rate (1032)", "v5", ("open", "open", "open"), "1032", done=False
    ),
    "429": Scene("refused for the rate (HTTP 429)", "swap", (*_NINE, "open"), "429", done=False),
    "page": Scene(
        "a page of the CDN instead of a reply (HTTP 502)", "swap", (*_NINE, "open"), "page"
    ),
    "hang": Scene("carried out, but no reply before the timeout", "swap", (*_NINE, "open"), "hang"),
    "cut": Scene(
        "carried out, but the connection breaks in the reply", "swap", (*_NINE, "open"), "cut"
    ),
    "down": Scene("nobody listens: never sent", "swap", (*_NINE, "open"), "down", done=False),
}


def scene_ids(scene: Scene) -> list[str]:
    """Return the ids of a scene's orders."""
    return order_ids(len(scene.states), seed=7)


class Stage:
    """The exchange of one scene."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._states = dict(zip(scene_ids(scene), scene.states, strict=True))
        self._ours: set[str] = set()
        self._requests = 0
        self._first: set[str] = set()

    def answer(self, path: bytes, body: bytes) -> AttemptResult:
        """Answer one request; trouble befalls the first that names an id."""
        batch = path.endswith(b"batch_orders")
        ids = json.loads(body)["order_id"] if batch else ids_of(body).decode().split(",")
        trouble = "" if self._first & set(ids) else self._scene.trouble
        self._first.update(ids)
        if trouble and not self._scene.done:
            return _refusal(trouble, path)
        if len(ids) > 10:
            return reply(
                _json({"status": "error", "err_code": 1052, "err_msg": "exceeds the batch limit"})
            )
        codes = {order_id: self._cancel(order_id) for order_id in ids}
        if trouble in (HANG, CUT):
            return trouble
        if trouble == "page":
            return reply(b"<html>Bad Gateway</html>", "502 Bad Gateway", "text/html")
        if trouble == "unnamed":
            del codes[ids[-1]]
        return reply(_json(_v5(codes, batch=batch) if path.startswith(b"/v5") else _v1(codes)))

    def _cancel(self, order_id: str) -> int | None:
        state = self._states[order_id]
        if state == "open":
            self._states[order_id] = "canceled"
            self._ours.add(order_id)
            return None
        return CODES[state]

    def truth(self) -> dict[str, Any]:
        """Tell the states of all orders, and which of them this client canceled."""
        return {"states": self._states, "ours": sorted(self._ours)}


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()


def _v1(codes: dict[str, int | None]) -> dict[str, Any]:
    errors = [
        {"order_id": order_id, "err_code": code, "err_msg": MESSAGES[code]}
        for order_id, code in codes.items()
        if code is not None
    ]
    successes = ",".join(order_id for order_id, code in codes.items() if code is None)
    return {"status": "ok", "data": {"errors": errors, "successes": successes}, "ts": 1}


def _v5(codes: dict[str, int | None], *, batch: bool) -> dict[str, Any]:
    items = [
        {
            "code": code or 200,
            "message": MESSAGES[code] if code else "Success",
            "order_id": order_id,
            "client_order_id": "",
        }
        for order_id, code in codes.items()
    ]
    if batch:
        return {"code": 200, "message": "Success", "data": items, "ts": 1}
    item = items[0]
    if item["code"] != 200:
        return {"code": item["code"], "message": item["message"], "data": None, "ts": 1}
    data = {"order_id": item["order_id"], "client_order_id": ""}
    return {"code": 200, "message": "Success", "data": data, "ts": 1}


def _refusal(trouble: str, path: bytes) -> AttemptResult:
    if trouble == "429":
        return reply(b"too many requests", "429 Too Many Requests", "text/plain")
    if path.startswith(b"/v5"):
        return reply(_json({"code": 1032, "message": MESSAGES[1032], "data": None, "ts": 1}))
    return reply(_json({"status": "error", "err_code": 1032, "err_msg": MESSAGES[1032], "ts": 1}))


Verdict = Literal["true", "false", "lost"]


def _about_done(order_id: str, truth: dict[str, Any], _scene: Scene) -> bool:
    return order_id in truth["ours"]


def _about_closed(order_id: str, truth: dict[str, Any], _scene: Scene) -> bool:
    return truth["states"][order_id] in ("canceled", "filled", "canceling")


def _about_missing(order_id: str, truth: dict[str, Any], _scene: Scene) -> bool:
    return bool(truth["states"][order_id] == "missing")


def _about_failed(order_id: str, truth: dict[str, Any], _scene: Scene) -> bool:
    return order_id not in truth["ours"]


def _about_unknown(order_id: str, truth: dict[str, Any], scene: Scene) -> bool:
    untold = scene.trouble in ("hang", "cut", "page", "unnamed")
    return untold or truth["states"][order_id] == "odd"


_JUDGES: dict[str, Callable[[str, dict[str, Any], Scene], bool]] = {
    "done": _about_done,
    "closed": _about_closed,
    "missing": _about_missing,
    "failed": _about_failed,
    "unknown": _about_unknown,
}


def judge(words: dict[str, str], truth: dict[str, Any], scene: Scene) -> Sequence[Verdict]:
    """Judge what a client says of each id of a scene.

    ``unknown`` is true where nobody could tell, and loses an id where one could.
    """
    verdicts: list[Verdict] = []
    for order_id in scene_ids(scene):
        word = words.get(order_id)
        if word is None:
            verdicts.append("lost")
        elif _JUDGES[word](order_id, truth, scene):
            verdicts.append("true")
        else:
            verdicts.append("lost" if word == "unknown" else "false")
    return verdicts
