"""What does a client say when things go wrong: true, false or lost, scene by scene."""

import asyncio
from collections import Counter
from typing import Any

from benchmarks.inside import open_peer
from benchmarks.peers import PEERS, Words
from benchmarks.process import Server, fresh
from benchmarks.report import Findings, Options, Table, Target
from benchmarks.scenes import SCENES, judge, scene_ids

NAME = "truth"
QUESTION = "6. What does it say when things go wrong?"
COMPARED = ("ours", "ccxt_unified", "ccxt_by_hand", "bare_aiohttp", "with_pybotters", "with_httpx")
NOBODY = "http://127.0.0.1:9"  #: the port where nothing listens


async def play(task: dict[str, Any]) -> dict[str, Words]:
    """Inside a peer's process: go through all scenes; return its words in each."""
    said: dict[str, Words] = {}
    for name, base_url in task["scenes"].items():
        scene = SCENES[name]
        target = NOBODY if scene.trouble == "down" else base_url
        setting = {"base_url": target, "timeout": 0.5, "limited": True}
        peer = await open_peer(task["peer"], setting)
        try:
            said[name] = dict(await peer.cancel(scene.kind, scene_ids(scene)))
        except Exception:  # noqa: BLE001 - whatever gets out tells nothing of any id
            said[name] = {}
        await peer.close()
    return said


async def run(options: Options) -> Findings:
    """Play all scenes to each peer, each time on a new stage."""
    del options
    verdicts: dict[tuple[str, str], Counter[str]] = {}
    for part in await asyncio.gather(*(_one(peer) for peer in COMPARED)):
        verdicts |= part
    return Findings(
        NAME,
        QUESTION,
        [
            (
                "*False*: what the client says of an order is not so. *Lost*: it is silent on an "
                "order, or that it cannot tell, although it could be told. An exception out "
                "of a call for many counts as true if nothing was carried out, and loses them "
                "if the reply beneath it spoke of each. Hand-written clients read both lists of a "
                "reply and let no batch hide another."
            ),
        ],
        [_table(verdicts)],
        _targets(verdicts),
    )


async def _one(peer: str) -> dict[tuple[str, str], Counter[str]]:
    async with Server("scripts", names=list(SCENES)) as server:
        task = {"do": "truth:play", "peer": peer, "scenes": server.said}
        said, truth = await fresh(task), await server.ask()
    return {
        (name, peer): Counter(judge(said[name], truth[name], scene))
        for name, scene in SCENES.items()
    }


def _table(verdicts: dict[tuple[str, str], Counter[str]]) -> Table:
    rows = [
        (scene.words, *(_cell(verdicts[name, peer]) for peer in COMPARED))
        for name, scene in SCENES.items()
    ]
    return Table("Each scene and each client", ("", *(PEERS[p].title for p in COMPARED)), rows)


def _cell(counts: Counter[str]) -> str:
    if counts["true"] == counts.total():
        return "true"
    bad = [
        f"{word} {counts[word]} of {counts.total()}" for word in ("false", "lost") if counts[word]
    ]
    return ", ".join(bad)


def _targets(verdicts: dict[tuple[str, str], Counter[str]]) -> list[Target]:
    wrong = {
        peer: sum(verdicts[name, peer]["true"] < verdicts[name, peer].total() for name in SCENES)
        for peer in COMPARED
    }
    return [
        Target(
            "ours is true in every row",
            wrong["ours"] == 0,
            f"of {len(SCENES)} rows not wholly true: "
            + ", ".join(f"{PEERS[peer].title} {count}" for peer, count in wrong.items()),
            must=True,
        )
    ]
