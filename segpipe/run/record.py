"""The folder of a run and run.json, its state: who works on it, since when, and how it ended."""

from __future__ import annotations

import errno
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from segpipe.config import PARTIALS_FOLDER, EvaluationConfig, load_config
from segpipe.counts.partials import PartialStore, write_atomically
from segpipe.errors import ConfigError, InfrastructureError
from segpipe.planning.plan_file import written_at

RUN_NAME = "run.json"
CONFIG_NAME = "config.resolved.yaml"
PLANNED_NAME = "planned.json"
"""What the plan stage found: its summary, what was left out, and the metadata of the predictions."""

HEARTBEAT_S = 30
ABANDONED_S = 600
"""A run that has not given a sign of life for this long is abandoned."""


def create_run(config: EvaluationConfig) -> Path:
    """Make the folder <root>/<suite>/<model>/runs/<number>-<time> with the configuration in it.

    Numbers rise by one and are taken by creating a file, so two runs that start at once get two.
    """
    runs = Path(config.results).absolute() / config.suite / config.model / "runs"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        number = _take_number(runs)
        folder = runs / f"{number:06d}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        folder.mkdir()
        (folder / CONFIG_NAME).write_text(config.to_yaml(), encoding="utf-8")
    except OSError as error:
        message = (
            f"results: the folder {runs} cannot be written ({error.strerror}); "
            "choose another with `results:` or make it writable"
        )
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise (InfrastructureError if full else ConfigError)(message) from None
    now = _now()
    write_state(
        folder,
        {"number": number, "state": "started", "started": now, "pid": os.getpid(), "host": platform.node()},
    )
    return folder


def _take_number(runs: Path) -> int:
    number = max(
        (int(path.name.lstrip(".")[:6]) for path in runs.iterdir() if path.name.lstrip(".")[:6].isdigit()),
        default=0,
    )
    while True:
        number += 1
        try:
            os.close(os.open(runs / f".{number:06d}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        return number


def run_config(run: Path) -> EvaluationConfig:
    """The configuration that a run was started with."""
    path = run / CONFIG_NAME
    return _config(path, written_at(path) if path.is_file() else ())


@lru_cache(maxsize=4)
def _config(path: Path, written: tuple[int, ...]) -> EvaluationConfig:
    return load_config(path)


def partials_of(config: EvaluationConfig) -> PartialStore:
    """The store of partial counts that all runs of a results folder share."""
    return PartialStore(Path(config.results).absolute() / PARTIALS_FOLDER)


def read_state(run: Path) -> dict[str, Any]:
    """run.json; the state of a run that gives no sign of life any more reads `abandoned`."""
    state: dict[str, Any] = json.loads((run / RUN_NAME).read_text(encoding="utf-8"))
    silent_s = time.time() - (run / RUN_NAME).stat().st_mtime
    if "ended" not in state and silent_s > ABANDONED_S:
        state["state"] = "abandoned"
    return state


def write_state(run: Path, changes: dict[str, Any]) -> None:
    """Change some entries of run.json."""
    old = json.loads((run / RUN_NAME).read_text(encoding="utf-8")) if (run / RUN_NAME).exists() else {}
    write_json(run / RUN_NAME, old | changes)


def end_state(run: Path, state: str, **more: Any) -> None:
    """The last word on a run: complete, incomplete, failed or interrupted."""
    write_state(run, {"state": state, "ended": _now(), **more})


@contextmanager
def heartbeat(run: Path) -> Iterator[None]:
    """Touch run.json now and then while something long goes on."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(HEARTBEAT_S):
            # A sign of life that cannot be given is no reason to stop the work.
            with suppress(OSError):
                os.utime(run / RUN_NAME)

    thread = threading.Thread(target=beat, name="segpipe-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def write_json(path: Path, values: Any) -> None:
    """Write plain values as readable JSON, whole or not at all."""
    write_atomically(path, json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def read_json(path: Path) -> Any:
    """Plain values from a file of the run."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        message = f"{path} is not there: the stage before this one did not run to its end"
        raise InfrastructureError(message) from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
