"""Measure planning a million images, and evaluating again where nothing changed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from segpipe.sources.storage import LocalStorage
from tests.bench.commands import CHILD, SEGPIPE, Finished, run, watch
from tests.bench.document import met, mib, table
from tests.bench.scale import Scale
from tests.bench.stores import SIDES, Form, dataset, write_config, write_copied, write_grouped_copied

PLANNED = Form(chunk=20)
UNCHANGED = Form(chunk=50)
SIDE_PX = 16

METHOD = """Label maps of 16 x 16 in many small objects; folders and files are in the system's caches.
Seconds are wall time, once. *Plan* is the stage that lists both stores, matches images, cuts buckets,
hashes keys and writes the plan, without the start of Python; peaks are those of the process."""


def section(scale: Scale) -> str:
    """The tables as Markdown."""
    return "\n\n".join([METHOD, _stacked(scale), _grouped(scale), _unchanged(scale)])


def _stacked(scale: Scale) -> str:
    with dataset(lambda folder: write_copied(folder, scale.planned_images, PLANNED, SIDE_PX)) as folder:
        finished, seconds, cpu_s, summary = _planned(folder)
    words = f"{summary['images']:,} images in {summary['objects']:,} objects, stacked"
    rows = [
        [f"plan {words}: seconds", f"{seconds:.1f}", "< 10", met(seconds < 10)],
        ["CPU seconds", f"{cpu_s:.1f}", "", ""],
        ["peak MiB", mib(finished.driver_bytes), "< 954 (1 GB)", met(finished.driver_bytes < 1e9)],
        ["tasks", f"{summary['tasks']:,}", "<= 20,000", met(summary["tasks"] <= 20_000)],
    ]
    return table(["what", "measured", "target", "met"], rows)


def _grouped(scale: Scale) -> str:
    with dataset(
        lambda folder: write_grouped_copied(folder, scale.grouped_images, (SIDE_PX, SIDE_PX))
    ) as folder:
        bare = [_bare(folder, documents=documents) for documents in (False, True)]
        _, seconds, cpu_s, summary = _planned(folder, layout="grouped")
    words = f"plan {summary['images']:,} images of a grouped store, no consolidated metadata"
    rows = [
        [f"{words}: seconds", f"{seconds:.1f}", "", ""],
        ["CPU seconds", f"{cpu_s:.1f}", "", ""],
        ["listing both stores and nothing else: seconds", f"{bare[0]:.1f}", "", ""],
        ["plan over that", f"{seconds / bare[0]:.1f}", "<= 2", met(seconds <= 2 * bare[0])],
        ["listing, and reading every document without a look at it: seconds", f"{bare[1]:.1f}", "", ""],
        ["plan over that", f"{seconds / bare[1]:.1f}", "", ""],
    ]
    return table(["what", "measured", "target", "met"], rows)


def _bare(folder: Path, *, documents: bool) -> float:
    """Seconds to list both stores; and to read their documents, which say what the images are."""
    start = time.perf_counter()
    for side in SIDES:
        storage = LocalStorage(f"{folder}/{side}.zarr")
        for key in storage.list():
            if documents and key.endswith("zarr.json"):
                storage.get(key)
    return time.perf_counter() - start


def _unchanged(scale: Scale) -> str:
    with dataset(lambda folder: write_copied(folder, scale.unchanged_images, UNCHANGED, SIDE_PX)) as folder:
        config = write_config(folder)
        first = json.loads(run([*CHILD, "evaluate", config]).output)
        again = run([*SEGPIPE, "evaluate", config])
        watched = watch([*SEGPIPE, "evaluate", config])
        inside = json.loads(run([*CHILD, "evaluate", config]).output)
    reads = inside["chunks_read"]
    rows = [
        [f"evaluate {scale.unchanged_images:,} images: seconds", f"{first['seconds']:.1f}", "", ""],
        [
            "again, nothing changed, whole command: seconds",
            f"{again.seconds:.1f}",
            "< 5",
            met(again.seconds < 5),
        ],
        ["CPU seconds, without the start of Python", f"{inside['cpu_s']:.1f}", "", ""],
        ["chunks read by that", str(reads), "0", met(reads == 0)],
        ["its peak MiB", mib(watched.driver_bytes), "", ""],
        ["its stages: seconds", _stages(inside["timings"]), "", ""],
    ]
    return table(["what", "measured", "target", "met"], rows)


def _planned(folder: Path, **settings: Any) -> tuple[Finished, float, float, dict[str, Any]]:
    finished = watch([*CHILD, "plan", write_config(folder, **settings)])
    document = json.loads(finished.output)
    return finished, document["seconds"], document["cpu_s"], document["summary"]


def _stages(timings: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in timings.items())
