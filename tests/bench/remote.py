"""Measure the counting stage from an S3-compatible service on this machine against that from a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from segpipe.execution.clusters.threads import Threads
from segpipe.sources.storage import open_storage
from tests.bench import engine
from tests.bench.document import table
from tests.bench.scale import Scale
from tests.bench.stores import SIDES, Form, dataset, write_config, write_stacked
from tests.bench.timing import take_turns
from tests.sources.servers import BUCKET, Bucket, s3_environment

METHOD = """{images} pairs of smooth label maps of {height} x {width}, in shards of {shard}, from a folder and
from the S3-compatible server of moto. That is written in Python, runs in a process of its own on this machine
and sets the limit: *fetching alone* reads the same objects whole, by the same storage, and decodes nothing.
Two threads; ways in turns, medians of {repeats}."""

SERVER = """
import time
from tests.sources.servers import s3_service
with s3_service() as port:
    print(port, flush=True)
    time.sleep(3600)
"""
LOCAL, REMOTE, FETCHING = "segpipe from a folder", "segpipe from S3", "fetching alone from S3"


def section(scale: Scale) -> str:
    """The table as Markdown."""
    form = Form(shard=min(16, scale.images))
    with dataset(lambda folder: write_stacked(folder, scale.images, scale.size, form)) as folder:
        with _service(folder) as addresses:
            rows = _measured(folder, addresses, scale)
    height, width = scale.size
    method = METHOD.format(
        images=scale.images, height=height, width=width, shard=form.shard, repeats=scale.repeats
    )
    return "\n\n".join([method, table(["way", "wall ms per pair", "x from a folder"], rows)])


def _measured(folder: Path, addresses: dict[str, str], scale: Scale) -> list[list[str]]:
    from_folder = write_config(folder, bucket_images=scale.bucket_images)
    stores = {side: f"{address}::labels" for side, address in addresses.items()}
    remote = folder / "remote"
    remote.mkdir()
    with Threads(threads=2).open() as pool:
        ways = {
            LOCAL: engine._count_stage(from_folder, pool),
            REMOTE: engine._count_stage(
                write_config(remote, bucket_images=scale.bucket_images, **stores), pool
            ),
        }
        timings = take_turns({**ways, FETCHING: _fetching(addresses)}, scale.repeats)
    engine._same({name: timings[name].result for name in ways})
    local_s = timings[LOCAL].seconds
    return [
        [name, f"{1e3 * each.seconds / scale.images:.2f}", f"{each.seconds / local_s:.2f}"]
        for name, each in timings.items()
    ]


def _fetching(addresses: dict[str, str]) -> Callable[[], int]:
    stores = [open_storage(address) for address in addresses.values()]
    wanted = [(store, key) for store in stores for key in store.list("labels/c")]

    def fetch() -> int:
        with ThreadPoolExecutor(2) as threads:
            blobs = threads.map(lambda item: item[0].get(item[1]), wanted)
            return sum(len(blob.data) for blob in blobs if blob)

    return fetch


@contextmanager
def _service(folder: Path) -> Iterator[dict[str, str]]:
    """The stores of a folder in a service; side -> address."""
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        for side in SIDES:
            Bucket(port, f"{side}.zarr").upload(folder / f"{side}.zarr")
        with patch.dict(os.environ, s3_environment(port, "60")):
            yield {side: f"s3://{BUCKET}/{side}.zarr" for side in SIDES}
    finally:
        server.kill()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()
