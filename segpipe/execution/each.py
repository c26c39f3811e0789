"""A function over many small arguments, on any cluster: a window in flight, results as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from typing import TypeVar

from segpipe.errors import InfrastructureError
from segpipe.execution.clusters import Pool
from segpipe.execution.loop import TASKS_AHEAD, some_done

T = TypeVar("T")
R = TypeVar("R")


def run_each(pool: Pool, function: Callable[[T], R], arguments: Iterable[T]) -> Iterator[R]:
    """The results of a function, in the order in which they come.

    Args:
        pool: where it runs.
        function: can be pickled; raises only what was meant to end everything.
        arguments: consumed as the cluster can take them.

    Raises:
        InfrastructureError: the cluster is lost, or an argument takes its workers with it.
    """
    waiting: dict[Future[R], T] = {}
    upcoming = iter(arguments)
    while True:
        for _, argument in zip(range(pool.slots * (1 + TASKS_AHEAD) - len(waiting)), upcoming, strict=False):
            waiting[pool.executor.submit(function, argument)] = argument
        if not waiting:
            return
        for future in some_done(waiting, pool):
            del waiting[future]
            try:
                result = future.result()
            except CancelledError as error:
                message = "the cluster was lost; what was done is kept, run the same command again"
                raise InfrastructureError(message) from error
            except Exception as error:
                if pool.killed(error):
                    message = "a task killed its worker twice, perhaps for want of memory: use fewer workers"
                    raise InfrastructureError(message) from error
                raise
            yield result
