"""Mistakes of users: the right exit code and words that name the place and what to do, everything at once."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from segpipe import yaml_files
from segpipe.config import load_config, make_config
from segpipe.counts import partials
from segpipe.errors import ConfigError, InfrastructureError, InputError, SegpipeError
from segpipe.run.evaluate import evaluate
from segpipe.run.record import read_json
from segpipe.run.stages import preview
from segpipe.yaml_files import parse_yaml
from tests.run.datasets import figures, image_ids, label_maps, pair_config, write_stacked

BASE = {"truth": "truth.zarr", "pred": "pred.zarr", "classes": 3}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"classes": 0}, r"classes: input should be 1 to 65533 classes \(found 0\)"),
        ({"classes": 10**30}, "classes: input should be 1 to 65533"),
        ({"classes": []}, "classes: found 0, expected 1 to 65533"),
        ({"classes": ["car", "car"]}, "classes: the name 'car' is given more than once"),
        ({"classes": ["car", "no\ud800"]}, "classes: .* is no name for a class"),
        ({"classes": ["car", False]}, r"classes.names.1: .* \(found False\)"),
        ({"classes": {"names": ["a"], "colors": [[0, 0, 256]]}}, "classes.colors.0.2: .*255"),
        ({"classes": {"names": ["a", "b"], "colors": [None]}}, "classes: 2 names and 1 colours"),
        ({"classes": "citiscapes"}, "did you mean cityscapes"),
        ({"classes": "../../etc/passwd"}, "no shipped configuration"),
        ({"ignore_labels": 255}, r"ignore_labels: input should be a list \(found 255\)"),
        ({"ignore_labels": [True]}, "ignore_labels.0: .*not a truth value"),
        ({"ignore_labels": [2.5]}, "ignore_labels.0: .*integer"),
        ({"remap": {3: False}}, "remap.3: .*not a truth value"),
        ({"remap": {3: "tree"}}, "remap: no class 'tree' among the 3 classes"),
        (
            {"remap": {3: 0}, "ignore_labels": [3]},
            "label 3 is remapped to class 0 and declared to be no class",
        ),
        ({"exclude_classes": [7]}, "exclude_classes: no class 7"),
        ({"exclude_classes": [-1]}, "exclude_classes: no class -1"),
        ({"exclude_classes": [0, 1, "class_2"]}, "exclude_classes: every class is left out of means"),
        ({"remap": {0: 1, "0": 2}}, "remap: the label 0 is given twice, as 0 and as '0'"),
        ({"truth": "a\0b"}, "truth.store: input should be a path; no path has the character NUL"),
        ({"truth": "a::b\0c"}, "truth.array: .* NUL"),
        ({"image_table": {"path": "a\0b"}}, "image_table.path: .* NUL"),
        ({"truth": 5}, "truth: input should be keys and values"),
        ({"truth": {"stroe": "x"}}, "truth.stroe: no such key; did you mean store"),
        ({"truth": "x::../../y"}, "truth.array: '..' is not part of a Zarr path"),
        ({"model": "../../x"}, "model: input should begin with a letter or digit"),
        ({"suite": ".."}, "suite: input should begin with a letter or digit"),
        ({"suite": "Partials"}, "suite: the folder 'partials' of the results holds partial counts"),
        ({"results": ""}, "results: string should have at least 1 character"),
        ({"results": "s3://bucket/results"}, "results are written to a folder of this machine"),
        ({"bucket_images": 10**30}, "bucket_images: .*100000"),
        ({"max_read_amplification": float("nan")}, "max_read_amplification: "),
        ({"on_missing_pred": "skp"}, r"on_missing_pred: .*'skip'.* \(found 'skp'\)"),
        ({"cluster": "flock"}, "cluster: no shipped configuration .*known in clusters: .*local, .*threads"),
        ({"image_table": {"path": "t.csv", "key": "id"}}, "image_table.key: no such key"),
        ({5: 6}, "5: keys should be strings"),
    ],
    ids=str,
)
def test_mistakes_of_the_config_name_their_key(settings: dict[Any, Any], words: str) -> None:
    """Every mistake is told by the path of its key, what was found and what would do."""
    with pytest.raises(ConfigError, match=words) as caught:
        make_config({**BASE, **settings})
    assert caught.value.exit_code == 1


def test_all_mistakes_of_a_config_are_told_at_once() -> None:
    """Names of shipped files, wrong types and unknown keys, in one message."""
    with pytest.raises(ConfigError) as caught:
        make_config({"truth": {"store": 5}, "pred": "p", "classes": "citiscapes", "clases": 3, "suite": "/"})

    for key in ("truth.store: ", "classes: no shipped", "clases: no such key", "suite: "):
        assert key in str(caught.value)


def test_password_in_an_address_is_not_repeated() -> None:
    """The message about it goes to terminals and logs."""
    with pytest.raises(ConfigError, match="credentials do not belong") as caught:
        make_config({**BASE, "truth": "s3://user:hunter2@host/x"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "store",
    [
        "https://host/x?X-Amz-Signature=hunter2",
        "s3://bucket/x?X-Amz-Signature=hunter2",
        "s3://bucket/x?profile=p&sig=hunter2",
        "zip://x.zip?token=hunter2",
    ],
)
@pytest.mark.parametrize("form", ["text", "keys"])
def test_parameters_of_an_address_are_refused_and_not_repeated(store: str, form: str) -> None:
    """A signed link is a secret; what may stand there names one."""
    with pytest.raises(
        ConfigError, match=r"truth\.store: input should be an address without param"
    ) as caught:
        make_config({**BASE, "truth": f"{store}::labels" if form == "text" else {"store": store}})
    assert "hunter2" not in str(caught.value)


def test_addresses_mean_the_same_in_another_folder() -> None:
    """Paths become absolute, those of archives as well; URLs stay, and name the model without parameters."""
    stores = {"truth": "zip://a/truth.zip", "pred": "s3://bucket/a/model_b.zarr?profile=x::labels"}
    config = make_config({**BASE, **stores}).absolute()
    assert config.truth.store == f"zip://{Path.cwd()}/a/truth.zip"
    assert (config.pred.store, config.pred.array) == ("s3://bucket/a/model_b.zarr?profile=x", "labels")
    assert make_config({"classes": 3, **stores}).model == "model_b"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "found nothing, expected keys and values"),
        ("- 1", "found list, expected keys and values"),
        ("a: [", "is no YAML"),
        ("suite: 2024-13-45", "is no YAML: month must be in 1..12"),
        ("bucket_images: " + "9" * 5000, "is no YAML: .*4300 digits"),
        ("ignore_labels: [255]\nignore_labels: [0]", "the key 'ignore_labels' is given twice"),
        ("remap: {0: 1, 0x0: 2}", "the key 0 is given twice"),
        ("a: !!python/object/apply:os.getcwd []", "is no YAML: could not determine a constructor"),
    ],
    ids=["empty", "list", "broken", "date", "digits", "twice", "twice as a number", "object"],
)
def test_files_that_are_no_config(tmp_path: Path, text: str, words: str) -> None:
    """The message names the file; nothing that PyYAML raises goes through."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_key_is_set_inside_what_has_a_short_form() -> None:
    """The text that stands for all of its keys is not forgotten."""
    given = {"truth": "t.zarr::labels", "pred": "p.zarr", "classes": "camvid", "layout": "raster"}
    inside = (
        "truth.class_axis=1",
        "classes.groups={moving: [car]}",
        "layout.window=512",
        "cluster=local",
        "cluster.workers=3",
    )
    config = make_config(given, inside)
    assert (config.truth.store, config.truth.array, config.truth.class_axis) == ("t.zarr", "labels", 1)
    assert len(config.classes.names) == 11
    assert config.layout.options() == {"window": 512}
    assert (config.cluster.kind, config.cluster.options()) == ("local", {"workers": 3})
    with pytest.raises(ConfigError, match="cluster: no shipped configuration 'clusters/locla'"):
        make_config(given, ["cluster=locla", "cluster.workers=3"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"also": {"b": {"store": "b.zarr", "arry": "x"}}}, "also.b.arry: no such key; did you mean array?"),
        (
            {"cache": {"verify_per_cent": 2}},
            "cache.verify_per_cent: no such key; did you mean verify_percent?",
        ),
        (
            {"small_objects": {"min_objekt_px": 9}},
            "small_objects.min_objekt_px: no such key; did you mean min_",
        ),
    ],
)
def test_an_unknown_key_is_compared_with_those_of_its_own_place(given: dict[str, Any], words: str) -> None:
    """Wherever a key stands, in a list or under a name, what it is told are the keys of that place."""
    with pytest.raises(ConfigError, match=words):
        make_config({**BASE, **given})


