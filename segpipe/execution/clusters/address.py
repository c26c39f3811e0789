"""A Dask cluster that runs already, by the address of its scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import Field

from segpipe.errors import InfrastructureError
from segpipe.execution.clusters.base import CLUSTERS, ClusterOptions, Pool

CONNECT_S = 30


@CLUSTERS.register("address")
class Address(ClusterOptions):
    """Options: `address` of the scheduler (`tcp://host:8786`), and for the plan `workers` and `memory_limit`.

    `memory_limit` is that of one worker, in bytes. All workers must see the stores and the results under the
    same paths.
    """

    address: str = Field(pattern=r"^(tcp|tls|ucx|ws|wss)://[^@]+$")
    workers: int = Field(default=4, ge=1)
    memory_limit: int = Field(default=4 << 30, ge=1)

    def slots(self) -> int:
        """Tasks that would run at a time."""
        return self.workers

    def memory_per_slot(self) -> int:
        """The limit of a worker."""
        return self.memory_limit

    def words(self) -> str:
        """The cluster in a few words."""
        return f"Dask at {self.address}"

    @contextmanager
    def open(self) -> Iterator[Pool]:
        """Connect and wait for a first worker."""
        import distributed

        from segpipe.execution.clusters.dask_pool import client_pool, not_started

        advice = "Check that the scheduler runs there and has workers"
        try:
            client = distributed.Client(self.address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError) as error:
            message = not_started(f"the scheduler at {self.address}", error, advice)
            raise InfrastructureError(message) from error
        with client:
            try:
                client.wait_for_workers(1, timeout=CONNECT_S)
            except TimeoutError as error:
                message = not_started(f"a worker at {self.address}", error, advice)
                raise InfrastructureError(message) from error
            slots = sum(client.nthreads().values())
            with client_pool(client, slots) as pool:
                yield pool
