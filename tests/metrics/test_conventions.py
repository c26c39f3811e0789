"""What other tools would print: their own figures, their published rules by hand, and why they differ."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.accumulator import ConfusionAccumulator
from segpipe.classes import ClassGroup, ClassList
from segpipe.errors import ConfigError
from segpipe.kernels.cells import ConfusionCells
from segpipe.metrics.conventions.base import CONVENTIONS, WORDS, ConventionRules
from segpipe.metrics.conventions.scoring import (
    OURS,
    ConventionScore,
    chosen_conventions,
    score_conventions,
)
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scoring import score_counts
from segpipe.run.opened import open_run
from tests.finished import finish_run, random_matrices
from tests.metrics.matrices import Maps, label_maps, of_maps

PEERS = json.loads((Path(__file__).parent / "peers.json").read_text("utf-8"))
every_convention = pytest.mark.parametrize("name", sorted(CONVENTIONS))


def blocks(cells: ConfusionCells) -> list[tuple[list[str], ConfusionCells]]:
    return [([f"image-{index}" for index in range(len(cells))], cells)]


def figures(maps: Maps, groups: dict[str, list[int]] | None = None) -> dict[str, ConventionScore]:
    members = {name: [at for at in ids if at < maps.num_classes] for name, ids in (groups or {}).items()}
    kept = tuple(ClassGroup(name, tuple(ids)) for name, ids in members.items() if ids)
    classes = ClassList(maps.classes.names, groups=kept)
    return {one.name: one for one in score_conventions(blocks(maps.cells()), classes)}


def peer_maps(case: dict[str, Any]) -> Maps:
    """The case as codes: 255 in truth is ignored, any other label that is no class is invalid."""
    classes = case["num_classes"]

    def codes(image: list[list[int]], ignored: int | None) -> list[int]:
        labels = [label for row in image for label in row]
        return [at if at < classes else classes if at == ignored else classes + 1 for at in labels]

    truth = [codes(image, PEERS["ignored"]) for image in case["truth"]]
    return Maps(classes, truth, [codes(image, None) for image in case["pred"]])


@pytest.fixture(scope="module")
def by_case() -> dict[str, dict[str, ConventionScore]]:
    return {name: figures(peer_maps(case), PEERS["categories"]) for name, case in PEERS["cases"].items()}


@pytest.mark.parametrize(
    "figure", PEERS["figures"], ids=lambda one: f"{one['convention']}, {one['case']}".replace(" ", "_")
)
def test_a_convention_gives_the_figure_of_the_tool(
    figure: dict[str, Any], by_case: dict[str, dict[str, ConventionScore]]
) -> None:
    """To the six digits of float32; where the tool raises an error, we say so."""
    found = by_case[figure["case"]][figure["convention"]]
    if "error" in figure:
        assert found.refused or figure["error"] == "NotImplementedError"
        return
    expected = math.nan if figure["value"] is None else figure["value"]
    assert found.value == pytest.approx(expected, rel=2e-6, nan_ok=True)
    assert not found.refused


def test_every_convention_that_is_checked_by_a_tool_has_its_figures() -> None:
    """Each of them on every case; each names package, version and call."""
    asked = {(one["convention"], one["case"]) for one in PEERS["figures"]}
    checked = [name for name in CONVENTIONS if CONVENTIONS[name].checked == "tool"]

    assert asked == {(name, case) for name in checked for case in PEERS["cases"]}
    assert {one["package"] for one in PEERS["figures"]} == set(PEERS["versions"])
    assert all(CONVENTIONS[name].call for name in CONVENTIONS)


def test_the_weights_of_the_documentation() -> None:
    """[0,0,1,1] against [0,1,0,1] with weights [.3,.3,.3,.1], as TF1 and Keras in float32 print it.

    Current Keras with its default dtype truncates the weights to 0; that is not copied.
    """
    seen = ConfusionAccumulator(2)
    seen.update([0, 0, 1, 1], [0, 1, 0, 1], weights=[0.3, 0.3, 0.3, 0.1])

    assert seen.result()["mean_iou"] == pytest.approx(0.23809524, abs=5e-9)
    for tool in ("tf1", "keras, dtype float32"):
        assert seen.result()["mean_iou"] == pytest.approx(PEERS["weighted"][tool], rel=1e-6)
    assert PEERS["weighted"]["keras, default dtype"] == 0.0


def test_the_calculation_on_a_confusion_matrix() -> None:
    """calculate_mean_iou(cm) of a matrix of counts, by the accumulator in two parts and by the convention."""
    truth, pred = [0, 0, 1, 1, 2], [0, 1, 1, 1, 2]
    parts = [ConfusionAccumulator(3), ConfusionAccumulator(3)]
    parts[0].update(truth[:2], pred[:2])
    parts[1].update(truth[2:], pred[2:])
    parts[0].merge(parts[1])

    assert parts[0].result()["mean_iou"] == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    assert figures(of_maps([truth], [pred], 3))["keras"].value == parts[0].result()["mean_iou"]
    parts[0].reset()
    assert math.isnan(parts[0].result()["mean_iou"])


ONE_IMAGE = of_maps([[0, 0, 1, 3, 0, 3, 1, 3]], [[0, 0, 1, 1, 3, 3, 1, 3]], 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iou-standard", 0.666667), ("iou-standard-kept", 0.611111),
        ("iou-naive", 0.777778), ("iou-naive-kept", 0.708333),
        ("dice-standard", 0.8), ("dice-standard-kept", 0.755556),
        ("dice-naive", 0.866667), ("dice-naive-kept", 0.816667),
    ],
)  # fmt: skip
def test_the_articles_figures_of_one_image(name: str, value: float) -> None:
    """Class 2 is absent, class 3 is background and dropped unless kept; no smoothing."""
    found = figures(ONE_IMAGE)[f"numpy-blog-{name}"]

    assert found.value == pytest.approx(value, abs=5e-7)


def test_the_articles_figures_of_two_images() -> None:
    """`mean_per_class` is the vector before the mean; the soft kind takes classes in truth only."""
    found = figures(of_maps([[0, 0, 1, 1], [0, 0, 2, 2]], [[0, 1, 1, 1], [0, 0, 2, 1]], 3))

    standard = found["numpy-blog-iou-standard"]
    assert standard.value == pytest.approx(0.541667, abs=5e-7)
    assert standard.per_class == pytest.approx({"class_0": 0.75, "class_1": (2 / 3 + 0) / 2})
    assert found["numpy-blog-iou-soft"].value == pytest.approx((0.75 + 2 / 3) / 2)
    assert found["keras"].per_class == {"class_0": 0.75, "class_1": 0.5, "class_2": 0.5}


def test_one_class_is_never_dropped_as_background() -> None:
    """drop_last with N = 1 keeps the class."""
    assert figures(of_maps([[0, 0]], [[0, 0]], 1))["numpy-blog-iou-standard"].value == 1.0


def test_the_published_rule_of_hf_evaluate_on_a_case_counted_by_hand() -> None:
    """Its truth area loses a stray truth, its predicted area does not; a prediction 9 is a miss.

    truth 0 0 1 1 7, pred 0 9 1 0 1: IoU of 0 is 1 / (2 + 2 - 1), of 1 is 1 / (2 + 2 - 1).
    """
    found = figures(Maps(2, [[0, 0, 1, 1, 3]], [[0, 3, 1, 0, 1]]))["hf-evaluate"]

    assert found.per_class == pytest.approx({"class_0": 1 / 3, "class_1": 1 / 3})
    assert [step.rule for step in found.telling] == ["stray_truth"]


def test_the_published_rule_of_detectron2_on_a_case_counted_by_hand() -> None:
    """A class that is predicted and not in truth is left out; so is a pixel whose prediction is no class.

    truth 0 0 0 1, pred 0 void 2 1: IoU of 0 is 1 / (2 + 1 - 1), of 1 is 1, class 2 is left out.
    """
    found = figures(Maps(3, [[0, 0, 0, 1]], [[0, 3, 2, 1]]))["detectron2"]

    assert found.value == 0.75
    assert math.isnan(found.per_class["class_2"])
    assert [(step.rule, step.because) for step in found.telling] == [
        ("out_of_range", "1 pixels; of the true classes class_0 (1); most in the images image-0"),
        ("only_predicted", "class class_2"),
    ]


@settings(max_examples=25)
@given(maps=label_maps(min_images=1))
def test_our_own_figure_is_the_mean_iou_of_the_default_rules(maps: Maps) -> None:
    """And Cityscapes, with the same rules, prints the same bits."""
    cells, found = maps.cells(), figures(maps)
    ours = score_counts([cells], cells.total(), maps.classes, ScoringRules())["mean_iou"]

    np.testing.assert_array_equal([found["segpipe"].value, found["cityscapes"].value], [ours, ours])


@settings(max_examples=25)
@given(maps=label_maps(min_images=1))
def test_the_steps_lead_from_our_figure_to_that_of_the_tool(maps: Maps) -> None:
    """Changes add up, every step has its words, and a step that changes the figure names what it touches."""
    found = figures(maps, {"one": [0, 1], "two": [1, 2, 3]})
    for one in found.values():
        values = [found["segpipe"].value, *(step.value for step in one.steps)]
        np.testing.assert_array_equal(values[-1], one.value)
        for step, before, after in zip(one.steps, values, values[1:], strict=False):
            np.testing.assert_array_equal(step.change, after - before)
            assert step.words in WORDS[step.rule].values()
            assert step.because or step.change == 0 or math.isnan(step.change)


@settings(max_examples=15)
@given(maps=label_maps(min_images=1), seed=st.integers())
def test_neither_order_nor_cut_of_images_changes_a_figure(maps: Maps, seed: int) -> None:
    """One image at a time in any order: the same bits."""
    cells = maps.cells()
    order = random.Random(seed).sample(range(len(cells)), len(cells))
    alone = score_conventions(((["x"], cells.take([at])) for at in order), maps.classes)
    whole = score_conventions(blocks(cells), maps.classes)

    for one, other in zip(alone, whole, strict=True):
        assert np.float64(one.value).tobytes() == np.float64(other.value).tobytes(), one.name


@every_convention
def test_every_rule_of_a_convention_is_told_in_words(name: str) -> None:
    """The path from our rules to its rules ends there, one rule at a time."""
    rules = CONVENTIONS[name].rules
    path = list(rules.path())

    assert (path[-1][1] if path else ConventionRules()) == rules
    assert all(rules.words(rule) for rule, _ in path)
    assert len({rule for rule, _ in path}) == len(path)


def test_categories_need_groups() -> None:
    """`all` leaves their convention out where there are none; asked for by name it is refused."""
    classes = ClassList.numbered(2)

    assert "cityscapes-categories" not in [one.name for one in chosen_conventions("all", classes)]
    with pytest.raises(ConfigError, match="'cityscapes-categories' scores categories, and the"):
        chosen_conventions(["cityscapes-categories"], classes)
    with pytest.raises(ConfigError, match=r"no convention 'kera'; known: .*did you mean keras\?"):
        chosen_conventions(["kera"], classes)


def test_a_category_scores_the_union_of_its_classes() -> None:
    """A class taken for another of its category is right: hits 3 of 3 and 1 of 2 by hand."""
    maps = Maps(3, [[0, 0, 1, 2, 2]], [[1, 0, 1, 2, 0]])
    found = figures(maps, {"ab": [0, 1], "c": [2]})["cityscapes-categories"]

    assert found.per_class == {"ab": 3 / 4, "c": 1 / 2}
    assert "iIoU" in found.note


def test_an_error_of_the_tool_is_told() -> None:
    """TF1 and torchmetrics refuse labels that are no class; the figure is that without these pixels."""
    found = figures(Maps(2, [[0, 0, 1, 3]], [[0, 3, 1, 0]]))

    for name in ("tf1", "torchmetrics", "torchmetrics-segmentation"):
        assert found[name].refused == (
            "1 pixels have a prediction that is no class; "
            "1 pixels have a truth that is neither a class nor ignored"
        )
        assert found[name].value == 1.0
    assert found["mmseg"].refused == ""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish_run(tmp_path_factory.mktemp("run") / "run", random_matrices(6), conventions="all")


def test_the_report_tells_figures_and_reasons_when_asked(run: Path) -> None:
    """A table, and sentences with classes and images; scores.json has the same as plain data."""
    text = (run / "report.md").read_text("utf-8")
    section = text[text.index("## What other tools would print") : text.index("## Rules")]
    document = json.loads((run / "scores.json").read_text("utf-8"))["conventions"]

    assert "| mmseg |" in section
    assert "### Why they differ" in section
    for words in (
        "A pixel whose prediction is no class is left out altogether (32 pixels; of the true classes",
        "A class that is predicted but not in truth is left out (class ghost): detectron2 +0.0889.",
        "the lowest mean IoU have image-0001",
        "(class never): nnunet undefined, nnunet-iou undefined.",
        "No rule makes a difference here: cityscapes.",
        "Stop with an error, and the figure is that without such pixels",
    ):
        assert words in section
    ours = json.loads((run / "scores.json").read_text("utf-8"))["aggregates"]["mean_iou"]["value"]
    assert document[0]["value"] == ours
    names = {one["name"] for one in document}
    assert names == {OURS.name, *CONVENTIONS} - {"cityscapes-categories", "cityscapes-iiou"}


def test_nothing_is_told_when_nobody_asked(tmp_path: Path) -> None:
    """The report stays short."""
    run = finish_run(tmp_path / "run", random_matrices(2))

    assert "other tools" not in (run / "report.md").read_text("utf-8")
    assert json.loads((run / "scores.json").read_text("utf-8"))["conventions"] == []


def test_an_opened_run_tells_conventions_and_shares_of_its_confusions(run: Path) -> None:
    """From its counts, whether the report did or not."""
    opened = open_run(run)
    scores = opened.conventions(["mmseg", "nnunet"])

    assert [one.name for one in scores] == ["segpipe", "mmseg", "nnunet"]
    assert math.isnan(scores[2].value)
    assert "never" in scores[2].telling[-1].because
    shares = opened.confusion_shares("truth")
    assert shares.sel(truth="road").sum().item() == pytest.approx(1)
    assert shares.attrs["units"] == "1"
