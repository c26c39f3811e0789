"""Two runs compared by a flow: what it shows, how it ends, and whom it tells."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from prefect.client.schemas.objects import State
from prefect.exceptions import FailedRun

import segpipe
from flows import command, hooks
from flows.compare import compare, differences
from segpipe.cli import commands, guarded
from segpipe.errors import InfrastructureError, InputError
from segpipe.reports.comparison import comparison_document, comparison_markdown
from segpipe.run import compared
from segpipe.run.compared import CompareConfig
from segpipe.run.evaluate import evaluate
from tests.flows.test_evaluate import artifacts, names_of_runs
from tests.run.datasets import CLASSES, image_ids, label_maps, pair_config, write_stacked

pytestmark = pytest.mark.usefixtures("prefect_api")

IMAGES = 24
QUICK = {"replicates": 200}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a bad and of a better prediction, results/suite/bad and results/suite/better."""
    made = tmp_path_factory.mktemp("compared")
    truth, _ = label_maps(IMAGES)
    write_stacked(made / "truth.zarr", truth, ids=image_ids(IMAGES))
    random = np.random.default_rng(7)
    for model, share in (("bad", 0.3), ("better", 0.2)):
        wrong = random.random(truth.shape) < share
        labels = np.where(wrong, random.integers(0, len(CLASSES), truth.shape), truth) % 255
        write_stacked(made / f"{model}.zarr", labels.astype(np.uint8), ids=image_ids(IMAGES))
        evaluate(pair_config(made, model=model, pred=f"{made}/{model}.zarr::labels"))
    return made


@pytest.fixture
def config(folder: Path) -> Callable[..., CompareConfig]:
    """A comparison of latest runs by the names of their models."""

    def compares(a: str, b: str, **settings: Any) -> CompareConfig:
        suite = f"{folder}/results/suite"
        return CompareConfig.model_validate(
            {"a": f"{suite}/{a}", "b": f"{suite}/{b}", "intervals": QUICK, **settings}
        )

    return compares


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the webhook would have been told."""
    texts: list[str] = []
    monkeypatch.setattr(hooks, "notify", lambda config, text, figures: texts.append(text) or "")
    return texts


def ended(config: CompareConfig) -> State[Any]:
    """The final state of a flow run."""
    return compare(config, return_state=True)  # type: ignore[call-overload, no-any-return]


def test_a_better_run_completes_and_shows_what_differs(
    config: Callable[..., CompareConfig], told: list[str]
) -> None:
    """The report, the classes, and the images that moved most; what the library says, no more and no less."""
    chosen = config("bad", "better")
    state = ended(chosen)
    assert (state.name, state.is_completed()) == ("Completed", True)
    assert str(state.message).startswith("Mean IoU 0.")
    plain = segpipe.compare(chosen.a, chosen.b, intervals=QUICK)
    assert comparison_document(state.result()) == comparison_document(plain)

    shown = {str(one.key).removeprefix("suite-better-comparison"): one for one in artifacts(state)}
    assert set(shown) >= {"", "-iou", "-gained"}
    assert shown[""].data == comparison_markdown(plain)
    assert str(shown[""].description).startswith("Mean IoU 0.")
    classes = json.loads(str(shown["-iou"].data))
    assert [row["class"] for row in classes] == list(CLASSES)
    assert all(row["B is"] == "better" for row in classes)
    gained = json.loads(str(shown["-gained"].data))
    changes = [float(row["difference"]) for row in gained]
    assert changes == sorted(changes, reverse=True)
    assert changes[0] == pytest.approx(np.max(plain.images.b - plain.images.a), abs=1e-4)

    flow_run, task_runs = names_of_runs(state)
    assert flow_run == f"compare {chosen.b} with {chosen.a}"
    assert task_runs == [flow_run]
    assert told == []


def test_a_worse_run_has_a_state_of_its_own_and_is_told(
    config: Callable[..., CompareConfig], told: list[str]
) -> None:
    """Nothing failed, and somebody wants to know."""
    chosen = config("better", "bad")
    state = ended(chosen)
    assert (state.name, state.is_completed()) == ("ScoreFalling", True)
    (text,) = told
    assert text.startswith(f"compare {chosen.b} with {chosen.a}: ScoreFalling\nMean IoU")


def test_the_same_run_twice_is_no_worse(config: Callable[..., CompareConfig], told: list[str]) -> None:
    assert ended(config("bad", "bad")).name == "Completed"
    assert told == []


def test_runs_that_cannot_be_compared_are_bad_input(
    config: Callable[..., CompareConfig], folder: Path, told: list[str]
) -> None:
    """All that differs is listed; the common part is compared if that is asked for."""
    other = {"model": "part", "pred": f"{folder}/better.zarr::labels", "select": {"first": 12}}
    evaluate(pair_config(folder, **other))
    state = ended(config("bad", "part"))
    assert (state.name, state.is_failed()) == ("BadInput", True)
    assert "12 images that only run A has" in str(state.message)
    # Prefect hands over the error itself, or one of its own with the same words where it asked its API again.
    with pytest.raises((InputError, FailedRun), match="12 images that only run A has"):
        state.result()
    assert "BadInput" in told[0]
    assert artifacts(state) == []
    common = ended(config("bad", "part", common=True))
    assert common.name == "Completed"
    assert "Not compared: 12 images that only run A has" in str(common.message)


def test_results_that_cannot_be_read_now_are_tried_again(
    config: Callable[..., CompareConfig], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And are told apart from runs that differ, if that does not help."""
    monkeypatch.setattr(differences, "retry_delay_seconds", [0, 0])
    tries: list[str] = []

    def gone(a: str, b: str, **_: Any) -> None:
        tries.append(b)
        message = "the disk does not answer"
        raise InfrastructureError(message)

    monkeypatch.setattr(compared, "compare", gone)
    state = ended(config("bad", "better"))
    assert (state.name, len(tries)) == ("InfrastructureFailed", 3)
    assert told[0].endswith("the disk does not answer")


