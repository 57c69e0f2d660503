"""Query the states of an outcome's orders until all are final or the deadline has passed.

Rules:

* Only results that a query can settle are queried: accepted, unknown, canceling and open ones.
* The sources are queried concurrently, and a failure in one does not end another.
* The queries run in a task of the confirmation. ``stop`` ends this task at once, wherever it waits,
  and ``run`` returns what is known. The task does not outlive the caller of ``run`` either.
* ``on_batch`` gets each result that changed once: when its state becomes final, or at the end.
* Only the caller's own cancellation is raised; any other exception is reported.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

from htx_cancel import hooks
from htx_cancel.attempt import Sender
from htx_cancel.inquiry import Inquiry, inquiry
from htx_cancel.limits.permit import Priority
from htx_cancel.outcome import Outcome, Part, Tally
from htx_cancel.results import OrderResult, Source, refusal
from htx_cancel.status import CancelStatus

#: Batches handled before the event loop gets a turn.
PER_TURN = 10


class Confirmation:
    """One ``confirm`` in progress. Call ``run`` once, and ``stop`` at any time."""

    def __init__(
        self,
        outcome: Outcome,
        sender: Sender,
        *,
        priority: Priority,
        deadline: float,
        on_batch: Callable[[tuple[OrderResult, ...]], object] | None = None,
    ) -> None:
        self.task: asyncio.Task[None] | None = None  #: the task that queries, once it has started
        self._outcome = outcome
        self._on_batch = on_batch
        self._inquiries: dict[Source, Inquiry] = {
            part.source: inquiry(part.source, sender, priority, deadline, self._notify)
            for part in outcome.parts
        }

    def stop(self) -> None:
        """End the queries, so that ``run`` returns what is known."""
        if self.task is not None:
            self.task.cancel()

    async def run(self) -> Outcome:
        """Query the orders; return the outcome with the states that were found."""
        self.task = asyncio.get_running_loop().create_task(self._query())
        try:
            await asyncio.wait({self.task})
        except asyncio.CancelledError:
            self.stop()
            await asyncio.wait({self.task})
            raise
        return await self._rebuild()

    async def _query(self) -> None:
        await self._collect()
        async with asyncio.TaskGroup() as group:
            for source_inquiry in self._inquiries.values():
                group.create_task(self._guarded(source_inquiry))

    async def _guarded(self, source_inquiry: Inquiry) -> None:
        try:
            await source_inquiry.run()
        except Exception as error:  # noqa: BLE001 - no failure may end the other inquiries
            hooks.report("confirm failed", error)

    async def _collect(self) -> None:
        """Give each inquiry its unsettled results, with pauses for the event loop."""
        for part in self._outcome.parts:
            pending = self._inquiries[part.source].pending
            for number, batch in enumerate(part.batches, 1):
                pending.update((result.order_id, result) for result in batch if result.unsettled)
                if number % PER_TURN == 0:
                    await asyncio.sleep(0)

    async def _rebuild(self) -> Outcome:
        """Return the outcome with the states found, with pauses for the event loop.

        Also pass the results that changed but are not final to ``on_batch``.
        """
        parts: list[Part] = []
        counts = Counter[CancelStatus]()
        for part in self._outcome.parts:
            source_inquiry = self._inquiries[part.source]
            tally = Tally(len(part.batches))
            for number, before in enumerate(part.batches):
                after = tuple(map(source_inquiry.confirmed, before))
                tally.put(number, after)
                changed = (new for old, new in zip(before, after, strict=True) if new != old)
                self._notify(
                    tuple(new for new in changed if new.order_id in source_inquiry.pending)
                )
                if number % PER_TURN == 0:
                    await asyncio.sleep(0)
            parts.append(tally.part(part.source))
            counts.update(tally.counts)
        refusals = (each.refused for each in self._inquiries.values() if each.refused is not None)
        return self._outcome.with_parts(parts, counts, refusal(next(refusals, None)))

    def _notify(self, results: tuple[OrderResult, ...]) -> None:
        if self._on_batch is not None and results:
            hooks.call("on_batch", self._on_batch, results)
