"""The flow: the same figures as without Prefect, and states, retries and artifacts that say what happened."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import Artifact, State

from flows.artifacts import ArtifactProgress, artifact_key, shortened
from flows.evaluate import count, evaluate
from flows.parts import watcher
from segpipe.config import EvaluationConfig
from segpipe.errors import IncompleteError, InfrastructureError, InputChangedError, InputError, Problem
from segpipe.run import evaluate as library
from segpipe.run import stages
from segpipe.run.progress import Work
from tests.run.datasets import figures
from tests.run.test_recount import spoil

pytestmark = pytest.mark.usefixtures("prefect_api")


def ended(config: EvaluationConfig) -> State[Any]:
    """The final state of a flow run."""
    return evaluate(config, return_state=True)  # type: ignore[call-overload, no-any-return]


def changed(config: EvaluationConfig, **settings: Any) -> EvaluationConfig:
    """A configuration with other settings."""
    return config.model_validate({**config.model_dump(), **settings})


def artifacts(state: State[Any]) -> list[Artifact]:
    """What a flow run shows in Prefect."""
    run = state.state_details.flow_run_id
    assert isinstance(run, UUID)
    with get_client(sync_client=True) as client:
        return client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        )


def names_of_runs(state: State[Any]) -> tuple[str, list[str]]:
    """The name of a flow run, and those of its task runs in order."""
    run = state.state_details.flow_run_id
    assert isinstance(run, UUID)
    with get_client(sync_client=True) as client:
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
        tasks.sort(key=lambda task: task.start_time or task.created)
        return client.read_flow_run(run).name, [task.name for task in tasks]


def test_the_flow_writes_the_same_bytes_as_the_library(config: EvaluationConfig, tmp_path: Path) -> None:
    """Prefect drives the same stages and adds nothing: results, tables, and reports but for times."""
    state = ended(config)
    assert state.name == "Completed"
    (run,) = map(Path, state.result())
    plain = library.evaluate(changed(config, results=str(tmp_path / "plain")))
    found, expected = figures(run), figures(plain)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert json.loads((run / "run.json").read_text())["state"] == "complete"


def test_a_flow_run_evaluates_all_models(config: EvaluationConfig, demo_small: Path) -> None:
    """Each has a run of its own, and the second finds its counts."""
    state = ended(changed(config, also={"b": f"{demo_small}/model_b.zarr::labels"}))
    assert state.name == "Completed"
    runs = list(map(Path, state.result()))
    assert [run.parent.parent.name for run in runs] == ["model_a", "b"]
    counted = [json.loads((run / "counted.json").read_text())["counted"] for run in runs]
    assert counted[0] > 0
    assert counted[1] == 0


def test_a_flow_run_shows_the_report_tables_and_progress(config: EvaluationConfig) -> None:
    """Under keys that Prefect takes, so that versions of one model stand together."""
    state = ended(config)
    shown = {artifact.key: artifact for artifact in artifacts(state)}
    assert {artifact.type for artifact in shown.values()} == {"markdown", "table", "progress"}
    assert set(shown) == {
        "flow-tests-model-a-report",
        "flow-tests-model-a-link",
        "flow-tests-model-a-classes",
        "flow-tests-model-a-worst-images",
        "segpipe-counting",
    }
    assert all(re.fullmatch(r"[a-z0-9-]+", key or "") for key in shown)
    assert "Mean IoU" in str(shown["flow-tests-model-a-report"].data)
    classes = json.loads(str(shown["flow-tests-model-a-classes"].data))
    assert [row["class"] for row in classes][:2] == ["road", "sidewalk"]
    assert len(json.loads(str(shown["flow-tests-model-a-worst-images"].data))) == 10
    assert float(str(shown["segpipe-counting"].data)) == 100.0


def test_runs_are_named_after_suite_and_model(config: EvaluationConfig) -> None:
    """In a list of runs one sees what was evaluated."""
    state = ended(config)
    flow_run, task_runs = names_of_runs(state)
    assert flow_run == "Flow_tests/model_a"
    (path,) = state.result()
    stage_names = [
        f"{name} {path}" for name in ("plan", "count", "reduce", "score", "gate", "report", "show", "publish")
    ]
    assert task_runs == ["start Flow_tests/model_a", *stage_names]


def test_bad_input_fails_with_its_words_and_is_not_tried_again(config: EvaluationConfig) -> None:
    """Data stay as they are, however often they are read."""
    state = ended(changed(config, pred=str(config.pred).replace("::labels", "::nosuch")))
    assert (state.name, state.is_failed()) == ("BadInput", True)
    assert "found no array or group at 'nosuch'" in str(state.message)
    with pytest.raises(InputError, match="nosuch"):
        state.result()
    (record,) = Path(config.results).glob("*/*/runs/0*/run.json")
    assert json.loads(record.read_text())["state"] == "failed"


def test_damaged_data_end_as_incomplete_with_a_report(
    config: EvaluationConfig, tmp_path: Path, demo_small: Path
) -> None:
    """The rest was evaluated, published and shown; the state says that something is missing."""
    store = tmp_path / "damaged.zarr"
    shutil.copytree(demo_small / "model_a.zarr", store)
    chunk = store / "labels" / "c" / "1" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:100])
    state = ended(changed(config, pred=f"{store}::labels"))
    assert state.name == "Incomplete"
    assert "6 of 12 images could not be counted" in str(state.message)
    with pytest.raises(IncompleteError):
        state.result()
    described = {str(artifact.key): str(artifact.description) for artifact in artifacts(state)}
    for name in ("report", "classes", "worst-images"):
        assert (
            "6 counted of 12 planned, 0 skipped, 6 quarantined images"
            in described[f"flow-tests-model-a-{name}"]
        )
    (record,) = Path(config.results).glob("*/*/runs/0*/run.json")
    assert json.loads(record.read_text())["state"] == "incomplete"


def test_a_lost_cluster_is_tried_again(config: EvaluationConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was counted is kept, so counting goes on from there."""
    monkeypatch.setattr(count, "retry_delay_seconds", [0, 0])
    real, lost = stages.count, [True, True]

    def counted(run: Path, progress: Any, companions: Any, until: Any) -> Any:
        if lost:
            lost.pop()
            message = "the cluster was lost"
            raise InfrastructureError(message)
        return real(run, progress)

    monkeypatch.setattr(stages, "count", counted)
    assert ended(config).name == "Completed"
    assert not lost


