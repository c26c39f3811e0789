"""Tools that look at neighbours and scores, called as their documentation says. Nothing of segpipe here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASSES = 3
BINS = 16
WIDTHS = (1, 2, 4)
PACKAGES = ("monai", "opencv-python", "scikit-learn", "scipy", "torchmetrics")

Maps = tuple[NDArray[np.int64], NDArray[np.int64]]
Figure = dict[str, Any]


def maps() -> Maps:
    """Objects of two classes on background, 20 x 28; the prediction is moved, wrong in places, noisy in one.

    Nothing but background touches the edge: there tools differ.
    """
    truth = np.zeros((20, 28), np.int64)
    truth[3:12, 4:13], truth[8:17, 15:24], truth[4:6, 19:22], truth[14:16, 5:6] = 1, 2, 1, 2
    pred = np.zeros_like(truth)
    pred[4:12, 5:15], pred[7:17, 16:24], pred[16:18, 3:5] = 1, 2, 1
    noise = np.random.default_rng(3).random((6, 6)) < 0.3
    pred[8:14, 16:22][noise] = 1
    return truth, pred


def scores() -> NDArray[np.float64]:
    """Probabilities of the three classes, float64 (class, y, x), none at the edge of a bin."""
    draw = np.random.default_rng(4)
    truth, pred = maps()
    logits = draw.normal(0, 1, (CLASSES, *truth.shape))
    np.put_along_axis(logits, pred[np.newaxis], 4 * draw.random((1, *truth.shape)) + 2, axis=0)
    powers = np.exp(logits)
    return np.round(powers / powers.sum(axis=0), 5)


def versions() -> dict[str, str]:
    """Package -> version."""
    return {package: version(package) for package in PACKAGES}


def figures() -> list[Figure]:
    """What each tool says of the maps or the scores."""
    calls: tuple[Callable[[], Iterator[Figure]], ...] = (
        boundary_iou,
        surface_dice,
        labelled,
        calibration,
        curves,
    )
    return [figure for call in calls for figure in call()]


def boundary_iou() -> Iterator[Figure]:
    """The published rule of Cheng et al., mask by mask: erosions by a square of 3 x 3, zeros around it."""
    import cv2

    def band(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
        framed = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        left = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
        return mask & (left == 0)

    for width in WIDTHS:
        values = []
        for class_id in range(CLASSES):
            truth, pred = (band(side == class_id, width) for side in maps())
            values.append(float((truth & pred).sum() / (truth | pred).sum()))
        yield {"package": "opencv-python", "call": "erode", "width_px": width, "value": values}


def surface_dice() -> Iterator[Figure]:
    """Of the two classes that do not touch the edge."""
    import torch
    from monai.metrics import compute_surface_dice

    ids = np.arange(CLASSES)[:, np.newaxis, np.newaxis]
    truth, pred = (torch.tensor((side == ids)[np.newaxis], dtype=torch.float32) for side in maps())
    for tolerance in WIDTHS:
        found = compute_surface_dice(pred, truth, class_thresholds=[float(tolerance)] * (CLASSES - 1))
        call = "compute_surface_dice"
        yield {"package": "monai", "call": call, "tolerance_px": tolerance, "value": found[0].tolist()}


def labelled() -> Iterator[Figure]:
    """Sizes of the components of truth and of the prediction, class by class."""
    from scipy import ndimage

    for connectivity, rank in ((4, 1), (8, 2)):
        structure = ndimage.generate_binary_structure(2, rank)
        sizes = [
            [_sizes(ndimage.label(side == class_id, structure)[0]) for class_id in range(CLASSES)]
            for side in maps()
        ]
        yield {"package": "scipy", "call": "ndimage.label", "connectivity": connectivity, "value": sizes}


def _sizes(numbers: NDArray[Any]) -> list[int]:
    return sorted(np.bincount(numbers.ravel())[1:].tolist())


def calibration() -> Iterator[Figure]:
    """Expected and maximum calibration error."""
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    values = torch.tensor(scores()).flatten(1).T
    truth = torch.tensor(maps()[0]).flatten()
    for norm in ("l1", "max"):
        found = multiclass_calibration_error(values, truth, num_classes=CLASSES, n_bins=BINS, norm=norm)
        yield {
            "package": "torchmetrics",
            "call": "multiclass_calibration_error",
            "norm": norm,
            "value": float(found),
        }


def curves() -> Iterator[Figure]:
    """Average precision and area under the ROC curve of every class against the rest, of binned scores."""
    import torch
    from sklearn.metrics import average_precision_score
    from torchmetrics.functional.classification import binary_auroc

    binned = np.floor(scores() * BINS) / BINS
    truth = [maps()[0] == class_id for class_id in range(CLASSES)]
    pairs = list(zip(truth, binned, strict=True))
    precision = [float(average_precision_score(side.ravel(), score.ravel())) for side, score in pairs]
    yield {"package": "scikit-learn", "call": "average_precision_score", "value": precision}
    areas = [
        float(binary_auroc(torch.tensor(score).flatten(), torch.tensor(side).flatten().long()))
        for side, score in pairs
    ]
    yield {"package": "torchmetrics", "call": "binary_auroc", "value": areas}


def answers() -> dict[str, Any]:
    """Versions, what was asked about, and figures, as plain data."""
    truth, pred = maps()
    return {
        "made_by": "python -m tests.peers --write",
        "versions": versions(),
        "num_classes": CLASSES,
        "bins": BINS,
        "truth": truth.tolist(),
        "pred": pred.tolist(),
        "scores": scores().tolist(),
        "figures": figures(),
    }
