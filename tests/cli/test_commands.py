"""What each command prints and leaves behind, and its exit code."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
import zarr

from segpipe.cli import guarded
from segpipe.config import load_config
from segpipe.errors import InfrastructureError
from segpipe.run import stages
from tests.cli.conftest import Segpipe


@pytest.fixture
def damaged(tmp_path: Path, demo_small: Path) -> str:
    """Predictions of which one chunk (6 images) is cut short."""
    store = tmp_path / "damaged.zarr"
    shutil.copytree(demo_small / "model_a.zarr", store)
    chunk = store / "labels" / "c" / "1" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:100])
    return f"{store}::labels"


def run_of(config: Path) -> Path:
    """The last run of a configuration."""
    return max((config.parent / "results" / "default" / "model_a" / "runs").glob("0*"))


def test_evaluate_prints_tables_and_where_the_report_is(segpipe: Segpipe, config: Path) -> None:
    """Results go to the output, everything else to the error stream."""
    done = segpipe("evaluate", config)
    assert done.code == 0
    assert done.out.startswith("default: model_a\nMean IoU 0.")
    assert "Coverage 100 %: 12 counted of 12 planned" in done.out
    for word in ("mean_iou", "19 of 19 classes", "traffic light", "truth px", "ignored"):
        assert word in done.out
    paths = [run_of(config) / name for name in ("report.html", "report.md")]
    assert done.out.endswith("\nReport: {}\nAs text: {}\n".format(*paths))
    assert all(path.is_file() for path in paths)
    assert "counted 12 of 12 images" in done.err
    assert "plan" not in done.out.split()


def test_a_second_evaluation_counts_nothing(segpipe: Segpipe, config: Path) -> None:
    """What was counted is kept, and the command says so."""
    segpipe("evaluate", config)
    done = segpipe("evaluate", config)
    assert done.code == 0
    assert "nothing to count: all 12 images have counts already" in done.err


def test_counts_are_shown_verified_and_counted_anew(segpipe: Segpipe, config: Path) -> None:
    """What is kept, a recount that agrees, and options that count again."""
    segpipe("evaluate", config)
    results = config.parent / "results"
    shown = segpipe("cache", results, "--verify", 1)
    assert shown.code == 0
    assert "partials: 1 named by 1 runs" in shown.out
    assert "0 would be removed" in shown.out
    assert "verified: 1 buckets counted again" in shown.out
    assert segpipe("cache", results, "--remove", "--json").document["dry_run"] is False
    for options in (["--no-cache"], ["--verify-cache", "100%"]):
        again = segpipe("evaluate", config, *options)
        assert again.code == 0
        assert "counted 12 of 12 images" in again.err
    assert "cache.verify_percent" in segpipe("evaluate", config, "--verify-cache", "all").err


def test_there_is_no_cache_without_results(segpipe: Segpipe, tmp_path: Path) -> None:
    """No folder is made for it."""
    done = segpipe("cache", "resluts")
    assert done.code == 1
    assert "no such folder 'resluts'; name the one that evaluations write to" in done.err
    assert not (tmp_path / "resluts").exists()


def test_options_and_a_file_give_the_same_scores(
    segpipe: Segpipe, config: Path, settings: dict[str, Any]
) -> None:
    """A configuration file is a convenience, not another evaluation."""
    segpipe("evaluate", config)
    words = ("--truth", settings["truth"], "--pred", settings["pred"], "--classes", 19, "--ignore", 255)
    done = segpipe("evaluate", *words, "--results", "other", "--json")
    by_options, by_file = done.document, json.loads((run_of(config) / "scores.json").read_text())
    assert {name: one["value"] for name, one in by_options["aggregates"].items()} == {
        name: one["value"] for name, one in by_file["aggregates"].items()
    }


def test_classes_are_a_number_a_shipped_name_or_a_file(
    segpipe: Segpipe, config: Path, tmp_path: Path
) -> None:
    """All three name the same ids."""
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"names": [f"c{index}" for index in range(19)]}))
    for classes in ("19", "cityscapes", "mine.yaml"):
        assert "19 classes" in segpipe("validate", config, "--classes", classes).out
    unknown = segpipe("validate", config, "--classes", "cityscape")
    assert unknown.code == 1
    assert "did you mean cityscapes?" in unknown.err


def test_set_goes_before_options_and_options_before_the_file(segpipe: Segpipe, config: Path) -> None:
    """The nearer to the hand, the stronger."""
    done = segpipe("plan", config, "--classes", "nosuch", "--set", "classes=19")
    assert done.code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate"], "without a configuration file, --truth, --pred, --classes must be given"),
        (["evaluate", "--truth", "t.zarr"], "without a configuration file, --pred, --classes must be given"),
        (["evaluate", "nosuch.yaml"], "nosuch.yaml: cannot be read"),
        (["evaluate", "--nonsense"], "No such option '--nonsense'; see segpipe evaluate --help"),
        (["evalute"], "No such command 'evalute'"),
        (["plan", "--ignore", "road"], "'road' is not a valid integer"),
        (["report", "nosuch"], "no such folder"),
        (["validate", "--truth", "a", "--pred", "b", "--classes", "0"], "classes"),
    ],
)
def test_mistakes_of_the_user_are_exit_code_1_in_words(segpipe: Segpipe, words: list[str], said: str) -> None:
    """The command line library's own 2 means a failed gate here, so it is never a usage error."""
    done = segpipe(*words)
    assert done.code == 1
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert said in done.err
    assert "Traceback" not in done.err


