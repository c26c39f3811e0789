"""The loop that keeps a cluster busy: a window of tasks in flight, each folded and released as it ends."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import replace
from typing import TypeVar

from segpipe.counts.counting import BucketPart, Counted
from segpipe.errors import InfrastructureError, Problem, SegpipeError, memory_ran_out
from segpipe.execution.clusters import Pool

Part = TypeVar("Part", bound=BucketPart)
Task = tuple[BucketPart, ...]
Work = Callable[[Task], list[Counted]]
"""What is done with a task; it travels to the workers with every one of them, so it is small."""

Outcome = list[Counted] | str
"""What was counted, or the traceback of an error that has no words of its own."""

Result = TypeVar("Result")

TASKS_AHEAD = 2
"""Tasks that wait at the cluster for each one that runs."""

LOOK_S = 10.0
"""How often is looked whether a cluster that ends no task has workers."""


def run_tasks(
    pool: Pool,
    work: Work,
    tasks: Iterable[Task],
    images_of: Callable[[int], Sequence[str]],
    on_done: Callable[[Counted], None],
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Do all tasks on a pool, or those that are done before it is time to stop.

    A task that takes its worker with it is cut in two, down to the one image that does it; that image is
    told to `on_done` as quarantined, and all others are counted.

    Args:
        pool: where tasks run.
        work: what a worker does with a task, such as `count_task` of a run.
        tasks: parts of buckets; consumed as the cluster can take them.
        images_of: the ids of a bucket's images, asked for only when a task has to be cut.
        on_done: called in this thread for every part of a bucket that has ended.
        stop: whether to give up what has not ended; asked now and then.

    Raises:
        InfrastructureError: the cluster is lost, or a worker cannot write.
    """
    waiting: dict[Future[Outcome], Task] = {}
    upcoming = iter(tasks)
    cut: list[Task] = []
    while True:
        for task in _next_tasks(upcoming, cut, pool.slots * (1 + TASKS_AHEAD) - len(waiting)):
            waiting[pool.executor.submit(_done, work, task)] = task
        if not waiting:
            return
        done = some_done(waiting, pool, stop)
        if not done or stop():
            for future in waiting:
                future.cancel()
            return
        for future in done:
            task = waiting.pop(future)
            try:
                results = _results(future.result(), task)
            except CancelledError as error:
                message = "the cluster was lost; what was counted is kept, run the same command again"
                raise InfrastructureError(message) from error
            except Exception as error:
                if not pool.killed(error):
                    raise
                smaller = halves(task, images_of)
                cut += smaller
                results = [] if smaller else [_quarantined(task[0], images_of)]
            for counted in results:
                on_done(counted)


def _done(work: Work, task: Task) -> Outcome:
    """What a worker runs. An error nobody expected goes back as text: not every error survives pickling."""
    try:
        return work(task)
    except SegpipeError:
        raise
    except MemoryError as error:
        raise memory_ran_out(error) from None
    except Exception:
        return traceback.format_exc(limit=-20)


def _results(outcome: Outcome, task: Task) -> list[Counted]:
    if isinstance(outcome, str):
        buckets = sorted({part.bucket for part in task})
        message = f"counting failed in buckets {buckets}: {outcome.strip().splitlines()[-1]}"
        error = InfrastructureError(message)
        error.add_note(outcome)
        raise error
    return outcome


def some_done(
    waiting: Collection[Future[Result]], pool: Pool, stop: Callable[[], bool] = lambda: False
) -> set[Future[Result]]:
    """Wait for a task to end, as long as there are workers that could end one; none if it is time to stop."""
    alone_s = 0.0
    while not stop():
        done, _ = wait(waiting, timeout=LOOK_S, return_when=FIRST_COMPLETED)
        if done:
            return done
        alone_s = 0.0 if pool.workers() else alone_s + LOOK_S
        if alone_s > pool.patience_s:
            message = (
                f"no worker for {pool.patience_s:.0f} s; what was counted is kept, run the same command again"
            )
            raise InfrastructureError(message)
    return set()


def _next_tasks(upcoming: Iterator[Task], cut: list[Task], free: int) -> Iterator[Task]:
    """As many tasks as there is room for, those that had to be cut first."""
    for _ in range(free):
        task = cut.pop() if cut else next(upcoming, None)
        if task is None:
            return
        yield task


def halves(task: Sequence[Part], images_of: Callable[[int], Sequence[str]]) -> list[tuple[Part, ...]]:
    """The two halves of a task: of its buckets, then of the images of one bucket; none of a single image.

    >>> halves([BucketPart(7)], lambda bucket: ["a", "b", "c"])
    [(BucketPart(bucket=7, first=0, last=1),), (BucketPart(bucket=7, first=1, last=3),)]
    >>> halves([BucketPart(7, 1, 2)], lambda bucket: ["a", "b", "c"])
    []
    """
    if len(task) > 1:
        middle = len(task) // 2
        return [tuple(task[:middle]), tuple(task[middle:])]
    (part,) = task
    last = len(images_of(part.bucket)) if part.last is None else part.last
    middle = (part.first + last) // 2
    if middle == part.first:
        return []
    return [(replace(part, last=middle),), (replace(part, first=middle, last=last),)]


def _quarantined(part: BucketPart, images_of: Callable[[int], Sequence[str]]) -> Counted:
    problem = Problem(
        kind="worker killed",
        image=images_of(part.bucket)[part.first],
        found="counting this image killed its worker twice",
        expected="a worker that survives it",
        advice="look at the image's chunks, and at the memory of the workers",
    )
    return Counted(part.bucket, quarantined=[problem])
