"""Prefect's API for a run on one machine: a child process that starts while the libraries load.

Prefect starts such a server by itself where no API is configured, but loads all of it into our process
first, which takes as long as the server itself. Here the child listens on a socket that we opened: there is
no port to guess and nothing to poll, a request that comes too early waits until it is answered.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

STOP_S = 10


def provide_api() -> None:
    """Start an API of our own, unless one is configured. To be called before Prefect is imported."""
    if configured():
        return
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        child = _start(listener)
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
    # What is registered first is done last: Prefect still sends its last logs and events before.
    atexit.register(_stop, child)


def configured() -> bool:
    """Whether the environment or any file that Prefect reads may name an API."""
    if os.environ.get("PREFECT_API_URL") or os.environ.get("PREFECT_PROFILE"):
        return True
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    project = Path("pyproject.toml")
    return (
        profiles.exists()
        or Path("prefect.toml").exists()
        or Path(".env").exists()
        or (project.exists() and "[tool.prefect" in project.read_text(encoding="utf-8"))
    )


def _start(listener: socket.socket) -> subprocess.Popen[bytes]:
    # In a session of its own: an interrupt from the keyboard ends the run, which still has to tell the API.
    descriptor = listener.fileno()
    return subprocess.Popen(
        [sys.executable, "-P", __file__, str(descriptor)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=[descriptor],
        start_new_session=True,
        env={**os.environ, "PREFECT_UI_ENABLED": "0"},
    )


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End the server as its parent's end would: its standard input closes."""
    assert child.stdin is not None
    child.stdin.close()
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def serve(descriptor: int) -> None:
    """Serve the API on an open socket until standard input closes, however the parent ended."""
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(ephemeral=True, final=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
    threading.Thread(target=_stop_with_parent, args=(server,), daemon=True).start()
    server.run(sockets=[socket.socket(fileno=descriptor)])


def _stop_with_parent(server: object) -> None:
    sys.stdin.buffer.read()
    server.should_exit = True  # type: ignore[attr-defined]


if __name__ == "__main__":
    serve(int(sys.argv[1]))
