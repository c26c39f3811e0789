"""Each tool, called as its documentation says. Nothing of segpipe is imported here."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tests.peers.cases import IGNORED, Case

Tool = Callable[[Case], float]
TOOLS: dict[str, tuple[str, Tool]] = {}
"""Convention -> the package, and the call."""


def tool(convention: str, package: str) -> Callable[[Tool], Tool]:
    """File a call under the convention that it is the figure of."""

    def file(function: Tool) -> Tool:
        TOOLS[convention] = (package, function)
        return function

    return file


def versions() -> dict[str, str]:
    """Package -> version."""
    return {package: version(package) for package in sorted({package for package, _ in TOOLS.values()})}


@tool("keras", "keras")
def keras(case: Case) -> float:
    from keras.metrics import MeanIoU

    # The default dtype is int here: figures without weights do not depend on it.
    metric = MeanIoU(case.num_classes, ignore_class=IGNORED)
    for truth, pred in zip(case.truth, case.pred, strict=True):
        metric.update_state(truth, pred)
    return float(metric.result())


@tool("tf1", "tensorflow-cpu")
def tf1(case: Case) -> float:
    valid = case.truth != IGNORED
    return tf1_mean_iou(np.where(valid, case.truth, 0), case.pred, case.num_classes, valid)


def tf1_mean_iou(truth: Any, pred: Any, num_classes: int, weights: Any) -> float:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        sides = (tf.constant(np.asarray(side)) for side in (truth, pred))
        value, update = v1.metrics.mean_iou(*sides, num_classes, tf.constant(np.asarray(weights, np.float32)))
        session.run(v1.local_variables_initializer())
        session.run(update)
        return float(session.run(value))


def _jaccard(average: str) -> Tool:
    def call(case: Case) -> float:
        import torch
        from torchmetrics import JaccardIndex

        metric = JaccardIndex(
            "multiclass", num_classes=case.num_classes, average=average, ignore_index=IGNORED
        )
        for truth, pred in zip(case.truth, case.pred, strict=True):
            metric.update(torch.tensor(pred), torch.tensor(truth))
        return float(metric.compute())

    return call


for name, average in (("", "macro"), ("-micro", "micro"), ("-weighted", "weighted")):
    tool(f"torchmetrics{name}", "torchmetrics")(_jaccard(average))


def _without_ignored(case: Case) -> None:
    if (case.truth == IGNORED).any():
        message = "has no ignored label"
        raise NotImplementedError(message)


@tool("torchmetrics-segmentation", "torchmetrics")
def torchmetrics_segmentation(case: Case) -> float:
    import torch
    from torchmetrics.segmentation import MeanIoU

    _without_ignored(case)
    metric = MeanIoU(num_classes=case.num_classes, input_format="index", include_background=True)
    for truth, pred in zip(case.truth, case.pred, strict=True):
        metric.update(torch.tensor(pred)[None], torch.tensor(truth)[None])
    return float(metric.compute())


@tool("sklearn", "scikit-learn")
def sklearn(case: Case) -> float:
    from sklearn.metrics import jaccard_score

    valid = case.truth != IGNORED
    ids = list(range(case.num_classes))
    return float(
        jaccard_score(case.truth[valid], case.pred[valid], average="macro", labels=ids, zero_division=0)
    )


def _monai(kind: str, ignore_empty: bool) -> Tool:
    def call(case: Case) -> float:
        import torch
        from monai import metrics

        metric = getattr(metrics, kind)(include_background=True, reduction="mean", ignore_empty=ignore_empty)
        ids = np.arange(case.num_classes)[None, :, None, None]
        for truth, pred in zip(case.truth, case.pred, strict=True):
            valid = truth != IGNORED
            hot = [torch.tensor((side == ids) & valid, dtype=torch.float32) for side in (pred, truth)]
            metric(y_pred=hot[0], y=hot[1])
        return float(metric.aggregate())

    return call


for metric_name, kind in (("iou", "MeanIoU"), ("dice", "DiceMetric")):
    tool(f"monai-{metric_name}", "monai")(_monai(kind, True))
    tool(f"monai-{metric_name}-empty-is-one", "monai")(_monai(kind, False))


class NumpyFiles:
    """What nnU-Net reads label maps with."""

    def read_seg(self, path: str) -> tuple[Any, dict[str, Any]]:
        """One label map and its properties."""
        return np.load(path), {}


def _nnunet(key: str) -> Tool:
    def call(case: Case) -> float:
        from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder

        with tempfile.TemporaryDirectory() as folder:
            for side, maps in (("ref", case.truth), ("pred", case.pred)):
                (Path(folder) / side).mkdir()
                for index, one in enumerate(maps):
                    np.save(Path(folder) / side / f"{index}.npy", one)
            result = compute_metrics_on_folder(
                f"{folder}/ref", f"{folder}/pred", None, NumpyFiles(), ".npy",
                list(range(case.num_classes)), IGNORED, num_processes=1,
            )  # fmt: skip
        return float(result["foreground_mean"][key])

    return call


tool("nnunet", "nnunetv2")(_nnunet("Dice"))
tool("nnunet-iou", "nnunetv2")(_nnunet("IoU"))


@tool("mmseg", "mmsegmentation")
def mmseg(case: Case) -> float:
    import torch
    from mmseg.evaluation.metrics import IoUMetric

    pairs = zip(case.pred, case.truth, strict=True)
    areas = [
        IoUMetric.intersect_and_union(torch.tensor(pred), torch.tensor(truth), case.num_classes, IGNORED)
        for pred, truth in pairs
    ]
    sums = [sum(parts) for parts in zip(*areas, strict=True)]
    return float(np.nanmean(IoUMetric.total_area_to_metrics(*sums, metrics=["mIoU"])["IoU"]))


def _cityscapes_matrix(case: Case) -> tuple[Any, Any, Any]:
    """Its module, its arguments, and its matrix, in which class k is its k-th label that is evaluated."""
    with contextlib.redirect_stdout(io.StringIO()):
        from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as tool_module
    args = tool_module.args
    ids = [label.id for label in tool_module.labels if label.id >= 0 and not label.ignoreInEval]
    # Whatever is no class is `unlabeled`, which is not evaluated.
    table = np.zeros(256, np.int64)
    table[: case.num_classes] = ids[: case.num_classes]
    matrix = tool_module.generateMatrix(args)
    np.add.at(matrix, (table[case.truth].ravel(), table[case.pred].ravel()), 1)
    return tool_module, args, matrix


@tool("cityscapes", "cityscapesScripts")
def cityscapes(case: Case) -> float:
    module, args, matrix = _cityscapes_matrix(case)
    scores = {label: module.getIouScoreForLabel(label, matrix, args) for label in args.evalLabels}
    return float(module.getScoreAverage(scores, args))


@tool("cityscapes-categories", "cityscapesScripts")
def cityscapes_categories(case: Case) -> float:
    module, args, matrix = _cityscapes_matrix(case)
    scores = {name: module.getIouScoreForCategory(name, matrix, args) for name in module.category2labels}
    return float(module.getScoreAverage(scores, args))


def cityscapes_groups() -> dict[str, list[int]]:
    """Category -> its evaluated classes, 0 to 18."""
    with contextlib.redirect_stdout(io.StringIO()):
        from cityscapesscripts.helpers.labels import labels
    used = [label for label in labels if label.id >= 0 and not label.ignoreInEval]
    groups: dict[str, list[int]] = {}
    for place, label in enumerate(used):
        groups.setdefault(label.category, []).append(place)
    return groups


def keras_weighted(dtype: str | None) -> float:
    """The example with weights of its documentation."""
    from keras.metrics import MeanIoU

    metric = MeanIoU(num_classes=2, **({} if dtype is None else {"dtype": dtype}))
    metric.update_state([0, 0, 1, 1], [0, 1, 0, 1], sample_weight=[0.3, 0.3, 0.3, 0.1])
    return float(metric.result())
