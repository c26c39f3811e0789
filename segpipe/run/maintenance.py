"""Upkeep of a results folder: partial counts that nobody names, rows that are missing, counts checked anew.

Partials are kept as long as a published run or one that is under way names them. What no run names is kept
for some days: the next run may take up what one that was stopped has counted. To remove too much costs only
time: what is gone is counted again.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segpipe.config import PARTIALS_FOLDER
from segpipe.counts.counting import PLAN_NAME
from segpipe.errors import EXIT_INFRASTRUCTURE, EXIT_OK, ConfigError, SegpipeError
from segpipe.planning.plan_file import named_keys
from segpipe.run.history import add_row, has_row, model_folders, published_runs
from segpipe.run.lease import hold
from segpipe.run.notify import NotifyConfig, notify
from segpipe.run.progress import SILENT, Progress
from segpipe.run.record import PLANNED_NAME, RUN_NAME, read_state
from segpipe.run.verified import Verified, verify_latest
from segpipe.values import Frozen

LEASE_NAME = "maintenance.lease"
KEY = re.compile(r"[0-9a-f]{40}")
TEMPORARY = re.compile(r"\.[0-9a-f]{40}\.[0-9a-f]{32}\.tmp")
"""The names of partials, and of those that were never finished. Nothing else is ever removed."""


class MaintenanceConfig(Frozen):
    """What is done.

    Attributes:
        results: the folder of the results.
        dry_run: only tell what would be removed and written.
        keep_days: partials that no run names are kept for so many days.
        verify_buckets: so many buckets of the latest run of each model are counted again and compared, the
            confusion matrix and every statistic.
        seed: which buckets; None: other ones each day.
        notify: who is told of what is wrong.
    """

    results: str = Field(default="results", min_length=1)
    dry_run: bool = True
    keep_days: float = Field(default=14.0, ge=1, allow_inf_nan=False)
    verify_buckets: int = Field(default=20, ge=0)
    seed: int | None = None
    notify: NotifyConfig = NotifyConfig()


@dataclass
class Collected:
    """What became of the partials.

    Attributes:
        runs: that name partials.
        kept, kept_bytes: partials that are named.
        young: partials that no run names, and that are kept for now.
        removed, removed_bytes: or that would be, in a dry run.
        postponed: why nothing was removed; empty: nothing stood against it.
    """

    runs: int = 0
    kept: int = 0
    kept_bytes: int = 0
    young: int = 0
    removed: int = 0
    removed_bytes: int = 0
    postponed: str = ""


@dataclass(frozen=True)
class Maintained:
    """All that was done; `rows` were missing in the history."""

    dry_run: bool
    rows: int
    collected: Collected
    verified: Verified

    @property
    def exit_code(self) -> int:
        """4 if something is not as it was written."""
        return EXIT_INFRASTRUCTURE if self.verified.problems else EXIT_OK

    def text(self) -> str:
        """For people."""
        done, seen = self.collected, self.verified
        verb = "would be removed" if self.dry_run or done.postponed else "removed"
        wrote = "would be written" if self.dry_run else "written"
        lines = [
            f"- partials: {done.kept:,} named by {done.runs:,} runs ({done.kept_bytes:,} bytes), "
            f"{done.young:,} young, {done.removed:,} {verb} ({done.removed_bytes:,} bytes)",
            f"- history: {self.rows:,} missing rows {wrote}",
            f"- verified: {seen.buckets:,} buckets counted again ({seen.partials:,} partials), "
            f"{seen.changed:,} changed since, {seen.runs:,} runs compared with their manifest",
            *([f"- nothing was removed: {done.postponed}"] if done.postponed else []),
            *(f"- {problem.sentence()}" for problem in seen.problems),
        ]
        return "\n".join([f"maintenance: {'problems' if seen.problems else 'complete'}", *lines])

    def document(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "exit_code": self.exit_code}


class MaintenanceError(SegpipeError):
    """Something is not as it was written; `done` tells what."""

    def __init__(self, done: Maintained) -> None:
        self.done, self.exit_code = done, done.exit_code
        super().__init__(done.text())

    def __reduce__(self) -> tuple[type[MaintenanceError], tuple[Maintained]]:
        return type(self), (self.done,)


def run_maintenance(
    config: MaintenanceConfig,
    collect: Callable[[MaintenanceConfig], Collected] | None = None,
    verify: Callable[[MaintenanceConfig], Verified] | None = None,
    note: Callable[[str], None] = lambda words: None,
) -> Maintained:
    """Do all of it but tell people; a flow gives two of the parts as tasks.

    Raises:
        ConfigError: there is no such folder.
    """
    if not Path(config.results).is_dir():
        message = f"results: no such folder {config.results!r}; name the one that evaluations write to"
        raise ConfigError(message)
    with hold(Path(config.results) / LEASE_NAME, "maintenance", waiting=note):
        rows = repair_history(Path(config.results), dry_run=config.dry_run)
        collected = (collect or collect_partials)(config)
        return Maintained(config.dry_run, rows, collected, (verify or verify_sample)(config))


def maintenance(config: MaintenanceConfig, *, progress: Progress = SILENT) -> Maintained:
    """Do the upkeep of a results folder, and tell people if something is not as it was written."""
    done = run_maintenance(config, note=progress.note)
    if done.exit_code != EXIT_OK:
        why = notify(config.notify, done.text(), done.document())
        if why:
            progress.note(why)
    return done


# ---- history


def verify_sample(config: MaintenanceConfig) -> Verified:
    """Compare the latest run of each model with its manifest, and some of its buckets with a recount."""
    seed = int(time.time() // 86_400) if config.seed is None else config.seed
    return verify_latest(Path(config.results), config.verify_buckets, seed)


def repair_history(results: Path, *, dry_run: bool = False) -> int:
    """Write the rows of published runs that have none, as when a run was killed in its last moment.

    Args:
        results: the folder of the results.
        dry_run: only count them.

    Returns:
        How many there were.
    """
    rows = 0
    for folder in model_folders(results):
        for run in published_runs(folder):
            if not has_row(run):
                rows += 1
                if dry_run:
                    continue
                state = read_state(run).get("state")
                # A run that did not come to its end has not moved `latest`.
                add_row(run, state if state in ("complete", "gate_failed") else "incomplete")
    return rows


# ---- partials


def collect_partials(config: MaintenanceConfig) -> Collected:
    """Remove old partials that neither a published run nor one that is under way names."""
    results = Path(config.results)
    named, found = _named(results)
    oldest = time.time() - config.keep_days * 86_400
    waste: list[Path] = []
    for entry in _partials(results / PARTIALS_FOLDER):
        status = entry.stat(follow_symlinks=False)
        if KEY.fullmatch(entry.name) and _is_in(named, entry.name):
            found.kept += 1
            found.kept_bytes += status.st_size
        elif status.st_mtime >= oldest:
            found.young += 1
        else:
            found.removed += 1
            found.removed_bytes += status.st_size
            waste.append(Path(entry.path))
    # A run may have begun in the meantime.
    found.postponed = found.postponed or _unplanned(results)
    if not config.dry_run and not found.postponed:
        for path in waste:
            path.unlink(missing_ok=True)
    return found


def _named(results: Path) -> tuple[NDArray[np.uint64], Collected]:
    """The first 64 bits of every key that runs name, sorted. Two keys that share them keep each other."""
    found = Collected(postponed=_unplanned(results))
    parts: list[NDArray[np.uint64]] = []
    for folder in model_folders(results):
        published = set(published_runs(folder))
        for run in sorted(path.parent for path in (folder / "runs").glob(f"*/{PLANNED_NAME}")):
            if run in published or _is_under_way(run):
                found.runs += 1
                parts.append(np.unique(np.fromiter(map(_bits, named_keys(run / PLAN_NAME)), np.uint64)))
    return np.unique(np.concatenate([np.empty(0, np.uint64), *parts])), found


def _unplanned(results: Path) -> str:
    """Which run is under way whose plan does not yet tell what it needs; empty: none."""
    for folder in model_folders(results):
        for record in sorted((folder / "runs").glob(f"*/{RUN_NAME}")):
            if not (record.parent / PLANNED_NAME).exists() and _is_under_way(record.parent):
                return f"{record.parent} is being planned; run maintenance again when it is"
    return ""


def _is_under_way(run: Path) -> bool:
    state = read_state(run)
    return "ended" not in state and state.get("state") != "abandoned"


def _bits(key: str) -> int:
    return int(key[:16], 16)


def _is_in(named: NDArray[np.uint64], key: str) -> bool:
    bits = np.uint64(_bits(key))
    at = int(np.searchsorted(named, bits))
    return at < len(named) and named[at] == bits


def _partials(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Every partial, finished or not."""
    for prefix in sorted(folder.glob("[0-9a-f][0-9a-f]")):
        with os.scandir(prefix) as entries:
            for entry in entries:
                known = KEY.fullmatch(entry.name) or TEMPORARY.fullmatch(entry.name)
                if known and entry.is_file(follow_symlinks=False):
                    yield entry
