"""Gates through whole runs: what fails is published, told everywhere, and is nobody's baseline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from segpipe.cli import commands, guarded
from segpipe.config import EvaluationConfig
from segpipe.errors import ConfigError, GateError, IncompleteError, InputError
from segpipe.metrics.gates import GateReport
from segpipe.run.evaluate import evaluate, evaluate_models
from segpipe.run.gated import gate
from segpipe.run.opened import open_run
from segpipe.run.record import read_json, read_state
from segpipe.run.stages import preview
from tests.run.datasets import CLASSES, figures, image_ids, label_maps, pair_config, write_pair, write_stacked

EVIL = "<b>]]>|`x`\x1b[2J\ufffe"
FLOOR = {"metric": "mean_iou", "min": 0.5}
HIGH = {"metric": "iou", "class": "car", "slice": {"weather": "fog"}, "min": 0.99}
DROP = {"metric": "mean_iou", "max_drop": 0.01}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair and, in worse.zarr, a prediction with more errors."""
    made = tmp_path_factory.mktemp("gates")
    truth, pred = write_pair(made)
    worse = np.where(np.random.default_rng(5).random(truth.shape) < 0.1, 0, pred).astype(np.uint8)
    write_stacked(made / "worse.zarr", worse, ids=image_ids(40))
    return made


@pytest.fixture
def results(tmp_path: Path) -> str:
    """A results folder of its own."""
    return str(tmp_path / "results")


def config_of(folder: Path, *gates: Any, worse: bool = False, **settings: Any) -> EvaluationConfig:
    pred = {"pred": f"{folder}/worse.zarr::labels"} if worse else {}
    return pair_config(folder, gates=list(gates), **{**pred, **settings})


def failed_run(config: EvaluationConfig) -> tuple[Path, GateError]:
    """A run whose gates do not hold."""
    with pytest.raises(GateError) as caught:
        evaluate(config)
    return Path(caught.value.run), caught.value


def test_a_run_that_fails_a_gate_is_published_and_latest_stays(folder: Path, results: str) -> None:
    """With its verdicts in every report; the run before stays what `latest` points to."""
    first = evaluate(config_of(folder, FLOOR, results=results))
    run, error = failed_run(config_of(folder, FLOOR, HIGH, results=results))
    assert error.exit_code == 2
    assert str(error).startswith(
        f"gates: 1 of 2 failed ({run})\niou of car where weather = fog at least 0.99: 0."
    )
    assert read_json(run.parent.parent / "latest.json")["run"] == first.name
    assert read_state(run)["state"] == "gate_failed"
    row = read_json(next((run.parent.parent / "history").glob(f"*{run.name}*")))
    assert row["state"] == "gate_failed"

    opened = open_run(run)
    truth, pred = label_maps()
    fog = np.arange(40) % 3 == 1
    hit, union = (
        ((truth == 1) & (pred == 1))[fog].sum(),
        (((truth == 1) | (pred == 1)) & (truth != 255))[fog].sum(),
    )
    document = json.loads((run / "gates.json").read_text())
    assert (document["passed"], document["coverage"]) == (False, 1.0)
    assert [one["passed"] for one in document["gates"]] == [True, False]
    assert document["gates"][1]["value"] == pytest.approx(hit / union)
    assert opened.gates == GateReport.from_document(document)
    report = (run / "report.md").read_text()
    assert "## Gates: 1 of 2 failed" in report
    assert (
        f"| `iou of car where weather = fog at least 0.99` | FAILED | `{hit / union:.4f} is below 0.99` |"
        in report
    )
    assert "Slices by weather" in report
    suite = ElementTree.parse(run / "gates.xml").getroot()[0]
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("suite.model", "2", "1")
    assert [case.find("failure") is None for case in suite] == [True, False]


def test_a_drop_is_held_against_the_run_before(folder: Path, results: str) -> None:
    """Without one the gate fails and says how to get one; a run that failed is no baseline."""
    _, error = failed_run(config_of(folder, DROP, results=results))
    assert "there is no baseline: no complete run before this one (evaluate once with --set gates=[]" in str(
        error
    )
    good = evaluate(config_of(folder, results=results))
    first, error = failed_run(config_of(folder, DROP, worse=True, results=results))
    second, again = failed_run(config_of(folder, DROP, worse=True, results=results))
    assert "mean_iou at most 0.01 worse than latest: 0." in str(error)
    assert str(error).partition("\n")[2] == str(again).partition("\n")[2]
    assert open_run(first).summary.provenance["baseline latest"] == str(good)
    ours, before = (open_run(path).computed["mean_iou"] for path in (second, good))
    (verdict,) = json.loads((second / "gates.json").read_text())["gates"]
    assert (verdict["value"], verdict["baseline"], verdict["drop"]) == (ours, before, before - ours)
    assert (first / "gates.json").read_bytes() == (second / "gates.json").read_bytes()
    # Judged again later, a run is not its own baseline.
    latest = evaluate(config_of(folder, {**DROP, "max_drop": 0.5}, worse=True, results=results))
    assert gate(latest, {"gates": [DROP]}).passed is False
    assert gate(latest.parent.parent, {"gates": [{**DROP, "baseline": str(second)}]}).passed
    (one,) = gate(latest, {"gates": [{**DROP, "baseline": f"{results}/nowhere"}]}).verdicts
    assert "the baseline cannot be used: run: found no such folder" in one.reason


