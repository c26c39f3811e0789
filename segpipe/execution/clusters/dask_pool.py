"""The part that all Dask clusters share: a client as a pool, and errors in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import distributed

from segpipe.execution.clusters.base import Pool

KILLED_WORKERS = 2
"""A task that took this many workers with it is suspected, cut in two and tried again."""

DASK_SETTINGS: dict[str, Any] = {
    "distributed.scheduler.allowed-failures": KILLED_WORKERS - 1,
    # One task at a time at each thread: a task that only waited behind a deadly one is not suspected with it.
    "distributed.scheduler.worker-saturation": 1.0,
    # A worker that dies again while it starts is not given up: the task that kills it is being looked for.
    "distributed.deploy.lost-worker-timeout": "10 minutes",
    # A frozen worker is given up after a minute, not after five.
    "distributed.scheduler.worker-ttl": "60 s",
    # Dask's default gives freed memory back at once, and every window is page-faulted again.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": str(512 << 20),
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "distributed.admin.tick.limit": "1 h",
}


@contextmanager
def client_pool(client: distributed.Client, slots: int) -> Iterator[Pool]:
    """A connected client as a pool of tasks."""
    executor = client.get_executor(pure=False)
    try:
        yield Pool(
            executor,
            slots,
            killed=lambda error: isinstance(error, distributed.KilledWorker),
            workers=lambda: len(client.nthreads()),
        )
    finally:
        executor.shutdown(wait=False)


def not_started(what: str, error: Exception, advice: str) -> str:
    """The words for a cluster that does not start or cannot be reached."""
    return f"{what} does not answer ({type(error).__name__}: {error}). {advice}"
