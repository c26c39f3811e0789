"""per_image.parquet: one row per image, with its metadata, pixel counts and scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from numpy.typing import ArrayLike

from segpipe.counts.results import IMAGE_SCORES, IMAGES_PER_CHUNK, ResultsReader
from segpipe.metrics.areas import COUNT_NAMES
from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.parquet import write_parquet


@REPORTS.register("per_image.parquet")
def write(given: ReportInput, path: Path) -> None:
    """Write the table; an image with nothing to score has NaN."""
    results = given.results
    metadata = {results.names[name]: kind for name, kind in results.columns.items()}
    figures = {**dict.fromkeys(COUNT_NAMES, "int"), **dict.fromkeys(IMAGE_SCORES, "float")}
    write_parquet(path, {"image": "str", **metadata, **figures}, _blocks(results))


def _blocks(results: ResultsReader) -> Iterator[dict[str, ArrayLike]]:
    figures = (*COUNT_NAMES, *IMAGE_SCORES)
    for start in range(0, len(results), IMAGES_PER_CHUNK):
        stop = start + IMAGES_PER_CHUNK
        metadata = {results.names[name]: results.column(name, start, stop) for name in results.columns}
        own = {name: results.read(f"image_{name}", start, stop) for name in figures}
        yield {"image": results.ids(start, stop), **metadata, **own}
