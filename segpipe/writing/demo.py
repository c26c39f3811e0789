"""The demo dataset: street scenes drawn by rule, and what two imitated networks predict, as Zarr stores.

    python -m segpipe.writing.demo FOLDER [--images N]

writes FOLDER/truth.zarr, model_a.zarr and model_b.zarr. The same numbers give the same pixels.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from segpipe.errors import ConfigError, SegpipeError
from segpipe.writing.imitation import CLEAR, FOG, NETWORKS, NIGHT, RAIN, STRIDE, Moment, Weather, predict
from segpipe.writing.painting import Labels
from segpipe.writing.street import IGNORE, Street, make_street, seen_by_networks, truth_of

MARKER = "dataset.json"
"""Lies in a complete dataset, and says what it was made from."""

SEQUENCES: tuple[tuple[str, Weather], ...] = (
    ("zurich", CLEAR),
    ("porto", RAIN),
    ("utrecht", CLEAR),
    ("bergen", FOG),
    ("graz", CLEAR),
    ("malmo", NIGHT),
    ("cork", RAIN),
    ("turin", CLEAR),
    ("ghent", FOG),
    ("ulm", CLEAR),
    ("gdansk", NIGHT),
    ("lyon", CLEAR),
)


@dataclass(frozen=True)
class StoreForm:
    """How a store is chunked: images per chunk, and per shard where there are shards."""

    name: str
    chunk: int
    shard: int | None = None

    @property
    def unit(self) -> int:
        """Images per stored object."""
        return self.shard or self.chunk

    def sentence(self) -> str:
        """The form in words."""
        shards = f" in shards of {self.shard}" if self.shard else ""
        return f"chunks of {self.chunk} images{shards}, zstd with checksum"


FORMS = (StoreForm("truth", 4), StoreForm("model_a", 6), StoreForm("model_b", 3, shard=12))
RUN_IMAGES = 12
"""Images that are drawn and written at a time: whole chunks and shards of every store."""


@dataclass(frozen=True)
class Dataset:
    """What decides the pixels. The images are dealt out evenly to twelve sequences."""

    images: int = 240
    height: int = 512
    width: int = 1024
    seed: int = 2024
    drawing: int = 1

    def sequence(self, image: int) -> int:
        """The sequence that an image belongs to."""
        return image * len(SEQUENCES) // self.images

    def frame(self, image: int) -> int:
        """Its number within the sequence."""
        return image - -(-self.sequence(image) * self.images // len(SEQUENCES))

    def columns(self) -> dict[str, list[str]]:
        """Ids and metadata, one text per image."""
        places = [SEQUENCES[self.sequence(image)] for image in range(self.images)]
        ids = [f"{name}_{self.frame(image):06d}" for image, (name, _) in enumerate(places)]
        names, weathers = [name for name, _ in places], [weather.name for _, weather in places]
        return {"image": ids, "sequence": names, "weather": weathers}

    def draw(self, image: int, street: Street) -> dict[str, Labels]:
        """Truth and the predictions of one image, each uint8 (y, x)."""
        number, frame = self.sequence(image), self.frame(image)
        codes = street.codes(frame, self.height, self.width)
        seen, weather = seen_by_networks(codes), SEQUENCES[number][1]
        maps = {"truth": truth_of(codes)}
        for index, network in enumerate(NETWORKS):
            maps[network.name] = predict(seen, network, weather, Moment((self.seed, number, index), frame))
        return maps


def write_demo(
    folder: Path,
    dataset: Dataset | None = None,
    *,
    processes: int = 1,
    say: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Write the three stores of a dataset, unless they are there already.

    Everything is written beside `folder` and renamed at the end, so what lies in `folder` is complete.

    Args:
        folder: where the stores go; an earlier demo dataset in it is replaced.
        dataset: what to draw.
        processes: how many draw at the same time; the pixels do not depend on it.
        say: is told the progress, line by line.

    Returns:
        The paths of truth.zarr, model_a.zarr and model_b.zarr.

    Raises:
        ConfigError: the numbers make no dataset, or `folder` holds something else.
    """
    dataset = dataset or Dataset()
    _check(dataset)
    stores = [folder / f"{form.name}.zarr" for form in FORMS]
    if _is_complete(folder, dataset):
        say(f"{folder} is complete already")
        return stores
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        inside = Path(temporary) / "data"
        _create(inside, dataset)
        _draw_all(inside, dataset, processes, say)
        (inside / MARKER).write_text(json.dumps(asdict(dataset)) + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        inside.rename(folder)
    return stores


def _check(dataset: Dataset) -> None:
    if dataset.images < 1:
        message = f"images: found {dataset.images}, expected 1 or more"
        raise ConfigError(message)
    if dataset.height % STRIDE or dataset.width % STRIDE or dataset.height < 32 or dataset.width < 32:
        message = (
            f"size: found {dataset.height} x {dataset.width}, expected multiples of {STRIDE} from 32 pixels"
        )
        raise ConfigError(message)


def _is_complete(folder: Path, dataset: Dataset) -> bool:
    """Whether `folder` holds this dataset; what is not a demo dataset is left alone with an error."""
    marker = folder / MARKER
    if not folder.exists():
        return False
    if marker.is_file():
        return bool(json.loads(marker.read_text(encoding="utf-8")) == asdict(dataset))
    if folder.is_dir() and not any(folder.iterdir()):
        return False
    message = f"{folder} is there and holds no demo dataset; name a new or empty folder"
    raise ConfigError(message)


def _create(folder: Path, dataset: Dataset) -> None:
    """The stores with all their metadata and columns, and no pixels yet."""
    columns = dataset.columns()
    for form in FORMS:
        group = zarr.create_group(
            folder / f"{form.name}.zarr", attributes={"title": f"Street scenes: {form.name}"}
        )
        picture = (dataset.height, dataset.width)
        group.create_array(
            "labels",
            shape=(dataset.images, *picture),
            dtype="uint8",
            chunks=(form.chunk, *picture),
            shards=(form.shard, *picture) if form.shard else None,
            compressors=[ZstdCodec(level=3, checksum=True)],
            fill_value=IGNORE,
            dimension_names=("image", "y", "x"),
        )
        for name in columns if form.name == "truth" else ("image",):
            group.create_array(
                name,
                data=np.array(columns[name], np.dtypes.StringDType()),
                compressors=[ZstdCodec(level=3, checksum=True)],
                dimension_names=("image",),
            )


def _draw_all(folder: Path, dataset: Dataset, processes: int, say: Callable[[str], None]) -> None:
    starts = range(0, dataset.images, RUN_IMAGES)
    done = 0
    for count in _drawn(folder, dataset, starts, processes):
        done += count
        say(f"drawn {done} of {dataset.images} images")


def _drawn(folder: Path, dataset: Dataset, starts: range, processes: int) -> Iterator[int]:
    """How many images each finished run had, as the runs finish."""
    if processes == 1 or len(starts) == 1:
        yield from (write_run(folder, dataset, start) for start in starts)
        return
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(starts)), mp_context=fresh) as pool:
        runs = [pool.submit(write_run, folder, dataset, start) for start in starts]
        yield from (run.result() for run in as_completed(runs))


