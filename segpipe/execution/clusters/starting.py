"""Start-up that cannot hang: a cluster is made in a thread of its own, and given up after a while."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Protocol, TypeVar

from segpipe.errors import InfrastructureError

CLOSE_S = 60.0
"""How long the end of a cluster may take; what is left of it then is ended with this process."""


class Closable(Protocol):
    """What has to be closed again."""

    def close(self, timeout: float) -> object:
        """End it, within so many seconds."""


Cluster = TypeVar("Cluster", bound=Closable)


def started(make: Callable[[], Cluster], seconds: float, what: str, advice: str) -> Cluster:
    """What `make` makes, within a time; what comes after that, or after an interrupt, is closed again.

    Args:
        make: starts a cluster and returns it; may hang.
        seconds: how long that may take.
        what: the cluster in words, such as `the Dask cluster on this machine`.
        advice: what to do if it does not start.

    Raises:
        InfrastructureError: it failed, or did not come in time.
    """
    made: Future[Cluster] = Future()
    threading.Thread(target=_make, args=(make, made), name="segpipe-start", daemon=True).start()
    try:
        return made.result(seconds)
    except Exception as error:
        in_time = made.done()
        made.add_done_callback(_close_late)
        why = f" ({error_words(error)})" if in_time else f" within {seconds:g} s"
        message = f"{what} did not start{why}. {advice}"
        raise InfrastructureError(message) from error
    except BaseException:
        made.add_done_callback(_close_late)
        raise


def error_words(error: Exception) -> str:
    """An error of another library in one line.

    >>> error_words(OSError("no\\n route")), error_words(TimeoutError())
    ('OSError: no route', 'TimeoutError')
    """
    words = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' * bool(words)}{words}"


def _make(make: Callable[[], Cluster], made: Future[Cluster]) -> None:
    try:
        made.set_result(make())
    except Exception as error:
        made.set_exception(error)


def _close_late(made: Future[Cluster]) -> None:
    with suppress(Exception):
        made.result().close(CLOSE_S)
