"""Tools that score every image and then average."""

from __future__ import annotations

from segpipe.metrics.conventions.base import ConventionRules, MetricName, convention

convention(
    "torchmetrics-segmentation",
    call="torchmetrics.segmentation.MeanIoU(num_classes, input_format='index')",
    rules=ConventionRules(out_of_range="refuse", stray_truth="refuse", pool="pairs"),
    checked="tool",
    note="it has no ignored label; ignored pixels are taken out here",
)
MONAI = "one-hot channels, in which no class is none at all; ignored pixels are taken out here"
MONAI_CALLS: dict[MetricName, str] = {"iou": "MeanIoU", "dice": "DiceMetric"}
NNUNET: dict[MetricName, tuple[str, str]] = {"dice": ("nnunet", "Dice"), "iou": ("nnunet-iou", "IoU")}

for metric, call in MONAI_CALLS.items():
    convention(
        f"monai-{metric}",
        call=f"monai.metrics.{call}(include_background=True, reduction='mean', ignore_empty=True)",
        rules=ConventionRules(metric=metric, stray_truth="keep pred", pool="images", only_predicted="drop"),
        checked="tool",
        note=MONAI,
    )
    convention(
        f"monai-{metric}-empty-is-one",
        call=f"monai.metrics.{call}(include_background=True, reduction='mean', ignore_empty=False)",
        rules=ConventionRules(metric=metric, stray_truth="keep pred", pool="images", absent="one"),
        checked="tool",
        note=MONAI,
    )
for metric, (name, key) in NNUNET.items():
    convention(
        name,
        call=f"nnunetv2.evaluation.evaluate_predictions.compute_metrics_on_folder, foreground_mean['{key}']",
        rules=ConventionRules(
            metric=metric, stray_truth="keep pred", chosen="without first", pool="classes", missing="poison"
        ),
        checked="tool",
        note="class 0 is background; a class that occurs in no image makes the foreground mean NaN",
    )
