"""Counts checked anew: buckets of published runs are counted again and compared with the partials kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np

from segpipe.counts.counting import PLAN_NAME, BucketPart, CountingContext, count_in_memory, read_context
from segpipe.counts.partials import (
    DamagedPartialError,
    Partial,
    PartialStore,
    StatisticPartial,
    decode,
    same_counts,
)
from segpipe.errors import InputError, Problem
from segpipe.planning.bucket import CONFUSION, Bucket
from segpipe.planning.plan_file import num_buckets, read_buckets
from segpipe.run.history import model_folders
from segpipe.run.latest import read_latest
from segpipe.run.manifest import check_manifest

AnyCounts = Partial | StatisticPartial


@dataclass
class Verified:
    """What counting again has shown.

    Attributes:
        runs: whose files were compared with their manifest.
        buckets, partials: that were counted again, with the same counts: of each bucket the confusion matrix
            and every statistic of its run whose counts are the same on every CPU.
        changed: buckets whose label maps have changed since, so that nothing can be said.
        problems: what is not as it was written.
    """

    runs: int = 0
    buckets: int = 0
    partials: int = 0
    changed: int = 0
    problems: list[Problem] = field(default_factory=list)


def verify_latest(results: Path, buckets: int, seed: int) -> Verified:
    """Compare the latest run of each model with its manifest, and so many of its buckets with a recount."""
    seen = Verified()
    for folder in model_folders(results):
        try:
            latest = read_latest(folder)
            if latest is None:
                continue
            run = folder / "runs" / str(latest["run"])
            check_manifest(run, hashes=True)
            seen.runs += 1
        except InputError as error:
            seen.problems += error.problems
            continue
        for bucket in _sample(num_buckets(run / PLAN_NAME), buckets, f"{seed} {run.name}"):
            _verify(run, bucket, seen)
    return seen


def _sample(buckets: int, wanted: int, seed: str) -> list[int]:
    """Some buckets, drawn by a hash.

    >>> _sample(10, 3, "1") == _sample(10, 3, "1"), len(set(_sample(10, 3, "2"))), _sample(2, 5, "1")
    (True, 3, [0, 1])
    """
    if buckets <= wanted:
        return list(range(buckets))
    draw = int.from_bytes(blake2b(seed.encode(), digest_size=8).digest())
    return sorted(np.random.Generator(np.random.Philox(draw)).choice(buckets, wanted, replace=False).tolist())


def _verify(run: Path, number: int, seen: Verified) -> None:
    """Count a bucket again, as far as it has partials of its own (not selected from a larger one)."""
    (bucket,) = read_buckets(run / PLAN_NAME, [number])
    context = read_context(run)
    paths = _own_partials(context, bucket)
    stored, problems = _decoded(paths, bucket)
    if stored:
        counted, again = count_in_memory(context, BucketPart(number), bucket, stored)
        if counted.changed:
            seen.changed += 1
        elif counted.quarantined:
            problems += [replace(problem, kind="verification") for problem in counted.quarantined]
        else:
            differing = [name for name in stored if not same_counts(stored[name], again[name])]
            problems += [_other_counts(name, paths[name], bucket) for name in differing]
            seen.partials += len(stored) - len(differing)
            seen.buckets += not problems
    seen.problems += problems


def _own_partials(context: CountingContext, bucket: Bucket) -> dict[str, Path]:
    """Name of what was counted -> the file with its counts; without what another CPU may count otherwise."""
    store = PartialStore(Path(context.partials))
    exact = context.exact(bucket.keys)
    paths = {name: store.path(key) for name, (key, _) in bucket.keys.items() if name in exact}
    return {name: path for name, path in paths.items() if path.exists()}


def _decoded(paths: Mapping[str, Path], bucket: Bucket) -> tuple[dict[str, AnyCounts], list[Problem]]:
    """What is in some partials, and which of them are damaged."""
    stored: dict[str, AnyCounts] = {}
    problems = []
    for name, path in paths.items():
        data = path.read_bytes()
        try:
            if name == CONFUSION:
                stored[name] = decode(data, path.name, Partial)
            else:
                stored[name] = decode(data, path.name, StatisticPartial)
        except DamagedPartialError:
            advice = "it is counted again when it is needed; look at the disk"
            problems.append(_problem(f"a damaged partial ({name})", advice, path, bucket))
    return stored, problems


def _other_counts(name: str, path: Path, bucket: Bucket) -> Problem:
    advice = "delete the partial and evaluate again; look at the memory and the disk of the workers"
    return _problem(f"counts that are not those of a recount ({name})", advice, path, bucket)


def _problem(found: str, advice: str, path: Path, bucket: Bucket) -> Problem:
    return Problem(kind="verification", found=found, store=str(path), image=bucket.ids[0], advice=advice)
