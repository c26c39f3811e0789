"""A schedule on a real Prefect server makes a run, a real worker does it, and its artifacts are there.

Server and worker are processes of this machine that listen on loopback only; nothing else is needed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.run.nights import declare, latest_day, night_values, write_night, write_truth

ROOT = Path(__file__).resolve().parents[2]
PREFECT = (sys.executable, "-m", "prefect")


@dataclass(frozen=True)
class Server:
    """A Prefect server with a home of its own."""

    api: str
    environment: dict[str, str]
    log: Path

    def run(self, *words: str) -> str:
        """What a command of Prefect prints."""
        done = subprocess.run(
            [*PREFECT, *words], cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def ask(self, path: str, question: dict[str, Any]) -> Any:
        """What the API answers."""
        request = urllib.request.Request(
            f"{self.api}/{path}", json.dumps(question).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def flow_runs(self, *states: str) -> list[dict[str, Any]]:
        """The flow runs in some types of states."""
        return list(self.ask("flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": list(states)}}}}))


@contextmanager
def process(server: Server, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command of Prefect that runs on, with its children, until the context ends."""
    with server.log.open("ab") as log:
        child = subprocess.Popen(
            [*PREFECT, *words], cwd=ROOT, env=server.environment, stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield child
    finally:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def eventually(found: Callable[[], Any], what: str, server: Server, seconds: float = 300) -> Any:
    """What is found in the end."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        answer = found()
        if answer:
            return answer
        time.sleep(0.5)
    pytest.fail(f"{what}: not within {seconds:.0f} s\n{server.log.read_text(errors='replace')[-6000:]}")


def healthy(server: Server) -> bool:
    """Whether the server answers."""
    try:
        with urllib.request.urlopen(f"{server.api}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def prefect_server(home: Path, *options: str) -> Iterator[Server]:
    """A server on a free port of this machine, until the context ends."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    settings = {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
        "PREFECT_DEPLOYMENT_SCHEDULE_MAX_SCHEDULED_RUNS": "3",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONPATH": str(ROOT),
    }
    made = Server(api, {**os.environ, **settings}, home / "log")
    with process(made, "server", "start", "--host", "127.0.0.1", "--port", str(port), *options):
        eventually(lambda: healthy(made), "the server starts", made)
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all tests here."""
    with prefect_server(tmp_path_factory.mktemp("prefect"), "--no-ui") as made:
        yield made


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Truth and the predictions of two models of today; one of them is not ready."""
    write_truth(tmp_path)
    today = datetime.now(UTC).date().isoformat()
    write_night(tmp_path, today, "net_a", 1)
    declare(write_night(tmp_path, today, "net_b", 2), False)
    return tmp_path


def deployments(archive: Path, models: list[str]) -> Path:
    """prefect.yaml with the archive's stores, and a night every minute."""
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    values = night_values(archive, models=models)
    for one in document["deployments"]:
        config = one["parameters"]["config"]
        if one["name"] == "maintenance":
            config |= {"results": f"{archive}/results", "verify_buckets": 1}
        elif one["name"] == "compare":
            config |= dict.fromkeys(("a", "b"), f"{archive}/results/suite/net_a")
        else:
            one["parameters"]["config"] = values
        for schedule in one.get("schedules", []):
            schedule |= {"cron": "* * * * *", "active": one["name"] == "nightly"}
    path = archive / "prefect.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_schedule_makes_a_night_that_completes(server: Server, archive: Path) -> None:
    """The worker takes it, the run is published, artifacts are there; so are those of a run by hand."""
    server.run("work-pool", "create", "segpipe", "--type", "process", "--overwrite")
    server.run("--no-prompt", "deploy", "--all", "--prefect-file", str(deployments(archive, ["net_a"])))
    with process(server, "worker", "start", "--pool", "segpipe", "--limit", "1"):
        (run, *_) = eventually(lambda: server.flow_runs("COMPLETED"), "a night completes", server)
        assert run["auto_scheduled"]
        assert run["name"] == f"nightly suite {datetime.now(UTC).date()}"
        assert latest_day(archive, "net_a") == run["name"].split()[-1]
        assert not (archive / "results/suite/net_b").exists()
        question = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
        keys = {one["key"] for one in server.ask("artifacts/filter", question)}
        assert keys >= {"suite-nightly", "suite-nightly-stores", "suite-net-a-report", "suite-net-a-link"}

        server.run("deployment", "schedule", "clear", "-y", "nightly/nightly")
        for name in ("maintenance", "compare"):
            assert "Completed" in server.run("deployment", "run", f"{name}/{name}", "--watch")
        values = json.dumps(night_values(archive, models=["net_b"]))
        late = subprocess.run(
            [*PREFECT, "deployment", "run", "nightly/nightly", "--watch", "--param", f"config={values}"],
            cwd=ROOT, env=server.environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert late.returncode != 0
        (failed, *_) = server.flow_runs("FAILED")
        assert failed["state"]["name"] == "Incomplete"
        assert "net_b" in failed["state"]["message"]
        assert "its writer has not finished" in failed["state"]["message"]


def test_a_work_pool_of_containers_takes_its_deployments(server: Server) -> None:
    """docker/prefect.yaml fits the pool's own schema of jobs; the engine itself is another test's."""
    server.run("work-pool", "create", "segpipe-docker", "--type", "docker", "--overwrite")
    server.run("--no-prompt", "deploy", "--all", "--prefect-file", "docker/prefect.yaml")
    found = server.ask("deployments/filter", {"deployments": {"tags": {"all_": ["docker"]}}})
    assert {one["name"] for one in found} == {
        f"{name}-docker" for name in ("nightly", "reprocess", "compare", "maintenance")
    }
    assert {one["job_variables"]["image"] for one in found} == {"segpipe"}
    assert all(
        one["concurrency_limit"] == 1 or one["global_concurrency_limit"]["limit"] == 1 for one in found
    )
