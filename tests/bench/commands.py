"""Commands run as a user runs them: how long they take, and how much memory each of their processes needs."""

from __future__ import annotations

import atexit
import compileall
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = (sys.executable, "-c")
SEGPIPE = (*PYTHON, "from segpipe.cli import main; main()")
"""What the installed command does."""

FLOW = (sys.executable, "-m", "flows.evaluate")
CHILD = (sys.executable, "-m", "tests.bench.child")
LOOK_S = 0.02


@dataclass(frozen=True)
class Finished:
    """A command that succeeded.

    Attributes:
        output: what it printed.
        seconds: from its start to its end.
        driver_bytes: the most memory that its own process held.
        worker_bytes: the most that one of its children held; 0 without children.
    """

    output: str
    seconds: float
    driver_bytes: int = 0
    worker_bytes: int = 0


def run(command: Sequence[str | Path]) -> Finished:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    compile_packages()
    started = time.perf_counter()
    with _started(command) as process:
        output, errors = process.communicate()
    seconds = time.perf_counter() - started
    _check(process, errors)
    return Finished(output, seconds)


def watch(command: Sequence[str | Path]) -> Finished:
    """Run a command and look at the memory of its processes now and then; raises as `run`."""
    compile_packages()
    started = time.perf_counter()
    peaks: dict[int, int] = {}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = _started(command, output, errors)
        while process.poll() is None:
            _look(process.pid, peaks)
            time.sleep(LOOK_S)
        seconds = time.perf_counter() - started
        output.seek(0)
        errors.seek(0)
        _check(process, errors.read())
        driver = peaks.pop(process.pid, 0)
        return Finished(output.read(), seconds, driver, max(peaks.values(), default=0))


def _started(
    command: Sequence[str | Path], output: object = None, errors: object = None
) -> subprocess.Popen[str]:
    quiet = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_HOME": _prefect_home(),
    }
    return subprocess.Popen(
        [str(word) for word in command],
        stdout=output or subprocess.PIPE,
        stderr=errors or subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **quiet},
    )


@cache
def compile_packages() -> None:
    """Compile our modules, as pip does where it installs them."""
    for package in ("segpipe", "flows"):
        compileall.compile_dir(REPOSITORY / package, quiet=1)


@cache
def _prefect_home() -> str:
    """A folder for Prefect that goes with this process; nobody's own runs are touched."""
    home = tempfile.mkdtemp(prefix="segpipe-bench-prefect-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home


def _check(process: subprocess.Popen[str], errors: str) -> None:
    if process.returncode:
        message = f"{' '.join(map(str, process.args))}: exit code {process.returncode}\n{errors}"
        raise RuntimeError(message)


def _look(pid: int, peaks: dict[int, int]) -> None:
    try:
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            peaks[each.pid] = max(peaks.get(each.pid, 0), _peak_bytes(each))
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return


def _peak_bytes(process: psutil.Process) -> int:
    """The most memory that a process ever held; where the system does not tell, what it holds now."""
    try:
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    except OSError:
        return 0
    return process.memory_info().rss
