"""Parts of objects, fetched in order: one after the other from a disk, several at once from afar."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, ParamSpec, TypeVar

from segpipe.errors import SegpipeError
from segpipe.sources.storage import Storage

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")

AHEAD_BYTES = 64 << 20
"""Bytes that may be under way or wait to be decoded, beside those that are decoded."""


def requests_at_once(storage: Storage) -> int:
    """How many requests to a storage are worth having under way: one where bytes come from this machine.

    A storage where each request takes long says so by an attribute of this name.
    """
    return int(getattr(storage, "requests_at_once", 1))


@dataclass(slots=True)
class Outcome(Generic[Answer]):
    """What a request brought, or why it brought nothing."""

    answer: Answer | None
    failure: Exception | None = None


def fetched(
    requests: Sequence[Request],
    get: Callable[[Request], Answer | None],
    size: Callable[[Request], int],
    at_once: int,
) -> Iterator[tuple[Request, Outcome[Answer]]]:
    """What each request brings, in their order.

    Args:
        requests: any description of a part of an object.
        get: fetches one; what it raises becomes its outcome, see `attempt`.
        size: the bytes that it will bring.
        at_once: how many may be under way; 1: they are fetched by the calling thread.
    """
    if at_once == 1 or len(requests) == 1:
        yield from ((request, attempt(get, request)) for request in requests)
        return
    waiting: deque[tuple[Request, Future[Outcome[Answer]]]] = deque()
    ahead_bytes = 0
    with ThreadPoolExecutor(min(at_once, len(requests) or 1), thread_name_prefix="segpipe-fetch") as pool:
        for request in requests:
            while waiting and (len(waiting) >= at_once or ahead_bytes + size(request) > AHEAD_BYTES):
                done, future = waiting.popleft()
                ahead_bytes -= size(done)
                yield done, future.result()
            waiting.append((request, pool.submit(attempt, get, request)))
            ahead_bytes += size(request)
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()


def attempt(
    action: Callable[Arguments, Answer | None], *given: Arguments.args, **named: Arguments.kwargs
) -> Outcome[Answer]:
    """Call a function once. Errors that explain themselves, and too little memory, are no outcome: raised."""
    try:
        return Outcome(action(*given, **named))
    except (SegpipeError, MemoryError):
        raise
    except Exception as error:
        return Outcome(None, error)
