"""A Dask cluster of worker processes on this machine."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

import psutil
from pydantic import Field

from segpipe.execution.clusters.base import CLUSTERS, DaskOptions, MemoryBytes, Pool, cores
from segpipe.execution.clusters.starting import started

START_S = 180
"""How long all workers together may take to start; a busy machine takes its time."""

WHAT = "the Dask cluster on this machine"
ADVICE = (
    "A script that calls segpipe must do so under `if __name__ == '__main__':`; "
    "`cluster: threads` needs no processes"
)


@CLUSTERS.register("local")
class Local(DaskOptions):
    """Options: `workers` (as many as cores if not said), `memory_limit` of each (`2 GiB`, else a share)."""

    workers: int | None = Field(default=None, ge=1, le=1024)
    memory_limit: MemoryBytes | None = None

    def slots(self) -> int:
        """Tasks that would run at a time."""
        return self.workers or cores()

    def memory_per_slot(self) -> int:
        """The limit of a worker."""
        return self.memory_limit or int(psutil.virtual_memory().available // self.slots())

    def words(self) -> str:
        """The cluster in a few words."""
        return f"Dask on this machine ({self.slots()} worker processes)"

    @contextmanager
    def open(self) -> Iterator[Pool]:
        """Start scheduler and workers on loopback."""
        # Loading distributed takes half a second; only those who start a cluster pay for it.
        import dask
        import distributed

        from segpipe.execution.clusters.dask_pool import DASK_SETTINGS, LOOPBACK_DASHBOARD, cluster_pool

        def make() -> distributed.LocalCluster:
            # Ctrl-C reaches every process of the terminal; it is for the driver to end its workers. What is
            # blocked in this thread is so in all that it starts, and in workers from their first moment on.
            # The first process that is started brings a tracker along, which would unblock it (Python 3.11).
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            return distributed.LocalCluster(
                n_workers=self.slots(),
                threads_per_worker=1,
                memory_limit=self.memory_per_slot(),
                host="127.0.0.1",
                dashboard_address=LOOPBACK_DASHBOARD,
                silence_logs=logging.CRITICAL,
            )

        with dask.config.set(DASK_SETTINGS):
            cluster = started(make, START_S, WHAT, ADVICE)
            no_workers = f"{WHAT} had no worker within {START_S} s. {ADVICE}"
            with cluster_pool(
                cluster,
                self.slots(),
                first_worker_s=START_S,
                no_workers=no_workers,
                performance=self.performance_report,
            ) as pool:
                yield pool
