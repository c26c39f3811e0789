"""The demo dataset: complete, checksummed, the same every time, and never half there."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

from segpipe.errors import ConfigError
from segpipe.writing import demo
from segpipe.writing.demo import FORMS, MARKER, SEQUENCES, Dataset, write_demo
from segpipe.writing.street import make_street, truth_of

TINY = Dataset(images=14, height=32, width=64)


def labels(folder: Path, store: str) -> zarr.Array:
    """The array of label maps of a store."""
    return zarr.open_array(folder / f"{store}.zarr", path="labels", mode="r")


def content(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_chunk_is_written_and_has_a_checksum(demo_small: Path) -> None:
    """As many objects as chunks or shards; the codec chain ends in zstd with a checksum."""
    for form in FORMS:
        array = labels(demo_small, form.name)
        files = [
            path for path in (demo_small / f"{form.name}.zarr" / "labels" / "c").rglob("*") if path.is_file()
        ]
        assert len(files) == -(-array.shape[0] // form.unit)
        assert '"checksum": true' in (demo_small / f"{form.name}.zarr" / "labels" / "zarr.json").read_text()
        assert array.metadata.zarr_format == 3
        assert array.metadata.dimension_names == ("image", "y", "x")


def test_a_chunk_of_nothing_but_the_fill_value_is_written_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk that is absent is a chunk that was lost."""
    nothing = np.full((32, 64), 255, np.uint8)
    monkeypatch.setattr(Dataset, "draw", lambda *_: {form.name: nothing for form in FORMS})
    for store, form in zip(write_demo(tmp_path / "data", TINY), FORMS, strict=True):
        files = [path for path in (store / "labels" / "c").rglob("*") if path.is_file()]
        assert len(files) == -(-14 // form.unit)


def test_truth_and_predictions_are_chunked_differently() -> None:
    """No two stores share a grid, one is sharded, and a run of drawing fills whole objects of all."""
    assert len({form.unit for form in FORMS}) == 3
    assert any(form.shard for form in FORMS)
    assert all(demo.RUN_IMAGES % form.unit == 0 for form in FORMS)


def test_ids_and_metadata_stand_beside_the_label_maps(demo_small: Path) -> None:
    """Ids are unique and the same on all sides; sequence and weather belong to truth alone."""
    groups = {form.name: zarr.open_group(demo_small / f"{form.name}.zarr", mode="r") for form in FORMS}
    ids = {name: list(group["image"][:]) for name, group in groups.items()}
    assert len(set(ids["truth"])) == 12
    assert ids["truth"] == ids["model_a"] == ids["model_b"]
    assert ids["truth"][0] == "zurich_000000"
    assert set(groups["truth"].array_keys()) == {"labels", "image", "sequence", "weather"}
    assert set(groups["truth"]["weather"][:]) == {"clear", "rain", "fog", "night"}
    assert set(groups["model_a"].array_keys()) == {"labels", "image"}


@pytest.mark.parametrize("images", [1, 7, 12, 25, 240])
def test_images_are_dealt_out_to_the_sequences(images: int) -> None:
    """Frames of a sequence are numbered from 0 without a gap."""
    dataset = Dataset(images=images)
    frames: dict[int, list[int]] = {}
    for image in range(images):
        frames.setdefault(dataset.sequence(image), []).append(dataset.frame(image))
    assert all(numbers == list(range(len(numbers))) for numbers in frames.values())
    assert max(map(len, frames.values())) - min(map(len, frames.values())) <= 1
    assert len(frames) == min(images, len(SEQUENCES))


def test_truth_is_ignored_where_nothing_is_known_and_predicted_everywhere(demo_small: Path) -> None:
    """255 stands in truth only: at the bonnet, the borders and on what has no class."""
    truth, pred = labels(demo_small, "truth")[:], labels(demo_small, "model_a")[:]
    assert pred.max() < 19
    assert set(np.unique(truth)) <= {*range(19), 255}
    assert (truth[:, -1] == 255).all()
    assert 0.03 < np.mean(truth == 255) < 0.35


def test_every_class_is_in_the_dataset() -> None:
    """All 19 classes are seen in twelve frames, one of each sequence."""
    found = {
        value
        for number in range(12)
        for value in np.unique(truth_of(make_street(2024, number).codes(9, 256, 512)))
    }
    assert found == {*range(19), 255}


def test_model_a_is_better_than_model_b(demo_small: Path) -> None:
    """In pixel accuracy over the whole small dataset."""
    truth = labels(demo_small, "truth")[:]
    right = [np.mean((labels(demo_small, name)[:] == truth)[truth < 255]) for name in ("model_a", "model_b")]
    assert 0.95 > right[0] > right[1] + 0.02 > 0.7


def test_the_same_numbers_give_the_same_bytes_however_many_draw(tmp_path: Path) -> None:
    """Two processes write what one writes; the last run is a short one."""
    write_demo(tmp_path / "one", TINY)
    write_demo(tmp_path / "two", TINY, processes=2)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_another_seed_draws_other_streets() -> None:
    """The seed decides the pixels."""
    assert (make_street(1, 0).codes(0, 64, 128) != make_street(2, 0).codes(0, 64, 128)).any()


def test_things_move_smoothly() -> None:
    """Frames in a row differ in few pixels, but differ."""
    street = make_street(2024, 4)
    frames = [street.codes(number, 128, 256) for number in range(5)]
    changed = [float(np.mean(here != after)) for here, after in pairwise(frames)]
    assert all(0 < share < 0.15 for share in changed)


def test_a_complete_dataset_is_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call only looks at the marker."""
    stores = write_demo(tmp_path / "data", TINY)
    monkeypatch.setattr(demo, "write_run", None)
    said: list[str] = []
    assert write_demo(tmp_path / "data", TINY, say=said.append) == stores
    assert said == [f"{tmp_path / 'data'} is complete already"]


def test_a_dataset_of_another_size_is_replaced(tmp_path: Path) -> None:
    """The marker says what was asked for then; other numbers make a new dataset."""
    write_demo(tmp_path / "data", TINY)
    write_demo(tmp_path / "data", Dataset(images=2, height=32, width=64))
    assert labels(tmp_path / "data", "truth").shape == (2, 32, 64)
    assert json.loads((tmp_path / "data" / MARKER).read_text())["images"] == 2


def test_a_drawing_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not complete is never under its name, and the temporary folder is gone."""

    def broken(*_: object) -> int:
        message = "no space left"
        raise OSError(message)

    monkeypatch.setattr(demo, "write_run", broken)
    with pytest.raises(OSError, match="no space left"):
        write_demo(tmp_path / "data", TINY)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """Files without the marker are never replaced."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds no demo dataset; name a new or empty folder"):
        write_demo(tmp_path, TINY)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (Dataset(images=0), "images: found 0, expected 1 or more"),
        (Dataset(height=30, width=64), "size: found 30 x 64, expected multiples of 4"),
    ],
)
def test_numbers_that_make_no_dataset_are_refused(tmp_path: Path, dataset: Dataset, words: str) -> None:
    """The message says what was found and what is expected."""
    with pytest.raises(ConfigError, match=words):
        write_demo(tmp_path / "data", dataset)


def test_the_command_prints_a_line_per_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, size, chunks and the time; a mistake is one line and exit code 1."""
    monkeypatch.setattr(demo, "Dataset", lambda images: Dataset(images=images, height=32, width=64))
    done = CliRunner().invoke(demo.main, [str(tmp_path / "data"), "--images", "2"])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == "drawn 2 of 2 images"
    assert "model_b.zarr  2 label maps of 32 x 64, chunks of 3 images in shards of 12" in lines[3]
    assert lines[-1].endswith(" s")
    wrong = CliRunner().invoke(demo.main, [str(tmp_path / "data"), "--images", "0"])
    assert (wrong.exit_code, wrong.output) == (1, "Error: images: found 0, expected 1 or more\n")