def test_a_bound_is_the_end_of_the_interval(folder: Path, results: str) -> None:
    """Of a mean, of a class, of a slice; the same interval as the report's, whatever else is computed."""
    asked = {"intervals": {"method": "jackknife", "per_class": True}, "slices": ["weather"]}
    run = open_run(evaluate(config_of(folder, results=results, **asked)))
    fog = {"weather": "fog"}
    expected = [
        run.computed.headline.interval.low,
        run.computed.class_intervals["dice"][1].high,
        run.computed.slices[1].intervals["mean_iou"].low,
    ]
    gates = [
        {"metric": "mean_iou", "min": expected[0], "bound": "lower"},
        {"metric": "dice", "class": "car", "max": expected[1], "bound": "upper"},
        {"metric": "mean_iou", "slice": fog, "min": expected[2] + 1e-6, "bound": "lower"},
    ]
    report = gate(run.path, {"gates": gates, **asked})
    assert [one.value for one in report.verdicts] == expected
    assert [one.passed for one in report.verdicts] == [True, True, False]
    assert "lower bound of mean_iou where weather = fog at least 0." in report.verdicts[2].gate
    assert "13 images, 95% interval of 0." in report.verdicts[2].basis
    few = {"metric": "mean_iou", "slice": {"speed": "none"}, "min": 0, "bound": "lower"}
    with pytest.raises(ConfigError, match="no metadata column 'speed'"):
        gate(run.path, {"gates": [few]})


def test_a_baseline_of_other_images_truth_or_classes_is_none(
    folder: Path, results: str, tmp_path: Path
) -> None:
    """No drop is told from figures of different things; other rules of scoring are no hindrance."""
    write_pair(tmp_path)
    named = config_of(folder, results=results, model="named", classes=[*CLASSES[:4], "air"])
    part = config_of(folder, results=results, model="part", select={"first": 30})
    written_again = config_of(tmp_path, results=results, model="again")
    ruled = config_of(folder, results=results, model="ruled", exclude_classes=["car"])
    run = evaluate(config_of(folder, results=results))
    for config, reason in (
        (part, "images: 10 images that only run B has: img_030"),
        (named, "classes: other classes (only in run A: air; only in run B: sky)"),
        (written_again, "truth: truth changed in 40 images"),
        (ruled, ""),
    ):
        (one,) = gate(run, {"gates": [{**DROP, "baseline": str(evaluate(config))}]}).verdicts
        assert one.passed is (not reason)
        assert reason in one.reason


def test_an_incomplete_run_is_told_as_such_first(folder: Path, tmp_path: Path) -> None:
    """Exit code 3 goes before 2; the gates are judged all the same, coverage among them."""
    for name in ("truth.zarr", "pred.zarr"):
        shutil.copytree(folder / name, tmp_path / name)
    (tmp_path / "pred.zarr/labels/c/2/1/0").write_bytes(b"broken")
    with pytest.raises(IncompleteError) as caught:
        evaluate(config_of(tmp_path, {"metric": "coverage", "min": 0.99}))
    run = Path(caught.value.run)
    (verdict,) = json.loads((run / "gates.json").read_text())["gates"]
    assert (verdict["passed"], verdict["value"]) == (False, 34 / 40)
    assert read_state(run)["state"] == "incomplete"
    run, _ = failed_run(config_of(tmp_path, {"metric": "coverage", "min": 0.99}, max_quarantined=6))
    assert read_state(run)["state"] == "gate_failed"


def test_figures_of_statistics_are_judged_too(folder: Path, results: str) -> None:
    """Of the whole, of a class, of a slice, and against the run before."""
    given: dict[str, Any] = {"results": results, "statistics": ["components"], "slices": ["weather"]}
    evaluate(config_of(folder, **given))
    asked = [
        {"metric": "mean_component_f1", "min": 0.01, "max_drop": 0},
        {"metric": "component_recall", "class": "car", "min": 1.01},
        {"metric": "mean_component_f1", "slice": {"weather": "fog"}, "max": 0},
    ]
    run, _ = failed_run(config_of(folder, *asked, **given))
    judged = read_json(run / "gates.json")["gates"]
    assert [one["passed"] for one in judged] == [True, True, False, False]
    assert judged[1]["drop"] == 0


