"""The upkeep of a results folder as a flow.

From a shell: `python -m flows.maintenance maintenance.yaml --set dry_run=true`.
"""

from __future__ import annotations

if __name__ == "__main__":
    from flows import command

    command.run_as_main(command.maintenance)

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger

from flows.hooks import tell
from flows.parts import completed, failed, stage
from segpipe.errors import EXIT_OK, SegpipeError
from segpipe.reports.text import fenced
from segpipe.run.maintenance import (
    Collected,
    MaintenanceConfig,
    MaintenanceError,
    collect_partials,
    run_maintenance,
    verify_sample,
)
from segpipe.run.verified import Verified


@stage("collect partials")
def collect(config: MaintenanceConfig) -> Collected:
    """Remove partial counts that no run names."""
    return collect_partials(config)


@stage("count a sample again")
def verify(config: MaintenanceConfig) -> Verified:
    """Count some buckets again and compare."""
    return verify_sample(config)


@flow(name="maintenance", flow_run_name="maintenance {config.results}", on_failure=[tell], on_crashed=[tell])
def maintenance(config: MaintenanceConfig) -> State[Any]:
    """Remove what no run names, write missing rows of the history, verify a sample.

    The final state is Completed; or InfrastructureFailed, if something is not as it was written.
    """
    try:
        done = run_maintenance(config, collect, verify, get_run_logger().warning)
    except SegpipeError as error:
        return failed(error)
    create_markdown_artifact(fenced(done.text()), "maintenance", f"Upkeep of {config.results}")
    if done.exit_code != EXIT_OK:
        return failed(MaintenanceError(done))
    return completed(done.text(), done)
