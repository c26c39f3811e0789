"""What a browser shows: a run's artifacts on Prefect's page, and Dask's report that is kept with a run.

Needed is the package chromium, which renders each page without a screen and prints its document.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from segpipe.run.evaluate import evaluate
from tests.run.datasets import CLASSES, pair_config, write_pair
from tests.services.test_prefect import ROOT, Server, prefect_server

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the package chromium")

# As root, without a graphics card, and without what the browser would ask its maker for.
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--virtual-time-budget=20000", "--dump-dom",
)  # fmt: skip
TRIES = 8
"""How often a page is rendered: on a busy machine it may not be ready when its time is up."""

ITS_OWN = ("google.com", "googleapis.com", "gvt1.com")
"""Whom the browser itself asks all the same."""


@dataclass(frozen=True)
class Shown:
    """A page as it stands when its scripts have run.

    Attributes:
        document: its HTML.
        hosts: whom it asked.
    """

    document: str
    hosts: set[str]

    @property
    def text(self) -> str:
        """What is to be read."""
        words = re.sub(r"<(script|style)\b.*?</\1>", " ", self.document, flags=re.DOTALL)
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", words)).split())


Show = Callable[..., Shown]


@pytest.fixture
def show(tmp_path: Path) -> Show:
    """Renders a page in a browser that knows nothing of any other, until some words are on it."""

    def shown(url: str, *words: str) -> Shown:
        for _ in range(TRIES):
            page = once(url)
            if all(word in page.text for word in words):
                return page
        pytest.fail(f"{url} shows no {' or no '.join(words)}: {page.text[:2000]}")

    def once(url: str) -> Shown:
        log, profile = tmp_path / "net.json", tmp_path / "profile"
        command = ["chromium", *OPTIONS, f"--user-data-dir={profile}", f"--log-net-log={log}", url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
        shutil.rmtree(profile)
        asked = re.findall(r'"url":"((?:https?|wss?):[^"]*)"', log.read_text(errors="replace"))
        hosts = {urlsplit(each).hostname or "" for each in asked}
        return Shown(done.stdout, {host for host in hosts if not host.endswith(ITS_OWN)})

    return shown


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with its page."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as made:
        yield made


def flow(server: Server, *words: str) -> None:
    """Run the command of a flow against the server."""
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, env=server.environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_artifacts_of_runs_are_on_prefects_page(server: Server, tmp_path: Path, show: Show) -> None:
    """Report, tables and a comparison are read there as text and tables; the page asks its server alone."""
    write_pair(tmp_path, 8)
    (tmp_path / "config.yaml").write_text(pair_config(tmp_path).to_yaml())
    flow(server, "flows.evaluate", str(tmp_path / "config.yaml"))
    model = f"{tmp_path}/results/suite/model"
    flow(server, "flows.compare", model, model)

    site = server.api.removesuffix("/api")
    keys = ("suite-model-report", "suite-model-classes", "suite-model-comparison")
    assert show(f"{site}/artifacts", *keys).hosts == {"127.0.0.1"}
    scores = json.loads(next(Path(model).glob("runs/0*/scores.json")).read_text())
    headline = f"Mean IoU {scores['aggregates']['mean_iou']['value']:.4f}"
    rows = [f"{number} {name} " for number, name in enumerate(CLASSES)]
    artifacts = {one["key"]: one["id"] for one in server.ask("artifacts/filter", {})}
    for key, words in (
        ("suite-model-report", [f"{headline}: mean over 5 of 5 classes"]),
        ("suite-model-classes", ["id class truth px pred px iou", *rows]),
        ("suite-model-comparison", [f"Comparison of two runs {headline} (A)"]),
    ):
        show(f"{site}/artifacts/artifact/{artifacts[key]}", *words)

    (run, *_) = [one for one in server.flow_runs("COMPLETED") if one["name"] == "suite/model"]
    show(f"{site}/runs/flow-run/{run['id']}", "Completed", "9 Task runs")


def test_dasks_report_is_drawn_and_asks_nobody(tmp_path: Path, show: Show) -> None:
    """Its own policy lets its scripts draw and nothing else."""
    write_pair(tmp_path, 8)
    asked = {"kind": "local", "workers": 1, "performance_report": True}
    report = evaluate(pair_config(tmp_path, cluster=asked)) / "dask-report.html"
    shown = show(report.as_uri())
    assert re.search(r'<div class="bk-Tabs', shown.document)
    assert shown.hosts == set()
