"""The lease: one holder at a time, taken over only from the dead, and whoever lost it learns it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from segpipe.errors import IncompleteError, InfrastructureError
from segpipe.run import lease
from segpipe.run.lease import hold

HOLDER = """
import sys, time
from pathlib import Path
from segpipe.run.lease import hold
with hold(Path(sys.argv[1]), "night"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LOOK_S", 0.02)


def now() -> datetime:
    return datetime.now(UTC)


def test_one_holds_it_at_a_time(tmp_path: Path) -> None:
    """Eight threads, each alone while it holds the lease; afterwards nothing lies there."""
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        with hold(tmp_path / "lease.json", "night"):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.01)
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert most == [1] * 8
    assert list(tmp_path.iterdir()) == []


def test_who_waits_too_long_is_told_for_whom(tmp_path: Path) -> None:
    path, told = tmp_path / "lease.json", list[str]()
    with hold(path, "nightly of 2026-11-19"):
        with (
            pytest.raises(IncompleteError, match=r"nightly of 2026-11-19 on .*, process \d+.* still holds"),
            hold(path, "nightly of 2026-11-20", until=now() + timedelta(seconds=0.2), waiting=told.append),
        ):
            pytest.fail("held twice")
        assert len(told) == 1
        assert "waiting for nightly of 2026-11-19" in told[0]


def test_the_lease_of_a_killed_process_is_taken_over_at_once(tmp_path: Path) -> None:
    """Its number may even belong to another process by then."""
    path = tmp_path / "lease.json"
    here = Path(__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], cwd=here, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(IncompleteError, match="still holds"), hold(path, "next", until=now()):
        pass
    child.kill()
    child.communicate()
    with hold(path, "next", until=now() + timedelta(seconds=60)) as held:
        held.check()
    entry = json.loads(json.dumps({**lease._entry(held, "other"), "born": 1}))
    path.write_text(json.dumps(entry))
    assert entry["pid"] == os.getpid()
    with hold(path, "next", until=now() + timedelta(seconds=60)):
        pass


def test_a_silent_holder_elsewhere_loses_it_and_learns_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another machine nothing is known but its touches; times of files are not compared with a clock."""
    path = tmp_path / "lease.json"
    monkeypatch.setattr(lease, "EXPIRES_S", 0.3)
    with hold(path, "night one") as first:
        elsewhere = {**json.loads(path.read_text()), "machine": "another", "host": "far"}
        path.write_text(json.dumps(elsewhere))
        os.utime(path, (time.time() + 1e6,) * 2)
        with hold(path, "night two") as second:
            second.check()
            with pytest.raises(InfrastructureError, match="lost its lease to night two on"):
                first.check()
        with pytest.raises(InfrastructureError, match="lost its lease to nobody"):
            first.check()
    assert not path.exists()


def test_whoever_lost_it_leaves_it_to_its_new_holder(tmp_path: Path) -> None:
    """To end late does not take it away from the one who works now."""
    path = tmp_path / "lease.json"
    with hold(path, "night one") as first:
        other = {**json.loads(path.read_text()), "token": "another"}
        path.write_text(json.dumps(other))
        with pytest.raises(InfrastructureError, match="lost its lease"):
            first.check()
    assert json.loads(path.read_text()) == other


def test_a_holder_that_touches_it_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where only its touches tell that it lives."""
    path = tmp_path / "lease.json"
    monkeypatch.setattr(lease, "BEAT_S", 0.02)
    monkeypatch.setattr(lease, "EXPIRES_S", 30.0)
    with hold(path, "night") as held:
        path.write_text(json.dumps({**json.loads(path.read_text()), "machine": "another"}))
        seen = {path.stat().st_mtime_ns}
        until = time.monotonic() + 60
        while len(seen) < 4:
            assert time.monotonic() < until
            seen.add(path.stat().st_mtime_ns)
            time.sleep(0.01)
        held.check()


def test_a_damaged_lease_belongs_to_nobody(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    path.write_text("{")
    done = threading.Event()
    with hold(path, "night", until=now() + timedelta(seconds=60)):
        done.set()
    assert done.is_set()