def test_an_address_is_not_repeated_by_a_mistake() -> None:
    """What stands where a name belongs may be a webhook, which is a secret as a whole."""
    with pytest.raises(ConfigError, match="suite: input should begin with a letter") as told:
        make_config({**BASE, "suite": "https://hooks.example/T0/s3cret"})
    assert "s3cret" not in str(told.value)


def nested_aliases(one: str, *, levels: int = 9) -> str:
    """A text in which every level holds ten times the one below."""
    lines = [f"a{at}: &a{at} {one % ', '.join([f'*a{at - 1}'] * 10)}" for at in range(1, levels)]
    return "\n".join(["a0: &a0 {x: 1}", *lines])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (nested_aliases("[%s]"), r"aliases stand for more than 65,536 values\n.* line 6,"),
        (nested_aliases("{<<: [%s]}"), "aliases stand for more than 65,536 values"),
        ("a: &a [*a]", r"\*a holds itself"),
        ("[" * 100_000, "more than 64 levels deep"),
        ("{a: " * 100_000, "more than 64 levels deep"),
        ("{a: 1, b: 2, a: 3}", "the key 'a' is given twice"),
    ],
    ids=["lists", "merged", "itself", "deep lists", "deep mappings", "twice"],
)
def test_a_few_bytes_of_yaml_do_not_become_many(tmp_path: Path, text: str, words: str) -> None:
    """In no way: neither memory nor the stack of the process runs out."""
    path = tmp_path / "bomb.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"bomb.yaml: is no YAML: {words}"):
        load_config(path)


