"""What is measured from inside a process of its own: `python -m tests.bench.child plan|evaluate CONFIG`.

Prints one JSON document with the seconds, without the start of Python.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segpipe.config import load_config
from segpipe.run import stages
from segpipe.run.evaluate import evaluate
from segpipe.sources.storage import Blob, LocalStorage


def main() -> None:
    """Do what the command line says."""
    what, config = sys.argv[1:]
    print(json.dumps({"plan": planned, "evaluate": evaluated}[what](Path(config))))


def planned(config: Path) -> dict[str, Any]:
    """The plan stage, which writes the plan."""
    run = stages.start(load_config(config))
    start, cpu_start = time.perf_counter(), time.process_time()
    summary = stages.plan(run)
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    return {"seconds": seconds, "cpu_s": cpu_s, "summary": asdict(summary)}


def evaluated(config: Path) -> dict[str, Any]:
    """All stages, and how often a chunk of label maps was read."""
    reads = 0
    get = LocalStorage.get

    def counted(self: LocalStorage, key: str, start: int = 0, stop: int | None = None) -> Blob | None:
        nonlocal reads
        reads += key.startswith("labels/") and not key.endswith("zarr.json")
        return get(self, key, start, stop)

    LocalStorage.get = counted  # type: ignore[method-assign]
    start, cpu_start = time.perf_counter(), time.process_time()
    run = evaluate(load_config(config))
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    timings = json.loads((run / "run.json").read_text())["timings"]
    return {"seconds": seconds, "cpu_s": cpu_s, "chunks_read": reads, "timings": timings}


if __name__ == "__main__":
    main()
