"""One trial: a run that a fault is done to, what became of it, and the run after it."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from segpipe.config import EvaluationConfig
from segpipe.counts.partials import PartialStore
from segpipe.run.evaluate import evaluate
from segpipe.run.record import read_json
from tests.faults.driver import VARIABLE
from tests.run.datasets import figures, image_ids, label_maps, pair_config, write_stacked
from tests.warm import Command, Warm

if TYPE_CHECKING:
    from tests.faults.prefect_service import PrefectService

IMAGES = 40
SLOW_S = 0.03
LONG_S = 300.0
"""For everything that should not take long: a machine may be busy."""

THREADS: dict[str, Any] = {"kind": "threads", "threads": 1}
LOCAL: dict[str, Any] = {"kind": "local", "workers": 2}
MARK = "SEGPIPE_TRIAL"
PRELOAD = {"DASK_DISTRIBUTED__WORKER__PRELOAD": '["tests.faults.driver"]'}
COMMAND = "from tests.faults import driver; driver.main()"


@dataclass(frozen=True)
class Dataset:
    """Truth and predictions, and the bytes that every run of them must give."""

    folder: Path
    reference: dict[str, bytes]
    pred: Any

    @classmethod
    def make(cls, folder: Path) -> Dataset:
        """Write it and evaluate it undisturbed."""
        truth, pred = label_maps(IMAGES)
        for name, labels in (("truth", truth), ("pred", pred)):
            write_stacked(
                folder / f"{name}.zarr", labels, chunks=(1, *labels.shape[1:]), ids=image_ids(IMAGES)
            )
        config = pair_config(folder, bucket_images=1, results=f"{folder}/reference")
        return cls(folder, figures(evaluate(config)), pred)


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Attributes:
        moment: when the fault was done.
        exit_codes: of the disturbed process, or processes.
        said: its last words.
        kept: partial counts that were there afterwards.
        wrong: everything that is not as it must be; empty if all is well.
    """

    moment: str
    exit_codes: tuple[int, ...]
    said: str
    kept: int
    wrong: tuple[str, ...]


def _no_service() -> PrefectService:
    message = "this kind of fault needs a Prefect server"
    raise NotImplementedError(message)