def test_aliases_may_be_used() -> None:
    """A part that is said once, and merged into another."""
    assert parse_yaml("a: &a {x: [1, 2]}\nb: {<<: *a, y: 3}") == {
        "a": {"x": [1, 2]},
        "b": {"x": [1, 2], "y": 3},
    }


def test_a_file_without_end_is_no_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device tells no size; what is read is bounded all the same."""
    monkeypatch.setattr(yaml_files, "MAX_CONFIG_BYTES", 1 << 16)
    with pytest.raises(ConfigError, match="/dev/zero: more than 65536 bytes is no configuration"):
        load_config("/dev/zero")


@pytest.mark.parametrize("override", ["suite=2024-13-45", "suite=[", "suite", "bucket_images=" + "9" * 5000])
def test_overrides_that_are_no_value(tmp_path: Path, override: str) -> None:
    """`--set` says what it could not read."""
    with pytest.raises(ConfigError, match="--set"):
        make_config(BASE, [override])


# ---- stores


def _file(pair: Path) -> dict[str, Any]:
    shutil.rmtree(pair / "pred.zarr")
    (pair / "pred.zarr").write_text("no folder")
    return {}


def _no_zarr(pair: Path) -> dict[str, Any]:
    shutil.rmtree(pair / "pred.zarr")
    (pair / "pred.zarr").mkdir()
    return {}


def _other(pair: Path, labels: Any, ids: list[str] | None = None) -> dict[str, Any]:
    shutil.rmtree(pair / "pred.zarr")
    write_stacked(pair / "pred.zarr", labels, ids=image_ids(len(labels)) if ids is None else ids)
    return {}


def _bare(pair: Path) -> dict[str, Any]:
    shutil.rmtree(pair / "pred.zarr")
    write_stacked(pair / "pred.zarr", label_maps(40)[1])
    return {}


STORES: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "nowhere": (lambda pair: {"pred": f"{pair}/nowhere.zarr"}, r"store: found .*pred, store .*nowhere.zarr"),
    "mistyped": (lambda pair: {"pred": f"{pair}/perd.zarr"}, r"did you mean .*/pred\.zarr\?"),
    "a file": (_file, r"expected a folder that holds a Zarr store \(pred, store .*pred.zarr\)"),
    "not Zarr": (_no_zarr, r"\(pred, store .*pred.zarr"),
    "no such array": (lambda pair: {"pred": f"{pair}/pred.zarr::lables"}, "lables"),
    "a group": (lambda pair: {"pred": f"{pair}/pred.zarr"}, r"labels \(40, 24, 32\)"),
    "other shape": (
        lambda pair: _other(pair, np.zeros((40, 24, 30), np.uint8)),
        "found 24 x 30 pixels, expected 24 x 32 as in truth",
    ),
    "float": (
        lambda pair: _other(pair, np.zeros((40, 24, 32), np.float32)),
        "found float32, expected an integer dtype",
    ),
    "empty": (lambda pair: _other(pair, np.zeros((0, 24, 32), np.uint8)), "found 0 images"),
    "duplicate ids": (
        lambda pair: _other(pair, label_maps(40)[1], ["a", "a", *image_ids(40)[2:]]),
        r"ids given more than once: 'a' \(2 times\)",
    ),
    "other ids": (
        lambda pair: _other(pair, label_maps(40)[1], ["a", "b", *image_ids(40)[2:]]),
        "image img_000(.|\n)*image img_001(.|\n)*image a(.|\n)*image b",
    ),
    "nothing in common": (
        lambda pair: (
            _other(pair, label_maps(40)[1], [f"x{name}" for name in image_ids(40)])
            | {"on_missing_pred": "skip", "on_extra_pred": "ignore"}
        ),
        r"no prediction for any image .*first ids: truth 'img_000', pred 'ximg_000'",
    ),
    "ids on one side": (_bare, "found no image ids, expected image ids, since truth has them"),
}


@pytest.mark.parametrize("case", STORES)
def test_stores_that_do_not_fit(pair: Path, case: str) -> None:
    """Exit 1, the side and the place, and nothing that could be taken for a result."""
    change, words = STORES[case]
    settings = change(pair)
    with pytest.raises(InputError, match=words) as caught:
        evaluate(pair_config(pair, **settings))

    assert caught.value.exit_code == 1
    assert not list((pair / "results").rglob("MANIFEST.json"))
    assert not list((pair / "results").rglob("latest.json"))
    (record,) = (pair / "results").rglob("run.json")
    assert read_json(record)["state"] == "failed"


def test_both_sides_are_told_at_once(pair: Path) -> None:
    """A mistake of truth does not hide one of pred."""
    with pytest.raises(InputError) as caught:
        preview(pair_config(pair, truth=f"{pair}/nowhere.zarr", pred=f"{pair}/pred.zarr::lables"))
    assert [problem.side for problem in caught.value.problems] == ["truth", "pred"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"layout": "tiled"}, "no layout 'tiled'; known: grouped, .*stacked"),
        ({"layout": {"kind": "stacked", "window": 3}}, "the layout stacked has no such option"),
        ({"layout": "manifest"}, "layout.table: is missing; the layout manifest needs it"),
        ({"layout": {"kind": "manifest", "table": "/nowhere.csv"}}, "/nowhere.csv cannot be read"),
        ({"layout": {"kind": "raster", "window": 0}}, "layout.window: found 0, expected"),
        ({"cluster": {"kind": "flock"}}, "no cluster 'flock'; known: .*local"),
        (
            {"cluster": {"kind": "threads", "threads": 0}},
            r"cluster \(threads\).threads: input should",
        ),
        ({"truth": "gs://bucket/truth.zarr"}, "gs"),
        ({"image_table": {"path": "/nowhere.csv"}}, "/nowhere.csv cannot be read"),
    ],
    ids=str,
)
def test_unknown_kinds_are_told_with_the_known_ones(pair: Path, settings: dict[str, Any], words: str) -> None:
    """Layouts, clusters, stores and tables that there are not."""
    with pytest.raises(ConfigError, match=words) as caught:
        preview(pair_config(pair, **settings))
    assert caught.value.exit_code == 1


# ---- what may be meant, but seldom is


def _warnings(pair: Path, **settings: Any) -> str:
    return "\n".join(preview(pair_config(pair, **settings))[1].warnings)


def test_a_label_that_is_ignored_and_a_class_is_told(pair: Path) -> None:
    """A class that truth cannot have scores 0; who wants it out of means is told how."""
    told = _warnings(pair, ignore_labels=[255, 1], void_labels=[2])
    assert "The label 1 in ignore_labels is also the class 'car': it is nowhere in truth" in told
    assert "The label 2 in void_labels is also the class 'person': it is never predicted" in told
    assert told.count("say exclude_classes") == 2
    assert "is also the class" not in _warnings(pair, remap={7: 0, 8: 1}, ignore_labels=[1])


def test_one_array_on_both_sides_is_told(pair: Path) -> None:
    """It scores 1, and looks like a result."""
    words = "Truth and pred are one and the same array."
    assert words in _warnings(pair, pred=f"{pair}/truth.zarr::labels")
    assert words not in _warnings(pair)


def test_a_truth_without_a_pixel_that_counts_is_told(pair: Path) -> None:
    """There is no figure; the report says why."""
    run = evaluate(pair_config(pair, ignore_labels=[*range(5), 255]))
    words = "No pixel counts: all of truth is ignored or invalid, so there is nothing to score."
    assert words in (run / "report.md").read_text()
    assert words not in (evaluate(pair_config(pair)) / "report.md").read_text()


def test_of_many_invalid_labels_the_rest_is_told_as_a_number(tmp_path: Path) -> None:
    """Some labels of an image are named, and no pixel is left untold; positions are named by their axes."""
    truth, pred = label_maps(2)
    pred[1, 4:8] = np.arange(100, 228, dtype=np.uint8).reshape(4, 32)
    pred[1, 8, :5] = 100
    for name, labels in (("truth", truth), ("pred", pred)):
        write_stacked(tmp_path / f"{name}.zarr", labels)
    with pytest.raises(InputError) as caught:
        evaluate(pair_config(tmp_path))
    (problem,) = caught.value.problems
    assert problem.found.startswith("label 100 in 6 pixels, first at (y, x) = (4, 0); label 101 in 1 pixels")
    assert problem.found.endswith("; others in 120 pixels")


# ---- image tables


def test_image_table_is_joined_by_id_as_text(pair: Path, tmp_path: Path) -> None:
    """Rows in another order; values that are missing are empty texts, and numbers stay numbers."""
    ids = image_ids(40)
    frame = pandas.DataFrame({"id": ids, "city": [f"c{name}" for name in ids], "lux": range(40)})
    frame["note"] = pandas.array([None, *["x"] * 39], dtype="string")
    frame.sample(frac=1, random_state=3).to_parquet(tmp_path / "table.parquet")
    run = evaluate(pair_config(pair, image_table={"path": f"{tmp_path}/table.parquet"}))

    table = pandas.read_parquet(run / "per_image.parquet")
    assert table["city"].tolist() == [f"c{name}" for name in table["image"]]
    assert table["lux"].tolist() == list(range(40))
    assert table["note"].tolist() == ["", *["x"] * 39]


def test_ids_that_look_like_numbers_or_nothing_stay_text(tmp_path: Path) -> None:
    """007 is not 7, and NA is a name."""
    ids = ["007", "7", "NA", "1e3", "nan"]
    truth, pred = label_maps(5)
    for name, labels in (("truth", truth), ("pred", pred)):
        write_stacked(tmp_path / f"{name}.zarr", labels, ids=ids)
    (tmp_path / "table.csv").write_text("id,n\n" + "".join(f"{name},{at}\n" for at, name in enumerate(ids)))
    plan, _ = preview(pair_config(tmp_path, image_table={"path": f"{tmp_path}/table.csv"}))

    assert plan.columns["n"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,n\nimg_000,img_001,1\nimg_001,img_000,2\n", "rows have more values than there are columns"),
        ("id,n\nimg_000,1\nimg_001,1,2\n", "Expected 2 fields in line 3, saw 3"),
        ("id,n,n\nimg_000,1,2\n", "the column 'n' is there twice"),
        ("", "cannot be read as CSV"),
    ],
    ids=["all rows too long", "a row too long", "column twice", "empty"],
)
def test_tables_in_which_values_have_no_column_are_refused(
    pair: Path, tmp_path: Path, text: str, words: str
) -> None:
    """No value is taken for that of another column, and none is dropped."""
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(ConfigError, match=words):
        preview(pair_config(pair, image_table={"path": f"{tmp_path}/table.csv"}))


def test_a_table_that_is_no_file_is_not_waited_for(pair: Path, tmp_path: Path) -> None:
    """A device or a pipe has no end."""
    os.mkfifo(tmp_path / "table.csv")
    with pytest.raises(ConfigError, match=r"table\.csv is no file"):
        preview(pair_config(pair, image_table={"path": f"{tmp_path}/table.csv"}))


def test_gaps_and_duplicates_of_a_table_are_all_listed(pair: Path, tmp_path: Path) -> None:
    """Images without a row, and ids with two."""
    rows = [*image_ids(40)[2:], "img_005"]
    (tmp_path / "table.csv").write_text("id,n\n" + "".join(f"{name},1\n" for name in rows))
    with pytest.raises(InputError) as caught:
        preview(pair_config(pair, image_table={"path": f"{tmp_path}/table.csv"}))
    assert {problem.image for problem in caught.value.problems} == {"img_000", "img_001", "img_005"}


# ---- what would take too much


def test_too_little_memory_is_refused_with_numbers(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is read; what is counted already needs none."""
    config = pair_config(pair, cluster={"kind": "address", "address": "tcp://127.0.0.1:9", "memory_limit": 9})
    with pytest.raises(InputError, match=r"memory: found one task needs .* MiB, expected at most 9 B"):
        preview(config)
    evaluate(pair_config(pair))
    assert preview(config)[1].hits == 4


