"""docker/ as it runs: the image is built, its services started, and the demo evaluated on them.

The engine is started by hand with files of its own. No registry of images is asked: the base is made by
debootstrap, PostgreSQL and the store are stand-ins on that base. Published ports are left out, since an
engine without iptables has none.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = Path(__file__).parent / "docker"
WORK = ROOT / ".services" / "docker"
BASE = "segpipe-test-base"
NEEDED = {"dockerd": "docker.io", "docker-compose": "docker-compose", "debootstrap": "debootstrap"}
DEMO_MEAN_IOU = "0.7080"
"""Of the demo's model_a (tests/run/test_demo_figures.py)."""

missing = [package for program, package in NEEDED.items() if shutil.which(program) is None]
pytestmark = [
    pytest.mark.skipif(bool(missing), reason=f"needs the packages {', '.join(missing)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it starts a Docker engine"),
]


@dataclass(frozen=True)
class Engine:
    """A Docker engine of the test's own."""

    socket: Path

    def run(self, *command: str, timeout: float = 900, **environment: str) -> str:
        """Run a command on it and give what it printed."""
        given = {**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "0", **environment}
        done = subprocess.run(
            command, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A running engine; its layers are kept in .services for the next time."""
    WORK.mkdir(parents=True, exist_ok=True)
    places = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
    options = [f"--{option}={WORK / name}" for option, name in places.items()]
    options += ["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--bridge=none"]
    (WORK / "pid").unlink(missing_ok=True)
    with (WORK / "log").open("wb") as log:
        daemon = subprocess.Popen(
            ["dockerd", f"--host=unix://{WORK / 'socket'}", *options], stdout=log, stderr=log
        )
        try:
            yield _answering(Engine(WORK / "socket"), daemon)
        finally:
            daemon.terminate()
            daemon.wait(60)
            # What the engine leaves mounted when it ends; without it the folder could not be removed.
            subprocess.run(["umount", WORK / "exec" / "netns" / "default"], capture_output=True, check=False)


def _answering(engine: Engine, daemon: subprocess.Popen[bytes]) -> Engine:
    for _ in range(120):
        assert daemon.poll() is None, (WORK / "log").read_text()[-4000:]
        try:
            engine.run("docker", "version", timeout=10)
        except (AssertionError, subprocess.TimeoutExpired):
            time.sleep(0.5)
        else:
            return engine
    pytest.fail((WORK / "log").read_text()[-4000:])


@pytest.fixture(scope="module")
def images(engine: Engine) -> dict[str, str]:
    """The image, built from the Dockerfile, and what stands in for the others."""
    if not engine.run("docker", "images", "--quiet", BASE):
        _make_base(engine)
    base = ("--network", "host", "--build-arg", f"BASE_IMAGE={BASE}")
    engine.run("docker", "build", *base, "-f", "docker/Dockerfile", "-t", "segpipe-test", str(ROOT))
    for name in ("database", "store"):
        file = ("-f", str(STAND_INS / f"{name}.Dockerfile"))
        engine.run("docker", "build", *base, *file, "-t", f"segpipe-test-{name}", str(STAND_INS))
    stand_ins = {"POSTGRES_IMAGE": "segpipe-test-database", "STORE_IMAGE": "segpipe-test-store"}
    return {"SEGPIPE_IMAGE": "segpipe-test", **stand_ins}


def _make_base(engine: Engine) -> None:
    root = WORK / "base"
    shutil.rmtree(root, ignore_errors=True)
    packages = "--include=python3,python3-venv,ca-certificates"
    engine.run("debootstrap", "--variant=minbase", packages, "bookworm", str(root))
    # What this machine trusts and how it finds names: the build asks the same registries.
    for file in ("etc/ssl/certs/ca-certificates.crt", "etc/resolv.conf"):
        shutil.copyfile(f"/{file}", root / file)
    archive = WORK / "base.tar"
    engine.run("tar", "-C", str(root), "-cf", str(archive), ".")
    engine.run("docker", "import", str(archive), BASE)
    archive.unlink()
    shutil.rmtree(root)


@dataclass(frozen=True)
class Services:
    """The services of compose.yaml."""

    engine: Engine
    file: Path

    def compose(self, *command: str, timeout: float = 900) -> str:
        """Run a docker-compose command on them."""
        whole = ("docker-compose", "--project-name", "segpipe-test", "--file", str(self.file), *command)
        return self.engine.run(*whole, timeout=timeout)


@pytest.fixture(scope="module")
def services(engine: Engine, images: dict[str, str]) -> Iterator[Services]:
    """All services with two workers, healthy, on new volumes."""
    engine.run("sh", str(ROOT / "docker" / "secrets.sh"))
    given = ("docker-compose", "--file", str(ROOT / "docker" / "compose.yaml"), "--profile", "demo", "config")
    document: dict[str, Any] = yaml.safe_load(engine.run(*given, **images))
    for service in document["services"].values():
        service.pop("ports", None)
        service.pop("build", None)
    document["services"]["store"].pop("command")
    file = WORK / "compose.yaml"
    file.write_text(yaml.safe_dump(document))
    services = Services(engine, file)
    services.compose("down", "--volumes", "--timeout", "5")
    try:
        services.compose("up", "--detach", "--scale", "worker=2", "--scale", "demo=0")
        yield services
    finally:
        services.compose("down", "--volumes", "--timeout", "5")


def test_the_image_works_without_network_rights_or_a_writable_root(
    engine: Engine, images: dict[str, str]
) -> None:
    bare = ("docker", "run", "--rm", "--read-only", "--network", "none", "--cap-drop", "ALL")
    assert "uid=1000(segpipe)" in engine.run(*bare, images["SEGPIPE_IMAGE"], "sh", "-c", "id")
    found = engine.run(*bare, images["SEGPIPE_IMAGE"], "doctor")
    assert "fail" not in found
    assert "is kept in /state/numba" in found


def test_the_demo_is_evaluated_on_the_cluster_though_a_worker_is_killed(services: Services) -> None:
    demo = services.compose("run", "--detach", "demo").split()[-1]
    _wait_for(services, demo, "count")
    workers = services.compose("ps", "--quiet", "worker").split()
    services.engine.run("docker", "kill", workers[-1])
    services.engine.run("docker", "wait", demo)
    said = services.engine.run("docker", "logs", demo)
    assert f"Mean IoU {DEMO_MEAN_IOU}" in said, said[-4000:]
    state = services.engine.run("docker", "inspect", "--format", "{{.State.ExitCode}}", demo)
    assert state.strip() == "0"


def _wait_for(services: Services, container: str, word: str) -> None:
    for _ in range(2400):
        if word in services.engine.run("docker", "logs", container):
            return
        time.sleep(0.5)
    pytest.fail(f"{word!r} never printed: {services.engine.run('docker', 'logs', container)[-4000:]}")


def test_the_runner_does_a_night_on_the_cluster(services: Services) -> None:
    """A deployment is run: two models of a day, found by their pattern, counted on the workers."""
    shell = ("run", "--rm", "--entrypoint", "sh", "demo", "-c")
    day = "day=$(date -u +%Y-%m-%d); mkdir -p /data/predictions/$day && cd /data/demo"
    services.compose(
        *shell, f"{day} && cp -r truth.zarr .. && cp -r model_a.zarr model_b.zarr ../predictions/$day"
    )
    inside = ("exec", "-T", "runner", "/opt/docker/entrypoint.sh")
    _until(services, (*inside, "prefect", "deployment", "ls"), "nightly/nightly")
    # The demo's stores declare nothing of themselves.
    config = _night() | {"ready": {"by": "quiet", "minutes": 0.01}}
    config["evaluation"]["cluster"]["performance_report"] = True
    given = ("--param", f"config={json.dumps(config)}", "--watch")
    services.compose(*inside, "prefect", "deployment", "run", "nightly/nightly", *given)
    listed = services.compose(*inside, "segpipe", "history", "/results", "--suite", "nightly")
    assert "model_a" in listed
    assert DEMO_MEAN_IOU in listed
    # The scheduler's container draws it; what was counted along with another model has no cluster of its own.
    services.compose(*inside, "sh", "-c", "ls /results/nightly/*/runs/*/dask-report.html")


def _night() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "docker" / "compose-prefect.yaml").read_text())
    (night,) = (one for one in document["deployments"] if one["name"] == "nightly")
    config: dict[str, Any] = night["parameters"]["config"]
    return config


def test_a_stranger_is_refused(services: Services) -> None:
    ask = (
        "import urllib.request, urllib.error\n"
        "try: urllib.request.urlopen('http://prefect:4200/api/flows/count', data=b'{}')\n"
        "except urllib.error.HTTPError as error: print(error.code)"
    )
    assert services.compose("exec", "-T", "runner", "python", "-c", ask).strip() == "401"


def _until(services: Services, command: tuple[str, ...], word: str) -> None:
    for _ in range(120):
        if word in services.compose(*command):
            return
        time.sleep(1)
    pytest.fail(services.compose("logs", "--tail", "40", "runner"))
