"""An evaluation from Python: any form of a configuration in, the opened run out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe.config import EvaluationConfig, make_config
from segpipe.run.evaluate import evaluate as run_stages
from segpipe.run.evaluate import evaluate_models as run_models
from segpipe.run.opened import Run, open_run
from segpipe.run.progress import SILENT, Progress
from segpipe.yaml_files import read_yaml


def evaluate(
    config: EvaluationConfig | Mapping[str, Any] | str | Path, *, progress: Progress = SILENT, **settings: Any
) -> Run:
    """Evaluate predictions against truth and open the result.

    Args:
        config: a configuration, its plain values, or the path of a YAML file.
        progress: is told how far the run is (see `segpipe.run.progress`).
        settings: keys that go before those of `config`, such as `model="b"` or `cluster="threads"`.

    Returns:
        The published run; with several models (`also`), that of `pred`. What was counted stays: the same call
        again counts only what is new.

    Raises:
        ConfigError: the configuration cannot be used.
        InputError: the data cannot be evaluated as it lies; all problems are listed.
        IncompleteError: part of the data was left out, and the settings do not allow that.
        InfrastructureError: the cluster, the disk or the network failed.
    """
    return open_run(run_stages(as_config(config, settings), progress=progress))


def evaluate_models(
    config: EvaluationConfig | Mapping[str, Any] | str | Path, *, progress: Progress = SILENT, **settings: Any
) -> dict[str, Run]:
    """Evaluate the predictions of several models (`also`) against one truth, which is read once.

    Arguments and errors are those of `evaluate`; an error is raised once all other models are done.

    Returns:
        Model -> its published run.
    """
    runs = map(open_run, run_models(as_config(config, settings), progress=progress))
    return {run.summary.model: run for run in runs}


def as_config(
    config: EvaluationConfig | Mapping[str, Any] | str | Path, settings: Mapping[str, Any]
) -> EvaluationConfig:
    """A configuration from any of its forms, with some keys replaced.

    >>> as_config({"truth": "t.zarr", "pred": "p.zarr", "classes": 2}, {"model": "b"}).model
    'b'
    """
    if isinstance(config, EvaluationConfig):
        return make_config({**config.model_dump(), **settings}) if settings else config
    if isinstance(config, Mapping):
        return make_config({**config, **settings})
    values = read_yaml(Path(config))
    changed = {**values, **settings} if isinstance(values, Mapping) else values
    return make_config(changed, source=str(config))
