"""Gates against numbers: what holds, what does not, and that nothing passes unseen."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from segpipe.config import make_config
from segpipe.criteria import GateConfig
from segpipe.errors import ConfigError
from segpipe.metrics.base import METRICS
from segpipe.metrics.gates import (
    Figure,
    GateReport,
    apart,
    bound_of,
    check_gates,
    figure_of,
    judge,
    told,
    worse_by,
)
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import Interval, Scores
from segpipe.metrics.scoring import score_matrix
from segpipe.statistics.base import STATISTICS
from tests.finished import CLASSES

MATRIX = [[6, 2, 0, 0, 0, 0], [1, 3, 0, 1, 0, 0], [0] * 6, [0] * 6, [0] * 6, [0] * 6]
"""Of `CLASSES`: `never` is absent, `ghost` is predicted only. IoU 6/9, 3/7, nothing, 0."""

SCORES = score_matrix(MATRIX, CLASSES, ScoringRules())


def gate(**values: Any) -> GateConfig:
    return GateConfig.model_validate(values)


def test_a_figure_without_an_interval_fails_a_gate_on_its_bound() -> None:
    """With the note that says why."""
    asked = gate(metric="mean_iou", min=0, bound="lower")
    nothing = Interval(math.nan, math.nan, 0.95, "bootstrap", 1, "an interval needs two images at least")
    (one,) = judge(asked, bound_of(asked, figure_of(asked, SCORES, 1.0), nothing), none)
    assert (one.passed, one.reason) == (False, "has no interval: an interval needs two images at least")


@pytest.mark.parametrize(
    ("metric", "bound", "drop", "passed"),
    [
        ("mean_iou", "upper", 0.03, False),
        ("mean_iou", "lower", -0.01, True),
        ("mean_abs_volume_error", "upper", 0.01, True),
        ("mean_abs_volume_error", "lower", -0.03, True),
    ],
)
def test_a_bound_of_a_drop_is_an_end_of_the_paired_interval(
    metric: str, bound: str, drop: float, passed: bool
) -> None:
    """Where less is better it is turned around; what may be chance is forgiven by the lower one only."""
    asked = gate(metric=metric, max_drop=0.02, bound=bound)
    difference = Interval(-0.03, 0.01, 0.95, "bootstrap", 9, "few")
    sides = Figure(value=0.6, basis="2 classes"), Figure(value=0.61)
    (one,) = judge(asked, sides[0], lambda: sides[1], (), lambda: difference)
    assert (one.passed, one.drop) == (passed, drop)
    assert one.gate == f"{metric} at most 0.02 worse than latest ({bound} bound)"
    assert one.basis.startswith("2 classes, 95% interval of the drop: -0.0")
    assert one.reason == ("" if passed else "its drop may be 0.0300, more than 0.02")
    nothing = Interval(math.nan, math.nan, 0.95, "bootstrap", 1, "one image")
    (one,) = judge(asked, sides[0], lambda: sides[1], (), lambda: nothing)
    assert (one.passed, one.reason) == (False, "its drop has no interval: one image")


def none() -> Figure:
    raise AssertionError


def verdict(asked: GateConfig, scores: Scores = SCORES, coverage: float = 1.0) -> Any:
    """The one verdict on a gate without a baseline."""
    (one,) = judge(asked, figure_of(asked, scores, coverage), none)
    return one


@pytest.mark.parametrize(
    ("asked", "passed"),
    [
        ({"metric": "iou", "class": "car", "min": 3 / 7}, True),
        ({"metric": "iou", "class": "car", "min": 0.4286}, False),
        ({"metric": "iou", "class": "car", "max": 3 / 7}, True),
        ({"metric": "iou", "class": "car", "max": 0.4285}, False),
        ({"metric": "pixel_accuracy", "min": 9 / 13}, True),
        ({"metric": "mean_iou", "min": 0.37}, False),
        ({"metric": "coverage", "min": 0.99}, True),
    ],
)
def test_a_floor_and_a_ceiling_pass_themselves(asked: dict[str, Any], passed: bool) -> None:
    """Of classes, of means, of all classes together, of coverage."""
    one = verdict(gate(**asked))
    assert one.passed is passed
    assert bool(one.reason) is not passed


def test_what_is_missing_or_undefined_never_passes() -> None:
    """NaN, and a figure that is not there; neither floor nor ceiling nor drop; with the reason."""
    for limit in ({"min": -9}, {"max": 9}):
        absent = verdict(gate(metric="iou", **{"class": "never"}, **limit))
        assert (absent.passed, absent.reason) == (False, "is not defined: there is nothing to score")
        assert math.isnan(absent.value)
    assert (
        verdict(gate(metric="mcc", min=-1), replace(SCORES, aggregates={})).reason == "mcc was not computed"
    )
    assert "no group of classes 'x'" in verdict(gate(metric="iou", group="x", min=0)).reason
    assert "no such slice" in verdict(gate(metric="mean_iou", slice={"weather": "fog"}, min=0)).reason
    assert verdict(gate(metric="coverage", min=0), coverage=math.nan).passed is False
    drop = gate(metric="mean_iou", max_drop=9)
    for here, before, reason in (
        (Figure(value=math.nan, missing="gone"), Figure(value=1.0), "gone"),
        (Figure(value=1.0), Figure(value=math.nan, missing="no baseline"), "no baseline"),
    ):
        (one,) = judge(drop, here, lambda before=before: before)  # type: ignore[misc]
        assert (one.passed, one.reason) == (False, reason)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_drop_is_measured_towards_the_bad_end(value: float, before: float, limit: float) -> None:
    """Absolute and relative, against plain arithmetic; what is not worse always passes."""
    for relative in (False, True):
        asked = gate(metric="mean_iou", max_drop=limit, relative=relative)
        (one,) = judge(asked, Figure(value=value), lambda: Figure(value=before))
        room = limit * before if relative else limit
        if value >= before:
            assert one.passed
        elif abs(before - value - room) > 1e-9:
            assert one.passed is (before - value < room)


def test_a_drop_of_every_metric_knows_its_good_end() -> None:
    """From the good end to any other value is worse, and back is better."""
    for record in METRICS.values():
        asked = gate(metric=record.averages[0], max_drop=0)
        away = record.minimum if record.best > record.minimum else min(record.maximum, record.best + 1)
        assert worse_by(asked, away, record.best) > 0
        assert worse_by(asked, record.best, away) < 0
        assert worse_by(asked, away, away) == 0
    signed = gate(metric="mean_volume_error", max_drop=0)
    assert worse_by(signed, -0.5, 0.25) == worse_by(signed, 0.5, -0.25) == 0.25


def test_a_relative_drop_from_below_zero_is_a_drop() -> None:
    """A correlation may be negative: worse stays worse."""
    asked = gate(metric="mcc", max_drop=0.1, relative=True)
    assert worse_by(asked, -0.5, -0.25) == 1
    assert worse_by(asked, -0.25, -0.5) == -0.5


def test_rounding_is_no_drop() -> None:
    """0.71 - 0.7 is more than 0.01 in floats."""
    (one,) = judge(gate(metric="mean_iou", max_drop=0.01), Figure(value=0.7), lambda: Figure(value=0.71))
    assert one.passed
    assert told(one) == "0.7000, 0.0100 worse"


def test_verdicts_are_read_with_their_numbers() -> None:
    """As many digits as it takes to see why."""
    assert verdict(gate(metric="iou", **{"class": "car"}, min=0.42858)).reason == "0.42857 is below 0.42858"
    assert told(verdict(gate(metric="iou", **{"class": "car"}, min=0.4))) == "0.4286"
    (one,) = judge(
        gate(metric="mean_iou", max_drop=0.1, relative=True), Figure(value=0.5), lambda: Figure(value=0.8)
    )
    assert one.gate == "mean_iou at most 0.1 (relative) worse than latest"
    assert one.reason == "0.5000 is worse than 0.8000 by 0.3750 of it, more than 0.1"
    (_, one) = judge(gate(metric="mean_iou", min=0.1, max=0.3), Figure(value=0.31), none)
    assert one.gate == "mean_iou at most 0.3"


@given(st.floats(-2, 2), st.floats(-2, 2))
def test_numbers_are_told_on_their_side_of_the_limit(value: float, limit: float) -> None:
    """Whatever was rounded."""
    assert np.sign(float(apart(value, limit)) - limit) == np.sign(value - limit)


def test_a_report_survives_being_written() -> None:
    """Plain data there and back; null is NaN."""
    report = GateReport(math.nan, (verdict(gate(metric="iou", **{"class": "never"}, min=0)),))
    document = report.document()
    assert document["passed"] is False
    plain = {**document, "coverage": None, "gates": [{**document["gates"][0], "value": None, "drop": None}]}
    assert str(GateReport.from_document(plain)) == str(report)
    assert str(report) == "FAILED  iou of never at least 0: is not defined: there is nothing to score"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"metric": "mean_iuo", "min": 0}, r"gates.0.metric: no figure 'mean_iuo'; did you mean 'mean_iou'"),
        ({"metric": "iou", "min": 0}, "iou needs a class or a group; the mean over classes is mean_iou"),
        ({"metric": "mean_iou", "class": "car", "min": 0}, "mean_iou is of all classes together"),
        ({"metric": "mean_dice", "min": 0}, "mean_dice is not computed; add its metric to `metrics`"),
        ({"metric": "dice", "class": "car", "min": 0}, "dice is not computed"),
        ({"metric": "mean_boundary_iou", "min": 0}, "not computed; add .* or its kind to `statistics`"),
        ({"metric": "component_f1", "min": 0}, "component_f1 needs a class .* is mean_component_f1"),
        (
            {"metric": "mean_volume_error", "max_drop": 0, "bound": "lower"},
            "mean_volume_error is better nearer to 0: no bound of a drop",
        ),
        ({"metric": "component_f1", "group": "x", "min": 0}, "has no figures of groups: it is a statistic's"),
    ],
)
def test_gates_on_figures_that_there_are_not_are_refused(asked: dict[str, Any], words: str) -> None:
    """With the number of the gate and what to write instead."""
    with pytest.raises(ConfigError, match=words):
        check_gates(
            [gate(**asked)], ScoringRules(metrics=("mcc", "volume_error")), [STATISTICS["components"]()]
        )


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"metric": "iou", "class": "cat", "min": 0}, r"gates.0.class: no class 'cat' .* did you mean 'car'"),
        (
            {"metric": "iou", "group": "x", "min": 0},
            r"gates.0.group: no group of classes 'x'; there are: moving",
        ),
        (
            {"metric": "mean_iou", "slice": {"has_class": "cat"}, "min": 0},
            r"gates.0.slice.has_class: no class",
        ),
        ({"metric": "mean_iou"}, r"gates.0: expected min, max or max_drop"),
        ({"metric": "mean_iou", "min": 0, "baseline": "latest"}, "relative and baseline belong to max_drop"),
        ({"metric": "coverage", "max_drop": 0}, "coverage has no max_drop; give min"),
        (
            {"metric": "mean_iou", "max_drop": 0, "min": 0, "bound": "lower"},
            "bound is of the figure or of its drop: give min and max, and max_drop, in two gates",
        ),
        (
            {"metric": "mean_iou", "max_drop": 0, "relative": True, "bound": "upper"},
            "bound: there is no interval of a drop that is a share; leave relative out",
        ),
        (
            {"metric": "iou", "class": "car", "group": "moving", "min": 0},
            "class and group both say whose score",
        ),
        ({"metric": "mean_iou", "minn": 0}, r"gates.0.minn: no such key; did you mean min"),
        ({"metric": "mean_iou", "min": ".nan"}, "gates.0.min: input should be a valid number"),
        ({"metric": "mean_iou", "min": math.nan}, "gates.0.min: input should be a finite number"),
        ({"metric": "mean_iou", "min": True}, "gates.0.min: input should be a number"),
        (
            {"metric": "mean_iou", "max_drop": -1},
            "gates.0.max_drop: input should be greater than or equal to 0",
        ),
    ],
)
def test_mistakes_in_gates_are_told_with_their_key(asked: dict[str, Any], words: str) -> None:
    """When the configuration is read."""
    classes = {"names": ["road", "car"], "groups": {"moving": ["car"]}}
    with pytest.raises(ConfigError, match=words):
        make_config({"truth": "t", "pred": "p", "classes": classes, "gates": [asked]})


def test_a_configuration_with_gates_is_read_again_as_it_was_written() -> None:
    """Keys of files, not of Python."""
    asked = {"metric": "iou", "class": 1, "slice": {"n": 3, "b": True}, "max_drop": 0.1, "baseline": "runs/x"}
    config = make_config({"truth": "t", "pred": "p", "classes": ["road", "car"], "gates": [asked]})
    text = config.to_yaml()
    assert "class: 1" in text

    assert make_config(yaml.safe_load(text)) == config
    assert make_config(config.model_dump()) == config
    assert [one.by for one in config.slicings()] == [("n", "b")]
    assert str(config.absolute().gates[0].baseline).endswith("/runs/x")
    assert str(config.absolute().gates[0].baseline).startswith("/")
