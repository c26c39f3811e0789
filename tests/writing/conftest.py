"""What tests of writing share: no waiting for young files."""

from __future__ import annotations

import pytest

from segpipe.sources import storage


@pytest.fixture(autouse=True)
def _young_files_are_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores here are written and read at once; the rule for young files has tests of its own."""
    monkeypatch.setattr(storage, "RACY_S", 0.02)
