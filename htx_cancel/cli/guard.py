"""Hold the dead-man switch until a signal, and show the seconds left of its countdowns."""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext

from rich.console import Console

from htx_cancel import Alert, AlertKind, Credentials, DeadManSwitch, NotArmedError
from htx_cancel.cli.progress import can_draw, drawing
from htx_cancel.cli.sharing import connected
from htx_cancel.cli.shell import complain, printable
from htx_cancel.cli.stop import signals


class Alerts:
    """Prints alerts, and remembers whether one says that the switch may still be armed."""

    def __init__(self, console: Console) -> None:
        self.not_disarmed = False
        self._console = console

    def take(self, alert: Alert) -> None:
        """Print an alert."""
        self.not_disarmed = self.not_disarmed or alert.kind is AlertKind.NOT_DISARMED
        self._console.print(
            f"{alert.product} {alert.kind.replace('_', ' ')}: {printable(alert.message)};"
            f" {alert.remaining:.1f} s remaining",
            style="bold red",
            soft_wrap=True,
        )


async def hold(
    products: Sequence[str], seconds: float, keys: Credentials, base_url: str, err: Console
) -> int:
    """Hold the switch until SIGINT or SIGTERM; return the exit code."""
    stopped, alerts = asyncio.Event(), Alerts(err)
    async with connected(keys, base_url) as client:
        switch = client.dead_man_switch(products=products, seconds=seconds, on_alert=alerts.take)
        with signals(lambda _number: stopped.set()):
            try:
                async with switch:
                    armed = ", ".join(switch.countdowns)
                    err.print(f"Armed: {armed}. Press Ctrl-C to disarm.", soft_wrap=True)
                    with (
                        drawing(err, lambda: _remaining(switch)) if can_draw(err) else nullcontext()
                    ):
                        await stopped.wait()
                    err.print("Disarming.")
            except NotArmedError as error:
                complain(str(error))
                return 1
    if alerts.not_disarmed:
        err.print(
            "The switch may still be armed: when its countdown ends, the exchange cancels the open"
            " plain orders.",
            style="bold red",
            soft_wrap=True,
        )
        return 1
    err.print("Disarmed.")
    return 0


def _remaining(switch: DeadManSwitch) -> str:
    parts = (f"{product} {seconds:.0f} s" for product, seconds in switch.countdowns.items())
    return f"{switch.remaining:.1f} s remaining: {', '.join(parts)}"
