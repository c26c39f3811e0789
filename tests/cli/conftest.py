"""The command line in this process, and a small dataset to point it at."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from segpipe.cli import main


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on the output."""
        return json.loads(self.out)


Segpipe = Callable[..., Done]


@pytest.fixture
def segpipe(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Segpipe:
    """Runs a command in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, out, err)

    return run


@pytest.fixture
def settings(demo_small: Path) -> dict[str, Any]:
    """A configuration of the small demo dataset, as plain values."""
    return {
        "truth": f"{demo_small}/truth.zarr::labels",
        "pred": f"{demo_small}/model_a.zarr::labels",
        "classes": "cityscapes",
        "ignore_labels": [255],
        "cluster": "threads",
    }


@pytest.fixture
def config(tmp_path: Path, settings: dict[str, Any]) -> Path:
    """The same as a file; results go beside it."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**settings, "results": str(tmp_path / "results")}))
    return path
