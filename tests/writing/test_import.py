"""`segpipe import`: folders of label maps become stores that can be evaluated, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import yaml
import zarr
from numpy.typing import NDArray
from PIL import Image

import segpipe
from segpipe.config import ClusterConfig
from segpipe.errors import ConfigError, InputError
from segpipe.run.imported import import_images
from segpipe.writing.label_arrays import LabelArray
from tests.cli.conftest import Segpipe
from tests.cli.conftest import segpipe as segpipe_command
from tests.writing.predictions import REPOSITORY

segpipe_fixture = pytest.fixture(name="command")(segpipe_command.__wrapped__)  # type: ignore[attr-defined]
THREADS = ClusterConfig(kind="threads")
IMPORTED = 24


def save(path: Path, maps: NDArray[Any]) -> NDArray[Any]:
    """A label map as a PNG file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(maps.astype(np.uint8)).save(path)
    return maps


def folder_of(folder: Path, images: int = 6, high: int = 5, shape: tuple[int, int] = (8, 10)) -> Any:
    """PNG files of one size, a_00.png and so on; their label maps, of squares of four pixels."""
    maps = np.random.default_rng(0).integers(0, high, (images, shape[0] // 2, shape[1] // 2))
    maps = maps.repeat(2, axis=1).repeat(2, axis=2)
    for index in range(images):
        save(folder / f"a_{index:02d}.png", maps[index])
    return maps


def stored(store: Path, path: str = "labels") -> NDArray[Any]:
    """What zarr-python reads."""
    return np.asarray(zarr.open_array(store, path=path, mode="r")[...])


def ids(store: Path, group: str = "") -> list[str]:
    """The ids in a store."""
    return zarr.open_array(store, path=f"{group}image", mode="r")[:].tolist()  # type: ignore[no-any-return]


def test_two_commands_from_png_files_to_a_report(tmp_path: Path, command: Segpipe) -> None:
    """Truth and prediction as folders; the ids are the names of the files."""
    truth = folder_of(tmp_path / "truth", images=4)
    for index in range(4):
        save(tmp_path / "pred" / f"a_{index:02d}.png", np.where(truth[index] == 4, 0, truth[index]))
    done = command("import", "truth", "truth.zarr", "--classes", 5, "--json")
    assert (done.code, done.document["layout"], done.document["written"]) == (0, "stacked", 4)
    shown = command("import", "pred", "pred.zarr", "--classes", 5)
    assert "imported 4 of 4 images" in shown.err
    assert "pred.zarr::labels" in shown.out
    options = ("--truth", "truth.zarr::labels", "--pred", "pred.zarr::labels", "--classes", 5)
    report = command("evaluate", *options, "--set", "cluster=threads", "--json").document
    assert report["aggregates"]["pixel_accuracy"]["value"] == pytest.approx((truth != 4).mean())


def test_sizes_that_differ_are_one_array_each_of_any_kind_of_file(tmp_path: Path) -> None:
    """PNG, TIFF and NumPy side by side; the widest dtype holds them all."""
    folder = tmp_path / "in"
    maps = {"b": np.full((4, 6), 3), "c": np.full((5, 5), 700), "d": np.arange(9).reshape(3, 3)}
    save(folder / "b.png", maps["b"])
    tifffile.imwrite(folder / "c.tif", maps["c"].astype(np.uint16))
    np.save(folder / "d.npy", maps["d"].astype(np.uint8))
    done = import_images(folder, tmp_path / "out.zarr", cluster=THREADS)
    assert (done.layout, done.dtype, done.images) == ("grouped", "uint16", 3)
    for name, labelled in maps.items():
        np.testing.assert_array_equal(stored(tmp_path / "out.zarr", f"labels/{name}"), labelled)
    assert segpipe.PredictionWriter.open(tmp_path / "out.zarr").missing() == []


def test_cityscapes_trees_become_train_ids(tmp_path: Path) -> None:
    """Label ids 7, 8 and 26 are road, sidewalk and car; what is not evaluated is 255."""
    city = tmp_path / "gtFine" / "val" / "ulm"
    save(city / "ulm_000001_000019_gtFine_labelIds.png", np.array([[7, 8, 26, 0]]))
    save(city / "ulm_000001_000019_gtFine_instanceIds.png", np.array([[7, 8, 26, 0]]))
    done = import_images(tmp_path / "gtFine", tmp_path / "t.zarr", preset="cityscapes", cluster=THREADS)
    assert stored(tmp_path / "t.zarr").tolist() == [[[0, 1, 13, 255]]]
    assert ids(tmp_path / "t.zarr") == ["ulm_000001_000019"]
    assert (done.dtype, done.classes) == ("uint8", 19)


def test_voc_and_ade_trees_keep_their_labels(tmp_path: Path) -> None:
    """The class lists say what the labels mean, at evaluation; photographs are left alone."""
    voc, ade = tmp_path / "VOC2012", tmp_path / "ADE"
    save(voc / "SegmentationClass" / "2007_000032.png", np.array([[0, 20, 255]]))
    save(voc / "JPEGImages" / "2007_000032.jpg", np.array([[0, 20, 255]]))
    save(ade / "annotations" / "validation" / "ADE_val_00000001.png", np.array([[0, 1, 150]]))
    import_images(voc, tmp_path / "voc.zarr", preset="voc", cluster=THREADS)
    import_images(ade, tmp_path / "ade.zarr", preset="ade20k", cluster=THREADS)
    assert stored(tmp_path / "voc.zarr").tolist() == [[[0, 20, 255]]]
    assert stored(tmp_path / "ade.zarr").tolist() == [[[0, 1, 150]]]
    assert ids(tmp_path / "ade.zarr") == ["ADE_val_00000001"]


COLORS = {0: [128, 64, 128], 1: [244, 35, 232], 255: [[0, 0, 0], [1, 1, 1]]}


def colored(folder: Path) -> list[NDArray[Any]]:
    """Files of colours, the second of which has one that no table knows; and their label maps."""
    table = np.array([[128, 64, 128], [244, 35, 232], [0, 0, 0], [1, 1, 1], [9, 8, 7]])
    maps = [np.array([[0, 1, 2], [3, 0, 1]]), np.array([[0, 4, 4], [1, 1, 4]])]
    for index, labelled in enumerate(maps):
        save(folder / f"{index}.png", table[labelled])
    return maps


def test_colours_become_labels_and_unknown_ones_are_listed(tmp_path: Path) -> None:
    """With their counts and files; the other files are in the store, and the same call goes on."""
    colored(tmp_path / "in")
    rules: dict[str, Any] = {"colors": COLORS, "classes": 2, "no_class": [255]}
    store = tmp_path / "out.zarr"
    with pytest.raises(segpipe.InputError, match=r"the colours \(9, 8, 7\) \(3 px\).*1\.png, image 1\)"):
        import_images(tmp_path / "in", store, rules=rules, cluster=THREADS)
    assert segpipe.PredictionWriter.open(store).missing() == ["1"]
    with pytest.raises(segpipe.InputError, match="3 channels, a colour for each pixel"):
        import_images(tmp_path / "in", tmp_path / "other.zarr", cluster=THREADS)
    save(tmp_path / "in" / "1.png", np.full((2, 3, 3), 1))
    done = import_images(tmp_path / "in", store, rules=rules, cluster=THREADS)
    assert done.written == 1
    assert stored(store).tolist() == [[[0, 1, 255], [255, 0, 1]], [[255] * 3] * 2]


def test_a_file_that_was_changed_after_its_import_is_told(tmp_path: Path) -> None:
    """Files that were touched only are the same; other pixels are no silent success."""
    save(tmp_path / "in/a.png", np.zeros((4, 4)))
    kept = save(tmp_path / "in/b.png", np.ones((4, 4)))
    import_images(tmp_path / "in", tmp_path / "s.zarr", cluster=THREADS)
    save(tmp_path / "in/b.png", kept)
    assert import_images(tmp_path / "in", tmp_path / "s.zarr", cluster=THREADS).written == 0
    save(tmp_path / "in/a.png", np.full((4, 4), 2))
    with pytest.raises(InputError, match=r"other pixels than were written.*image a\)"):
        import_images(tmp_path / "in", tmp_path / "s.zarr", cluster=THREADS)


def test_a_name_that_is_no_text_is_told(tmp_path: Path) -> None:
    """Unix takes any bytes for a name; ids are text."""
    save(tmp_path / "in/a.png", np.zeros((4, 4)))
    os.rename(tmp_path / "in/a.png", os.fsencode(tmp_path / "in") + b"/\xff.png")
    with pytest.raises(InputError, match=r"a name that is no UTF-8.*udcff"):
        import_images(tmp_path / "in", tmp_path / "s.zarr", cluster=THREADS)


def test_values_beside_colours_keep_their_range(tmp_path: Path) -> None:
    """A folder of colours and of 16-bit values is brought to a dtype that holds both."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(np.full((4, 4, 3), 7, np.uint8)).save(folder / "a.png")
    Image.fromarray(np.full((4, 4), 300, np.uint16)).save(folder / "b.png")
    import_images(folder, tmp_path / "s.zarr", rules={"colors": {1: [7, 7, 7]}}, cluster=THREADS)
    assert stored(tmp_path / "s.zarr")[:, 0, 0].tolist() == [1, 300]


def test_dtypes_that_no_integer_holds_are_told(tmp_path: Path) -> None:
    """NumPy would make floats of them."""
    np.save(tmp_path / "a.npy", np.zeros((4, 4), np.uint64))
    np.save(tmp_path / "b.npy", np.zeros((4, 4), np.int64))
    with pytest.raises(ConfigError, match="int64 and uint64, which no integer dtype holds"):
        import_images(tmp_path, tmp_path / "s.zarr", cluster=THREADS)


def test_a_rule_for_ids_that_is_no_regular_expression_is_told(tmp_path: Path) -> None:
    """With the rule itself, not only with what the parser of such rules says."""
    with pytest.raises(ConfigError, match=r"import: id: '\(' is no regular expression \(missing \)"):
        import_images(tmp_path, tmp_path / "s.zarr", rules={"id": "("}, cluster=THREADS)


def test_a_file_that_grows_beyond_the_dtype_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at its header and the reading it became one of 16 bits."""
    save(tmp_path / "a.png", np.zeros((4, 4)))
    changed = np.full((4, 4), 300, np.uint16)
    monkeypatch.setattr("segpipe.writing.importing.read_pixels", lambda _: changed)
    with pytest.raises(InputError, match="found labels from 300 to 300, expected labels from 0 to 255"):
        import_images(tmp_path, tmp_path / "s.zarr", cluster=THREADS)


def test_a_preset_is_a_file_and_classes_bring_their_colours(tmp_path: Path) -> None:
    """What is given goes before what the file says."""
    save(tmp_path / "in" / "x" / "7_color.png", np.array([[[128, 64, 128], [0, 0, 142]]]))
    preset = {"glob": "*_color.png", "id": "[a-z]", "classes": "cityscapes"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(preset))
    mine, rules = str(tmp_path / "mine.yaml"), {"id": r"(\d+)_color"}
    import_images(tmp_path / "in", tmp_path / "o.zarr", preset=mine, rules=rules, cluster=THREADS)
    assert (ids(tmp_path / "o.zarr"), stored(tmp_path / "o.zarr").tolist()) == (["7"], [[[0, 13]]])


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"globb": "*"}, "globb: Extra inputs"),
        ({"id": "("}, "missing \\)"),
        ({"colors": {0: [1, 1, 1], 1: [[2, 2, 2], [1, 1, 1]]}}, "the labels 0 and 1 have one colour"),
        ({"colors": {0: [1, 1, 300]}}, "less than or equal to 255"),
        ({"classes": "cityscape"}, "did you mean cityscapes"),
        ({"glob": "*.gif"}, r"no file like \*\.gif"),
        ({"id": r"b_(\d)"}, "finds no id"),
        ({"id": "[a-z]"}, "an id that 6 files have"),
        ({"classes": 3}, "found the labels .*expected the labels of the 3 classes"),
        ({"remap": {0: 1, 1: 0}}, "the values .* px"),
    ],
    ids=str,
)
def test_rules_and_files_that_do_not_fit_are_told(tmp_path: Path, rules: dict[str, Any], words: str) -> None:
    """In words, with the key or the file."""
    folder_of(tmp_path / "in")
    with pytest.raises(segpipe.SegpipeError, match=words):
        import_images(tmp_path / "in", tmp_path / "out.zarr", rules=rules, cluster=THREADS)


