"""Run a short soak of shared budgets; ``make soak-shared`` runs a long one."""

import pytest
from shared_soak import Settings, soak


@pytest.mark.slow
async def test_processes_share_budgets_whatever_fails() -> None:
    """No request is refused, no status is wrong, no call hangs, and no token is lost."""
    settings = Settings(
        minutes=0.25, seed=3, processes=3, when_cut_off="hold", window="first", pause=3.0
    )
    assert await soak(settings)
