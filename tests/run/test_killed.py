"""A driver that is killed loses nothing but what was in flight."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from segpipe.run.evaluate import evaluate
from segpipe.run.record import read_json
from tests.run.datasets import figures, label_maps, pair_config, write_stacked
from tests.warm import Warm

KILLS, BUCKETS = 20, 80
SCRIPT = """
import sys
from segpipe.config import load_config
from segpipe.run.evaluate import evaluate
evaluate(load_config(sys.argv[1]))
"""


def test_killed_twenty_times_then_the_same_bytes(tmp_path: Path, warm: Warm) -> None:
    """`kill -9` of the driving process at random moments, again and again; then the same call finishes.

    Each run finds every partial that the runs before it had written, so that no more is counted again than
    what was in flight; and no half-written partial is ever taken for whole.
    """
    for name, labels, images in zip(("truth", "pred"), label_maps(2 * BUCKETS), (2, 1), strict=True):
        write_stacked(tmp_path / f"{name}.zarr", labels, chunks=(images, *labels.shape[1:]))
    config = pair_config(tmp_path, bucket_images=1, cluster={"kind": "threads", "threads": 1})
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    moments = random.Random(7)
    left_running = 0
    for _ in range(KILLS):
        process = warm.start(SCRIPT, [tmp_path / "config.yaml"])
        # While it plans, counts, or (when all is counted) writes results; whichever comes first.
        enough = partials(tmp_path) + moments.randint(0, 4)
        while partials(tmp_path) < min(enough, BUCKETS) and process.poll() is None:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.05))
        left_running += process.poll() is None
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            assert process.wait() in (0, -signal.SIGKILL)
    there = partials(tmp_path)

    run = evaluate(config)
    counted = read_json(run / "counted.json")
    assert left_running > KILLS // 2
    assert there > 0
    assert counted["buckets"] == BUCKETS
    assert counted["hits"] == there
    assert counted["counted"] == counted["buckets"] - there
    fresh = evaluate(pair_config(tmp_path, results=f"{tmp_path}/fresh"))
    assert figures(run) == figures(fresh)


def partials(folder: Path) -> int:
    """How many buckets are counted."""
    return len(list((folder / "results" / "partials").rglob("[0-9a-f]" * 40)))
