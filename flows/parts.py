"""What all flows share: stages as tasks, final states by exit code, and who else is told how far they are."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed, Failed
from prefect.tasks import Task

from segpipe.errors import (
    EXIT_GATE,
    EXIT_INCOMPLETE,
    EXIT_INFRASTRUCTURE,
    EXIT_INPUT,
    InfrastructureError,
    SegpipeError,
    WrongCountsError,
)
from segpipe.run.progress import SILENT, Progress

P = ParamSpec("P")
R = TypeVar("R")

SHORT_S, LONG_S = 6 * 3600, 7 * 86_400
"""A stage that takes longer than this hangs: counting may take days, and ends at the deadline of a night."""

FALLING = "ScoreFalling"
"""The final state of a flow run in which all went well, and a score falls."""

STATE_NAMES = {
    EXIT_INPUT: "BadInput",
    EXIT_GATE: "GateFailed",
    EXIT_INCOMPLETE: "Incomplete",
    EXIT_INFRASTRUCTURE: "InfrastructureFailed",
}
"""Exit code of an error -> the final state of a flow run that ended with it."""

watcher: ContextVar[Progress] = ContextVar("watcher", default=SILENT)
"""Who else is told how far the run is: the terminal that started the flow."""


def stage(run_name: str, **settings: Any) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A function of `segpipe.run` as a task; the checkpoint is the counts store, so Prefect caches nothing.

    Args:
        run_name: of the task run; {parameters} are filled in.
        settings: more of Prefect's, such as retries.
    """
    given = {"timeout_seconds": SHORT_S, **settings}
    return task(cache_policy=NO_CACHE, task_run_name=run_name, tags=["segpipe"], **given)


def retried(*delays_s: float) -> dict[str, Any]:
    """Settings of a stage that is tried again where infrastructure failed, after so many seconds each."""
    return {
        "retries": len(delays_s),
        "retry_delay_seconds": list(delays_s),
        "retry_condition_fn": infrastructure_only,
    }


async def infrastructure_only(task: Task[Any, Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether another try can help: a cluster or a service may come back, data stay as they are."""
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, InfrastructureError) and not isinstance(error, WrongCountsError)


def failed(error: SegpipeError) -> State[Any]:
    """The final state of a flow run that ended with an error."""
    return Failed(name=STATE_NAMES[error.exit_code], message=str(error), data=error)


def completed(message: str, data: Any, *, falling: bool = False) -> State[Any]:
    """The final state of a flow run in which all went well, though a score may fall."""
    return Completed(name=FALLING if falling else "Completed", message=message, data=data)