def answered(run: Callable[[list[str]], object], words: list[str], capsys: Any) -> tuple[int, str, str]:
    code = guarded(lambda: run(words), as_json="--json" in words)
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_prints_what_segpipe_compare_prints(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same words, the same options, the same document and exit codes."""
    monkeypatch.setattr(command, "provide_api", lambda: None)
    suite = f"{folder}/results/suite"
    flow = lambda words: command.compare.main(words, "compare", standalone_mode=False)  # noqa: E731
    plain = lambda words: commands.main(["compare", *words], "segpipe", standalone_mode=False)  # noqa: E731
    words = [f"{suite}/bad", f"{suite}/better", "--metric", "iou"]
    assert answered(flow, words, capsys)[:2] == answered(plain, words, capsys)[:2]
    report = ["--json", "--output", str(tmp_path / "report.md")]
    code, out, _ = answered(flow, [*words, *report], capsys)
    assert (code, json.loads(out)["schema"]) == (0, 1)
    assert (tmp_path / "report.md").read_text().startswith("# Comparison of two runs")
    code, _, err = answered(flow, [f"{suite}/bad", f"{suite}/nosuch"], capsys)
    assert code == 1
    assert "nosuch" in err
    monkeypatch.setattr(command, "provide_api", lambda: pytest.fail("started an API"))
    code, _, err = answered(flow, [*words, "--by", "a", "--by", "b", "--by", "c"], capsys)
    assert code == 1
    assert "by: found a, b, c; expected one column" in err


def test_parameters_of_a_comparison_survive_the_way_through_prefect(config: Any) -> None:
    """What the API stores is JSON, and means the same; the hooks find whom to tell."""
    chosen = config("a", "b", by={"has_class": "car"}, metrics=["iou"], notify={"blocks": ["a/b"]})
    values = json.loads(json.dumps(compare.serialize_parameters({"config": chosen})))
    assert compare.validate_parameters(values)["config"] == chosen
    from prefect.client.schemas.objects import FlowRun

    run = FlowRun.model_construct(id=UUID(int=1), name="x", parameters=values)
    assert hooks._notify_config(run) == chosen.notify
