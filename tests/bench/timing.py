"""Several ways to do one thing, taken in turns, so that what else the machine does falls on all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
import psutil

from segpipe.execution.clusters.base import cores

Clock = Callable[[], float]


@dataclass(frozen=True)
class Timing:
    """What a way took, and what it returned at last.

    Attributes:
        seconds: by the clock, median.
        cpu_s: CPU time of this process and its children, median.
        result: of the last call.
    """

    seconds: float
    cpu_s: float
    result: Any


def take_turns(
    ways: Mapping[str, Callable[[], Any]], repeats: int, clock: Clock = time.perf_counter
) -> dict[str, Timing]:
    """Call all ways `repeats` times in turns, after a first turn that is not counted."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for _ in range(repeats + 1):
        for name, way in ways.items():
            cpu_start, start = cpu_time(), clock()
            results[name] = way()
            end = clock()
            times[name].append((end - start, cpu_time() - cpu_start))
    return {
        name: Timing(*(float(median) for median in np.median(measured[1:], axis=0)), results[name])
        for name, measured in times.items()
    }


def computing(threads: int) -> None:
    """Hash 256 MiB, shared among some threads: what nothing but the number of free cores can hold up."""
    data = bytes(1 << 20)

    def hashed(number: int) -> None:
        for _ in range(256 // threads):
            blake2b(data).digest()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(hashed, range(threads)))


def free_cores() -> float:
    """How much faster all cores together compute than one does now; less than there are, if others work."""
    ways = {str(threads): partial(computing, threads) for threads in (1, cores())}
    timings = take_turns(ways, 3)
    return timings["1"].seconds / timings[str(cores())].seconds


def cpu_time() -> float:
    """Seconds of CPU that this process and the children that live have used."""
    process = psutil.Process()
    used = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(times.user + times.system for times in used)
