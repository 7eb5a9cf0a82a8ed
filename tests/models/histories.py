"""Random histories that a model and the real thing live through together."""

import os
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def tried(new: Callable[[], RuleBasedStateMachine], *, steps: int, histories: int) -> None:
    """
    Try so many histories of so many steps, the same each time. One that fails is printed as a program.

    With EXPLORE=2000 in the environment it tries so many others, and makes one that fails as short as it can be, which
    takes minutes.
    """
    explore = int(os.environ.get("EXPLORE", "0"))
    chosen = settings(
        max_examples=explore or histories,
        stateful_step_count=steps,
        derandomize=not explore,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink) if explore else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(new, settings=chosen)  # type: ignore[arg-type]
