"""Evaluate one dataset: each stage of `segpipe.run` is a task; only the run's path travels between tasks.

From a shell: `python -m flows.evaluate evaluation.yaml --set cluster=threads`.
"""

from __future__ import annotations

if __name__ == "__main__":
    import sys

    from flows import command

    # The command starts Prefect's API before Prefect itself is loaded, so it goes before all that follows.
    # Dask's worker processes load the main module again: let it be the command, which knows no Prefect.
    sys.modules["__main__"] = command
    command.main(command.evaluate, "python -m flows.evaluate")

from collections.abc import Sequence
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Failed
from prefect.tasks import Task

from flows.artifacts import ArtifactProgress, Both, publish_artifacts
from segpipe.config import EvaluationConfig
from segpipe.errors import (
    EXIT_GATE,
    EXIT_INCOMPLETE,
    EXIT_INFRASTRUCTURE,
    EXIT_INPUT,
    InfrastructureError,
    SegpipeError,
)
from segpipe.run import stages
from segpipe.run.evaluate import Steps, evaluate_each, runs_of
from segpipe.run.progress import SILENT, Progress

TAGS = ["segpipe"]
SHORT_S, LONG_S = 6 * 3600, 7 * 86_400
"""A stage that takes longer than this hangs: counting may take days, and ends at the deadline of a night."""

watcher: ContextVar[Progress] = ContextVar("watcher", default=SILENT)
"""Who else is told how far the run is: the terminal that started the flow."""

STATE_NAMES = {
    EXIT_INPUT: "BadInput",
    EXIT_GATE: "GateFailed",
    EXIT_INCOMPLETE: "Incomplete",
    EXIT_INFRASTRUCTURE: "InfrastructureFailed",
}
"""Exit code of an error -> the final state of a flow run that ended with it."""


async def infrastructure_only(task: Task[Any, Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether counting again can help: a cluster may come back, data stay as they are."""
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, InfrastructureError)


@task(
    cache_policy=NO_CACHE,
    task_run_name="start {config.suite}/{config.model}",
    tags=TAGS,
    timeout_seconds=SHORT_S,
)
def start(config: EvaluationConfig) -> str:
    """Make the run's folder."""
    return str(stages.start(config))


@task(cache_policy=NO_CACHE, task_run_name="plan {run}", tags=TAGS, timeout_seconds=SHORT_S)
def plan(run: str) -> None:
    """Inventory, alignment, buckets."""
    progress = Both(watcher.get(), ArtifactProgress())
    for warning in stages.plan(Path(run)).warnings:
        progress.note(warning)


@task(
    cache_policy=NO_CACHE,
    task_run_name="count {run}",
    tags=TAGS,
    timeout_seconds=LONG_S,
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=infrastructure_only,
)
def count(run: str, companions: list[str], until: datetime | None = None) -> None:
    """Count what has no counts yet, on Dask or in threads; other models along with it."""
    watcher.get().stage("count")
    stages.count(Path(run), Both(watcher.get(), ArtifactProgress()), list(map(Path, companions)), until)


@task(cache_policy=NO_CACHE, task_run_name="reduce {run}", tags=TAGS, timeout_seconds=SHORT_S)
def reduce(run: str) -> None:
    """Counts of the plan's buckets into one dataset."""
    watcher.get().stage("reduce")
    stages.reduce(Path(run))


@task(cache_policy=NO_CACHE, task_run_name="score {run}", tags=TAGS, timeout_seconds=SHORT_S)
def score(run: str) -> None:
    """Counts into scores."""
    watcher.get().stage("score")
    stages.score(Path(run))


@task(cache_policy=NO_CACHE, task_run_name="gate {run}", tags=TAGS, timeout_seconds=SHORT_S)
def gate(run: str) -> None:
    """Scores against the gates; what they say is in the report, and decides the final state."""
    watcher.get().stage("gate")
    stages.gate(Path(run))


@task(cache_policy=NO_CACHE, task_run_name="report {run}", tags=TAGS, timeout_seconds=SHORT_S)
def report(run: str) -> None:
    """Scores into files, and into artifacts of this flow run."""
    watcher.get().stage("report")
    stages.report(Path(run))
    publish_artifacts(Path(run))


@task(cache_policy=NO_CACHE, task_run_name="publish {run}", tags=TAGS, timeout_seconds=SHORT_S)
def publish(run: str) -> None:
    """The manifest last, then `latest`."""
    watcher.get().stage("publish")
    stages.publish(Path(run))


@flow(flow_run_name="{config.suite}/{config.model}")
def evaluate(config: EvaluationConfig) -> list[str] | State[str]:
    """Evaluate predictions against truth.

    Returns:
        The path of the run of each model; or the state in which it failed, whose message is meant for people.
    """
    try:
        return list(map(str, runs_of(evaluate_each(config.each_model(), TaskSteps()))))
    except SegpipeError as error:
        return failed(error)


def failed(error: SegpipeError) -> State[str]:
    """The final state of a flow run that ended with an error."""
    return Failed(name=STATE_NAMES[error.exit_code], message=str(error), data=error)


class TaskSteps(Steps):
    """The stages of a run as tasks."""

    def begin(self) -> None:
        """Planning begins, of all models."""
        watcher.get().stage("plan")

    def start(self, config: EvaluationConfig) -> Path:
        """Make the run's folder."""
        return Path(start(config))

    def plan(self, run: Path) -> None:
        """Inventory, alignment, buckets."""
        plan(str(run))

    def count(self, run: Path, companions: Sequence[Path]) -> None:
        """Count what has no counts yet."""
        count(str(run), list(map(str, companions)), self._until)

    def finish(self, run: Path) -> None:
        """All that follows counting."""
        for stage in (reduce, score, gate, report):
            stage(str(run))
        self._before_publish()
        publish(str(run))