def write_run(folder: Path, dataset: Dataset, start: int) -> int:
    """Draw the images of one run and write them, whole chunks of every store; returns how many."""
    images = range(start, min(start + RUN_IMAGES, dataset.images))
    streets = {
        number: make_street(dataset.seed, number) for number in {dataset.sequence(image) for image in images}
    }
    maps = [dataset.draw(image, streets[dataset.sequence(image)]) for image in images]
    for form in FORMS:
        # zarr.open_array takes a `config` and does not use it.
        labels = zarr.open_array(folder / f"{form.name}.zarr", path="labels", mode="r+")
        labels = labels.with_config({"write_empty_chunks": True})
        labels[images.start : images.stop] = np.stack([each[form.name] for each in maps])
    return len(images)


def store_line(store: Path, form: StoreForm, dataset: Dataset) -> str:
    """A store in one line: what is in it, how it is chunked, its size."""
    files = [path for path in (store / "labels" / "c").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    maps = f"{dataset.images} label maps of {dataset.height} x {dataset.width}"
    return f"{store}  {maps}, {form.sentence()}, {len(files)} objects, {size:.1f} MB"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--images", default=Dataset.images, show_default=True, help="How many images to draw.")
def main(folder: Path, images: int) -> None:
    """Write the demo dataset to FOLDER: truth and two models as Zarr stores."""
    started, dataset = time.perf_counter(), Dataset(images=images)
    try:
        stores = write_demo(folder, dataset, processes=os.cpu_count() or 1, say=click.echo)
    except SegpipeError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(error.exit_code) from None
    for store, form in zip(stores, FORMS, strict=True):
        click.echo(store_line(store, form, dataset))
    click.echo(f"{time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
