"""A night as a flow: find the stores, evaluate what is new or changed, show and tell what became of them.

From a shell: `python -m flows.nightly nightly.yaml`.
"""

from __future__ import annotations

if __name__ == "__main__":
    from flows import command

    command.run_as_main(command.nightly)

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from flows.batches import ended, looking
from flows.evaluate import TaskSteps
from flows.hooks import tell, tell_if_falling
from flows.parts import failed
from segpipe.errors import SegpipeError
from segpipe.run.nightly import NightlyConfig, run_night, survey

look = looking(survey)


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
