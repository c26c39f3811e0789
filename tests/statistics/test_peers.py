"""Statistics against stored figures of other tools, with version and call (`make test-peers` asks again)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segpipe.kernels.objects import count_objects
from segpipe.statistics.base import STATISTICS, Pixels, real_values

PEERS = json.loads((Path(__file__).parent / "peers.json").read_text("utf-8"))
CLASSES, BINS = PEERS["num_classes"], PEERS["bins"]
TRUTH, PRED = (np.array(PEERS[side]) for side in ("truth", "pred"))
SCORES = np.array(PEERS["scores"])


def stored(call: str, **options: Any) -> Any:
    """What a tool says."""
    [value] = [
        figure["value"]
        for figure in PEERS["figures"]
        if figure["call"] == call and options.items() <= figure.items()
    ]
    return value


def counted(kind: str, **parameters: Any) -> dict[str, np.ndarray]:
    """The sums of the image, in real units."""
    one = STATISTICS[kind](**parameters)
    pixels = Pixels(CLASSES, TRUTH[None], PRED[None])
    if "scores" in one.needs:
        pixels = Pixels(CLASSES, TRUTH[None], SCORES.argmax(0)[None], SCORES[None], "probabilities")
    counts = {name: values[0] for name, values in one.count(pixels).items()}
    return real_values(counts, one.fields(CLASSES))


def scored(kind: str, name: str, **parameters: Any) -> Any:
    """A metric of the image."""
    functions = {metric.name: metric.function for metric in STATISTICS[kind].metrics}
    return functions[name](counted(kind, **parameters))


def test_every_figure_names_its_tool_and_version() -> None:
    """And each was asked for."""
    assert PEERS["made_by"] == "python -m tests.peers --write"
    assert {figure["package"] for figure in PEERS["figures"]} == set(PEERS["versions"])


@pytest.mark.parametrize("width", [1, 2, 4])
def test_boundary_iou_is_that_of_the_published_rule(width: int) -> None:
    """Cheng's erosions with OpenCV, one mask after the other: equal, not nearly."""
    assert scored("boundary_iou", "boundary_iou", width_px=width).tolist() == stored("erode", width_px=width)


@pytest.mark.parametrize("tolerance", [1, 2, 4])
def test_contours_and_hits_make_the_surface_dice_of_monai(tolerance: int) -> None:
    """Its edges and distances are ours where nothing touches the edge of the image: hits over pixels."""
    sums = counted("boundary_f", tolerance_px=tolerance)
    found = (sums["truth_hit"] + sums["pred_hit"]) / (sums["truth"] + sums["pred"])
    expected = stored("compute_surface_dice", tolerance_px=tolerance)
    np.testing.assert_allclose(found[1:], expected, rtol=1e-6)


@pytest.mark.parametrize("connectivity", [4, 8])
def test_components_are_those_of_scipy(connectivity: int) -> None:
    """The sizes of all, class by class."""
    found = [
        [sorted(pixels[labels == class_id].tolist()) for class_id in range(CLASSES)]
        for labels, pixels, _ in count_objects(TRUTH, PRED, CLASSES, connectivity)
    ]
    assert found == stored("ndimage.label", connectivity=connectivity)


@pytest.mark.parametrize(("name", "norm"), [("ece", "l1"), ("mce", "max")])
def test_calibration_errors_are_those_of_torchmetrics(name: str, norm: str) -> None:
    """Away from the edges of bins, which it closes otherwise."""
    expected = stored("multiclass_calibration_error", norm=norm)  # in float32
    assert scored("calibration", name, bins=BINS) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "call"), [("average_precision", "average_precision_score"), ("auroc", "binary_auroc")]
)
def test_areas_under_curves_are_those_of_others(name: str, call: str) -> None:
    """Of scores that were rounded down to the thresholds before."""
    np.testing.assert_allclose(scored("threshold_sweep", name, bins=BINS), stored(call), rtol=1e-6)
