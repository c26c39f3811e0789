"""Stores for the tests of sources are settled at once: waiting for young objects has tests of its own."""

import pytest

from segpipe.sources import storage


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is young, but for times in the future."""
    monkeypatch.setattr(storage, "RACY_S", 0.0)