@dataclass
class Trial:
    """A folder of results of its own, a process that evaluates into it, and random numbers for the fault."""

    dataset: Dataset
    warm: Warm
    folder: Path
    chance: random.Random
    cluster: Mapping[str, Any] = field(default_factory=lambda: dict(THREADS))
    settings: dict[str, Any] = field(default_factory=lambda: {"slow_s": SLOW_S})
    changes: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    processes: list[Command] = field(default_factory=list)
    service: Callable[[], PrefectService] = field(default=_no_service)

    @property
    def results(self) -> Path:
        """Where the results go."""
        return self.folder / "results"

    @property
    def partials(self) -> Path:
        """Where the partial counts go."""
        return self.results / "partials"

    def config(self, **more: Any) -> EvaluationConfig:
        """What is evaluated."""
        values = {"results": str(self.results), "bucket_images": 1, "cluster": self.cluster, **self.changes}
        return pair_config(self.dataset.folder, **{**values, **more})

    def start(self) -> Command:
        """Start a run as a process of its own, in a group of its own."""
        path = self.folder / "config.yaml"
        path.write_text(self.config().to_yaml())
        process = self.warm.start(COMMAND, [path], environment=self.surroundings())
        self.processes.append(process)
        return process

    def surroundings(self) -> dict[str, str]:
        """The environment of everything that belongs to this trial."""
        own = {MARK: self.mark, VARIABLE: json.dumps(self.settings), **PRELOAD}
        return {**os.environ, **own, **self.environment}

    def counted(self) -> int:
        """How many whole partial counts there are."""
        return sum(1 for path in self.partials.glob("*/*") if not path.name.startswith("."))

    def wait_counted(self, number: int) -> None:
        """Wait until so many buckets have been counted, or the run is over."""
        self.wait(lambda: self.counted() >= number)

    def wait_stage(self, name: str) -> None:
        """Wait until a stage of the run goes on, or the run is over."""
        self.wait(lambda: name in {state["state"] for state in self.states()})

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, or for the end of the process that was started last."""
        until = time.monotonic() + LONG_S
        while not condition() and self.processes[-1].poll() is None:
            if time.monotonic() > until:
                message = "the moment for the fault did not come"
                raise TimeoutError(message)
            time.sleep(0.002)

    def random_moment(self, *, only_counting: bool = False) -> str:
        """Wait for a random moment of the run, and say which."""
        stage = self.chance.choice(["plan", "reduce", "score", "report", "publish"])
        if only_counting or self.chance.random() < 0.75:
            number = self.chance.randrange(1, IMAGES - 8)
            self.wait_counted(number)
            return f"{number} buckets counted"
        self.wait_stage(stage)
        return f"in stage {stage}"

    def workers(self) -> list[psutil.Process]:
        """The worker processes of the run."""
        return [each for each in marked(self.mark) if "spawn_main" in " ".join(_command(each))]

    def states(self) -> list[dict[str, Any]]:
        """run.json of every run, in the order of their numbers."""
        return [read_json(path) for path in sorted(self.results.glob("*/*/runs/0*/run.json"))]

    def ended(self) -> tuple[tuple[int, ...], str]:
        """Wait for the processes to end: exit codes and the last words of the last that said something."""
        codes = tuple(process.wait(LONG_S) for process in self.processes)
        told = [
            "\n".join(line for line in process.stderr.splitlines() if not _is_progress(line))
            for process in self.processes
        ]
        return codes, next(filter(None, reversed(told)), "").strip()

    def finish(self, moment: str, allowed: Mapping[int, str]) -> Outcome:
        """Wait for the end, then look at all that must hold, and evaluate again without a fault.

        Args:
            moment: when the fault was done.
            allowed: exit codes that are right, each with a pattern for the last words.
        """
        codes, said = self.ended()
        wrong = [*self._wrong_end(codes, said, allowed), *self._wrong_runs(), *self._left_running()]
        kept = self._whole_partials()
        again = evaluate(self.config(cluster=THREADS))
        if figures(again) != self.dataset.reference:
            wrong.append("WRONG NUMBERS: the next run gave other bytes")
        if read_json(again / "planned.json")["summary"]["hits"] < kept:
            wrong.append("the next run did not find all that was kept")
        return Outcome(moment, codes, said, kept, tuple(wrong))

    def _wrong_end(self, codes: tuple[int, ...], said: str, allowed: Mapping[int, str]) -> list[str]:
        wrong = [f"exit code {code}, not one of {sorted(allowed)}" for code in codes if code not in allowed]
        wrong += [
            f"{code} without the words {allowed[code]!r}: {said!r}"
            for code in codes
            if code in allowed and not re.search(allowed[code], said)
        ]
        if "Traceback" in said:
            wrong.append(f"a traceback: {said!r}")
        return wrong

    def _wrong_runs(self) -> list[str]:
        """Published figures that are not right; a complete run has exactly the reference's."""
        wrong = []
        # A run that ended before it had a state has no figures either.
        for run in sorted(path.parent for path in self.results.glob("*/*/runs/0*/run.json")):
            state = read_json(run / "run.json")["state"]
            if (state == "complete" or self._is_latest(run)) and figures(run) != self.dataset.reference:
                wrong.append(f"WRONG NUMBERS in {run.name} ({state})")
            if (run / "MANIFEST.json").exists() and state in ("failed", "plan", "count"):
                wrong.append(f"{run.name} is published and {state}")
        return wrong

    def _is_latest(self, run: Path) -> bool:
        latest = run.parent.parent / "latest.json"
        return latest.exists() and bool(read_json(latest)["run"] == run.name)

    def _left_running(self) -> list[str]:
        """Nothing of the trial may go on when its driver is gone, or not for long."""
        until = time.monotonic() + LONG_S
        while left := marked(self.mark):
            if time.monotonic() > until:
                for process in left:
                    process.kill()
                return [f"{len(left)} processes were left running"]
            time.sleep(0.05)
        return []

    def _whole_partials(self) -> int:
        store = PartialStore(self.partials)
        keys = [path.name for path in self.partials.glob("*/*") if not path.name.startswith(".")]
        return sum(store.read(key) is not None for key in keys)


def marked(mark: str) -> list[psutil.Process]:
    """All processes that belong to a trial."""
    return [process for process in psutil.process_iter() if _environment(process).get(MARK) == mark]


def send(process: psutil.Process | Command, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    try:
        process.send_signal(number)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        zombie = process.status() == psutil.STATUS_ZOMBIE
        return {} if zombie else process.environ()
    except psutil.Error:
        return {}


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _is_progress(line: str) -> bool:
    return (
        line.endswith("...")
        or (" images, " in line and line[:1].isdigit())
        or line.startswith(("counted ", "compiling "))
    )
