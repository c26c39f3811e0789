"""Commands in processes of their own that need not load their libraries: they are forked from one that has.

A process of Python that counts loads for two seconds what it works on for a tenth of one. Everything else is
as in a process that was started: arguments, environment, folder, streams, signals and how it ends.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
COMMAND = "from segpipe.cli import main; main()"
"""What `segpipe` runs."""


class Command:
    """A command that was started.

    Attributes:
        pid: of its process.
    """

    def __init__(self, connection: socket.socket, out: Path, err: Path) -> None:
        self._connection, self._out, self._err = connection, out, err
        self.pid = int(connection.recv(32))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""
        try:
            return self.wait(1e-3)
        except TimeoutError:
            return None

    def wait(self, timeout: float = 240) -> int:
        """Wait until it ends."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            self.returncode = int(self._connection.recv(32))
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to a command that nobody has waited for."""
        os.kill(self.pid, number)

    @property
    def stdout(self) -> str:
        """What it has printed."""
        return self._out.read_text()

    @property
    def stderr(self) -> str:
        """What it has printed on the error stream."""
        return self._err.read_text()


class Warm:
    """The process that others are forked from; it works in one thread, so that forking is safe."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="segpipe-warm-"))
        self._place = str(self._folder / "socket")
        self._number = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", self._place],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        while not Path(self._place).exists():
            assert self._process.poll() is None
            time.sleep(0.02)

    def close(self) -> None:
        """End it; commands that still run go on."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder)

    def start(
        self,
        code: str,
        words: Sequence[object] = (),
        *,
        folder: str | Path = REPOSITORY,
        environment: Mapping[str, str] | None = None,
        stdout: int | None = None,
    ) -> Command:
        """Start what `python -c CODE WORDS` would.

        Args:
            code: a program.
            words: its arguments.
            folder: where it runs.
            environment: all of it; None: that of the tests.
            stdout: a file descriptor to print to; None: a file, to be read from the command.
        """
        self._number += 1
        out, err = (self._folder / f"{self._number}.{name}" for name in ("out", "err"))
        request = {
            "words": ["-c", *map(str, words)],
            "code": code,
            "folder": str(folder),
            "environment": dict(os.environ if environment is None else environment),
        }
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._place)
        with out.open("wb") as first, err.open("wb") as second:
            streams = [first.fileno() if stdout is None else stdout, second.fileno()]
            data = json.dumps(request).encode()
            socket.send_fds(connection, [len(data).to_bytes(8, "big")], streams)
            connection.sendall(data)
        return Command(connection, out, err)

    def run(self, code: str, words: Sequence[object] = (), **given: Any) -> Command:
        """Start it and wait until it ends."""
        command = self.start(code, words, **given)
        command.wait()
        return command


def serve(place: str) -> dict[str, Any]:
    """Answer every connection with a process; returns in that process, with what it is to do."""
    signal.signal(signal.SIGCHLD, _reap)
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"{place}.new")
    server.listen(64)
    os.rename(f"{place}.new", place)
    while True:
        connection, _ = server.accept()
        if not os.fork():
            server.close()
            return become(connection)
        connection.close()


def _reap(*_: object) -> None:
    """Take note of processes that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def become(connection: socket.socket) -> dict[str, Any]:
    """Fork the command and stay to tell how it ended; returns in the command's process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(connection, 8, 2)
    request = json.loads(connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL))
    pid = os.fork()
    if pid:
        connection.sendall(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
        os.close(stream)
    return dict(request)


def load() -> None:
    """What commands load when they work, down to the machine code of the kernel; no thread is started."""
    import numpy as np
    import pandas as pd  # noqa: F401  # pyarrow loads it when it makes its first array
    import pyarrow.dataset  # noqa: F401

    import segpipe.cli
    import segpipe.run.evaluate
    import segpipe.run.opened
    import segpipe.run.validated
    import segpipe.terminal
    import segpipe.writing.writer  # noqa: F401
    from segpipe.classes import LabelRules
    from segpipe.kernels.confusion import count_confusion

    nothing = np.zeros((1, 1), np.uint8)
    count_confusion(nothing, nothing, LabelRules.of(1), LabelRules.of(1))


if __name__ == "__main__":
    load()
    asked = serve(sys.argv[1])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv[:] = asked["words"]
    sys.path[:0] = [""]
    exec(compile(asked["code"], "<string>", "exec"), {"__name__": "__main__"})
