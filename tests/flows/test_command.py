"""`python -m flows.evaluate`: a whole process on an API of its own, and the exit codes of `segpipe`."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flows import command, embedded
from segpipe.cli import guarded
from segpipe.config import EvaluationConfig

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def written(config: EvaluationConfig, tmp_path: Path) -> str:
    """The configuration as a file."""
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    return str(path)


def by_itself() -> dict[str, str]:
    """An environment in which no API is configured."""
    return {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}


def test_the_command_needs_no_server_and_prints_what_segpipe_prints(written: str) -> None:
    """Progress on the error stream, tables on the output; not a line of Prefect's, or of Dask's workers."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.evaluate", written, "--set", "cluster={kind: local, workers: 1}"],
        cwd=REPOSITORY,
        env=by_itself(),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ours = re.compile(
        r"(plan|count|reduce|score|gate|report|publish) \.\.\.|12/12 images, .*|counted 12 of 12 images, .*"
    )
    assert [line for line in done.stderr.splitlines() if not ours.fullmatch(line)] == []
    assert done.stderr.startswith("plan ...\ncount ...\n")
    assert done.stdout.startswith("Flow_tests: model_a\nMean IoU 0.")
    assert done.stdout.rstrip().endswith("report.md")


def exit_code(*words: str) -> int:
    """The command in this process, on the tests' API."""
    work = lambda: command.evaluate.main(list(words), "evaluate", standalone_mode=False)  # noqa: E731
    return guarded(work, as_json="--json" in words)


@pytest.fixture
def _tests_api(prefect_api: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API is there already."""
    monkeypatch.setattr(command, "provide_api", lambda: None)


@pytest.mark.usefixtures("_tests_api")
def test_exit_codes_are_those_of_segpipe(
    written: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, demo_small: Path
) -> None:
    """0 done, 1 bad input, 3 incomplete; with --json one document on the output."""
    assert exit_code(written, "--json") == 0
    assert json.loads(capsys.readouterr().out)["headline"] == "mean_iou"

    assert exit_code(written, "--set", "pred.array=nosuch", "--json") == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["problems"][0]["array"] == "nosuch"
    assert "Traceback" not in err

    store = tmp_path / "damaged.zarr"
    shutil.copytree(demo_small / "model_a.zarr", store)
    chunk = store / "labels" / "c" / "1" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:100])
    assert exit_code(written, "--set", f"pred.store={store}") == 3
    assert "6 of 12 images could not be counted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"), [((), "Missing argument 'CONFIG'"), (("no.yaml",), "no.yaml: cannot be read")]
)
def test_mistakes_start_no_api(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong word is answered at once."""
    monkeypatch.setattr(command, "provide_api", lambda: pytest.fail("started an API"))
    assert exit_code(*words) == 1
    assert said in capsys.readouterr().err


def test_the_api_answers_early_requests_and_ends_with_its_parent(tmp_path: Path) -> None:
    """However the parent ends: here as if it were killed, with no time to clean up."""
    script = (
        "import os, urllib.request; from flows.embedded import provide_api; provide_api()\n"
        "url = os.environ['PREFECT_API_URL']\n"
        "print(url, urllib.request.urlopen(url + '/health', timeout=120).read().decode(), flush=True)\n"
        "os._exit(9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env=by_itself(),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    url, answer = done.stdout.split()
    assert (done.returncode, answer) == (9, "true")
    port = urlsplit(url).port
    assert port is not None
    until = time.monotonic() + 60
    while listens(port):
        assert time.monotonic() < until, "the API outlives its parent"
        time.sleep(0.2)


def listens(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("home/profiles.toml", "active = 'cloud'"),
        ("prefect.toml", ""),
        (".env", "PREFECT_API_URL=x"),
        ("pyproject.toml", "[tool.prefect.api]\nurl = 'x'"),
    ],
)
def test_an_api_that_may_be_configured_is_left_to_prefect(
    file: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API of our own never goes before the one that a user has chosen."""
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "pyproject.toml").write_text("[tool.other]\n")
    assert not embedded.configured()
    (tmp_path / file).write_text(text)
    assert embedded.configured()


@pytest.mark.parametrize("name", ["PREFECT_API_URL", "PREFECT_PROFILE"])
def test_an_api_of_the_environment_is_left_to_prefect(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for the two variables."""
    monkeypatch.setenv(name, "x")
    assert embedded.configured()
