"""Which cluster a run gets, how its buckets are grouped into tasks, and what it will take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from segpipe.config import ClusterConfig
from segpipe.counts.counting import BucketPart
from segpipe.errors import ConfigError
from segpipe.execution.clusters import ClusterOptions, cluster_options
from segpipe.execution.loop import Task

AUTO_THREADS_S = 10.0
"""`auto` starts worker processes when one core would need longer than this."""

TASK_S = 2.0
MAX_TASKS = 20_000
TASKS_PER_SLOT = 8
"""Tasks are made smaller than TASK_S where there would be too few to keep all workers busy to the end."""

DECODED_BYTES_PER_S = 1.2e9
OBJECT_S = 4e-4
"""What reading through zarr-python costs one core: per decoded byte, and per stored object."""


def estimate_s(decoded_bytes: int, objects: int) -> float:
    """Seconds that one core will need, roughly."""
    return decoded_bytes / DECODED_BYTES_PER_S + objects * OBJECT_S


def choose_cluster(config: ClusterConfig, seconds: float) -> ClusterOptions:
    """The configured cluster; for `auto`, threads for short work and local processes for long work.

    Raises:
        ConfigError: an unknown kind, an unknown or wrong option.
    """
    if config.kind == "auto":
        if config.options():
            message = (
                f"cluster 'auto': {', '.join(config.options())}: options are of a kind, and auto chooses the "
                "kind itself: say kind: local or kind: threads"
            )
            raise ConfigError(message)
        return cluster_options(ClusterConfig(kind="threads" if seconds < AUTO_THREADS_S else "local"))
    return cluster_options(config)


def tasks_needed(buckets: int, seconds: float, slots: int) -> int:
    """How many tasks the buckets are grouped into.

    >>> tasks_needed(buckets=5, seconds=0.1, slots=2), tasks_needed(1_000_000, 1e6, 64)
    (5, 20000)
    """
    return min(buckets, MAX_TASKS, max(int(seconds / TASK_S), slots * TASKS_PER_SLOT))


def group_tasks(buckets: Sequence[int], tasks: int) -> Iterator[Task]:
    """Runs of consecutive buckets, of nearly equal length.

    >>> [[part.bucket for part in task] for task in group_tasks([1, 2, 4, 7, 8], 2)]
    [[1, 2], [4, 7, 8]]
    """
    for number in range(tasks):
        first, last = number * len(buckets) // tasks, (number + 1) * len(buckets) // tasks
        yield tuple(BucketPart(bucket) for bucket in buckets[first:last])
