"""`python -m tests.bench [PART] ...`: measure, and write docs/benchmarks.md; the parts are those of TITLES.

Without a name all parts are measured, which takes some minutes; leave the machine alone meanwhile.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

TITLES = {
    "kernel": "The kernel",
    "logits": "Logits",
    "statistics": "Statistics beside the confusion matrix",
    "reading": "Reading",
    "engine": "The counting stage and the whole command",
    "layouts": "Layouts",
    "memory": "Memory",
    "plan": "Large datasets",
    "intervals": "Intervals",
    "small": "Small datasets and start-up",
    "remote": "Object stores",
}
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


def main(names: list[str]) -> None:
    """Measure some parts, or all of them."""
    unknown = sorted(set(names) - set(TITLES))
    if unknown:
        sys.exit(f"no such part: {', '.join(unknown)}; there are {', '.join(TITLES)}")
    # Dask's workers load this module again: they are to load nothing of what is measured with.
    from tests.bench import document
    from tests.bench.scale import FULL
    from tests.bench.timing import free_cores

    for name in names or TITLES:
        free, started = free_cores(), time.monotonic()
        body = importlib.import_module(f"tests.bench.{name}").section(FULL)
        text = document.measured(body, started, free)
        document.write(DOCUMENT, {TITLES[name]: text}, list(TITLES.values()))
        print(f"## {TITLES[name]}\n\n{text}\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
