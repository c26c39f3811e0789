"""An archive again under a new configuration, as a flow. It resumes where it was stopped.

From a shell: `python -m flows.reprocess reprocess.yaml --set since=2026-01-01`.
"""

from __future__ import annotations

if __name__ == "__main__":
    from flows import command

    command.run_as_main(command.reprocess)

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from flows.batches import ended, looking
from flows.evaluate import TaskSteps
from flows.hooks import tell
from flows.parts import failed
from segpipe.errors import SegpipeError
from segpipe.run.reprocess import ReprocessConfig, run_reprocess, to_do

look = looking(to_do)


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
