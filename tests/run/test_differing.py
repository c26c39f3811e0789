"""Why a statistic of two runs is not compared, in words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from segpipe.classes import ClassList
from segpipe.config import StatisticConfig
from segpipe.run.differing import CommonStatistics
from segpipe.statistics.base import STATISTICS, chosen_statistics


def counted(*settings: Any, classes: tuple[str, ...] = ("road", "car")) -> Any:
    """What a comparison asks a run for: the statistics that it counted, and over which classes."""
    given = chosen_statistics([StatisticConfig.model_validate(one) for one in settings])
    return SimpleNamespace(results=SimpleNamespace(statistics=given, classes=ClassList(classes)))


def test_every_parameter_that_differs_is_told_and_no_other() -> None:
    """With the value of each run; what is alike is not spoken of."""
    a = counted({"kind": "boundary_iou", "width_px": 2}, {"kind": "calibration", "bins": 10})
    b = counted({"kind": "boundary_iou", "width_px": 3}, {"kind": "calibration", "bins": 10})
    common = CommonStatistics.of(a, b)
    assert [one.kind for one in common.statistics] == ["calibration"]
    assert common.left_out == ("boundary_iou: width_px is 2 in run A, 3 in run B",)


def test_two_kinds_of_one_name_are_told_apart() -> None:
    """A name that a user gave may make a kind look like that of another package."""
    a, b = counted({"kind": "churn", "name": "fine"}), counted()
    b.results.statistics = (type("Fine", (STATISTICS["churn"],), {"kind": "churn_fine"})(),)
    assert CommonStatistics.of(a, b).left_out == ("churn_fine: churn in run A, churn_fine in run B",)


def test_a_statistic_of_other_classes_is_not_compared() -> None:
    """The same parameters, but class 1 is another one."""
    a, b = counted("soft_overlap"), counted("soft_overlap", classes=("road", "bus"))
    assert CommonStatistics.of(a, b).left_out == ("soft_overlap: counted over other classes",)