def test_links_damaged_files_and_jpegs_are_told_at_once(tmp_path: Path) -> None:
    """A link may not bring in what lies elsewhere."""
    folder_of(tmp_path / "in", images=2)
    save(tmp_path / "elsewhere.png", np.zeros((8, 10)))
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "elsewhere.png")
    (tmp_path / "in" / "more").symlink_to(tmp_path)
    (tmp_path / "in" / "z.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(segpipe.InputError) as refused:
        import_images(tmp_path / "in", tmp_path / "out.zarr", cluster=THREADS)
    found = sorted(Path(problem.store).name for problem in refused.value.problems)
    assert found == ["link.png", "more", "z.npy"]
    assert "a link that leads out of the folder" in str(refused.value)
    assert not (tmp_path / "out.zarr").exists()
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "photos" / "a.jpg")
    with pytest.raises(segpipe.InputError, match=r"but 1 JPEG images(.|\n)*JPEG changes the values"):
        import_images(tmp_path / "photos", tmp_path / "out.zarr", cluster=THREADS)


def test_what_was_written_is_read_back_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that does not give back what was in the files is not declared complete."""
    folder_of(tmp_path / "in")
    encoded = LabelArray.encoded

    def other(self: LabelArray, row: int, maps: Any) -> Any:
        return encoded(self, row, [np.where(each == 4, 3, each) for each in maps])

    monkeypatch.setattr(LabelArray, "encoded", other)
    with pytest.raises(segpipe.InputError, match="other pixels in the store than in the file"):
        import_images(tmp_path / "in", tmp_path / "out.zarr", cluster=THREADS)
    assert '"complete": true' not in (tmp_path / "out.zarr" / "zarr.json").read_text()


def test_a_store_of_other_files_is_not_gone_on_with(tmp_path: Path) -> None:
    """Neither with other images nor with other classes."""
    folder_of(tmp_path / "in")
    import_images(tmp_path / "in", tmp_path / "out.zarr", rules={"classes": 5}, cluster=THREADS)
    with pytest.raises(segpipe.InputError, match=r"begun from other files or rules \(classes differ\)"):
        import_images(tmp_path / "in", tmp_path / "out.zarr", rules={"classes": 6}, cluster=THREADS)
    save(tmp_path / "in" / "b.png", np.zeros((8, 10)))
    with pytest.raises(segpipe.InputError, match=r"a store of 6 images .*\(ids and sizes differ\)"):
        import_images(tmp_path / "in", tmp_path / "out.zarr", rules={"classes": 5}, cluster=THREADS)


def test_an_import_that_is_killed_goes_on_on_worker_processes(tmp_path: Path) -> None:
    """`kill -9` when the first images are there; the second command, on Dask, writes only the others."""
    maps = np.arange(IMPORTED, dtype=np.uint8).repeat(1100 * 2000).reshape(IMPORTED, 1100, 2000)
    for index, labelled in enumerate(maps):
        save(tmp_path / "in" / f"a_{index:02d}.png", labelled)
    store = tmp_path / "out.zarr"
    shim = "from segpipe.cli import main\nif __name__ == '__main__':\n    main()\n"
    (tmp_path / "run.py").write_text(shim)
    command = [sys.executable, "run.py", "import", "in", "out.zarr", "--cluster", "threads"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    record = store / "image" / ".segpipe" / "written"
    until = time.monotonic() + 300
    while time.monotonic() < until and not any(b"\n" in file.read_bytes() for file in record.glob("*")):
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    options = {"kind": "local", "workers": 2, "memory_limit": "1 GiB"}
    done = import_images(tmp_path / "in", store, cluster=ClusterConfig.model_validate(options))
    assert 0 < done.written < IMPORTED
    assert (stored(store) == maps).all()
