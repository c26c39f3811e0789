"""A Dask cluster of worker processes on this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from pydantic import Field, field_validator

from segpipe.errors import InfrastructureError
from segpipe.execution.clusters.base import CLUSTERS, ClusterOptions, Pool, cores

START_S = 90


@CLUSTERS.register("local")
class Local(ClusterOptions):
    """Options: `workers` (as many as cores if not said), `memory_limit` of each (`2 GiB`, else a share)."""

    workers: int | None = Field(default=None, ge=1, le=1024)
    memory_limit: str | int | None = None

    @field_validator("memory_limit")
    @classmethod
    def _bytes(cls, value: str | int | None) -> int | None:
        if value is None:
            return None
        from dask.utils import parse_bytes

        try:
            return int(parse_bytes(value))
        except ValueError:
            message = f"{value!r} is no amount of memory such as '2 GiB'"
            raise ValueError(message) from None

    def slots(self) -> int:
        """Tasks that would run at a time."""
        return self.workers or cores()

    def memory_per_slot(self) -> int:
        """The limit of a worker."""
        return int(self.memory_limit or psutil.virtual_memory().available // self.slots())

    def words(self) -> str:
        """The cluster in a few words."""
        return f"Dask on this machine ({self.slots()} worker processes)"

    @contextmanager
    def open(self) -> Iterator[Pool]:
        """Start scheduler and workers on loopback."""
        # Loading distributed takes half a second; only those who start a cluster pay for it.
        import dask
        import distributed

        from segpipe.execution.clusters.dask_pool import DASK_SETTINGS, client_pool, not_started

        advice = (
            "A script that calls segpipe must do so under `if __name__ == '__main__':`; "
            "`cluster: threads` needs no processes"
        )
        # Ctrl-C reaches every process of the terminal; it is for the driver to end its workers.
        preload = [*dask.config.get("distributed.worker.preload"), "segpipe.execution.clusters.no_interrupts"]
        with dask.config.set({**DASK_SETTINGS, "distributed.worker.preload": preload}):
            try:
                cluster = distributed.LocalCluster(
                    n_workers=self.slots(),
                    threads_per_worker=1,
                    memory_limit=self.memory_per_slot(),
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,
                )
            except (OSError, RuntimeError, TimeoutError) as error:
                message = not_started("the Dask cluster on this machine", error, advice)
                raise InfrastructureError(message) from error
            with cluster:
                with distributed.Client(cluster, timeout=START_S, set_as_default=False) as client:
                    with client_pool(client, self.slots()) as pool:
                        yield pool
