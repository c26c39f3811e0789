"""The article's NumPy and Keras functions `metrics_np` and `seg_metrics`, and their wrappers.

`mean_iou_np` and `mean_dice_np` are the standard figures with `drop_last`; `mean_per_class` is the vector
`ConventionScore.per_class`. Smoothing is 0. The article's printed Dice doubles the smoothing term, so that an
absent class scores 2: a defect, which is not copied.
"""

from __future__ import annotations

from segpipe.metrics.conventions.base import ConventionRules, convention

KINDS = {
    "standard": ({"pool": "classes"}, "mean over classes of the mean over the images that have the class"),
    "naive": ({"pool": "pairs", "absent": "one"}, "mean over all images and classes, an absent class is 1"),
    "soft": ({"pool": "classes", "only_predicted": "drop"}, "of hard masks; present means present in truth"),
}

for metric, name in (("iou", "iou"), ("dice", "dice")):
    for kind, (rules, words) in KINDS.items():
        for drop_last in (True, False):
            chosen = "without last" if drop_last else "all"
            convention(
                f"numpy-blog-{metric}-{kind}" + ("" if drop_last else "-kept"),
                call=f"metrics_np(truth, pred, metric='{name}', metric_type='{kind}', drop_last={drop_last})",
                rules=ConventionRules(metric=metric, chosen=chosen, **rules),  # type: ignore[arg-type]
                checked="rule",
                note=words,
            )
