"""`import segpipe`: a small face, quick to import, complete, and typed as it behaves."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import segpipe
from segpipe.errors import SegpipeError

REPOSITORY = Path(__file__).resolve().parent.parent
UNLOADED = (
    *("dask", "distributed", "prefect", "numba", "zarr", "pandas", "xarray", "pyarrow"),
    *("numpy", "pydantic", "yaml", "rich", "click"),
)


@pytest.fixture
def settings(demo_small: Path, tmp_path: Path) -> dict[str, Any]:
    """A configuration of the small demo dataset, as plain values."""
    return {
        "truth": f"{demo_small}/truth.zarr::labels",
        "pred": f"{demo_small}/model_a.zarr::labels",
        "classes": "cityscapes",
        "ignore_labels": [255],
        "cluster": "threads",
        "results": str(tmp_path / "results"),
    }


def test_the_import_loads_nothing_but_itself() -> None:
    """Whoever writes `import segpipe` at the top of a script waits for nothing."""
    script = f"import sys, segpipe; print(sorted(set({UNLOADED}) & set(sys.modules)))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", sorted(segpipe.__all__))
def test_every_name_of_the_face_is_there(name: str) -> None:
    """And is what it is called."""
    value = getattr(segpipe, name)
    assert name in dir(segpipe)
    assert name == "__version__" or value.__name__ == name


def test_what_type_checkers_see_is_what_there_is() -> None:
    """The block for type checkers and the face list the same names."""
    tree = ast.parse(Path(segpipe.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in ast.walk(block) if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    assert {*seen, "__version__"} == set(segpipe.__all__)
    for name, module in seen.items():
        assert getattr(segpipe, name) is getattr(sys.modules[str(module)], name)


def test_a_wrong_name_is_an_attribute_error() -> None:
    """Like that of any module."""
    with pytest.raises(AttributeError, match="module 'segpipe' has no attribute 'evalute'"):
        segpipe.evalute  # type: ignore[attr-defined]  # noqa: B018


def test_errors_of_the_face_have_one_root() -> None:
    """`except segpipe.SegpipeError` catches whatever is told in words."""
    errors = [name for name in segpipe.__all__ if name.endswith("Error")]
    assert all(issubclass(getattr(segpipe, name), SegpipeError) for name in errors)


def test_the_version_is_that_of_the_project() -> None:
    """One release, one number."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert segpipe.__version__ == project["version"]


def test_evaluate_takes_a_path_values_or_a_configuration(settings: dict[str, Any], tmp_path: Path) -> None:
    """And settings that go before what is in it; each gives the same figures."""
    config = segpipe.EvaluationConfig.model_validate(settings)
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    runs = [segpipe.evaluate(form, model="mine") for form in (settings, config, path, str(path))]
    assert {run.summary.model for run in runs} == {"mine"}
    assert len({float(run.scores["mean_iou"]) for run in runs}) == 1
    assert segpipe.open_run(runs[0].path).per_class.sizes == {"class_name": 19}
    assert segpipe.evaluate(config).summary.model == "model_a"


def test_evaluate_names_the_wrong_setting(settings: dict[str, Any], tmp_path: Path) -> None:
    """The same words as on the command line, and the file where there is one."""
    with pytest.raises(segpipe.ConfigError, match="clusters: no such key; did you mean cluster"):
        segpipe.evaluate(settings, clusters="threads")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(segpipe.ConfigError, match=r"list\.yaml: found list, expected keys and values"):
        segpipe.evaluate(tmp_path / "list.yaml", model="b")


def test_arrays_need_no_store() -> None:
    """The two ways for label maps that are in memory agree."""
    truth, pred = np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, 1, 1, 0]], np.uint8)
    matrix = segpipe.confusion(truth, pred, num_classes=2, ignore_labels=[255])
    accumulator = segpipe.ConfusionAccumulator(2, ignore_labels=[255])
    accumulator.update(truth, pred)
    np.testing.assert_array_equal(matrix, [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    assert accumulator.result()["mean_iou"] == 0.5
