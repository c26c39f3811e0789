"""Tools that sum a confusion matrix over the dataset."""

from __future__ import annotations

from segpipe.metrics.conventions.base import ConventionRules, convention

convention(
    "keras",
    call="keras.metrics.MeanIoU(num_classes, ignore_class=...)",
    rules=ConventionRules(out_of_range="drop"),
    checked="tool",
    note="computed in float32; with its default dtype int it truncates sample weights to whole numbers",
)
convention(
    "tf1",
    call="tensorflow.compat.v1.metrics.mean_iou(labels, predictions, num_classes, weights)",
    rules=ConventionRules(out_of_range="refuse", stray_truth="refuse"),
    checked="tool",
    note="ignored pixels are those of weight 0",
)
convention(
    "mmseg",
    call="mmseg.evaluation.IoUMetric(iou_metrics=['mIoU'], ignore_index=255)",
    rules=ConventionRules(stray_truth="keep pred"),
    checked="tool",
)
convention(
    "hf-evaluate",
    call="evaluate.load('mean_iou').compute(num_labels=K, ignore_index=255)",
    rules=ConventionRules(stray_truth="keep pred"),
    checked="rule",
)
convention(
    "cityscapes",
    call="cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling, score average classes",
    checked="tool",
    note="its iIoU is cityscapes-iiou, where pixels have weights that undo the sizes of instances",
)
convention(
    "cityscapes-categories",
    call="cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling, score average categories",
    rules=ConventionRules(groups=True),
    checked="tool",
    note="the categories are the groups of the class list; their iIoU is not computed",
)
convention(
    "cityscapes-iiou",
    call="cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling, averageScoreInstClasses",
    rules=ConventionRules(chosen="with instances", weighing="instances"),
    checked="rule",
    note="a true pixel is taken to weigh the mean size of instances of its class over the size of its own",
)
convention(
    "torchmetrics",
    call="torchmetrics.JaccardIndex(task='multiclass', average='macro', ignore_index=...)",
    rules=ConventionRules(out_of_range="refuse", stray_truth="refuse"),
    checked="tool",
    note="with validate_args=False a label that is no class may be counted in the cell of another class",
)
convention(
    "torchmetrics-micro",
    call="torchmetrics.JaccardIndex(task='multiclass', average='micro', ignore_index=...)",
    rules=ConventionRules(out_of_range="refuse", stray_truth="refuse", average="micro"),
    checked="tool",
)
convention(
    "torchmetrics-weighted",
    call="torchmetrics.JaccardIndex(task='multiclass', average='weighted', ignore_index=...)",
    rules=ConventionRules(out_of_range="refuse", stray_truth="refuse", average="weighted"),
    checked="tool",
)
convention(
    "sklearn",
    call="sklearn.metrics.jaccard_score(truth, pred, average='macro', labels=range(K), zero_division=0)",
    rules=ConventionRules(stray_truth="keep pred", absent="zero"),
    checked="tool",
    note="ignored pixels have to be taken out before the call",
)
convention(
    "detectron2",
    call="detectron2.evaluation.SemSegEvaluator, mIoU",
    rules=ConventionRules(out_of_range="drop", only_predicted="drop"),
    checked="rule",
    note="only the prediction K is left out; any other value that is no class breaks its matrix",
)
