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
    command.main()

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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
    IncompleteError,
    InfrastructureError,
    SegpipeError,
)
from segpipe.run import stages
from segpipe.run.progress import SILENT, Progress

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


@task(cache_policy=NO_CACHE, task_run_name="start {config.suite}/{config.model}")
def start(config: EvaluationConfig) -> str:
    """Make the run's folder."""
    return str(stages.start(config))


@task(cache_policy=NO_CACHE, task_run_name="plan {run}")
def plan(run: str) -> None:
    """Inventory, alignment, buckets."""
    progress = Both(watcher.get(), ArtifactProgress())
    progress.stage("plan")
    for warning in stages.plan(Path(run)).warnings:
        progress.note(warning)


@task(
    cache_policy=NO_CACHE,
    task_run_name="count {run}",
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=infrastructure_only,
)
def count(run: str, companions: list[str]) -> None:
    """Count what has no counts yet, on Dask or in threads; other models along with it."""
    watcher.get().stage("count")
    stages.count(Path(run), Both(watcher.get(), ArtifactProgress()), list(map(Path, companions)))


@task(cache_policy=NO_CACHE, task_run_name="reduce {run}")
def reduce(run: str) -> None:
    """Counts of the plan's buckets into one dataset."""
    watcher.get().stage("reduce")
    stages.reduce(Path(run))


@task(cache_policy=NO_CACHE, task_run_name="score {run}")
def score(run: str) -> None:
    """Counts into scores."""
    watcher.get().stage("score")
    stages.score(Path(run))


@task(cache_policy=NO_CACHE, task_run_name="report {run}")
def report(run: str) -> None:
    """Scores into files, and into artifacts of this flow run."""
    watcher.get().stage("report")
    stages.report(Path(run))
    publish_artifacts(Path(run))


@task(cache_policy=NO_CACHE, task_run_name="publish {run}")
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
        runs = [start(one) for one in config.each_model()]
        for run in runs:
            with _noted(run):
                plan(run)
        for number, run in enumerate(runs, start=1):
            with _noted(run):
                count(run, runs[number:])
                for stage in (reduce, score, report, publish):
                    stage(run)
    except SegpipeError as error:
        return Failed(name=STATE_NAMES[error.exit_code], message=str(error), data=error)
    return runs


@contextmanager
def _noted(run: str) -> Iterator[None]:
    """Whatever ends the stages early is noted in the run's folder as well."""
    try:
        yield
    except IncompleteError:
        raise
    except Exception as error:
        stages.fail(Path(run), error)
        raise
    except BaseException as signal:
        # Prefect turns SIGTERM into an exception of its own.
        stages.fail(Path(run), KeyboardInterrupt(*signal.args))
        raise
