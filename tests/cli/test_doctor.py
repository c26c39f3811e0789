"""What the doctor finds, and what it says to do."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from segpipe.run import doctor
from segpipe.run.doctor import (
    Finding,
    clock,
    examine,
    results_folder,
    store_finding,
    version_finding,
    worker_processes,
)
from tests.cli.conftest import Segpipe


@pytest.fixture
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting processes takes seconds; one test does it."""
    monkeypatch.setattr(doctor, "worker_processes", lambda cluster: Finding("workers", "ok", cluster.kind))


def test_workers_start_answer_and_stop() -> None:
    """The same way in which a run starts them."""
    finding = worker_processes(doctor.ONE_WORKER)
    assert finding.state == "ok", finding
    assert "started, answered, stopped" in finding.found


def test_workers_that_do_not_start_are_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that is configured is the one that is tried."""
    monkeypatch.setattr("segpipe.execution.clusters.address.CONNECT_S", 0.2)
    finding = worker_processes(
        doctor.ONE_WORKER.model_validate({"kind": "address", "address": "tcp://127.0.0.1:9"})
    )
    assert finding.state == "fail"
    assert "tcp://127.0.0.1:9" in finding.found
    assert "cluster: threads" in finding.advice


def test_every_line_that_is_not_ok_says_what_to_do(no_workers: None) -> None:
    """A finding without advice helps nobody."""
    findings = examine()
    assert {"python", "compiled code", "loopback port", "memory", "cores", "workers"} <= {
        one.name for one in findings
    }
    assert all(one.advice for one in findings if one.state != "ok")


@pytest.mark.parametrize(
    ("bound", "needed_for", "state", "said"),
    [
        ("numpy>=2", "", "ok", "2."),
        ("numpy<2", "", "fail", "which does not work: <2 does"),
        ("numpy<2", "flows", "fail", "which does not work"),
        ("nosuchpackage>=1", "", "fail", "not installed"),
        ("nosuchpackage>=1", "flows", "warn", "flows do not run without"),
    ],
)
def test_versions_are_held_against_bounds(bound: str, needed_for: str, state: str, said: str) -> None:
    """What only flows need may be missing, but not wrong."""
    finding = version_finding(Requirement(bound), needed_for=needed_for)
    assert (finding.state, said in finding.found) == (state, True)


def test_bounds_are_those_that_the_package_declares(
    monkeypatch: pytest.MonkeyPatch, no_workers: None
) -> None:
    """Prefect's two traps are among them; what only developers need is not."""
    declared = ["numpy>=2", 'fastapi<0.1; extra == "flows"', 'ruff<0.1; extra == "dev"']
    monkeypatch.setattr(doctor, "requires", lambda name: declared)
    found = {one.name: one for one in examine()}
    assert found["numpy"].state == "ok"
    assert found["fastapi"].state == "fail"
    assert "pip install 'fastapi<0.1'" in found["fastapi"].advice
    assert "ruff" not in found


def test_a_machine_without_loopback_is_told(monkeypatch: pytest.MonkeyPatch, no_workers: None) -> None:
    """Workers could not be reached."""

    def refused(self: socket.socket, address: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refused)
    (port,) = [one for one in examine() if one.name == "loopback port"]
    assert (port.state, "Permission denied" in port.found) == ("fail", True)


def test_no_folder_for_compiled_code_is_a_warning(monkeypatch: pytest.MonkeyPatch, no_workers: None) -> None:
    """It works, but every process compiles."""
    monkeypatch.setattr(doctor, "cache_folder", lambda: None)
    (code,) = [one for one in examine() if one.name == "compiled code"]
    assert (code.state, "NUMBA_CACHE_DIR" in code.advice) == ("warn", True)


def test_results_need_a_folder_that_can_be_written(tmp_path: Path) -> None:
    """It need not exist yet."""
    (tmp_path / "file").touch()
    assert results_folder(tmp_path / "a" / "b").state == "ok"
    wrong = results_folder(tmp_path / "file" / "b")
    assert (wrong.state, "Not a directory" in wrong.found) == ("fail", True)


def test_the_command_prints_one_line_each_and_fails_if_one_fails(
    segpipe: Segpipe, config: Path, no_workers: None, tmp_path: Path
) -> None:
    """Exit code 4, for this is the machine, not the data."""
    well = segpipe("doctor", config)
    assert well.code == 0
    assert re.search(r"\nok +results", well.out)
    (tmp_path / "file").touch()
    ill = segpipe("doctor", config, "--set", f"results={tmp_path}/file/x")
    assert ill.code == 4
    assert re.search(r"\nfail +results", ill.out)
    assert "-> choose another folder: --results DIR" in ill.out
    document = segpipe("doctor", config, "--json").document
    assert document["ok"] is True
    assert {"name", "state", "found", "advice"} == set(document["findings"][0])


def test_stores_are_opened_and_looked_at(demo_small: Path, tmp_path: Path) -> None:
    """A store is well, empty, missing, or behind a service that does not answer; never listed."""
    found = store_finding("truth", str(demo_small / "truth.zarr"))
    assert (found.name, found.state, "zarr.json" in found.found) == ("truth", "ok", True)
    assert store_finding("pred", str(tmp_path)).state == "warn"
    missing = store_finding("pred", str(tmp_path / "missing"))
    assert (missing.state, "no such folder" in missing.found, bool(missing.advice)) == ("fail", True, True)


def test_a_service_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bounded time, with what to do."""
    monkeypatch.setenv("SEGPIPE_STORE_TIMEOUT", "0.2")
    found = store_finding("truth", "http://127.0.0.1:9/truth.zarr")
    assert found.state == "fail"
    assert "no connection to the service" in found.found
    assert "run the same command again" in found.advice


def test_a_clock_that_differs_from_the_file_systems_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert clock(tmp_path / "results").state == "ok"
    now = time.time()
    monkeypatch.setattr("segpipe.run.doctor.time.time", lambda: now + 90)
    found = clock(tmp_path / "results")
    assert (found.state, found.found) == ("fail", f"differs from that of {tmp_path} by -90 s")
    assert "NTP" in found.advice


def test_a_prefect_api_that_does_not_answer_is_told(
    monkeypatch: pytest.MonkeyPatch, no_workers: None
) -> None:
    assert "prefect api" not in {one.name for one in examine()}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}/api"
        monkeypatch.setenv("PREFECT_API_URL", f"http://name:word@{address}")
        (found,) = (one for one in examine() if one.name == "prefect api")
    assert found.state == "fail"
    assert found.found.startswith(f"{address} does not answer")
    assert "word" not in found.found