def test_metrics_lists_what_can_be_scored(segpipe: Segpipe) -> None:
    """Name, formula, range, and when there is nothing to score; as JSON everything that is known."""
    done = segpipe("metrics")
    assert done.code == 0
    for words in ("iou", "tp / (t + p - tp)", "-1 to 1", "NaN where no pixel counts", "all classes"):
        assert words in done.out
    listed = {one["name"]: one for one in segpipe("metrics", "--json").document["metrics"]}
    assert listed["volume_error"]["maximum"] is None
    assert listed["volume_error"]["direction"] == "nearer to 0 is better"
    assert "mcc_per_image" in listed["mcc"]["averages"]
    assert all(one["source"] and one["exclusion"] for one in listed.values())


def test_metrics_lists_what_statistics_can_be_counted(segpipe: Segpipe) -> None:
    """What is summed and read for each, its parameters with their bounds, and its figures like metrics."""
    done = segpipe("metrics")
    for words in ("bins: integer >= 2 and <= 65536 (default 256)",
                  "the pixels around (46 px of an image of 1024 x 2048 px, by default)",
                  "hit of each class, in 2^-30 pixels:", "connectivity: one of 4, 8, 6, 26 (default 8)",
                  "a second prediction (other_pred)", "2 P R / (P + R)", "0 to 36.0437"):  # fmt: skip
        assert words in done.out
    listed = {one["kind"]: one for one in segpipe("metrics", "--json").document["statistics"]}
    assert listed["calibration"]["parameters"] == {
        "bins": {"default": 15, "expected": "integer >= 1 and <= 1000"}
    }
    assert listed["churn"]["needs"] == ["other"]
    assert (listed["boundary_f"]["scope"], listed["boundary_f"]["halo_px"]) == ("halo", 18)
    assert "no contour" not in listed["boundary_f"]["metrics"][0]["nothing"]
    assert listed["components"]["sums"][0]["dims"] == ["class", "size"]
    (ece, *_) = listed["calibration"]["metrics"]
    assert (ece["direction"], ece["averages"]) == ("lower is better", ["ece", "ece_per_image"])


def test_a_metric_that_does_not_exist_is_told_before_anything_is_read(segpipe: Segpipe, config: Path) -> None:
    """`validate` says so, with a guess."""
    done = segpipe("validate", config, "--set", "metrics=[dise]")
    assert done.code == 1
    assert "no metric 'dise'; known: " in done.err
    assert "did you mean dice?" in done.err


def test_report_tells_what_other_tools_would_print(segpipe: Segpipe, config: Path) -> None:
    """On request, from the counts of any run; or in the report, if the configuration asks for it."""
    segpipe("evaluate", config, "--set", "conventions=[mmseg, nnunet]")
    run = run_of(config)
    done = segpipe("report", run, "--conventions")
    assert done.code == 0
    for words in ("What other tools would print", "torchmetrics-weighted", "Why they differ", "class road"):
        assert words in done.out
    document = segpipe("report", run, "--conventions", "--json").document
    names = [one["name"] for one in document["conventions"]]
    assert names[0] == "segpipe"
    assert {"keras", "cityscapes-categories", "detectron2"} <= set(names)
    stored = json.loads((run / "scores.json").read_text())["conventions"]
    assert [one["name"] for one in stored] == ["segpipe", "mmseg", "nnunet"]
    assert "nnunet" in (run / "report.md").read_text()


def test_a_convention_that_does_not_exist_is_told_before_anything_is_read(
    segpipe: Segpipe, config: Path
) -> None:
    """`validate` says so, with a guess."""
    done = segpipe("validate", config, "--set", "conventions=[karas]")
    assert done.code == 1
    assert "no convention 'karas'; known: " in done.err
    assert "did you mean keras?" in done.err


