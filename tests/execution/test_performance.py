"""Dask's performance report: kept with the run where it is asked for, and complete in itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import distributed
import pytest

from segpipe.config import ClusterConfig
from segpipe.errors import ConfigError, InfrastructureError
from segpipe.execution.choose import choose_cluster
from segpipe.execution.clusters import Pool, cluster_options, performance
from segpipe.run import stages
from segpipe.run.evaluate import evaluate
from segpipe.run.manifest import check_manifest
from tests.run.datasets import figures, pair_config

LOADED = re.compile(r"""<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)=["']?[^"'>]*//""")


def test_the_report_is_a_file_of_the_run_that_loads_nothing(pair: Path) -> None:
    """One page with its scripts in it; the figures are those of threads, and `threads` leave no such page."""
    plain = evaluate(pair_config(pair, results=f"{pair}/plain"))
    asked = {"kind": "local", "workers": 1, "performance_report": True}
    run = evaluate(pair_config(pair, cluster=asked))
    page = (run / "dask-report.html").read_text(encoding="utf-8")
    head, _, body = page.partition("<body>")
    assert "<title>Dask Performance Report</title>" in head
    assert head.index("Content-Security-Policy") < head.index("<script")
    assert LOADED.findall(re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)) == []
    assert "number of tasks: 4" in body
    assert "segpipe.run.stages.count" in body
    assert "dask-report.html" in json.loads((run / "MANIFEST.json").read_text())["files"]
    check_manifest(run, hashes=True)
    assert figures(run) == figures(plain)
    assert not (plain / "dask-report.html").exists()


class _Client:
    """What `recording` asks of a client; its scheduler draws, or fails to."""

    def __init__(self, draw: Callable[[], str] = lambda: "<head></head>") -> None:
        self.scheduler = SimpleNamespace(performance_report=draw)
        self.asked: dict[str, Any] = {}

    def run_on_scheduler(self, function: Callable[..., Any]) -> Any:
        return function(dask_scheduler=SimpleNamespace(monitor=SimpleNamespace(count=3)))

    def get_task_stream(self, **_: float) -> None:
        """Recording begins."""

    def sync(self, function: Callable[[], str], **asked: Any) -> str:
        self.asked = asked
        return function()


def recording(client: _Client) -> Callable[[], str]:
    return performance.recording(cast(distributed.Client, client))


def test_what_the_cluster_did_before_is_not_in_the_report() -> None:
    """It begins where recording does, by the scheduler's own clock; the source of the caller is not in it."""
    client = _Client()
    drawn = recording(client)()
    assert drawn.startswith("<head><meta http-equiv=")
    assert client.asked["last_count"] == 3
    assert client.asked["start"] > 1.7e9
    assert client.asked["code"] == "segpipe.run.stages.count"


def test_a_scheduler_that_cannot_draw_is_told_before_anything_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(performance, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"where the scheduler runs: pip install 'segpipe\[performance\]'"):
        recording(_Client())


@pytest.mark.parametrize("error", [OSError("gone"), TimeoutError(), KeyError("x")])
def test_a_report_that_cannot_be_drawn_is_a_warning(error: Exception, pair: Path) -> None:
    """What was counted is worth more than a drawing of how."""

    def fail() -> str:
        raise error

    run, notes = stages.start(pair_config(pair)), list[str]()
    pool = Pool(cast(Any, None), 1, performance=recording(_Client(fail)))
    stages._keep_performance(run, pool, cast(Any, SimpleNamespace(note=notes.append)))
    (note,) = notes
    assert note.startswith(f"Dask's performance report could not be made ({type(error).__name__}")
    assert note in (run / "log.jsonl").read_text()
    assert not (run / "dask-report.html").exists()


def test_a_scheduler_that_is_gone_is_infrastructure() -> None:
    client = _Client()

    def gone(function: Callable[..., Any]) -> Any:
        message = "gone"
        raise OSError(message)

    client.run_on_scheduler = gone  # type: ignore[method-assign]
    with pytest.raises(InfrastructureError, match=r"the scheduler does not answer \(OSError: gone\)"):
        recording(client)


def test_threads_have_no_report_and_auto_no_options() -> None:
    """Said in words, in place of a page that never comes."""
    asked = ClusterConfig.model_validate({"kind": "threads", "performance_report": True})
    with pytest.raises(ConfigError, match="threads are not Dask: say kind: local"):
        cluster_options(asked)
    asked = ClusterConfig.model_validate({"kind": "auto", "performance_report": True})
    with pytest.raises(ConfigError, match="performance_report: options are of a kind, and auto chooses"):
        choose_cluster(asked, 1)


@pytest.mark.parametrize("kind", ["local", "address", "slurm", "kubernetes"])
def test_every_kind_that_is_dask_takes_the_option(kind: str) -> None:
    more = {"address": {"address": "tcp://host:1"}, "kubernetes": {"image": "segpipe"}}.get(kind, {})
    asked = ClusterConfig.model_validate({"kind": kind, "performance_report": True, **more})
    assert getattr(cluster_options(asked), "performance_report") is True  # noqa: B009  # not of all kinds
