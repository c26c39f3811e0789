"""What all tests of runs share: no waiting for young files, and a log of every chunk that is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from segpipe.sources import storage
from tests.run.datasets import write_pair


@pytest.fixture(autouse=True)
def _young_files_are_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files here are written once and then read; the rule for young files has tests of its own."""
    monkeypatch.setattr(storage, "RACY_S", 0.02)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of all chunks of label maps that are read, in a list that a test may clear."""
    keys: list[str] = []
    get = storage.LocalStorage.get

    def logged(self: storage.LocalStorage, key: str, *where: int) -> storage.Blob | None:
        if "/c/" in key and key.startswith("labels"):
            keys.append(f"{Path(self.url).name}/{key}")
        return get(self, key, *where)

    monkeypatch.setattr(storage.LocalStorage, "get", logged)
    return keys


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A folder with truth.zarr and pred.zarr of 40 images."""
    write_pair(tmp_path)
    return tmp_path
