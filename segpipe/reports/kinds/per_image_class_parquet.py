"""per_image_class.parquet: one row per image and class that occurs in it, with areas and scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import METRICS
from segpipe.metrics.scoring import IMAGE_METRICS
from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.parquet import repeated_texts, write_parquet

AREAS = {"truth_pixels": "truth", "pred_pixels": "pred", "hit_pixels": "hit"}


@REPORTS.register("per_image_class.parquet")
def write(given: ReportInput, path: Path) -> None:
    """Write the table, some images at a time; a class occurs if it is in truth or in pred."""
    names = {"image": "str", "class_id": "int", "class_name": "str"}
    kinds = {**names, **dict.fromkeys(AREAS, "int"), **dict.fromkeys(IMAGE_METRICS, "float")}
    write_parquet(path, kinds, _blocks(given))


def _blocks(given: ReportInput) -> Iterator[dict[str, ArrayLike]]:
    for block in given.results.blocks():
        areas = ClassAreas.from_cells(block.cells, invalid_pred=given.scores.rules.invalid_pred)
        image, class_id = np.nonzero(areas.occurs)
        yield {
            "image": repeated_texts(block.ids, image),
            "class_id": class_id,
            "class_name": repeated_texts(given.scores.classes.names, class_id),
            **{name: getattr(areas, side)[image, class_id] for name, side in AREAS.items()},
            **{name: METRICS[name].function(areas)[image, class_id] for name in IMAGE_METRICS},
        }
