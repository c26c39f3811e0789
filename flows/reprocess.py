"""An archive again under a new configuration, as a flow. It resumes where it was stopped.

From a shell: `python -m flows.reprocess reprocess.yaml --set since=2026-01-01`.
"""

from __future__ import annotations

if __name__ == "__main__":
    import sys

    from flows import command

    sys.modules["__main__"] = command
    command.main(command.reprocess, "python -m flows.reprocess")

from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from flows.evaluate import SHORT_S, TAGS, TaskSteps, failed, infrastructure_only
from flows.hooks import tell
from flows.nightly import ended
from segpipe.errors import SegpipeError
from segpipe.run.batch import Outcome
from segpipe.run.reprocess import ReprocessConfig, run_reprocess, to_do
from segpipe.sources.patterns import FoundStore


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
def look(config: ReprocessConfig) -> tuple[list[FoundStore], list[Outcome]]:
    """Find the stores, and which of them are evaluated already."""
    return to_do(config)


@flow(name="reprocess", flow_run_name="{config.title}", on_failure=[tell], on_crashed=[tell])
def reprocess(config: ReprocessConfig) -> State[Any]:
    """Evaluate the stores of some days again; `latest` never moves to an earlier day.

    The final state is named as that of a night, and its message tells every store.
    """
    try:
        batch = run_reprocess(
            config, lambda check: TaskSteps(before_publish=check), look, get_run_logger().warning
        )
    except SegpipeError as error:
        return failed(error)
    return ended(batch, config.evaluation.suite, "reprocess")
