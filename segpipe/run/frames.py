"""Scores and results as xarray datasets and pandas frames: loaded only when somebody asks for one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from segpipe.metrics.scores import Scores


def open_results(path: Path) -> xr.Dataset:
    """A results dataset, read where it is looked at; without chunks, so that dask is not needed."""
    return xr.open_dataset(path, engine="zarr", chunks=None)


def grouped(datasets: Sequence[xr.Dataset], values: Sequence[Any], name: str) -> xr.Dataset:
    """Datasets of groups as one, over a dimension of the groups' values."""
    return xr.concat(datasets, pd.Index(values, name=name), combine_attrs="drop_conflicts")


def score_dataset(scores: Scores, names: Sequence[str]) -> xr.Dataset:
    """The named scores as one dataset, per-class scores over `class_name`."""
    classes = np.array(scores.classes.names, object)
    variables: dict[str, Any] = {"images": ((), scores.images), "pixels": ((), scores.counts["pixels"])}
    per_class, aggregates = scores.all_per_class, scores.all_aggregates
    for name in names:
        if name in per_class:
            one = scores.metric(name)
            attributes = {"long_name": one.title, "formula": one.formula, "best": one.best}
            variables[name] = (("class_name",), per_class[name], attributes)
            continue
        mean = aggregates[name]
        attributes = {"long_name": mean.title, "formula": mean.formula, "best": mean.best, "rule": mean.rule}
        variables[name] = ((), mean.value, {**attributes, "averaging": mean.averaging})
        variables[f"{name}_uses"] = (("class_name",), np.isin(classes, list(mean.classes_used)))
    attributes = {"rules": json.dumps(scores.rules.document())}
    return xr.Dataset(variables, coords={"class_name": classes}, attrs=attributes)


def frame(dataset: xr.Dataset) -> pd.DataFrame:
    """A dataset of one dimension as a table."""
    (dim,) = dataset.dims
    columns = {str(name): _plain(dataset[name]) for name in (*dataset.coords, *dataset.data_vars)}
    return pd.DataFrame(columns).set_index(str(dim))


def matrix_frame(matrix: xr.DataArray) -> pd.DataFrame:
    """A matrix (truth, pred) as a table."""
    rows, columns = (pd.Index(_plain(matrix[side]), name=side) for side in ("truth", "pred"))
    return pd.DataFrame(matrix.values, index=rows, columns=columns)


def _plain(values: xr.DataArray) -> NDArray[Any]:
    """Texts as Python objects, which every version of pandas takes."""
    return values.values if values.dtype.kind in "iufb" else values.values.astype(object)
