"""Hold the dead-man switch until a signal, and show how near its countdowns are to their end."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from htx_cancel import (
    Alert,
    AlertKind,
    CancelClient,
    Credentials,
    DeadManSwitch,
    NotArmedError,
)
from htx_cancel.cli.progress import can_draw
from htx_cancel.cli.shell import complain
from htx_cancel.cli.stop import signals

_ENDING = "Disarming."


class Alerts:
    """Prints alerts, and remembers whether it is uncertain that all is disarmed."""

    def __init__(self, console: Console) -> None:
        self.not_disarmed = False
        self._console = console

    def take(self, alert: Alert) -> None:
        """Print an alert."""
        self.not_disarmed = self.not_disarmed or alert.kind is AlertKind.NOT_DISARMED
        message = "".join(each if each.isprintable() else " " for each in alert.message)
        words = f"{alert.product} {alert.kind.replace('_', ' ')}: {message}"
        self._console.print(
            f"{words}; {alert.remaining:.1f} s remaining", style="bold red", soft_wrap=True
        )


async def hold(
    products: Sequence[str], seconds: float, keys: Credentials, base_url: str, err: Console
) -> int:
    """Hold the switch until SIGINT or SIGTERM; return the exit code."""
    asked, alerts = asyncio.Event(), Alerts(err)
    async with CancelClient(keys, base_url=base_url) as client:
        switch = client.dead_man_switch(products=products, seconds=seconds, on_alert=alerts.take)
        with signals(lambda _number: asked.set()):
            try:
                async with switch:
                    with _shown(switch, err):
                        await asked.wait()
                    err.print(_ENDING)
            except NotArmedError as error:
                complain(str(error))
                return 1
    if alerts.not_disarmed:
        err.print("It may still be armed.", style="bold red")
        return 1
    err.print("Disarmed.")
    return 0


@contextmanager
def _shown(switch: DeadManSwitch, console: Console) -> Iterator[None]:
    """Say that it is armed, and show in a terminal how many seconds remain."""
    names = ", ".join(switch.countdowns)
    console.print(f"Armed: {names}. Ctrl-C disarms.", soft_wrap=True)
    if not can_draw(console):
        yield
        return
    with Live(
        get_renderable=lambda: remaining(switch),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ):
        yield


def remaining(switch: DeadManSwitch) -> str:
    """Say how many seconds remain of each countdown."""
    each = (f"{product} {seconds:.0f} s" for product, seconds in switch.countdowns.items())
    return f"{switch.remaining:.1f} s remaining: {', '.join(each)}"
