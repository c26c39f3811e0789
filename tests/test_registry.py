"""Parts are found whoever asks first, and however many threads ask at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from segpipe import registry as module
from segpipe.registry import Registry


def test_threads_that_look_at_once_all_see_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes while the modules are still being imported waits for them."""
    registry: Registry[int] = Registry("thing", ("first", "second"))

    def slow_import(name: str) -> None:
        time.sleep(0.02)
        registry.register(name)(len(name))

    monkeypatch.setattr(module, "import_module", slow_import)
    barrier = Barrier(4)

    def look(name: str) -> int:
        barrier.wait()
        return registry[name]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(look, ["first", "second"] * 2)) == [5, 6, 5, 6]


def test_a_module_may_look_while_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees what is there so far, and does not wait for itself."""
    registry: Registry[int] = Registry("thing", ("only",))
    monkeypatch.setattr(module, "import_module", lambda name: registry.register(name)(len(registry)))
    assert registry["only"] == 0
