"""Ask every peer about every case, and hold the answers against tests/metrics/peers.json and its like.

python -m tests.peers            fails if an answer is another than the stored one
python -m tests.peers --write    writes the file anew
"""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from tests.peers import statistics
from tests.peers.cases import CASES, Case
from tests.peers.tools import TOOLS, Tool, cityscapes_groups, keras_weighted, tf1_mean_iou, versions

STORED = Path(__file__).parent.parent / "metrics" / "peers.json"
STATISTICS = Path(__file__).parent.parent / "statistics" / "peers.json"


def main() -> int:
    """Compare, or write."""
    warnings.simplefilter("ignore")
    os.environ.update(KERAS_BACKEND="torch", TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0")
    asked = ((STORED, answers(), changes), (STATISTICS, statistics.answers(), statistics_changes))
    if "--write" in sys.argv:
        for path, found, _ in asked:
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            count = f"{len(found['figures'])} figures of {len(found['versions'])} packages"
            print(f"{count} written to {path.parent.name}/{path.name}")
        return 0
    different = [
        f"{one} (stored: {other})"
        for path, found, compare in asked
        for one, other in compare(found, json.loads(path.read_text(encoding="utf-8")))
    ]
    count = sum(len(found["figures"]) for _, found, _ in asked)
    print("\n".join(different) or f"{count} figures are as they were stored")
    return bool(different)


def answers() -> dict[str, Any]:
    """Versions, cases and figures as plain data; a figure is a number, NaN is null, an error its type."""
    figures = [
        {"convention": convention, "package": package, "case": case.name, **asked(call, case)}
        for convention, (package, call) in TOOLS.items()
        for case in CASES.values()
    ]
    weighted = {
        "tf1": tf1_mean_iou([0, 0, 1, 1], [0, 1, 0, 1], 2, [0.3, 0.3, 0.3, 0.1]),
        "keras, dtype float32": keras_weighted("float32"),
        "keras, default dtype": keras_weighted(None),
    }
    cases = {
        one.name: {"num_classes": one.num_classes, "truth": one.truth.tolist(), "pred": one.pred.tolist()}
        for one in CASES.values()
    }
    return {
        "made_by": "python -m tests.peers --write",
        "versions": versions(),
        "ignored": 255,
        "categories": cityscapes_groups(),
        "weighted": {name: None if math.isnan(value) else value for name, value in weighted.items()},
        "cases": cases,
        "figures": figures,
    }


def asked(call: Tool, case: Case) -> dict[str, Any]:
    """The figure, or the type of the error."""
    try:
        value = call(case)
    except Exception as error:
        if isinstance(error, ImportError):
            raise
        return {"error": type(error).__name__}
    return {"value": None if math.isnan(value) else value}


def changes(found: dict[str, Any], stored: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Answers that are others; figures may differ in the last digits of float32."""
    pairs = [
        (found[key], stored[key]) for key in ("versions", "categories", "cases") if found[key] != stored[key]
    ]
    pairs += [
        (one, other)
        for one, other in zip(found["figures"], stored["figures"], strict=True)
        if not alike(one, other)
    ]
    return pairs


def statistics_changes(found: dict[str, Any], stored: dict[str, Any]) -> list[tuple[Any, Any]]:
    """The same of the statistics: lists of figures, to six digits."""
    rounded = [
        [{**figure, "value": _rounded(figure["value"])} for figure in answer["figures"]]
        for answer in (found, stored)
    ]
    pairs = [(one, other) for one, other in zip(*rounded, strict=True) if one != other]
    return pairs + [
        (found[key], stored[key]) for key in found if key != "figures" and found[key] != stored[key]
    ]


def _rounded(value: Any) -> Any:
    return [_rounded(each) for each in value] if isinstance(value, list) else round(value, 6)


def alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """The same question, and the same answer to six digits."""
    values = (one.get("value"), other.get("value"))
    close = values[0] == values[1] or (None not in values and math.isclose(*values, rel_tol=1e-6))
    return close and {**one, "value": 0} == {**other, "value": 0}


if __name__ == "__main__":
    sys.exit(main())
