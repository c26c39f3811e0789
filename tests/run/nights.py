"""Archives of predictions by day and model, and nights over them."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from segpipe.run.nightly import NightlyConfig
from tests.run.datasets import CLASSES, IGNORE, image_ids, label_maps, write_stacked

TODAY = date(2026, 11, 20)
NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
IMAGES = 6


def write_truth(folder: Path) -> None:
    """truth.zarr of six images."""
    write_stacked(folder / "truth.zarr", label_maps(IMAGES)[0], ids=image_ids(IMAGES))


def write_night(folder: Path, day: str, model: str, seed: int = 0, complete: bool | None = True) -> Path:
    """A store of predictions, which says that it is complete, that it is not, or nothing."""
    store = folder / "archive" / day / f"{model}.zarr"
    write_stacked(store, label_maps(IMAGES, seed)[1], ids=image_ids(IMAGES))
    if complete is not None:
        declare(store, complete)
    return store


def declare(store: Path, complete: bool) -> None:
    """Say of a store whether its writer has finished."""
    document = json.loads((store / "zarr.json").read_text())
    document["attributes"] = {"segpipe": {"complete": complete}}
    (store / "zarr.json").write_text(json.dumps(document))


def night_values(folder: Path, evaluation: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """The values of a night's configuration."""
    values = {
        "suite": "suite",
        "truth": f"{folder}/truth.zarr::labels",
        "pred": f"{folder}/archive/{{date}}/{{model}}.zarr::labels",
        "classes": list(CLASSES),
        "ignore_labels": [IGNORE],
        "results": f"{folder}/results",
        "cluster": {"kind": "threads", "threads": 2},
        "on_extra_pred": "ignore",
    }
    return {"evaluation": {**values, **(evaluation or {})}, **settings}


def night_config(folder: Path, evaluation: dict[str, Any] | None = None, **settings: Any) -> NightlyConfig:
    """The configuration of a night."""
    return NightlyConfig.model_validate(night_values(folder, evaluation, **settings))


def latest_day(folder: Path, model: str) -> str:
    """The day at which a model stands."""
    return str(json.loads((folder / f"results/suite/{model}/latest.json").read_text())["day"])


def remove_partials(folder: Path) -> None:
    """Forget what was counted."""
    shutil.rmtree(folder / "results" / "partials")
