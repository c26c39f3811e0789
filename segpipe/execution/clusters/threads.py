"""Threads in this process: nothing to start, and counting releases the interpreter's lock."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psutil
from pydantic import Field, model_validator

from segpipe.execution.clusters.base import CLUSTERS, ClusterOptions, Pool, cores


@CLUSTERS.register("threads")
class Threads(ClusterOptions):
    """Options: `threads`, as many as there are cores if not said."""

    threads: int | None = Field(default=None, ge=1, le=1024)

    @model_validator(mode="before")
    @classmethod
    def _no_report(cls, values: Any) -> Any:
        if "performance_report" in values:
            message = "performance_report is a report of Dask, and threads are not Dask: say kind: local"
            raise ValueError(message)
        return values

    def slots(self) -> int:
        """Tasks that would run at a time."""
        return self.threads or cores()

    def memory_per_slot(self) -> int:
        """An equal share of the memory that is free now."""
        return int(psutil.virtual_memory().available // self.slots())

    def words(self) -> str:
        """The cluster in a few words."""
        return f"threads in this process ({self.slots()})"

    @contextmanager
    def open(self) -> Iterator[Pool]:
        """Start the threads."""
        executor = ThreadPoolExecutor(self.slots(), thread_name_prefix="segpipe-count")
        try:
            yield Pool(executor, self.slots())
        finally:
            executor.shutdown(wait=True, cancel_futures=True)
