"""A commented configuration to begin with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from segpipe.config import make_config
from segpipe.errors import ConfigError

DEFAULTS: dict[str, Any] = {
    "truth": "data/truth.zarr::labels",
    "pred": "data/predictions.zarr::labels",
    "layout": "stacked",
    "classes": 19,
    "ignore_labels": [255],
    "void_labels": [],
    "results": "results",
}

TEMPLATE = """\
# What segpipe evaluates. Check it with `segpipe validate`, look at the work with `segpipe plan`.

# Zarr stores of label maps (integers), as STORE::ARRAY.
#   layout stacked: one array (image, y, x) per side; images are matched by the coordinate `image` beside it.
#   layout grouped: one array (y, x) per image, sizes differ; ARRAY is the group, its arrays are named by id.
#   Others: nested, padded, raster, volume, manifest (see the README).
truth: {truth}
pred: {pred}
layout: {layout}

# How many classes there are (labels 0, 1, ...), the names in the order of the labels ([road, car, ...]),
# a shipped list (cityscapes, ade20k, pascal-voc, ...), or a YAML file with `names` and `colors`.
classes: {classes}
# Labels of truth whose pixels take no part.
ignore_labels: {ignore_labels}
# An array beside those of labels, 0 where a pixel is not valid (nodata) and takes no part.
# valid: truth.zarr::valid
# Weights of pixels: an array with some of the dimensions image, y, x, by name; it is repeated along others.
# weights: truth.zarr::weights
# Labels of pred that stand for "no class". Such a pixel is a miss of its true class.
void_labels: {void_labels}
# Where labels are not 0, 1, ...: which stored label is which class.
# remap: {{7: 0, 8: 1}}

# Results go to RESULTS/SUITE/MODEL/runs/NUMBER-TIME; counts are kept beside them and are used again.
results: {results}
suite: default
# The model is named after the store of its predictions, if nothing is said here.
# model: my_model

# What is an error unless it is declared. A chunk that was never written reads as label 0: if your stores
# leave out chunks that hold only background, say `are_fill_value`.
missing_chunks: error       # or are_fill_value, skip, count_as_void
on_missing_pred: error      # or skip, count_as_void
on_extra_pred: error        # or ignore
invalid_truth: error        # or ignore
invalid_pred: error         # or count_as_miss, ignore

# auto: threads or Dask workers on this machine, as the plan says; or threads, local,
# {{kind: address, address: "tcp://host:8786"}} (a Dask cluster that runs already).
cluster: auto
"""


def starter_text(settings: Mapping[str, Any]) -> str:
    """The starter configuration with some settings filled in.

    Args:
        settings: values of `truth`, `pred`, `layout`, `classes`, `ignore_labels`, `void_labels`, `results`;
            what is not given gets a usual value.

    Raises:
        ConfigError: a setting is wrong, such as a class list that does not exist.
    """
    values = {**DEFAULTS, **settings}
    text = TEMPLATE.format(**{key: _value(value) for key, value in values.items()})
    make_config(yaml.safe_load(text), source="starter configuration")
    return text


def write_starter(file: Path, settings: Mapping[str, Any]) -> None:
    """Write the starter configuration to a file that must not exist.

    Raises:
        ConfigError: a setting is wrong, the file exists, or it cannot be written.
    """
    text = starter_text(settings)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        message = f"{file} exists and is not overwritten; name another file"
        raise ConfigError(message) from None
    except OSError as error:
        message = f"{file}: cannot be written ({error.strerror})"
        raise ConfigError(message) from None


def _value(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=2**20)
    return text.removesuffix("\n").removesuffix("\n...")
