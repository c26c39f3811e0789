"""A Dask cluster that runs already, by the address of its scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FilePath, model_validator

from segpipe.errors import InfrastructureError
from segpipe.execution.clusters.base import CLUSTERS, DaskOptions, MemoryBytes, Pool
from segpipe.execution.clusters.starting import error_words

if TYPE_CHECKING:
    from distributed import Client, Security

CONNECT_S = 30
ADVICE = "Check that the scheduler runs there and has workers"

ExistingFile = Annotated[FilePath, AfterValidator(lambda path: path.absolute())]


class Certificates(BaseModel):
    """TLS by the paths of PEM files; what is in them is read by this process alone and written nowhere.

    Attributes:
        ca_file: the certificate of the authority that signed those of scheduler, workers and client.
        cert, key: the certificate of this client and its private key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ca_file: ExistingFile
    cert: ExistingFile
    key: ExistingFile

    def security(self) -> Security:
        """As Dask takes it: nothing is said in plain text."""
        import distributed

        return distributed.Security(
            tls_ca_file=str(self.ca_file),
            tls_client_cert=str(self.cert),
            tls_client_key=str(self.key),
            require_encryption=True,
        )


@CLUSTERS.register("address")
class Address(DaskOptions):
    """Options: `address` of the scheduler, `tls`, and for the plan `workers` and `memory_limit` of each.

    An address `tls://host:8786` needs `tls: {ca_file, cert, key}`, paths of PEM files; `tcp://` is for a
    network in which everybody may run code as everybody. All workers must see the stores and the results
    under the same paths.
    """

    address: str = Field(pattern=r"^(tcp|tls|ucx|ws|wss)://[^@]+$")
    tls: Certificates | None = None
    workers: int = Field(default=4, ge=1)
    memory_limit: MemoryBytes = 4 << 30

    @model_validator(mode="after")
    def _encrypted_or_not(self) -> Address:
        if self.address.startswith(("tls:", "wss:")) != (self.tls is not None):
            message = "tls: {ca_file, cert, key} belongs to an address tls://, and to no other"
            raise ValueError(message)
        return self

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
        from segpipe.execution.clusters.dask_pool import client_pool, quiet_dask, wait_for_worker

        with quiet_dask(), self._connected() as client:
            wait_for_worker(client, CONNECT_S, f"no worker at {self.address} within {CONNECT_S} s. {ADVICE}")
            slots = sum(client.nthreads().values())
            with client_pool(client, slots, performance=self.performance_report) as pool:
                yield pool

    def _connected(self) -> Client:
        import distributed

        security = self.tls.security() if self.tls else None
        try:
            return distributed.Client(
                self.address, timeout=CONNECT_S, set_as_default=False, security=security
            )
        except (OSError, TimeoutError) as error:
            message = f"the scheduler at {self.address} does not answer ({error_words(error)}). {ADVICE}"
            raise InfrastructureError(message) from error
