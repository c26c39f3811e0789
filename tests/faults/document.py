"""docs/faults.md: what was done how often, and what became of it."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from tests.bench.document import machine, table
from tests.faults.kinds import KINDS
from tests.faults.trial import IMAGES, Outcome

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
HEAD = """# Faults

Written by `make faults` (`python -m tests.faults --write`), never edited by hand.

Each fault is done to a whole run: a process that evaluates {images} images in {images} buckets, in threads
or on a Dask cluster of one or two workers. The moment is random (so many buckets counted, or a stage of the
run), and so are image, size, time and way of the fault; the seed decides them all. So that there is a
moment, each bucket takes 30 ms longer; so that nobody waits, a frozen worker is given up after 2 s in place
of 60, and a cluster without workers after 4 s in place of 120. Then this must hold, or the fault counts as
one that did harm:

* the process ends by itself with the exit code and the words that the table says, without a traceback;
* no process of the run is left;
* every run that calls itself complete, and the one that `latest` names, has byte for byte the figures of an
  undisturbed run (scores, tables, the report below its head, every file of results.zarr);
* the same evaluation once more finds every whole partial count that was kept, and gives those bytes.
"""
COLUMNS = ("fault", "what was done", "what the user sees", "times", "exit codes", "kept buckets", "wrong")


def write(outcomes: list[tuple[str, Outcome]], seed: int, seconds: float) -> None:
    """Write the document."""
    wrong = [f"{KINDS[name].title}: {line}" for name, outcome in outcomes for line in outcome.wrong]
    numbers = sum("WRONG NUMBERS" in line for line in wrong)
    head = HEAD.format(images=IMAGES)
    summary = (
        f"Done {time.strftime('%Y-%m-%d')} with seed {seed} in {seconds / 60:.0f} minutes on {machine()}: "
        f"**{len(outcomes)} faults, {numbers} wrong numbers, {len(wrong) - numbers} other things wrong.**"
    )
    rows = [row(kind, [outcome for name, outcome in outcomes if name == kind]) for kind in KINDS]
    listed = "".join(f"* {line}\n" for line in wrong)
    text = "\n".join([head, summary, "", table(COLUMNS, [row for row in rows if row]), "", listed])
    DOCUMENT.write_text(text.rstrip() + "\n", encoding="utf-8")


def row(kind: str, outcomes: list[Outcome]) -> list[object]:
    """One kind of fault; nothing if it was not done."""
    if not outcomes:
        return []
    codes = Counter(code for outcome in outcomes for code in outcome.exit_codes)
    ended = ", ".join(f"{code}: {times}x" for code, times in sorted(codes.items()))
    kept = [outcome.kept for outcome in outcomes]
    wrong = sum(bool(outcome.wrong) for outcome in outcomes)
    about = KINDS[kind]
    between = f"{min(kept)} to {max(kept)}" if min(kept) < max(kept) else f"{kept[0]}"
    return [about.title, about.what, about.seen, len(outcomes), ended, between, wrong]