def test_a_cluster_that_stays_away_is_infrastructure(
    config: EvaluationConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two more tries, and told apart from bad data."""
    monkeypatch.setattr(count, "retry_delay_seconds", [0, 0])
    tries: list[Path] = []

    def lost(run: Path, progress: Any, companions: Any, until: Any) -> None:
        tries.append(run)
        message = "the cluster was lost"
        raise InfrastructureError(message)

    monkeypatch.setattr(stages, "count", lost)
    state = ended(config)
    assert (state.name, len(tries)) == ("InfrastructureFailed", 3)
    assert state.message == "the cluster was lost"


def test_kept_counts_that_were_wrong_are_told_and_no_other_try_hides_it(
    config: EvaluationConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are replaced, so the next try would find nothing, and nobody would know."""
    monkeypatch.setattr(count, "retry_delay_seconds", [0, 0])
    library.evaluate(config)
    wrong = spoil(config)
    verified = changed(config, cache={"verify_percent": 100})
    state = ended(verified)
    assert state.name == "InfrastructureFailed"
    assert wrong.name in str(state.message)
    assert ended(verified).name == "Completed"


def test_data_that_changed_while_they_were_counted_are_not_tried_again(
    config: EvaluationConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan no longer holds: only a new run helps."""
    tries: list[Path] = []

    def refused(run: Path, progress: Any, companions: Any, until: Any) -> None:
        tries.append(run)
        raise InputChangedError(Problem(kind="input changed", found="another object"))

    monkeypatch.setattr(count, "retry_delay_seconds", [0, 0])
    monkeypatch.setattr(stages, "count", refused)
    assert (ended(config).name, len(tries)) == ("BadInput", 1)


def test_an_interrupt_is_noted_in_the_run(config: EvaluationConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Prefect makes of it, run.json says `interrupted`."""

    def interrupted(run: Path, progress: Any, companions: Any, until: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "count", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ended(config)
    (record,) = Path(config.results).glob("*/*/runs/0*/run.json")
    assert json.loads(record.read_text())["state"] == "interrupted"


def test_whoever_watches_is_told_too(config: EvaluationConfig) -> None:
    """The command shows the same progress as `segpipe evaluate`."""

    class Heard:
        def __init__(self) -> None:
            self.words: list[str] = []
            self.counted = Work()

        def stage(self, name: str) -> None:
            self.words.append(name)

        def begin(self, total: Work, done: Work) -> None:
            self.words.append(f"{total.images} images")

        def advance(self, work: Work) -> None:
            self.counted += work

        def end(self) -> None:
            self.words.append("counted")

        def note(self, text: str) -> None:
            self.words.append(text)

    heard = Heard()
    token = watcher.set(heard)
    try:
        ended(config)
    finally:
        watcher.reset(token)
    stage_names = ["reduce", "score", "gate", "report", "publish"]
    assert heard.words == ["plan", "count", "12 images", "counted", *stage_names]
    assert heard.counted.images == 12


def test_progress_has_two_ends_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to count is all counted, and quarantined images do not make more than all."""
    told: list[float] = []
    monkeypatch.setattr(
        "flows.artifacts.create_progress_artifact", lambda value, **_: told.append(value) or "id"
    )
    monkeypatch.setattr("flows.artifacts.update_progress_artifact", lambda _, progress: told.append(progress))
    nothing = ArtifactProgress()
    nothing.begin(Work(), Work())
    nothing.end()
    half = ArtifactProgress()
    half.begin(Work(2, 200, 2), Work(1, 100, 1))
    half.advance(Work(2, 150, 2))
    half.end()
    assert told == [100.0, 100.0, 50.0, 100.0]


def test_a_prefect_that_is_away_for_a_while_ends_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged once, however often it is asked; when it is back, it is told again."""
    away, told, logged = [True], list[float](), list[str]()

    def tell(value: float) -> str:
        if away:
            raise ConnectionError
        told.append(value)
        return "id"

    monkeypatch.setattr("flows.artifacts.create_progress_artifact", lambda value, **_: tell(value))
    monkeypatch.setattr("flows.artifacts.update_progress_artifact", lambda _, progress: tell(progress))
    monkeypatch.setattr("flows.artifacts.UPDATE_EVERY_S", 0.0)
    monkeypatch.setattr(ArtifactProgress, "note", lambda self, text: logged.append(text))
    progress = ArtifactProgress()
    progress.begin(Work(4, 400, 4), Work())
    progress.advance(Work(1, 100, 1))
    away.clear()
    progress.advance(Work(1, 100, 1))
    away.append(True)
    progress.advance(Work(1, 100, 1))
    away.clear()
    progress.end()
    assert told == [50.0, 75.0]
    assert logged == ["Prefect cannot be told how far counting is (ConnectionError)"]


def test_a_report_that_cannot_be_shown_is_published(
    config: EvaluationConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect has a task that failed, and nothing of the evaluation is lost."""

    def refused(folder: Path) -> None:
        raise ConnectionError(folder)

    monkeypatch.setattr("flows.evaluate.publish_artifacts", refused)
    state = ended(config)
    assert state.name == "Completed"
    (run,) = map(Path, state.result())
    assert json.loads((run / "run.json").read_text())["state"] == "complete"
    assert {artifact.type for artifact in artifacts(state)} == {"progress"}


def test_a_long_report_is_cut_after_a_whole_line() -> None:
    """The API refuses large documents; where the rest is stands below."""
    text = "".join(f"| row {row} \u00e4 |\n" for row in range(100_000))
    cut = shortened(text, "report.md")
    assert len(cut.encode()) < 210_000
    assert cut.endswith("\u00e4 |\n\n(cut here; the whole is in report.md)\n")
    assert shortened("short", "report.md") == "short"


@pytest.mark.parametrize(
    ("parts", "key"),
    [(("demo", "model_a", "report"), "demo-model-a-report"), (("\u00dc ber", "V1.2", "x"), "ber-v1-2-x")],
)
def test_artifact_keys_are_lowercase_letters_numbers_and_dashes(parts: tuple[str, ...], key: str) -> None:
    """Prefect takes nothing else."""
    assert artifact_key(*parts) == key
