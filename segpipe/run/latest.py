"""latest.json: which run a suite's model stands at. It moves forward, never back.

Forward is a higher run number; and where predictions are said to belong to a day, no earlier day.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from segpipe.errors import InfrastructureError, InputError, Problem
from segpipe.run.record import write_json

LATEST_NAME = "latest.json"
LOCK_S = 20.0
"""Moving `latest` takes a few milliseconds; a lock that is older than this was left by a killed process."""


def read_latest(folder: Path) -> dict[str, Any] | None:
    """What `latest` says: `run`, the name of a folder in runs/, and `day`; None: there is no such file.

    Args:
        folder: <results>/<suite>/<model>.

    Raises:
        InputError: it is damaged.
    """
    try:
        document = json.loads((folder / LATEST_NAME).read_text("utf-8"))
        name = document["run"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        document, name = {}, None
    if not isinstance(name, str) or name != Path(name).name or name in ("", ".", ".."):
        raise InputError(
            Problem(
                kind="run",
                found=f"{LATEST_NAME} that names the run {name!r}",
                expected="the name of a folder in runs/",
                store=str(folder),
                advice=f"delete {LATEST_NAME}: the next complete run writes it again",
            )
        )
    return {"day": None, **document}


def publish_latest(run: Path, day: date | None = None) -> None:
    """Let `latest` point to a run, unless it points to a later one already.

    Args:
        run: a complete run.
        day: that its predictions belong to.

    Raises:
        InputError: `latest` is damaged.
    """
    latest = run.parent.parent / LATEST_NAME
    with locked(latest.with_suffix(".lock")):
        new = {"run": run.name, "day": day.isoformat() if day else None}
        now = read_latest(latest.parent)
        if now is None or (now["run"] <= run.name and not _is_earlier(new, now)):
            write_json(latest, new)


def _is_earlier(new: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether predictions are of an earlier day. Of a run without one it is the day on which it started."""
    days = new["day"], now["day"]
    if days == (None, None):
        return False
    mine, other = (day or run["run"].partition("-")[2][:8] for day, run in zip(days, (new, now), strict=True))
    return bool(mine.replace("-", "") < other.replace("-", ""))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file for the few milliseconds that a change takes; wait while another one holds it.

    Raises:
        InfrastructureError: it is held for longer than anybody needs.
    """
    deadline = time.monotonic() + 2 * LOCK_S
    while True:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
            break
        except FileExistsError:
            _break_if_old(path)
        if time.monotonic() > deadline:
            message = f"{path} is held by another run; remove it if none is running"
            raise InfrastructureError(message)
        time.sleep(0.05)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _break_if_old(path: Path) -> None:
    """Take away a lock that nobody holds any more; of several who try, the rename lets one succeed."""
    try:
        if time.time() - path.stat().st_mtime > LOCK_S:
            stale = path.with_name(f"{path.name}.{os.getpid()}.stale")
            os.rename(path, stale)
            stale.unlink()
    except FileNotFoundError:
        return
