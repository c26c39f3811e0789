"""Gates in the flow: the final state tells that one does not hold, and other models go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.evaluate import evaluate
from segpipe.config import EvaluationConfig
from segpipe.errors import GateError
from segpipe.run.record import read_state

pytestmark = pytest.mark.usefixtures("prefect_api")


def test_the_final_state_tells_that_a_gate_failed(config: EvaluationConfig, demo_small: Path) -> None:
    """GateFailed, with the numbers; every model is published with its verdict."""
    gates = [{"metric": "mean_iou", "min": 0.999}]
    asked = {"gates": gates, "also": {"b": f"{demo_small}/model_b.zarr::labels"}}
    changed = config.model_validate({**config.model_dump(), **asked})
    state: Any = evaluate(changed, return_state=True)  # type: ignore[call-overload]
    assert (state.name, state.is_failed()) == ("GateFailed", True)
    assert "mean_iou at least 0.999: 0." in str(state.message)
    with pytest.raises(GateError):
        state.result()
    runs = sorted(Path(config.results).glob("Flow_tests/*/runs/0*"))
    assert [read_state(run)["state"] for run in runs] == ["gate_failed"] * 2
    assert "## Gates: 1 of 1 failed" in (runs[0] / "report.md").read_text()