def test_too_much_read_twice_is_refused(tmp_path: Path) -> None:
    """Shuffled predictions in large chunks: the message names the figure and the setting."""
    truth, pred = label_maps(40)
    order = np.random.default_rng(5).permutation(40)
    write_stacked(tmp_path / "truth.zarr", truth, ids=image_ids(40), chunks=(1, 24, 32))
    ids = [image_ids(40)[index] for index in order]
    write_stacked(tmp_path / "pred.zarr", pred[order], ids=ids, chunks=(40, 24, 32))
    with pytest.raises(InputError, match=r"would be read 20.5 times, expected at most 4 \(max_read_amplif"):
        preview(pair_config(tmp_path, bucket_images=1))


# ---- absent chunks whose fill value names no class


@pytest.mark.parametrize("rule", ["skip", "count_as_void"])
def test_lost_chunk_is_no_invalid_label(tmp_path: Path, rule: str) -> None:
    """The fill value of an absent chunk, 99, is not taken for a label once a rule leaves the chunk out."""
    truth, pred = label_maps(8)
    write_stacked(tmp_path / "truth.zarr", truth)
    write_stacked(tmp_path / "pred.zarr", pred, fill_value=99)
    (tmp_path / "pred.zarr/labels/c/1/0/0").unlink()
    run = evaluate(pair_config(tmp_path, missing_chunks=rule))

    text = (run / "report.md").read_text()
    assert "label 99" not in text
    void = "3,072 pixels of pred lie in absent chunks and count as void (missing_chunks: count_as_void)"
    assert (void in text) == (rule == "count_as_void")
    with pytest.raises(InputError, match="label 99 in 768 pixels"):
        evaluate(pair_config(tmp_path, missing_chunks="are_fill_value"))


