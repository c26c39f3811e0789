"""Evaluate one dataset: each stage of `segpipe.run` is a task; only the run's path travels between tasks.

From a shell: `python -m flows.evaluate evaluation.yaml --set cluster=threads`.
"""

from __future__ import annotations

if __name__ == "__main__":
    # The command starts Prefect's API before Prefect itself is loaded, so it goes before all that follows.
    from flows import command

    command.run_as_main(command.evaluate)

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.artifacts import ArtifactProgress, Both, publish_artifacts
from flows.parts import LONG_S, failed, retried, stage, watcher
from segpipe.config import EvaluationConfig
from segpipe.errors import SegpipeError
from segpipe.run import stages
from segpipe.run.evaluate import Steps, evaluate_each, runs_of


@stage("start {config.suite}/{config.model}")
def start(config: EvaluationConfig) -> str:
    """Make the run's folder."""
    return str(stages.start(config))


@stage("plan {run}")
def plan(run: str) -> None:
    """Inventory, alignment, buckets."""
    progress = Both(watcher.get(), ArtifactProgress())
    for warning in stages.plan(Path(run)).warnings:
        progress.note(warning)


@stage("count {run}", timeout_seconds=LONG_S, **retried(5, 30))
def count(run: str, companions: list[str], until: datetime | None = None) -> None:
    """Count what has no counts yet, on Dask or in threads; other models along with it."""
    watcher.get().stage("count")
    stages.count(Path(run), Both(watcher.get(), ArtifactProgress()), list(map(Path, companions)), until)


@stage("reduce {run}")
def reduce(run: str) -> None:
    """Counts of the plan's buckets into one dataset."""
    watcher.get().stage("reduce")
    stages.reduce(Path(run))


@stage("score {run}")
def score(run: str) -> None:
    """Counts into scores."""
    watcher.get().stage("score")
    stages.score(Path(run))


@stage("gate {run}")
def gate(run: str) -> None:
    """Scores against the gates; what they say is in the report, and decides the final state."""
    watcher.get().stage("gate")
    stages.gate(Path(run))


@stage("report {run}")
def report(run: str) -> None:
    """Scores into files."""
    watcher.get().stage("report")
    stages.report(Path(run))


@stage("show {run}", retries=2)
def show(run: str) -> None:
    """The report and its tables as artifacts of this flow run."""
    publish_artifacts(Path(run))


@stage("publish {run}")
def publish(run: str) -> None:
    """The manifest last, then `latest`."""
    watcher.get().stage("publish")
    stages.publish(Path(run))


@flow(flow_run_name="{config.suite}/{config.model}")
def evaluate(config: EvaluationConfig) -> list[str] | State[Any]:
    """Evaluate predictions against truth.

    Returns:
        The path of the run of each model; or the state in which it failed, whose message is meant for people.
    """
    try:
        return list(map(str, runs_of(evaluate_each(config.each_model(), TaskSteps()))))
    except SegpipeError as error:
        return failed(error)


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
        for each in (reduce, score, gate, report):
            each(str(run))
        # A report that cannot be shown stands in the run's folder all the same: the run is published.
        show(str(run), return_state=True)
        self._before_publish()
        publish(str(run))