def test_validate_says_what_it_checked(segpipe: Segpipe, config: Path) -> None:
    """Nothing is written."""
    done = segpipe("validate", config)
    assert done.code == 0
    assert done.out.startswith("OK")
    assert "12, matched by id, of equal shapes" in done.out
    assert not (config.parent / "results").exists()


def test_validate_lists_all_problems_at_once(segpipe: Segpipe, config: Path, tmp_path: Path) -> None:
    """One look is enough to repair a dataset; --json has the problems one by one."""
    group = zarr.create_group(tmp_path / "odd.zarr")
    group.create_array("labels", data=np.zeros((2, 64, 128), np.uint8), config={"write_empty_chunks": True})
    group.create_array("image", data=np.array(["x", "y"], np.dtypes.StringDType()))
    done = segpipe("validate", config, "--pred", tmp_path / "odd.zarr::labels")
    assert done.code == 1
    assert "14 problems:" in done.err
    assert "extra image" in done.err
    assert "missing image" in done.err
    asked = segpipe("validate", config, "--pred", tmp_path / "odd.zarr::labels", "--json")
    assert asked.document["error"]["exit_code"] == 1
    assert len(asked.document["error"]["problems"]) == 14


def test_the_missing_chunks_error_names_the_line_of_the_config(
    segpipe: Segpipe, config: Path, tmp_path: Path, demo_small: Path
) -> None:
    """Everybody's first run on a store written with Zarr's defaults."""
    shutil.copytree(demo_small / "model_a.zarr", tmp_path / "part.zarr")
    (tmp_path / "part.zarr" / "labels" / "c" / "1" / "0" / "0").unlink()
    done = segpipe("validate", config, "--pred", tmp_path / "part.zarr::labels")
    assert done.code == 1
    assert "1 of 2 chunks absent" in done.err
    assert "missing_chunks: are_fill_value" in done.err


def test_plan_shows_the_work_and_writes_nothing(segpipe: Segpipe, config: Path) -> None:
    """For people and for programs."""
    done = segpipe("plan", config)
    assert done.code == 0
    assert "threads in this process" in done.out
    figures = segpipe("plan", config, "--json").document
    assert figures["images"] == 12
    assert figures["pixels"] == 12 * 64 * 128
    assert figures["aligned_by"] == "id"
    assert not (config.parent / "results").exists()


def test_report_prints_the_tables_of_a_run_again(segpipe: Segpipe, config: Path) -> None:
    """By the folder of the run, and by the model for its latest run."""
    evaluated = segpipe("evaluate", config)
    assert segpipe("report", run_of(config)).out == evaluated.out
    assert segpipe("report", run_of(config).parent.parent).out == evaluated.out


