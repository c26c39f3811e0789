"""Two runs compared as a flow: what differs as artifacts, and a state that tells whether B is worse than A.

From a shell: `python -m flows.compare results/suite/model_a results/suite/model_b`.
"""

from __future__ import annotations

if __name__ == "__main__":
    from flows import command

    command.run_as_main(command.compare)

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.artifacts import publish_comparison
from flows.hooks import tell, tell_if_falling
from flows.parts import completed, failed, retried, stage
from segpipe.errors import SegpipeError
from segpipe.metrics.comparison import Comparison
from segpipe.metrics.scores import HEADLINE
from segpipe.reports.comparison import comparison_words
from segpipe.run.compared import CompareConfig, compare_configured
from segpipe.run.opened import open_run


@stage("compare {config.b} with {config.a}", **retried(30, 300))
def differences(config: CompareConfig) -> Comparison:
    """Compare the runs, and show what differs; no label map is read."""
    found = compare_configured(config)
    summary = open_run(config.b).summary
    publish_comparison(found, summary.suite, summary.model)
    return found


@flow(
    name="compare",
    flow_run_name="compare {config.b} with {config.a}",
    on_failure=[tell],
    on_crashed=[tell],
    on_completion=[tell_if_falling],
)
def compare(config: CompareConfig) -> State[Any]:
    """Compare run B with run A, image by image.

    The final state is Completed; ScoreFalling, if the interval of the difference in the headline lies below
    0; BadInput, if the runs cannot be compared (its message lists what differs); or InfrastructureFailed.
    """
    try:
        found = differences(config)
    except SegpipeError as error:
        return failed(error)
    worse = found.differences.aggregates[HEADLINE].verdict == "worse"
    return completed("\n".join(comparison_words(found)), found, falling=worse)
