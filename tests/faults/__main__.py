"""`python -m tests.faults [--seed S] [--number N] [--only KIND] [--write]`: the campaign of faults.

With --write the table goes to docs/faults.md. The exit code is 1 if anything is not as it must be.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from tests.faults.document import DOCUMENT, write
from tests.faults.kinds import KINDS
from tests.faults.prefect_service import prefect_service
from tests.faults.trial import Dataset, Outcome, Trial
from tests.warm import Warm


def main() -> None:
    """Do the faults, print each, and fail if one of them did harm."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=100)
    parser.add_argument("--only", choices=sorted(KINDS), action="append")
    parser.add_argument("--write", action="store_true", help=f"write {DOCUMENT.name}")
    words = parser.parse_args()
    started = time.monotonic()
    names = chosen(words.seed, words.number, words.only or list(KINDS))
    with tempfile.TemporaryDirectory(prefix="segpipe-faults-") as folder:
        outcomes = campaign(names, words.seed, Path(folder))
    wrong = [line for _, outcome in outcomes for line in outcome.wrong]
    if words.write:
        write(outcomes, words.seed, time.monotonic() - started)
    print(f"{len(outcomes)} faults, {len(wrong)} things wrong")
    sys.exit(bool(wrong))


def chosen(seed: int, number: int, kinds: list[str]) -> list[str]:
    """Which kinds are done, in order: each at least once if there is room, the rest by their shares."""
    chance = random.Random(seed)
    shares = [KINDS[kind].share for kind in kinds]
    more = chance.choices(kinds, shares, k=max(0, number - len(kinds)))
    names = [*kinds, *more][:number]
    chance.shuffle(names)
    return names


def campaign(names: list[str], seed: int, folder: Path) -> list[tuple[str, Outcome]]:
    """Do faults one after the other, each with random numbers of its own."""
    dataset = Dataset.make(folder / "data")
    outcomes = []
    with ExitStack() as stack:
        warm = Warm()
        stack.callback(warm.close)
        service = cache(lambda: stack.enter_context(prefect_service(folder / "prefect")))
        for number, name in enumerate(names):
            place = folder / f"{number:04d}"
            place.mkdir()
            begun = time.monotonic()
            trial = Trial(dataset, warm, place, random.Random(f"{seed} {number}"), service=service)
            try:
                outcome = KINDS[name].run(trial)
            except Exception as error:
                outcome = Outcome("?", (), "", 0, (f"{type(error).__name__}: {error}",))
            outcomes.append((name, outcome))
            took = time.monotonic() - begun
            print(f"{number + 1:4d} {name:20s} {took:5.1f} s  {outcomes[-1][1]}", flush=True)
    return outcomes


if __name__ == "__main__":
    main()
