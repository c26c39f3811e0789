"""`segpipe evaluate` as a process that a fault is done to, and the workers of it.

The environment variable SEGPIPE_FAULT says in JSON what is different from the real command. Dask's workers
load this module as a preload, so it holds for them too.

    slow_s     each bucket takes so much longer, so that there is time for a fault
    deadly     the hash of a prediction that kills whatever process counts it
    clock_s    the clock is wrong by so much, from the bucket `clock_at` on
    ttl        after which a frozen worker is given up
    file_bytes no file may become larger
    patience_s after which a cluster without workers is given up
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from datetime import datetime, tzinfo
from hashlib import blake2b
from typing import Any

from segpipe import cli
from segpipe.counts import counting
from segpipe.execution import loop
from segpipe.run import record

VARIABLE = "SEGPIPE_FAULT"


def prepare(settings: dict[str, Any]) -> None:
    """Make this process different, once."""
    if hasattr(counting.count_images, "faulty"):
        return
    if "file_bytes" in settings:
        resource.setrlimit(resource.RLIMIT_FSIZE, (settings["file_bytes"], settings["file_bytes"]))
    if "clock_s" in settings:
        _wrong_clock(settings["clock_s"])
    _count_otherwise(settings)
    if {"ttl", "patience_s"} & set(settings):
        _impatient(settings)


def _count_otherwise(settings: dict[str, Any]) -> None:
    real, counted = counting.count_images, [0]

    def count_images(truth: Any, pred: Any, *rest: Any) -> Any:
        time.sleep(settings.get("slow_s", 0))
        if "deadly" in settings and pred_hash(pred.values) == settings["deadly"]:
            os.kill(os.getpid(), signal.SIGKILL)
        counted[0] += 1
        if counted[0] > settings.get("clock_at", 0):
            Clock.moved = True
        return real(truth, pred, *rest)

    count_images.faulty = True  # type: ignore[attr-defined]
    counting.count_images = count_images


def pred_hash(values: Any) -> str:
    """What names a prediction."""
    return blake2b(values.tobytes(), digest_size=8).hexdigest()


class Clock:
    """Whether the clock is wrong already."""

    moved = False


def _wrong_clock(shift_s: float) -> None:
    real, real_ns = time.time, time.time_ns

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Wrong:
            return cls.fromtimestamp(time.time(), tz)

    time.time = lambda: real() + shift_s * Clock.moved
    time.time_ns = lambda: real_ns() + int(shift_s * 1e9) * Clock.moved
    record.datetime = Wrong  # type: ignore[misc]


def _impatient(settings: dict[str, Any]) -> None:
    from segpipe.execution.clusters import dask_pool

    dask_pool.DASK_SETTINGS["distributed.scheduler.worker-ttl"] = settings.get("ttl", "60 s")
    dask_pool.ANSWER_S = loop.LOOK_S = 1.0
    real, patience_s = dask_pool.client_pool, settings.get("patience_s", 60)
    dask_pool.client_pool = lambda client, slots, **_: real(client, slots, patience_s=patience_s)


def main() -> None:
    """Evaluate, in a group of processes of its own."""
    os.setsid()
    cli.main(["evaluate", *sys.argv[1:]])


if VARIABLE in os.environ:
    prepare(json.loads(os.environ[VARIABLE]))
