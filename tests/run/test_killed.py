"""A driver that is killed loses nothing but what was in flight."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from segpipe.run.evaluate import evaluate
from segpipe.run.record import read_json
from tests.run.datasets import figures, pair_config, write_pair

KILLS = 20
SCRIPT = """
import sys
from pathlib import Path
from segpipe.config import load_config
from segpipe.run.evaluate import evaluate
print("ready", flush=True)
evaluate(load_config(sys.argv[1]))
"""


def test_killed_twenty_times_then_the_same_bytes(tmp_path: Path) -> None:
    """`kill -9` of the driving process at random moments, again and again; then the same call finishes.

    Each run finds every partial that the runs before it had written, so that no more is counted again than
    what was in flight; and no half-written partial is ever taken for whole.
    """
    write_pair(tmp_path, images=240)
    config = pair_config(tmp_path, bucket_images=1, cluster={"kind": "threads", "threads": 1})
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    partials = tmp_path / "results" / "partials"
    moments = random.Random(7)
    left_running = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "config.yaml")],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moments.uniform(0.05, 0.6))
        left_running += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    there = len(list(partials.rglob("[0-9a-f]" * 40)))

    run = evaluate(config)
    counted = read_json(run / "counted.json")
    assert left_running > KILLS // 2
    assert counted["hits"] == there
    assert counted["counted"] == counted["buckets"] - there
    fresh = evaluate(pair_config(tmp_path, results=f"{tmp_path}/fresh"))
    assert figures(run) == figures(fresh)
