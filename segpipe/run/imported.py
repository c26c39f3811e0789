"""Image files to a Zarr store of label maps: found, written on any cluster, read back, declared complete."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from segpipe.config import ClusterConfig, make_config
from segpipe.errors import InputError, Problem
from segpipe.execution.choose import choose_cluster
from segpipe.execution.each import run_each
from segpipe.run.progress import SILENT, Progress, Work
from segpipe.writing.create import local_folder
from segpipe.writing.importing import (
    Picture,
    batches,
    changed_since,
    find_pictures,
    import_batch,
    import_rules,
    open_import,
    plan_import,
)

PIXELS_PER_S = 1e8
FILE_S = 5e-3
"""What one core needs to decode, write and read back: per pixel, and per file."""


@dataclass(frozen=True)
class Imported:
    """What an import left.

    Attributes:
        label_maps: the address for a configuration, STORE::labels.
        layout: `stacked` (all images have one size) or `grouped`.
        images, pixels: in the store.
        written: images that this call wrote; the others were there.
        dtype: of the label maps.
        classes: how many the store knows of; 0: any label was taken.
        seconds: it took.
    """

    label_maps: str
    layout: str
    images: int
    pixels: int
    written: int
    dtype: str
    classes: int
    seconds: float

    def rows(self) -> list[tuple[str, str]]:
        """For people: what, and how much."""
        layout = "" if self.layout == "stacked" else f" --layout {self.layout}"
        classes = f"{self.classes} classes" if self.classes else "any label was taken (no --classes)"
        return [
            ("label maps", self.label_maps),
            ("images", f"{self.images:,} ({self.written:,} written now, read back and compared)"),
            ("pixels", f"{self.pixels:,} of {self.dtype}, {classes}"),
            ("layout", f"{self.layout}: evaluate with --truth (or --pred) {self.label_maps}{layout}"),
        ]


def import_images(
    source: str | Path,
    store: str | Path,
    *,
    preset: str | None = None,
    rules: Mapping[str, Any] | None = None,
    cluster: ClusterConfig | None = None,
    progress: Progress = SILENT,
) -> Imported:
    """Bring a folder of PNG, TIFF or NumPy files to a Zarr store of label maps.

    What was written is read back and compared. The same call goes on where it was stopped; a file that was
    changed since the store was begun is read again, and is an error if its label map differs. Files that
    cannot be imported are all listed at the end, when the others are in the store.

    Args:
        source: the folder.
        store: the folder of the Zarr store.
        preset: a shipped set of rules (cityscapes, voc, ade20k) or a YAML file.
        rules: keys that go before those of the preset (see `segpipe.writing.importing.ImportRules`).
        cluster: where it runs; chosen by the work if not said.
        progress: is told how far it is.

    Raises:
        ConfigError: a rule is wrong.
        InputError: files that are no label maps or hold unknown labels; all of them are listed.
        InfrastructureError: the cluster or the disk failed; what was written is kept.
    """
    started, folder = time.monotonic(), local_folder(store)
    chosen = import_rules(preset, rules or {})
    progress.stage("look at files")
    pictures, table = find_pictures(Path(source), chosen), chosen.table()
    plan = plan_import(pictures, table)
    with open_import(folder, plan) as writer:
        missing = set(writer.missing())
        left = missing | changed_since(writer, pictures)
        progress.stage("import")
        work = partial(import_batch, str(folder), uuid4().hex, table)
        tasks = batches(writer, pictures, left)
        total, done = _work(pictures), _work([one for one in pictures if one.image not in left])
        problems = _run(work, tasks, total, done, cluster or ClusterConfig(), progress)
        if problems:
            raise InputError(problems)
        writer.finish()
    return Imported(
        label_maps=f"{store}::labels",
        layout="stacked" if plan.stacked else "grouped",
        images=len(pictures),
        pixels=total.pixels,
        written=len(missing),
        dtype=str(plan.dtype),
        classes=len(plan.labels.names),
        seconds=time.monotonic() - started,
    )


def import_command(
    source: str, store: str, options: Mapping[str, Any], progress: Progress = SILENT
) -> Imported:
    """`import_images` by the options of the command line; those that were not given are not among them."""
    rules = {"id" if key == "id_pattern" else key: value for key, value in options.items()}
    preset, named = rules.pop("preset", None), rules.pop("cluster", None)
    paths = {"truth": str(source), "pred": str(store), "classes": 1}
    cluster = make_config(paths | {"cluster": named}, source="import").cluster if named else None
    return import_images(source, store, preset=preset, rules=rules, cluster=cluster, progress=progress)


def _run(
    work: Any, tasks: Any, total: Work, done: Work, cluster: ClusterConfig, progress: Progress
) -> list[Problem]:
    """Import all batches; what was wrong with their files."""
    problems: list[Problem] = []
    seconds = (total.pixels - done.pixels) / PIXELS_PER_S + (total.images - done.images) * FILE_S
    if total.images == done.images:
        return problems
    progress.begin(total, done)
    try:
        with choose_cluster(cluster, seconds).open() as pool:
            for batch in run_each(pool, work, tasks):
                problems += batch.problems
                progress.advance(Work(batch.images, batch.pixels, batch.stored_bytes))
    finally:
        progress.end()
    return problems


def _work(pictures: list[Picture]) -> Work:
    """How much there is in files."""
    sizes = (Path(picture.path).stat().st_size for picture in pictures)
    return Work(len(pictures), sum(picture.pixels for picture in pictures), sum(sizes))
