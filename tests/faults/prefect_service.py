"""Prefect as a team runs it: a server, a process work pool, its worker, and a deployment."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

REPOSITORY = Path(__file__).resolve().parents[2]
LONG_S = 300.0
POOL = "faults"
DEPLOY = """
import sys
from prefect import flow
flow.from_source(source=sys.argv[1], entrypoint="flows/evaluate.py:evaluate").deploy(
    name="faults", work_pool_name=sys.argv[2], print_next_steps=False
)
"""


@dataclass(frozen=True)
class PrefectService:
    """What runs: its API, and the environment in which programs find it."""

    client: SyncPrefectClient
    environment: Mapping[str, str]

    def run(self, parameters: Mapping[str, Any], environment: Mapping[str, str]) -> UUID:
        """Ask for a flow run of the deployment, whose process gets an environment."""
        deployment = self.client.read_deployment_by_name("evaluate/faults")
        run = self.client.create_flow_run_from_deployment(
            deployment.id, parameters=dict(parameters), job_variables={"env": dict(environment)}
        )
        return run.id

    def state(self, run: UUID) -> str:
        """The state of a flow run, in capitals."""
        state = self.client.read_flow_run(run).state
        return state.type.value if state else "NONE"

    def cancel(self, run: UUID) -> None:
        """What the button does."""
        self.client.set_flow_run_state(run, Cancelling())

    def wait(self, run: UUID, condition: Callable[[], bool]) -> None:
        """Wait for a condition, or for the end of a flow run."""
        until = time.monotonic() + LONG_S
        while not condition() and self.state(run) not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            if time.monotonic() > until:
                message = f"waited too long; the flow run is {self.state(run)}"
                raise TimeoutError(message)
            time.sleep(0.05)


@contextmanager
def prefect_service(home: Path) -> Iterator[PrefectService]:
    """Start all of it on loopback; killed at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PYTHONPATH": str(REPOSITORY),
    }
    with ExitStack() as stack:
        words = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
        stack.enter_context(_process(environment, "-m", "prefect", *words))
        _wait_for(f"{url}/health")
        create = ["-m", "prefect", "work-pool", "create", POOL, "--type", "process"]
        for step in (create, ["-c", DEPLOY, str(REPOSITORY), POOL]):
            subprocess.run(
                [sys.executable, *step],
                env=environment,
                cwd=REPOSITORY,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        stack.enter_context(_process(environment, "-m", "prefect", "worker", "start", "--pool", POOL))
        stack.enter_context(temporary_settings({PREFECT_API_URL: url}))
        yield PrefectService(stack.enter_context(get_client(sync_client=True)), environment)


@contextmanager
def _process(environment: Mapping[str, str], *words: str) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, *words],
        env=environment,
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str) -> None:
    until = time.monotonic() + LONG_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            if time.monotonic() > until:
                raise
        time.sleep(0.2)
