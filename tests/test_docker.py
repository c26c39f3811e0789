"""What docker/ says of itself: who listens where, who may do what, and which packages are inside."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from segpipe.config import load_config

ROOT = Path(__file__).resolve().parent.parent
DOCKER = ROOT / "docker"
OURS = ("prefect", "runner", "scheduler", "worker", "demo")
PINNED = re.compile(r"^([a-z0-9.-]+)(?:\[[^]]*\])?==(\S+)(?: ;[^\\]*)? \\$", re.MULTILINE)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return document


def test_the_dockerfile_passes_hadolint() -> None:
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, DOCKER / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_pages_are_reached_from_this_machine_alone(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_where_label_maps_are_counted_nothing_outside_is_reached(compose: dict[str, Any]) -> None:
    inside = {name for name, network in compose["networks"].items() if network.get("internal")}
    assert inside == {"database", "work"}
    assert compose["services"]["worker"]["networks"] == ["work"]
    assert compose["services"]["postgres"]["networks"] == ["database"]


@pytest.mark.parametrize("name", OURS)
def test_containers_of_the_image_run_without_rights_on_a_read_only_root(
    compose: dict[str, Any], name: str
) -> None:
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_no_secret_stands_in_the_configuration(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|AUTH|KEY_ID|ROOT_USER", name):
                assert name.endswith("_FILE")
                assert Path(value).name in service["secrets"]
    assert {one["file"] for one in compose["secrets"].values()} == {
        f"./secrets/{name}" for name in compose["secrets"]
    }
    assert "docker/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_every_secret_file_is_read_by_the_entrypoint(compose: dict[str, Any]) -> None:
    script = (DOCKER / "entrypoint.sh").read_text()
    given = {
        name.removesuffix("_FILE")
        for service in OURS
        for name in compose["services"][service].get("environment", {})
        if name.endswith("_FILE")
    }
    assert given == set(re.findall(r"\b(?:PREFECT|AWS)_[A-Z_]+[A-Z]\b(?=[ ;\\])", script))


def test_the_entrypoint_reads_a_secret_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "login").write_text("segpipe:word")
    folders = ("TMPDIR", "NUMBA_CACHE_DIR", "PREFECT_HOME", "DASK_TEMPORARY_DIRECTORY")
    environment = {name: str(tmp_path / name) for name in folders}
    environment |= {"PREFECT_API_AUTH_STRING_FILE": str(tmp_path / "login"), "PATH": "/usr/bin:/bin"}
    command = [DOCKER / "entrypoint.sh", "sh", "-c", 'printf %s "$PREFECT_API_AUTH_STRING"']
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "segpipe:word")


def test_the_entrypoint_names_a_secret_that_cannot_be_read(tmp_path: Path) -> None:
    environment = {"PREFECT_API_AUTH_STRING_FILE": str(tmp_path / "none"), "PATH": "/usr/bin:/bin"}
    command = [DOCKER / "entrypoint.sh", "sh", "-c", "true"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert f"PREFECT_API_AUTH_STRING_FILE: {tmp_path / 'none'} cannot be read; mount" in done.stderr


def test_passwords_are_made_once_and_differ(tmp_path: Path) -> None:
    script = tmp_path / "secrets.sh"
    script.write_bytes((DOCKER / "secrets.sh").read_bytes())
    subprocess.run(["sh", script], check=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    subprocess.run(["sh", script], check=True)
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == made
    assert set(made) == {"database_password", "prefect_login", "store_user", "store_password"}
    assert len(set(made.values())) == 4
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0


def test_the_image_holds_versions_that_were_tested_and_no_tools_of_tests() -> None:
    tested = dict(PINNED.findall((ROOT / "requirements.lock").read_text()))
    inside = dict(PINNED.findall((DOCKER / "requirements.lock").read_text()))
    assert len(inside) > 100
    assert not {"pytest", "mypy", "moto", "scikit-learn"} & set(inside)
    # A package may stand twice, for two versions of Python; the last one is compared on both sides.
    assert inside.items() <= tested.items()


def test_everything_that_the_dockerfile_copies_goes_to_the_engine() -> None:
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    lines = (DOCKER / "Dockerfile").read_text().splitlines()
    copied = [
        path
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for path in line.split()[1:-1]
    ]
    assert set(copied) == set(sent)


def test_the_demo_of_the_containers_is_the_demo_of_the_checkout() -> None:
    inside = load_config(ROOT / "configs/examples/compose.yaml")
    outside = load_config(ROOT / "configs/examples/demo.yaml")
    differ = {name for name, value in inside if value != getattr(outside, name)}
    assert differ == {"results", "truth", "pred", "cluster"}
