"""A Dask scheduler and workers as processes of their own, on a free port of loopback."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
START_S = 120


@dataclass(frozen=True)
class DaskProcesses:
    """What runs, and where."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: Sequence[subprocess.Popen[bytes]]


@contextmanager
def dask_processes(
    folder: Path,
    workers: int = 1,
    certificates: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[DaskProcesses]:
    """Start them, and kill what is left of them at the end."""
    found = folder / "scheduler.json"
    common = ["--no-dashboard", "--scheduler-file", str(found), *_tls(certificates)]
    protocol = ["--protocol", "tls"] if certificates else []
    with ExitStack() as stack:
        scheduler = stack.enter_context(
            _process(environment, "scheduler", *common, "--host", "127.0.0.1", "--port", "0", *protocol)
        )
        started = [
            stack.enter_context(
                _process(environment, "worker", *common, "--nthreads", "1", "--host", "127.0.0.1", *protocol)
            )
            for _ in range(workers)
        ]
        yield DaskProcesses(_address(found), scheduler, started)


@contextmanager
def _process(
    environment: Mapping[str, str] | None, role: str, *words: str
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{role}", *words],
        cwd=REPOSITORY,
        env=environment,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _tls(certificates: Mapping[str, str] | None) -> list[str]:
    names = {"ca_file": "--tls-ca-file", "cert": "--tls-cert", "key": "--tls-key"}
    return [word for name, option in names.items() if certificates for word in (option, certificates[name])]


def _address(path: Path) -> str:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if path.exists() and path.stat().st_size:
            return str(json.loads(path.read_text())["address"])
        time.sleep(0.05)
    message = "the scheduler did not start"
    raise TimeoutError(message)
