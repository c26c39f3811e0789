"""Selections through a whole run: which images, what is counted again, and what is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from segpipe.errors import ConfigError, InputError
from segpipe.planning.plan import make_plan
from segpipe.run.evaluate import evaluate
from segpipe.run.opened import open_run
from segpipe.run.record import read_json
from tests.run.datasets import extended_matrix, figures, image_ids, label_maps, pair_config, write_stacked
from tests.run.test_recount import counted

SELECTIONS: list[tuple[dict[str, Any], list[int]]] = [
    ({"ids": ["img_007", "img_030", "img_007"]}, [7, 30]),
    ({"where": 'weather == "fog" and id < "img_010"'}, [1, 4, 7]),
    ({"first": 9}, list(range(9))),
    ({"where": 'weather == "rain"', "first": 2}, [0, 3]),
    ({"ids": ["img_005", "img_004", "img_003"], "where": 'weather != "fog"'}, [3, 5]),
    ({"first": 400}, list(range(40))),
]


def selected(folder: Path, **select: Any) -> list[str]:
    return make_plan(pair_config(folder, select=select)).alignment.ids


@pytest.mark.parametrize(("select", "images"), SELECTIONS, ids=str)
def test_selected_images_are_scored_and_no_other(
    pair: Path, select: dict[str, Any], images: list[int]
) -> None:
    """The matrix is that of the selected images; coverage is of these; metadata stay with their images."""
    run = evaluate(pair_config(pair, select=select))
    truth, pred = label_maps()
    document = json.loads((run / "scores.json").read_text())
    opened = open_run(run)
    np.testing.assert_array_equal(opened.confusion.values, extended_matrix(truth[images], pred[images]))
    assert document["images"]["planned"] == document["images"]["counted"] == len(images)
    assert document["coverage"] == 1
    assert opened.per_image["image"].values.tolist() == [image_ids(40)[image] for image in images]
    weather = opened.per_image["weather"].values.tolist()
    assert weather == [("rain", "fog", "clear")[image % 3] for image in images]


def test_report_names_the_selection(pair: Path) -> None:
    """How many of how many, and by which rule; the folder of a list of ids is not told."""
    (pair / "subset.txt").write_text("img_003\n\n img_001 \n")
    select = {"ids": f"{pair}/subset.txt", "where": 'weather != "snow"', "first": 5}
    run = evaluate(pair_config(pair, select=select))
    report = (run / "report.md").read_text().replace("\\", "")
    words = '2 of 40 images: the ids in subset.txt, where weather != "snow", the first 5.'
    assert f"Only a selection is evaluated, {words}" in report
    assert open_run(run).per_image["image"].values.tolist() == ["img_001", "img_003"]


def test_a_selection_counts_nothing_that_the_whole_counted(pair: Path, reads: list[str]) -> None:
    """After the whole dataset was counted no selection reads a chunk, and all figures are the same bits."""
    fresh = {index: evaluate(pair_config(pair, select=select, results=f"{pair}/other{index}"))
             for index, (select, _) in enumerate(SELECTIONS[1:4])}  # fmt: skip
    evaluate(pair_config(pair))
    reads.clear()
    for index, (select, _) in enumerate(SELECTIONS[1:4]):
        run = evaluate(pair_config(pair, select=select))
        assert read_json(run / "counted.json")["counted"] == 0
        assert figures(run) == figures(fresh[index])
    assert reads == []


def test_a_selection_reads_only_its_own_chunks_and_is_kept(pair: Path, reads: list[str]) -> None:
    """Of a bucket that was never counted the selected images alone are read, once for all time."""
    select = {"ids": ["img_000", "img_039"]}
    assert counted(pair_config(pair, select=select)) == 2
    assert {key for key in reads if key.startswith("truth")} == {
        "truth.zarr/labels/c/0/0/0",
        "truth.zarr/labels/c/9/0/0",
    }
    reads.clear()
    assert counted(pair_config(pair, select=select)) == 0
    assert reads == []
    assert counted(pair_config(pair)) == 4


def test_damaged_counts_of_the_whole_are_replaced_by_those_of_the_selection(pair: Path) -> None:
    """A partial of the whole that is damaged counts as absent; the selected images are counted."""
    first = evaluate(pair_config(pair, select={"first": 3}, results=f"{pair}/other"))
    evaluate(pair_config(pair))
    for path in (pair / "results" / "partials").rglob("[0-9a-f]" * 40):
        path.write_bytes(path.read_bytes()[:-5])
    second = evaluate(pair_config(pair, select={"first": 3}))
    assert read_json(second / "reduced.json")["recounted"] == 1
    assert figures(first) == figures(second)


def test_random_images_depend_on_ids_and_seed_alone(pair: Path, tmp_path_factory: Any) -> None:
    """The same draw from a store in another order; another seed draws others; more images add to fewer."""
    drawn = selected(pair, random=6, seed=1)
    assert len(drawn) == 6
    assert drawn == sorted(drawn)
    assert selected(pair, random=6, seed=1) == drawn
    assert selected(pair, random=6, seed=2) != drawn
    assert set(selected(pair, random=12, seed=1)) > set(drawn)

    other = tmp_path_factory.mktemp("shuffled")
    order = np.random.default_rng(0).permutation(40)
    truth, pred = label_maps()
    ids = [image_ids(40)[image] for image in order]
    write_stacked(other / "truth.zarr", truth[order], ids=ids)
    write_stacked(other / "pred.zarr", pred[order], ids=ids)
    assert sorted(selected(other, random=6, seed=1)) == drawn


def test_problems_of_images_that_were_not_selected_are_not_told(pair: Path) -> None:
    """A prediction that is missing elsewhere is no error; one of the selection is, and lowers coverage."""
    group = zarr.open_group(pair / "pred.zarr")
    for name in ("labels", "image"):
        group[name].resize((10, *group[name].shape[1:]))
    assert len(selected(pair, first=10)) == 10
    with pytest.raises(InputError, match=r"missing image: found no prediction, .*image img_010"):
        selected(pair, first=11)

    run = evaluate(pair_config(pair, select={"first": 12}, on_missing_pred="skip"))
    document = json.loads((run / "scores.json").read_text())
    assert document["images"] == {
        "planned": 12, "counted": 10, "skipped": 2, "quarantined": 0, "coverage": 10 / 12,
    }  # fmt: skip
    assert document["pixels"]["planned"] == 12 * 24 * 32
    with pytest.raises(InputError, match="no prediction for any image"):
        make_plan(pair_config(pair, select={"ids": ["img_020"]}, on_missing_pred="skip"))


def test_columns_of_a_table_select(pair: Path) -> None:
    """A condition may name columns of the image table and of the store together."""
    rows = [f"{name},{index}" for index, name in enumerate(image_ids(40))]
    (pair / "table.csv").write_text("\n".join(["id,frame", *reversed(rows)]) + "\n")
    config = pair_config(
        pair,
        image_table={"path": f"{pair}/table.csv"},
        select={"where": 'frame >= 36 and weather == "fog"'},
    )
    assert make_plan(config).alignment.ids == ["img_037"]


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ({}, "select: expected one or more of ids, where, first, random"),
        ({"first": 3, "random": 3}, "select: first and random both say how many images"),
        ({"first": 0}, "select.first: .*greater than or equal to 1"),
        ({"frist": 3}, "select.frist: no such key; did you mean first"),
        ({"where": "weather ="}, "select: 'weather =': it cannot be read"),
        ({"where": "open('x')"}, r"select: .*`open\('x'\)` is neither a column nor a value"),
        ({"where": 'wether == "fog"'}, "select.where: .*no column 'wether'; the columns are id, weather"),
        (
            {"where": 'weather == "snow"'},
            r'select: none of the 40 images of truth is selected \(where weather == "snow"\)',
        ),
        ({"ids": []}, "select: none of the 40 images of truth is selected"),
        ({"ids": "/nowhere/ids.txt"}, r"select.ids: /nowhere/ids.txt cannot be read \(No such file"),
    ],
    ids=str,
)
def test_mistakes_are_told(pair: Path, select: dict[str, Any], words: str) -> None:
    """By their key, with what would do."""
    with pytest.raises(ConfigError, match=words):
        make_plan(pair_config(pair, select=select))


def test_ids_from_what_has_no_end_are_refused(pair: Path) -> None:
    """A device or a pipe is no list."""
    with pytest.raises(ConfigError, match=r"select\.ids: /dev/null is no file"):
        make_plan(pair_config(pair, select={"ids": "/dev/null"}))


def test_all_unknown_ids_are_listed(pair: Path) -> None:
    """Every id that truth does not have, at once, with the file that names it."""
    (pair / "ids.txt").write_text("img_001\nimg_99\nimg_98\n")
    with pytest.raises(InputError, match="2 problems") as caught:
        make_plan(pair_config(pair, select={"ids": f"{pair}/ids.txt"}))
    assert [problem.image for problem in caught.value.problems] == ["img_99", "img_98"]
    assert "ids.txt" in str(caught.value)
