"""Real servers on free loopback ports: S3 (that of moto), a web server over a folder, and a faulty proxy."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

SECRET = "kJ8ZnownSecretOfTests0123456789abcdEFGH"
KEY_ID = "AKIAKNOWNKEYOFTESTS1"
BUCKET = "labels"
HUNG_S = 30.0
"""How long a server hangs at most; a client must have given up long before."""

SIGNED = {
    "Content-Type": "application/octet-stream",
    "Authorization": "AWS4-HMAC-SHA256 Credential=writer/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0",
}
"""The service takes any signature, but whoever has none may not overwrite."""

S3_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>"


class QuietServer(ThreadingHTTPServer):
    """Threads end with the server, and clients that leave are nobody's business."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """A server on a free port of this machine, stopped at the end."""
    server = QuietServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def s3_service() -> Iterator[int]:
    """An S3-compatible service with one empty bucket; it checks no credentials."""
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        port = int(server.get_host_and_port()[1])
        request(port, "PUT", f"/{BUCKET}")
        yield port
    finally:
        server.stop()


def request(port: int, method: str, path: str, data: bytes = b"") -> int:
    """Send one request, independent of what is tested, and return the status."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, quote(path), data, SIGNED)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


@dataclass
class Bucket:
    """Writes objects below a prefix of the bucket as another program would."""

    port: int
    prefix: str

    def put(self, key: str, data: bytes) -> None:
        assert request(self.port, "PUT", f"/{BUCKET}/{self.prefix}/{key}", data) == 200

    def remove(self, key: str) -> None:
        assert request(self.port, "DELETE", f"/{BUCKET}/{self.prefix}/{key}") == 204

    def upload(self, folder: Path) -> None:
        """Copy a folder of files."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(path.relative_to(folder).as_posix(), path.read_bytes())


def web_folder(
    root: Path, *, etag: bool = True, modified: bool = True, parts: bool = True
) -> type[BaseHTTPRequestHandler]:
    """A handler that serves the files of a folder and lists nothing.

    Args:
        root: the folder.
        etag, modified: whether answers carry these headers.
        parts: whether parts of files can be asked for.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = root / unquote(self.path).lstrip("/")
            if not path.is_file():
                return self._answer(404, b"not here", {})
            data, status = path.read_bytes(), path.stat()
            headers = {}
            if etag:
                headers["ETag"] = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
            if modified:
                headers["Last-Modified"] = formatdate(status.st_mtime, usegmt=True)
            wanted = self.headers.get("Range", "")
            if not parts or not wanted:
                return self._answer(200, data, headers)
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin = int(first) if first else max(0, len(data) - int(last))
            end = min(int(last) + 1, len(data)) if first and last else len(data)
            if begin >= len(data):
                return self._answer(416, b"", headers)
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
            return self._answer(206, data[begin:end], headers)

        def _answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    return Handler


Fault = str | None
"""403, 429, 503, ...: answered at once; reset, cut, hang: after half of the body; None: no fault."""


@dataclass
class Faulty:
    """A proxy in front of a server: it passes requests on, notes them, and does what `plan` says.

    `page`: objects in one answer to a listing; 0: as many as the server gives. `most_slow`: the most slow
    answers that were under way at one time.
    """

    port: int = 0
    plan: Callable[[str, str], Fault] = lambda method, path: None
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    signed: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    page: int = 0
    slow: int = 0
    most_slow: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    let_go: threading.Event = field(default_factory=threading.Event)

    def times(self, fault: str, count: int, of: str = "") -> None:
        """The next requests whose path holds a text fail, then all go well."""
        left = [count]

        def plan(method: str, path: str) -> Fault:
            with self.lock:
                if of in path and left[0] > 0:
                    left[0] -= 1
                    return fault
            return None

        self.plan = plan


@contextmanager
def faulty(upstream: int) -> Iterator[Faulty]:
    """A proxy in front of a server of this machine."""
    state = Faulty()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            with state.lock:
                state.seen.append((self.command, unquote(self.path), self.headers.get("Range", "")))
                state.signed.append(self.headers.get("Authorization", ""))
                state.tokens.append(self.headers.get("X-Amz-Security-Token", ""))
            self._pass_on(state.plan(self.command, unquote(self.path)))

        def _pass_on(self, fault: Fault) -> None:
            if fault and fault[:3].isdigit():
                status, _, code = fault.partition(" ")
                return self._answer(int(status), {}, S3_ERROR.format(code=code or "Fault").encode())
            status, headers, data = self._upstream()
            if fault in ("reset", "cut", "hang"):
                self._answer(status, headers, data, len(data) // 2)
                self.wfile.flush()
                if fault == "hang":
                    state.let_go.wait(HUNG_S)
                if fault == "reset":
                    # Closing with this option sends RST in place of FIN.
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                return None
            if fault == "slow":
                return self._slowly(status, headers, data)
            return self._answer(status, headers, data)

        def _upstream(self) -> tuple[int, dict[str, str], bytes]:
            connection = HTTPConnection("127.0.0.1", upstream, timeout=20)
            kept = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            page = f"&max-keys={state.page}" if state.page and "list-type" in self.path else ""
            connection.request(self.command, self.path + page, headers=kept)
            response = connection.getresponse()
            data = response.read()
            headers = dict(response.getheaders())
            connection.close()
            if self.command != "HEAD":
                headers["Content-Length"] = str(len(data))
            return response.status, headers, data

        def _answer(
            self, status: int, headers: dict[str, str], data: bytes, count: int | None = None
        ) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                if name.lower() not in ("connection", "transfer-encoding", "server", "date"):
                    self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[:count])

        def _slowly(self, status: int, headers: dict[str, str], data: bytes) -> None:
            with state.lock:
                state.slow += 1
                state.most_slow = max(state.most_slow, state.slow)
            self._answer(status, headers, data, 0)
            size = -(-len(data) // 4)
            for part in range(4):
                state.let_go.wait(0.1)
                if part == 3:
                    # Before the last byte: the client that has it asks the next thing at once.
                    with state.lock:
                        state.slow -= 1
                self.wfile.write(data[part * size : (part + 1) * size])
                self.wfile.flush()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with serving(Handler) as port:
        state.port = port
        try:
            yield state
        finally:
            state.let_go.set()


def s3_environment(port: int, timeout: str = "12") -> dict[str, str]:
    """The environment in which stores of a service of this machine are opened, with a known secret."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "SEGPIPE_STORE_TIMEOUT": timeout,
    }


def clean_environment() -> dict[str, str]:
    """The environment without anything that says how stores are reached."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SEGPIPE_STORE"))
    }
