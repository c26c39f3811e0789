"""A night as a flow: find the stores, evaluate what is new or changed, show and tell what became of them.

From a shell: `python -m flows.nightly nightly.yaml`.
"""

from __future__ import annotations

if __name__ == "__main__":
    import sys

    from flows import command

    sys.modules["__main__"] = command
    command.main(command.nightly, "python -m flows.nightly")

from datetime import datetime
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed

from flows.artifacts import artifact_key
from flows.evaluate import SHORT_S, TAGS, TaskSteps, failed, infrastructure_only
from flows.hooks import FALLING, tell, tell_if_falling
from segpipe.errors import EXIT_OK, SegpipeError
from segpipe.reports.text import fenced
from segpipe.run.batch import Batch, BatchError
from segpipe.run.nightly import NightlyConfig, Survey, run_night, survey


@task(
    cache_policy=NO_CACHE,
    name="look",
    task_run_name="look for stores",
    tags=TAGS,
    timeout_seconds=SHORT_S,
    retries=2,
    retry_delay_seconds=[30, 300],
    retry_condition_fn=infrastructure_only,
)
def look(config: NightlyConfig, now: datetime) -> Survey:
    """Find the stores; asked again where a service does not answer."""
    return survey(config, now)


@task(cache_policy=NO_CACHE, name="show", task_run_name="show {batch.title}", tags=TAGS, retries=2)
def show(batch: Batch, suite: str, kind: str) -> None:
    """A table with a row for each store, and the words of it."""
    create_table_artifact(batch.table(), artifact_key(suite, kind, "stores"), batch.title)
    create_markdown_artifact(fenced(batch.text()), artifact_key(suite, kind), batch.title)


@flow(
    name="nightly",
    flow_run_name="nightly {config.evaluation.suite} {config.tonight}",
    on_failure=[tell],
    on_crashed=[tell],
    on_completion=[tell_if_falling],
)
def nightly(config: NightlyConfig) -> State[Any]:
    """Evaluate tonight's predictions of all models, and what was late or changed.

    The final state is Completed, ScoreFalling, GateFailed, Incomplete (also: a store was late, or the
    deadline came), BadInput or InfrastructureFailed; its message tells every store.
    """
    try:
        batch = run_night(
            config,
            lambda until, check: TaskSteps(until=until, before_publish=check),
            look,
            get_run_logger().warning,
        )
    except SegpipeError as error:
        return failed(error)
    return ended(batch, config.evaluation.suite, "nightly")


def ended(batch: Batch, suite: str, kind: str) -> State[Any]:
    """Show a batch, and make the final state of its flow run."""
    show(batch, suite, kind)
    if batch.exit_code != EXIT_OK:
        return failed(BatchError(batch))
    return Completed(name=FALLING if batch.remarkable else "Completed", message=batch.text(), data=batch)
