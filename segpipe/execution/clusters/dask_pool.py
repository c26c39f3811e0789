"""The part that all Dask clusters share: their settings, and a client as a pool that is closed in the end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

import distributed
from distributed.utils import silence_logging_cmgr

from segpipe.errors import InfrastructureError
from segpipe.execution.clusters.base import NO_WORKERS_S, Pool
from segpipe.execution.clusters.performance import recording
from segpipe.execution.clusters.starting import CLOSE_S, Closable, error_words

KILLED_WORKERS = 2
"""A task that took this many workers with it is suspected, cut in two and tried again."""

ANSWER_S = 10.0
"""How long a scheduler may take to say how many workers it has; one that is frozen has none."""

THREAD_LIMITS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
    "ZARR_THREADING__MAX_WORKERS": "1",
}
"""The environment of a worker: it counts on one core, and so do the libraries in it (BLAS, codecs, Numba)."""

LOOPBACK_DASHBOARD = "127.0.0.1:0"
"""Where the scheduler of this process shows its dashboard: a free port, for this machine alone."""

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
    **{f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in THREAD_LIMITS.items()},
}


@contextmanager
def quiet_dask() -> Iterator[None]:
    """Keep Dask's own lines and tracebacks from the terminal: what goes wrong is told in our words, once."""
    with silence_logging_cmgr(logging.CRITICAL + 1):
        yield


@contextmanager
def cluster_pool(
    cluster: Any,
    slots: int,
    *,
    first_worker_s: float,
    no_workers: str,
    performance: bool,
    patience_s: float = NO_WORKERS_S,
) -> Iterator[Pool]:
    """A cluster that was started, as a pool of tasks once it has a first worker; closed on every way out.

    Args:
        cluster: of `distributed`.
        slots: tasks that will run at a time when all workers are there.
        first_worker_s: how long the first of them may take.
        no_workers: what to say if there is none by then.
        performance: record what is done, for Dask's report on it.
        patience_s: how long it may be without any later.

    Raises:
        InfrastructureError: no worker came.
        ConfigError: the scheduler cannot draw the report.
    """
    with quiet_dask(), _closed_after(cluster), distributed.Client(cluster, set_as_default=False) as client:
        wait_for_worker(client, first_worker_s, no_workers)
        with client_pool(client, slots, performance=performance, patience_s=patience_s) as pool:
            yield pool


def wait_for_worker(client: distributed.Client, seconds: float, no_workers: str) -> None:
    """Wait until there is a worker.

    Raises:
        InfrastructureError: there is none after so many seconds.
    """
    try:
        client.wait_for_workers(1, timeout=seconds)
    except (OSError, TimeoutError, CancelledError) as error:
        raise InfrastructureError(no_workers) from error


@contextmanager
def client_pool(
    client: distributed.Client, slots: int, *, performance: bool = False, patience_s: float = NO_WORKERS_S
) -> Iterator[Pool]:
    """A connected client as a pool of tasks."""
    report = recording(client) if performance else None
    executor = client.get_executor(pure=False)
    try:
        yield Pool(
            executor,
            slots,
            killed=lambda error: isinstance(error, distributed.KilledWorker),
            workers=lambda: _num_workers(client),
            patience_s=patience_s,
            performance=report,
        )
    finally:
        executor.shutdown(wait=False)


def _num_workers(client: distributed.Client) -> int:
    """How many workers a scheduler has; one that does not answer has none."""
    scheduler: Any = client.scheduler
    try:
        return len(client.sync(scheduler.ncores, callback_timeout=ANSWER_S))
    except (OSError, TimeoutError, CancelledError):
        return 0


@contextmanager
def _closed_after(cluster: Closable) -> Iterator[None]:
    try:
        yield
    finally:
        try:
            cluster.close(CLOSE_S)
        except Exception as error:
            # What broke the run is what is told; what is left of the cluster ends with this process.
            logging.getLogger(__name__).warning("the cluster did not end well (%s)", error_words(error))