def test_invalid_labels_of_skipped_images_are_no_error(tmp_path: Path) -> None:
    """An image that is left out is left out whole."""
    truth, pred = label_maps(8)
    pred[5, 20, 3] = 77
    write_stacked(tmp_path / "truth.zarr", truth)
    write_stacked(tmp_path / "pred.zarr", pred, chunks=(4, 12, 32))
    (tmp_path / "pred.zarr/labels/c/1/0/0").unlink()

    run = evaluate(pair_config(tmp_path, missing_chunks="skip"))
    assert "4 counted of 8 planned, 4 skipped" in (run / "report.md").read_text()


@pytest.mark.parametrize(("bad", "other"), [("truth", "pred"), ("pred", "truth")])
def test_each_side_has_its_own_rule_for_invalid_labels(tmp_path: Path, bad: str, other: str) -> None:
    """Invalid labels of one side are an error until the rule of that side, not of the other, allows them."""
    labels = dict(zip(("truth", "pred"), label_maps(4), strict=True))
    labels[bad][2, 20, 3] = 77
    for name, maps in labels.items():
        write_stacked(tmp_path / f"{name}.zarr", maps)
    with pytest.raises(InputError, match=f"invalid {bad}: found label 77 in 1 pixels"):
        evaluate(pair_config(tmp_path, **{f"invalid_{other}": "ignore"}))
    evaluate(pair_config(tmp_path, **{f"invalid_{bad}": "ignore"}))