def test_of_several_models_the_worst_error_is_told(folder: Path, results: str) -> None:
    """A store that cannot be evaluated is worse than a gate that failed; every other model is published."""
    config = config_of(
        folder, {"metric": "mean_iou", "min": 0.7}, results=results,
        also={"worse": f"{folder}/worse.zarr::labels", "gone": f"{folder}/gone.zarr::labels"},
    )  # fmt: skip
    with pytest.raises(InputError) as caught:
        evaluate_models(config)
    assert caught.value.__notes__ == ["model gone"]
    assert read_json(Path(f"{results}/suite/model/latest.json"))["run"].startswith("000001")


def test_verdicts_are_the_same_bytes_and_escaped(folder: Path, results: str) -> None:
    """For any cut into buckets; names from outside are neither markup nor control characters."""
    gates = [
        {"metric": "iou", "class": EVIL, "slice": {"weather": EVIL}, "min": 0},
        HIGH | {"class": 0},
        FLOOR,
    ]
    settings: dict[str, Any] = {
        "classes": [EVIL, "b", "c", "d", "e"],
        "slices": ["weather", {"has_class": EVIL}],
    }
    run, _ = failed_run(config_of(folder, *gates, results=results, **settings))
    other, _ = failed_run(
        config_of(folder, *gates, results=results, **settings, bucket_images=5, cluster="threads")
    )
    for name in ("gates.json", "gates.xml"):
        assert (run / name).read_bytes() == (other / name).read_bytes()
    for name in ("report.md", "report.html"):
        assert figures(run)[name] == figures(other)[name]
    case = ElementTree.parse(run / "gates.xml").getroot()[0][0]
    assert case.get("name", "").startswith("iou of <b>]]>|`x` [2J? where weather = <b>")
    report = (run / "report.md").read_text()
    assert "\x1b" not in report
    assert "``iou of <b>]]>\\|`x` [2J" in report


def test_mistakes_are_told_before_anything_is_counted(folder: Path) -> None:
    """A figure or a column that there is not."""
    with pytest.raises(ConfigError, match=r"gates.0.metric: no figure 'iuo'; did you mean 'iou'"):
        preview(config_of(folder, {"metric": "iuo", "class": "car", "min": 0}))
    with pytest.raises(ConfigError, match=r"no metadata column 'wether'; .*did you mean 'weather'"):
        preview(config_of(folder, {"metric": "mean_iou", "slice": {"wether": "fog"}, "min": 0}))
    _, summary = preview(config_of(folder, {"metric": "mean_iou", "slice": {"weather": "frog"}, "min": 0}))
    words = "Gate 1 will fail: there is no such slice, or it has too few images (frog); did you mean 'fog'?"
    assert words in summary.warnings


def test_the_command_judges_a_run_that_is_there(
    folder: Path, results: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under its own gates, or those of a file; exit code 2, the numbers on the terminal or as JSON."""
    run = evaluate(config_of(folder, FLOOR, results=results))
    before = sorted(path for path in run.rglob("*"))
    assert command("gate", str(run)) == 0
    assert "Gates: all 1 passed" in capsys.readouterr().out
    (tmp_path / "gates.yaml").write_text(yaml.safe_dump({"gates": [HIGH], "slices": ["weather"]}))
    assert command("gate", str(run), str(tmp_path / "gates.yaml")) == 2
    shown = capsys.readouterr().out
    assert "Gates: 1 of 1 failed" in shown
    assert "FAILED  iou of car where weather = fog at least 0.99: 0." in shown
    assert command("gate", str(run), str(tmp_path / "gates.yaml"), "--json") == 2
    assert json.loads(capsys.readouterr().out)["gates"][0]["passed"] is False
    assert sorted(path for path in run.rglob("*")) == before
    (tmp_path / "none.yaml").write_text("slices: [weather]")
    assert command("gate", str(run), str(tmp_path / "none.yaml")) == 1
    assert "holds no `gates`" in capsys.readouterr().err
    assert command("report", str(run), "--json") == 0
    assert json.loads(capsys.readouterr().out)["gates"]["passed"] is True


def test_evaluate_shows_the_verdict_and_ends_with_2(
    folder: Path, results: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Tables on the output, the reason on the error stream."""
    path = tmp_path / "evaluation.yaml"
    path.write_text(config_of(folder, HIGH, results=results).to_yaml())
    assert command("evaluate", str(path)) == 2
    shown = capsys.readouterr()
    assert "Gates: 1 of 1 failed" in shown.out
    assert "error: gates: 1 of 1 failed" in shown.err
    assert command("evaluate", str(path), "--json") == 2
    document = json.loads(capsys.readouterr().out)["error"]
    assert (document["kind"], document["exit_code"]) == ("GateError", 2)
    assert json.loads((Path(document["run"]) / "gates.json").read_text())["passed"] is False


def command(*words: str) -> int:
    """The exit code of the command."""
    return guarded(
        lambda: commands.main(list(words), "segpipe", standalone_mode=False), as_json="--json" in words
    )
