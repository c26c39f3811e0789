"""per_image_class.parquet: one row per image and class that occurs in it, with areas and scores.

Areas are in pixels, times their weights if they have any.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import Metric, chosen_metrics
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.sums import share_of
from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.parquet import repeated_texts, write_parquet

AREAS = {"truth_pixels": "truth", "pred_pixels": "pred", "hit_pixels": "hit"}


@REPORTS.register("per_image_class.parquet")
def write(given: ReportInput, path: Path) -> None:
    """Write the table, some images at a time; a class occurs if it is in truth or in pred."""
    names = {"image": "str", "class_id": "int", "class_name": "str"}
    scores = {one.name: "float" for one in _columns(given.scores.rules)}
    areas = "float" if given.results.weighted else "int"
    write_parquet(path, {**names, **dict.fromkeys(AREAS, areas), **scores}, _blocks(given))


def _columns(rules: ScoringRules) -> list[Metric]:
    return [one for one in chosen_metrics(rules.metrics) if one.per_class and one.by_image]


def _blocks(given: ReportInput) -> Iterator[dict[str, ArrayLike]]:
    columns = _columns(given.scores.rules)
    in_pixels = share_of if given.results.weighted else np.asarray
    for block in given.results.blocks():
        areas = ClassAreas.from_cells(block.cells, invalid_pred=given.scores.rules.invalid_pred)
        image, class_id = np.nonzero(areas.occurs)
        yield {
            "image": repeated_texts(block.ids, image),
            "class_id": class_id,
            "class_name": repeated_texts(given.scores.classes.names, class_id),
            **{name: in_pixels(getattr(areas, side)[image, class_id]) for name, side in AREAS.items()},
            **{one.name: one.function(areas)[image, class_id] for one in columns},
        }
