"""Evaluate semantic segmentation at dataset scale: count every pixel once, score for ever.

    import segpipe

    run = segpipe.evaluate("evaluation.yaml")
    run = segpipe.open_run("results/default/model/runs/...")
    segpipe.compare(run_a, run_b)
    counts = segpipe.confusion(truth, pred, num_classes=19)
    writer = segpipe.create_store("pred.zarr", like="truth.zarr::labels", classes=19)

Every name is loaded when it is first used, so that the import itself is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segpipe.accumulator import ConfusionAccumulator
    from segpipe.arrays import confusion
    from segpipe.config import EvaluationConfig, load_config
    from segpipe.errors import (
        ConfigError,
        GateError,
        IncompleteError,
        InfrastructureError,
        InputChangedError,
        InputError,
        Problem,
        SegpipeError,
    )
    from segpipe.run.compared import compare
    from segpipe.run.gated import gate
    from segpipe.run.library import evaluate, evaluate_models
    from segpipe.run.opened import Run, open_run
    from segpipe.writing.create import create_store
    from segpipe.writing.writer import PredictionWriter

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "ConfusionAccumulator",
    "EvaluationConfig",
    "GateError",
    "IncompleteError",
    "InfrastructureError",
    "InputChangedError",
    "InputError",
    "PredictionWriter",
    "Problem",
    "Run",
    "SegpipeError",
    "__version__",
    "compare",
    "confusion",
    "create_store",
    "evaluate",
    "evaluate_models",
    "gate",
    "load_config",
    "open_run",
]

_HOMES = {
    "ConfusionAccumulator": "segpipe.accumulator",
    "EvaluationConfig": "segpipe.config",
    "PredictionWriter": "segpipe.writing.writer",
    "Run": "segpipe.run.opened",
    "compare": "segpipe.run.compared",
    "confusion": "segpipe.arrays",
    "create_store": "segpipe.writing.create",
    "evaluate": "segpipe.run.library",
    "evaluate_models": "segpipe.run.library",
    "gate": "segpipe.run.gated",
    "load_config": "segpipe.config",
    "open_run": "segpipe.run.opened",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value: object = getattr(import_module(_HOMES.get(name, "segpipe.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
