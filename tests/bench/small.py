"""Measure what a user waits for when there is little to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.bench.commands import FLOW, PYTHON, SEGPIPE, run
from tests.bench.document import met, table
from tests.bench.scale import Scale
from tests.bench.stores import dataset, write_config, write_stacked
from tests.bench.timing import take_turns

IMAGES = 10
SIZE = (64, 128)

METHOD = """Whole commands with the start of Python, wall time, in turns, medians of {repeats}; compiled
kernels are in their cache. Evaluations are of {images} label maps of {height} x {width}, counted anew each
time."""


def section(scale: Scale) -> str:
    """The table as Markdown."""
    with dataset(lambda folder: write_stacked(folder, IMAGES, SIZE)) as folder:
        timings = take_turns(_ways(folder), scale.repeats)
    rows = []
    for words, target in TARGETS.items():
        seconds = timings[words].seconds
        verdict = [f"< {target}", met(seconds < target)] if target else ["", ""]
        rows.append([words, f"{seconds:.2f}", *verdict])
    method = METHOD.format(repeats=scale.repeats, images=IMAGES, height=SIZE[0], width=SIZE[1])
    return f"{method}\n\n{table(['command', 'wall s', 'target s', 'met'], rows)}"


NOTHING = "`python -c pass`"
IMPORT = "`python -c 'import segpipe'`"
HELP = "`segpipe --help`"
EVALUATE = "`segpipe evaluate`, cluster: auto (threads)"
THROUGH_FLOW = "`python -m flows.evaluate`, Prefect's API of its own"
TARGETS = {NOTHING: None, IMPORT: None, HELP: None, EVALUATE: 2.5, THROUGH_FLOW: 10}


def _ways(folder: Path) -> dict[str, Callable[[], object]]:
    config = write_config(folder)
    return {
        NOTHING: lambda: run([*PYTHON, "pass"]),
        IMPORT: lambda: run([*PYTHON, "import segpipe"]),
        HELP: lambda: run([*SEGPIPE, "--help"]),
        EVALUATE: lambda: _anew(folder, [*SEGPIPE, "evaluate", config]),
        THROUGH_FLOW: lambda: _anew(folder, [*FLOW, config]),
    }


def _anew(folder: Path, command: list[str | Path]) -> None:
    shutil.rmtree(folder / "results", ignore_errors=True)
    run(command)
