"""What flows over many stores share: looking for the stores, and showing what became of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.tasks import Task

from flows.artifacts import artifact_key
from flows.parts import completed, failed, retried, stage
from segpipe.errors import EXIT_OK
from segpipe.reports.text import fenced
from segpipe.run.batch import Batch, BatchError

P = ParamSpec("P")
R = TypeVar("R")


def looking(find: Callable[P, R]) -> Task[P, R]:
    """A function that finds stores, as a task; asked again where a service does not answer."""
    made: Task[P, R] = stage("look for stores", name="look", **retried(30, 300))(find)
    return made


@stage("show {batch.title}", retries=2)
def show(batch: Batch, suite: str, kind: str) -> None:
    """A table with a row for each store, and the words of it."""
    create_table_artifact(batch.table(), artifact_key(suite, kind, "stores"), batch.title)
    create_markdown_artifact(fenced(batch.text()), artifact_key(suite, kind), batch.title)


def ended(batch: Batch, suite: str, kind: str) -> State[Any]:
    """Show a batch, and make the final state of its flow run, which says what became of it in any case."""
    show(batch, suite, kind, return_state=True)
    if batch.exit_code != EXIT_OK:
        return failed(BatchError(batch))
    return completed(batch.text(), batch, falling=batch.remarkable)