def test_disk_that_is_full_from_the_start(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 4, as for a disk that fills up on the way: the config is not what is wrong."""

    def full(self: Path, *given: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    config = pair_config(pair)
    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(InfrastructureError, match=r"cannot be written \(No space left on device\)"):
        evaluate(config)


def test_labels_that_lie_far_apart_are_named(tmp_path: Path) -> None:
    """The classes of a remap are listed in a message without filling the memory between them."""
    truth, pred = (labels.astype(np.uint32) for labels in label_maps(4))
    write_stacked(tmp_path / "truth.zarr", truth)
    write_stacked(tmp_path / "pred.zarr", pred)
    remap = {0: 0, 1: 1, 2: 2, 3: 3, 2**32 - 1: 4}
    with pytest.raises(InputError, match=r"label 4 .*expected a class \(0, 1, 2, 3, 4294967295\)"):
        evaluate(pair_config(tmp_path, remap=remap))


# ---- where results cannot be written


def test_results_that_cannot_be_written(pair: Path) -> None:
    """A file in place of the folder: exit 1, and the key to change."""
    (pair / "results").write_text("a file")
    with pytest.raises(
        ConfigError, match=r"results: the folder .* cannot be written .*choose another"
    ) as caught:
        evaluate(pair_config(pair))
    assert caught.value.exit_code == 1


def test_full_disk_while_counting(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 4 and the file; what was counted is used by the next run, and its figures are the same."""
    write = partials.PartialStore.write
    written: list[str] = []

    def full(self: partials.PartialStore, key: str, partial: partials.Partial) -> None:
        if len(written) == 2:
            message = f"{key}: cannot be written (No space left on device)"
            raise InfrastructureError(message)
        write(self, key, partial)
        written.append(key)

    config = pair_config(pair, cluster={"kind": "threads", "threads": 1})
    monkeypatch.setattr(partials.PartialStore, "write", full)
    with pytest.raises(SegpipeError, match="No space left") as caught:
        evaluate(config)
    assert caught.value.exit_code == 4
    monkeypatch.undo()

    run = evaluate(config)
    assert read_json(run / "counted.json")["hits"] == 2
    assert figures(run) == figures(evaluate(pair_config(pair, results=f"{pair}/fresh")))