def test_every_json_answer_is_one_document(segpipe: Segpipe, config: Path) -> None:
    """Nothing else is on the output, and no NaN is in it."""
    for words in (
        ["validate", config],
        ["plan", config],
        ["evaluate", config],
        ["report", config.parent / "results" / "default" / "model_a"],
        ["init", "new.yaml"],
        ["evaluate", "nosuch.yaml"],
        ["evaluate", "--nonsense"],
    ):
        done = segpipe(*words, "--json")
        document = json.loads(done.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert ("error" in document) == (done.code != 0)


def test_json_of_a_run_says_what_every_mean_stands_on(segpipe: Segpipe, config: Path) -> None:
    """A figure without its classes is no result."""
    document = segpipe("evaluate", config, "--json").document
    assert Path(document["run"]) == run_of(config)
    mean = document["aggregates"]["mean_iou"]
    assert len(mean["classes_used"]) + len(mean["classes_dropped"]) == 19
    assert document["coverage"] == 1.0


def test_damaged_chunks_are_incomplete(segpipe: Segpipe, config: Path, damaged: str) -> None:
    """Exit code 3, the place, where the report of the rest is, and its tables."""
    done = segpipe("evaluate", config, "--pred", damaged)
    assert done.code == 3
    assert "6 counted of 12 planned" in done.out
    assert "Mean IoU" in done.out
    assert "6 of 12 images could not be counted" in done.err
    assert "damaged.zarr" in done.err
    assert "the report is in" in done.err


def test_no_scheduler_is_infrastructure(
    segpipe: Segpipe, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 4: the data may be fine."""
    monkeypatch.setattr("segpipe.execution.clusters.address.CONNECT_S", 0.2)
    done = segpipe("evaluate", config, "--set", "cluster={kind: address, address: 'tcp://127.0.0.1:9'}")
    assert done.code == 4
    assert "scheduler at tcp://127.0.0.1:9" in done.err


def test_the_unexpected_is_one_line_and_how_to_see_more(
    segpipe: Segpipe, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 4, and no traceback unless it is asked for."""
    monkeypatch.setattr(stages, "preview", lambda config: 1 // 0)
    done = segpipe("plan", config)
    assert done.code == 4
    assert done.err == (
        "error: unexpected ZeroDivisionError: integer division or modulo by zero "
        "(SEGPIPE_TRACEBACK=1 shows where)\n"
    )
    monkeypatch.setenv("SEGPIPE_TRACEBACK", "1")
    assert "Traceback (most recent call last)" in segpipe("plan", config).err


def test_memory_that_ran_out_is_told_with_what_to_do(
    segpipe: Segpipe, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 4, and no type of Python's."""

    def too_much(config: object) -> None:
        raise MemoryError

    monkeypatch.setattr(stages, "preview", too_much)
    done = segpipe("plan", config)
    assert done.code == 4
    assert done.err.startswith("error: memory ran out; what was counted is kept. Use fewer workers")


def test_an_interrupt_goes_before_what_broke_because_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    """130 before 4 before 3 before 2: a worker that got the signal too is not the reason."""

    def interrupted() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            message = "all workers are gone"
            raise InfrastructureError(message) from None

    before = signal.getsignal(signal.SIGTERM)
    assert guarded(interrupted, as_json=True) == 130
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["kind"] == "Interrupted"
    assert err == "interrupted: what was counted is kept, and the same command goes on from there\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_init_writes_a_configuration_that_validates(segpipe: Segpipe, settings: dict[str, Any]) -> None:
    """With the stores filled in, nothing is left to do."""
    words = ("--truth", settings["truth"], "--pred", settings["pred"], "--classes", "cityscapes")
    done = segpipe("init", *words, "mine.yaml")
    assert done.code == 0
    assert done.out == "wrote mine.yaml; check it with: segpipe validate mine.yaml\n"
    assert segpipe("validate", "mine.yaml").code == 0


def test_init_without_settings_is_a_configuration_with_usual_values(segpipe: Segpipe) -> None:
    """What is commented out in it is valid as well."""
    assert segpipe("init").code == 0
    plain = load_config("evaluation.yaml")
    assert plain.ignore_labels == (255,)
    text = Path("evaluation.yaml").read_text()
    Path("all.yaml").write_text(text.replace("# remap:", "remap:").replace("# model:", "model:"))
    assert load_config("all.yaml").model == "my_model"


def test_init_overwrites_nothing(segpipe: Segpipe) -> None:
    """A configuration that somebody wrote is worth more than a template."""
    Path("evaluation.yaml").write_text("mine")
    done = segpipe("init")
    assert done.code == 1
    assert "evaluation.yaml exists and is not overwritten" in done.err
    assert Path("evaluation.yaml").read_text() == "mine"
    assert "cannot be written (No such file or directory)" in segpipe("init", "no/folder.yaml").err


def test_init_quotes_what_yaml_would_misread(segpipe: Segpipe) -> None:
    """Names with colons, braces, hashes and line ends come back as they were."""
    odd = "a: {b} # [c]\n- d/%x.zarr"
    segpipe("init", "--truth", odd, "--pred", "p.zarr::on", "--ignore", 0, "--ignore", 255)
    made = load_config("evaluation.yaml")
    assert (made.truth.store, made.pred.array, made.ignore_labels) == (odd, "on", (0, 255))


def test_names_from_outside_reach_no_terminal_as_codes(
    segpipe: Segpipe, config: Path, tmp_path: Path
) -> None:
    """Neither the markup of a class name nor control characters of a path are obeyed."""
    names = ["[red]car[/red]", ":smile:", *(f"c{index}" for index in range(2, 19))]
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump({"names": names}))
    done = segpipe("evaluate", config, "--classes", "odd.yaml")
    assert done.code == 0
    assert "[red]car[/red]" in done.out
    assert ":smile:" in done.out
    wrong = segpipe("report", "\x1b[2Jrun")
    assert "\x1b" not in wrong.err


def test_help_names_every_command_and_the_exit_codes(segpipe: Segpipe) -> None:
    """The first thing that is read."""
    done = segpipe("--help")
    assert done.code == 0
    for name in ("init", "validate", "inspect", "plan", "evaluate", "report", "metrics", "doctor"):
        assert f"\n  {name} " in done.out
        assert segpipe(name, "--help").code == 0
    assert "130" in done.out
