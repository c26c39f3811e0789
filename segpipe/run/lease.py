"""A lease: who alone may do something with the runs of a suite now, such as tonight's evaluation.

It is a file with the name of its holder, who touches it now and then. A holder that was stopped leaves it
behind: it is taken over when its process is known to be gone, or when it has not been touched for a while *as
seen by the one who waits*. No clock is compared with another one, so a clock that is wrong or is moved breaks
nothing. Whoever lost a lease learns it before it publishes (`Lease.check`).
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from segpipe.counts.partials import write_atomically
from segpipe.errors import ConfigError, IncompleteError, InfrastructureError
from segpipe.run.latest import locked

BEAT_S = 15.0
"""How often a holder touches its lease."""

EXPIRES_S = 180.0
"""A lease that has not been touched for so long, while one looked, belongs to nobody."""

LOOK_S = 1.0


@dataclass
class Lease:
    """A lease that is held.

    Attributes:
        path: its file.
        token: what tells this holder from all others.
    """

    path: Path
    token: str = field(default_factory=lambda: uuid4().hex)

    def check(self) -> None:
        """Make sure that the lease is still ours.

        Raises:
            InfrastructureError: it is not: this process was silent for so long that another took over.
        """
        holder = _holder(self.path)
        if holder is None or holder.get("token") != self.token:
            message = (
                f"{self.path}: this process gave no sign of life and lost its lease to {_words(holder)}; "
                "it publishes nothing: what was counted is kept, and the other one goes on from it"
            )
            raise InfrastructureError(message)

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(BEAT_S):
            # What cannot be told now is told the next time; a lease that was lost is left to its new holder.
            with suppress(OSError, InfrastructureError):
                self.check()
                os.utime(self.path)


@contextmanager
def hold(
    path: Path,
    purpose: str,
    *,
    until: datetime | None = None,
    waiting: Callable[[str], None] = lambda words: None,
) -> Iterator[Lease]:
    """Hold a lease as long as the context lasts; wait for it while another one holds it.

    Args:
        path: its file.
        purpose: what it is held for, in words.
        until: how long to wait; None: as long as its holder lives.
        waiting: told once who holds it.

    Raises:
        IncompleteError: another one still holds it at `until`.
    """
    lease = Lease(path)
    _make_folder(path.parent)
    _take(lease, purpose, until, waiting)
    stop = threading.Event()
    thread = threading.Thread(target=lease._beat, args=(stop,), name="segpipe-lease", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        stop.set()
        thread.join()
        _give_back(lease)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = (
            f"results: the folder {folder} cannot be written ({error.strerror}); "
            "choose another with `results:` or make it writable"
        )
        raise ConfigError(message) from None


def _take(lease: Lease, purpose: str, until: datetime | None, waiting: Callable[[str], None]) -> None:
    seen: tuple[object, ...] = ()
    since = time.monotonic()
    told = False
    while True:
        with locked(lease.path.with_suffix(".lock")):
            sign = _sign_of_life(lease.path)
            if sign != seen:
                seen, since = sign, time.monotonic()
            holder = _holder(lease.path)
            if holder is None or _is_gone(holder) or time.monotonic() - since > EXPIRES_S:
                write_atomically(lease.path, json.dumps(_entry(lease, purpose), indent=1).encode() + b"\n")
                return
        if until is not None and datetime.now(UTC) >= until:
            message = f"{purpose}: {_words(holder)} still holds {lease.path}; nothing was begun"
            raise IncompleteError(message)
        if not told:
            told = True
            waiting(f"waiting for {_words(holder)} ({lease.path})")
        time.sleep(LOOK_S)


def _give_back(lease: Lease) -> None:
    with suppress(OSError, InfrastructureError), locked(lease.path.with_suffix(".lock")):
        lease.check()
        lease.path.unlink()


def _entry(lease: Lease, purpose: str) -> dict[str, Any]:
    return {
        "token": lease.token,
        "purpose": purpose,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "pid": os.getpid(),
        "born": _born(os.getpid()),
        "machine": _machine(),
    }


def _holder(path: Path) -> dict[str, Any] | None:
    """Who holds a lease; None if nobody does, or nobody who can be told."""
    try:
        holder = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return holder if isinstance(holder, dict) else None


def _sign_of_life(path: Path) -> tuple[object, ...]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return ()
    return status.st_ino, status.st_mtime_ns


def _is_gone(holder: dict[str, Any]) -> bool:
    """Whether the holder was a process of this very machine and has ended; its number may be used again."""
    if not holder.get("machine") or holder["machine"] != _machine():
        return False
    pid = holder.get("pid")
    return isinstance(pid, int) and _born(pid) != holder.get("born")


def _born(pid: int) -> int | None:
    """When a process of this machine began, in ticks since the machine did; None: there is none."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2]
    except OSError:
        return None
    return int(after_name.split()[19])


def _machine() -> str:
    """What tells processes apart by number: this start of this machine, and the container in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _words(holder: dict[str, Any] | None) -> str:
    if holder is None:
        return "nobody"
    return "{} on {}, process {}, since {}".format(
        *(holder.get(name, "?") for name in ("purpose", "host", "pid", "since"))
    )
