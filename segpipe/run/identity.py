"""What an evaluation is made of, as one hash: evaluations with the same one give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from segpipe.config import EvaluationConfig
from segpipe.counts.counting import PLAN_NAME
from segpipe.planning.plan import make_plan
from segpipe.planning.plan_file import read_keys
from segpipe.run.record import run_config

ABOUT_THE_RUN = {"suite", "model", "also", "results", "date", "metadata", "cluster", "max_read_amplification"}
"""Settings that say where and how a run goes and what it is called; its figures do not depend on them."""


def planned_identity(config: EvaluationConfig) -> str:
    """The identity that a run would have if it were started now; the stores are listed, no label map is read.

    Raises:
        InputError: everything that is wrong with the stores.
    """
    config = config.absolute()
    buckets = make_plan(config).buckets()
    return _identity(config, (key for bucket in buckets for key, _ in bucket.keys.values()))


def run_identity(run: Path) -> str:
    """The identity of a run that has been planned."""
    rows = read_keys(run / PLAN_NAME).to_pylist()
    keys = ([row["key"], *(one["key"] for one in row["statistics"])] for row in rows)
    return _identity(run_config(run), (key for own in keys for key in own))


def _identity(config: EvaluationConfig, keys: Iterable[str]) -> str:
    digest = blake2b(digest_size=20)
    settings = config.model_dump(mode="json", exclude=ABOUT_THE_RUN)
    digest.update(json.dumps(settings, sort_keys=True).encode())
    for key in keys:
        digest.update(key.encode())
    return digest.hexdigest()
