"""per_image.parquet: one row per image, with its metadata, pixel counts and every score of the image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from numpy.typing import ArrayLike

from segpipe.metrics.areas import COUNT_NAMES, ClassAreas, image_counts
from segpipe.metrics.base import FloatArray, chosen_metrics
from segpipe.metrics.image_means import score_images
from segpipe.metrics.scores import Scores
from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.parquet import write_parquet


@REPORTS.register("per_image.parquet")
def write(given: ReportInput, path: Path) -> None:
    """Write the table, some images at a time; an image with nothing to score has NaN."""
    results, metrics = given.results, chosen_metrics(given.scores.rules.metrics)
    metadata = {results.names[name]: kind for name, kind in results.columns.items()}
    scores = {one.averages[0]: "float" for one in metrics}
    scores |= dict.fromkeys(_of_statistics(given.scores), "float")
    kinds = {"image": "str", **metadata, **dict.fromkeys(COUNT_NAMES, "int"), **scores}
    write_parquet(path, kinds, _blocks(given))


def _blocks(given: ReportInput) -> Iterator[dict[str, ArrayLike]]:
    rules, classes, names = given.scores.rules, given.scores.classes, given.results.names
    further, start = _of_statistics(given.scores), 0
    for block in given.results.blocks():
        areas = ClassAreas.from_cells(block.cells, invalid_pred=rules.invalid_pred)
        yield {
            "image": block.ids,
            **{names[name]: values for name, values in block.columns.items()},
            **image_counts(block.cells),
            **score_images(areas, classes, rules).per_image,
            **{name: values[start : start + len(block.ids)] for name, values in further.items()},
        }
        start += len(block.ids)


def _of_statistics(scores: Scores) -> dict[str, FloatArray]:
    """What statistics score of every image by itself."""
    return {name: values for one in scores.statistics for name, values in one.per_image.items()}
