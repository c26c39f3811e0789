"""What every kind of cluster is: options that are checked, and a pool that takes tasks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any

import psutil
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from segpipe.config import ClusterConfig
from segpipe.errors import ConfigError
from segpipe.mistakes import mistakes
from segpipe.registry import Registry

NO_WORKERS_S = 120.0
"""A cluster that has had no worker for this long is given up, if it does not say how patient to be."""


@dataclass(frozen=True)
class Pool:
    """A running cluster.

    Attributes:
        executor: takes tasks, in the manner of `concurrent.futures`.
        slots: tasks that run at a time.
        killed: whether an error says that a task took its worker with it.
        workers: how many workers there are now.
        patience_s: how long it may be without any worker before it is given up.
        performance: draws Dask's report on all that was done until now, an HTML page; None: it was not asked
            for.
    """

    executor: Executor
    slots: int
    killed: Callable[[BaseException], bool] = lambda _: False
    workers: Callable[[], int] = lambda: 1
    patience_s: float = NO_WORKERS_S
    performance: Callable[[], str] | None = None


def memory_bytes(value: Any) -> Any:
    """An amount of memory in bytes; a number is one already.

    >>> memory_bytes("2 GiB"), memory_bytes(512)
    (2147483648, 512)
    """
    if not isinstance(value, str):
        return value
    from dask.utils import parse_bytes

    try:
        return int(parse_bytes(value))
    except ValueError:
        message = f"{value!r} is no amount of memory such as '2 GiB'"
        raise ValueError(message) from None


MemoryBytes = Annotated[int, BeforeValidator(memory_bytes), Field(ge=1)]
"""An option that is an amount of memory: bytes, or a text such as `2 GiB`."""


class ClusterOptions(BaseModel):
    """The options of one kind of cluster; a new kind is a subclass in a file of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def slots(self) -> int:
        """Tasks that would run at a time."""

    @abstractmethod
    def memory_per_slot(self) -> int:
        """Bytes that one task may use, the process itself included."""

    @abstractmethod
    def words(self) -> str:
        """The cluster in a few words for the plan."""

    @abstractmethod
    def open(self) -> AbstractContextManager[Pool]:
        """Start it; it is closed on every way out.

        Raises:
            InfrastructureError: it does not start.
        """


class DaskOptions(ClusterOptions):
    """Options of every kind that is Dask: `performance_report`, whether its report is kept with the run."""

    performance_report: bool = False


KIND_MODULES = ("threads", "local", "address", "batch", "kubernetes")

CLUSTERS: Registry[type[ClusterOptions]] = Registry(
    "cluster",
    tuple(f"segpipe.execution.clusters.{name}" for name in KIND_MODULES),
)


def cluster_options(config: ClusterConfig) -> ClusterOptions:
    """The checked options of a configured cluster.

    Raises:
        ConfigError: an unknown kind, an unknown or wrong option.
    """
    try:
        return CLUSTERS[config.kind].model_validate(config.options())
    except ValidationError as error:
        message = "\n".join(mistakes(error, CLUSTERS[config.kind], f"cluster ({config.kind})"))
        raise ConfigError(message) from None


def cores() -> int:
    """The cores that this process may use."""
    process = psutil.Process()
    return len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count() or 1
