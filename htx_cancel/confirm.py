"""Ask the exchange what became of orders, until all is final or the time is over.

Rules:

* Only results that a query can settle are asked about: accepted, unknown, canceling, open.
* Each source is asked about at the same time as the others, and none can end another.
* The questions run in a task of the confirmation: ``stop`` ends it at once, wherever it waits, and
  what is known is returned. It does not outlive its caller either.
* Each result that changed is told once: when its state becomes final, or at the end.
* No exception leaves but the caller's own cancellation; what is none of ours is reported.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

from htx_cancel import hooks
from htx_cancel.attempt import Sender
from htx_cancel.inquiry import Asker, Inquiry, inquiry
from htx_cancel.limits.permit import Priority
from htx_cancel.outcome import Outcome, Part, Tally
from htx_cancel.results import OrderResult, Source, refusal
from htx_cancel.status import CancelStatus

#: Batches looked at in one turn of the event loop.
PER_TURN = 10


class Confirmation:
    """One ``confirm`` under way: ``run`` it once, ``stop`` it any time."""

    def __init__(
        self,
        outcome: Outcome,
        sender: Sender,
        *,
        priority: Priority,
        deadline: float,
        on_batch: Callable[[tuple[OrderResult, ...]], object] | None = None,
    ) -> None:
        self.task: asyncio.Task[None] | None = None  #: what asks, once it runs
        self._outcome = outcome
        self._on_batch = on_batch
        self._loop = asyncio.get_running_loop()
        asker = Asker(sender, priority, deadline, self._tell)
        self._inquiries: dict[Source, Inquiry] = {
            part.source: inquiry(part.source, asker) for part in outcome.parts
        }

    def stop(self) -> None:
        """Ask no more: ``run`` returns what is known."""
        if self.task is not None:
            self.task.cancel()

    async def run(self) -> Outcome:
        """Ask; return the outcome with what was told."""
        self.task = self._loop.create_task(self._ask())
        try:
            await asyncio.wait({self.task})
        except asyncio.CancelledError:
            self.stop()
            await asyncio.wait({self.task})
            raise
        return await self._rebuild()

    async def _ask(self) -> None:
        await self._collect()
        async with asyncio.TaskGroup() as group:
            for each in self._inquiries.values():
                group.create_task(self._guarded(each))

    async def _guarded(self, each: Inquiry) -> None:
        try:
            await each.run()
        except Exception as error:  # noqa: BLE001 - ours or not, it must not cost the others
            hooks.report("confirm failed", error)

    async def _collect(self) -> None:
        """Find out what to ask about, in slices."""
        for part in self._outcome.parts:
            pending = self._inquiries[part.source].pending
            for number, batch in enumerate(part.batches, 1):
                pending.update((it.order_id, it) for it in batch if it.unsettled)
                if number % PER_TURN == 0:
                    await asyncio.sleep(0)

    async def _rebuild(self) -> Outcome:
        """Return the outcome with what was told, in slices; tell what changed and is not final."""
        parts: list[Part] = []
        counts = Counter[CancelStatus]()
        for part in self._outcome.parts:
            about = self._inquiries[part.source]
            tally = Tally(len(part.batches))
            for number, batch in enumerate(part.batches):
                told = tuple(map(about.confirmed, batch))
                tally.put(number, told)
                self._tell(tuple(_changed(batch, told, about)))
                if number % PER_TURN == 0:
                    await asyncio.sleep(0)
            parts.append(tally.part(part.source))
            counts.update(tally.counts)
        refused = [it.refused for it in self._inquiries.values() if it.refused is not None]
        return self._outcome.with_parts(parts, counts, refusal(refused[0] if refused else None))

    def _tell(self, results: tuple[OrderResult, ...]) -> None:
        if self._on_batch is not None and results:
            hooks.call("on_batch", self._on_batch, results)


def _changed(
    before: tuple[OrderResult, ...], after: tuple[OrderResult, ...], about: Inquiry
) -> Iterator[OrderResult]:
    """List what changed and was not told yet, since it is not final."""
    for old, new in zip(before, after, strict=True):
        if new != old and old.order_id in about.pending:
            yield new
