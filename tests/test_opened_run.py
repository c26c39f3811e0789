"""Opening a run: what is refused, what it shows, and new scores from its counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from segpipe.counts import results
from segpipe.errors import ConfigError, InputError
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scoring import score_counts
from segpipe.run import opened
from segpipe.run.manifest import check_manifest, write_manifest
from segpipe.run.opened import Run, open_run
from tests.finished import CLASSES, finish_run, random_matrices, summary_of

IMAGES = 10


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """<results>/<suite>/<model> with one published run and latest.json. Read only."""
    folder = tmp_path_factory.mktemp("results") / "streets" / "net"
    finish_run(
        folder / "runs" / "000001-a", random_matrices(IMAGES), summary=summary_of(IMAGES, warnings=("<w>",))
    )
    (folder / "latest.json").write_text('{"run": "000001-a"}')
    return folder


@pytest.fixture(scope="module")
def run(model: Path) -> Run:
    return open_run(model)


def test_latest_and_the_folder_itself_are_the_same_run(model: Path, run: Run) -> None:
    """<results>/<suite>/<model> means its latest run."""
    assert run.path == open_run(str(model / "runs" / "000001-a")).path


def test_a_half_written_run_is_refused(tmp_path: Path) -> None:
    """No manifest: the message says so, and what state the run is in."""
    folder = finish_run(tmp_path / "run", random_matrices(2))
    (folder / "MANIFEST.json").unlink()
    (folder / "run.json").write_text('{"state": "reduce"}')

    with pytest.raises(InputError, match=r"half-written run: it has no MANIFEST.json \(state: reduce\)"):
        open_run(folder)


def test_latest_of_a_half_written_run_is_refused_too(tmp_path: Path) -> None:
    """latest.json is no proof that a run is whole."""
    folder = finish_run(tmp_path / "runs" / "000001-a", random_matrices(2))
    (folder / "MANIFEST.json").unlink()
    (tmp_path / "latest.json").write_text('{"run": "000001-a"}')

    with pytest.raises(InputError, match="half-written run"):
        open_run(tmp_path)


@pytest.mark.parametrize(
    "content", ['{"run": "../../x"}', '{"run": 3}', "{}", "[", '{"run": ".."}', '{"run": ""}']
)
def test_a_strange_latest_is_refused(tmp_path: Path, content: str) -> None:
    """It names a folder in runs/, nothing else."""
    (tmp_path / "latest.json").write_text(content)

    with pytest.raises(
        InputError, match=r"latest.json that names the run .*, expected the name of a folder in runs/"
    ) as caught:
        open_run(tmp_path)
    assert "delete latest.json" in str(caught.value)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    """No such folder; an empty one; a model without a published run."""
    with pytest.raises(InputError, match="found no such folder, expected the folder of a published run"):
        open_run(tmp_path / "gone")
    with pytest.raises(InputError, match="found a folder that is no run"):
        open_run(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(InputError, match="found no published run yet"):
        open_run(tmp_path)


def test_files_of_another_size_or_missing_are_all_named_on_opening(tmp_path: Path) -> None:
    """Both at once; a file that was added does not matter."""
    folder = finish_run(tmp_path / "run", random_matrices(2))
    (folder / "scores.json").write_text("{}")
    (folder / "results.zarr" / "image" / "zarr.json").unlink()
    (folder / "mine.txt").write_text("note")

    with pytest.raises(InputError) as found:
        open_run(folder)
    words = str(found.value)
    assert "2 problems" in words
    assert "scores.json: 2 bytes, expected" in words
    assert "results.zarr/image/zarr.json: no such file" in words
    assert words.count("What to do: the run is not as it was published") == 1


def test_hashes_find_what_sizes_do_not(tmp_path: Path) -> None:
    """Opening compares sizes only; the hashes are there for who wants to know."""
    folder = finish_run(tmp_path / "run", random_matrices(2))
    data = (folder / "per_class.csv").read_bytes()
    (folder / "per_class.csv").write_bytes(data[::-1])

    open_run(folder)
    with pytest.raises(
        InputError, match=r"per_class.csv: other contents, expected the contents that were published"
    ):
        check_manifest(folder, hashes=True)


def test_the_manifest_lists_every_file_but_itself_and_the_state(model: Path) -> None:
    """results.zarr file by file, with size and hash; run.json changes after it is written."""
    folder = model / "runs" / "000001-a"
    document = json.loads((folder / "MANIFEST.json").read_text())
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    assert document["schema"] == 1
    assert set(document["files"]) == files - {"MANIFEST.json", "run.json"}
    assert all(set(entry) == {"bytes", "blake2b"} for entry in document["files"].values())
    check_manifest(folder, hashes=True)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 1}', '{"schema": 1, "files": {"a": 3}}'])
def test_a_damaged_manifest_is_refused(tmp_path: Path, content: str) -> None:
    """Half a manifest is none."""
    (tmp_path / "MANIFEST.json").write_text(content)

    with pytest.raises(InputError, match=r"MANIFEST.json that cannot be read"):
        open_run(tmp_path)


def test_a_manifest_of_another_schema_is_refused(tmp_path: Path) -> None:
    """A newer program may mean something else by it."""
    (tmp_path / "MANIFEST.json").write_text('{"schema": 2, "files": {}}')

    with pytest.raises(InputError, match=r"schema 2 of MANIFEST.json, expected 1"):
        open_run(tmp_path)


def test_the_manifest_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies while it writes leaves no manifest."""
    (tmp_path / "a").write_text("a")

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", die)
    with pytest.raises(KeyboardInterrupt):
        write_manifest(tmp_path)
    assert not (tmp_path / "MANIFEST.json").exists()


def test_xarray_views_show_scores_classes_images_and_confusion(run: Run) -> None:
    """Each by its own dims; names as in the files of the run."""
    matrices = random_matrices(IMAGES)

    assert set(run.scores.data_vars) == set(run.computed.aggregates)
    assert run.scores.mean_iou.item() == run.computed["mean_iou"]
    assert run.scores.sizes == {}
    assert run.per_class.iou.sel(class_name="car").item() == run.computed.per_class["iou"][1]
    assert set(run.per_class.data_vars) >= {"truth_pixels", "dice", "precision", "recall"}
    assert run.per_image.pixels.values.tolist() == matrices.sum(axis=(1, 2)).tolist()
    assert run.per_image.sequence.values.tolist()[:3] == ["s0", "s1", "s2"]
    assert "mean_iou" in run.per_image
    assert run.confusion.sel(truth="road", pred="car").item() == matrices[:, 0, 1].sum()


def test_arrays_are_read_only_when_they_are_looked_at(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening and listing reads coordinates, not counts; no dask array is made."""
    run = open_run(model)
    assert not run.per_image.pixels._in_memory
    assert not run.confusion._in_memory
    assert run.per_image.pixels.chunks is None


def test_scores_by_a_column_are_those_of_each_group_alone(run: Run) -> None:
    """Every figure for every sequence, from counts; groups in sorted order."""
    found = run.score(by="sequence")
    cells = next(iter(run.results.cells()))

    assert found.sequence.values.tolist() == ["s0", "s1", "s2"]
    for group, name in enumerate(found.sequence.values):
        own = cells.take(np.arange(group, IMAGES, 3))
        alone = score_counts([own], own.total(), CLASSES, ScoringRules())
        here = found.sel(sequence=name)
        assert here.images.item() == len(own)
        assert here.pixels.item() == own.total().sum()
        for metric, one in alone.aggregates.items():
            np.testing.assert_array_equal(here[metric].item(), one.value)
            used = here.class_name.values[here[f"{metric}_uses"].values]
            assert tuple(used) == one.classes_used
        for metric, values in alone.per_class.items():
            np.testing.assert_array_equal(here[metric].values, values)


def test_groups_are_right_through_many_blocks(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group of an image is found by its place in the dataset, not in its block."""
    whole = run.score(by="sequence")
    monkeypatch.setattr(results, "IMAGES_PER_BLOCK", 4)

    xr.testing.assert_identical(run.score(by="sequence"), whole)


@pytest.mark.parametrize(("by", "groups"), [("frame", IMAGES), ("night", 2), ("speed", IMAGES)])
def test_columns_of_every_kind_can_be_grouped_by(run: Run, by: str, groups: int) -> None:
    """Whole numbers, numbers and truth values keep their kind."""
    found = run.score(["mean_iou"], by=by)

    assert found.sizes[by] == groups
    assert found[by].values.tolist() == sorted(set(run.per_image[by].values.tolist()))


def test_metrics_asked_for_come_alone_with_their_mean(run: Run) -> None:
    """A per-class metric brings its mean over classes, and every mean which classes are in it."""
    found = run.score(["dice", "pixel_accuracy"])

    assert list(found.data_vars) == [
        "images", "pixels", "dice", "mean_dice", "mean_dice_uses", "pixel_accuracy", "pixel_accuracy_uses",
    ]  # fmt: skip
    assert found.dice.dims == ("class_name",)
    assert found.mean_dice.attrs["averaging"] == "pooled"


def test_all_scores_without_grouping_are_those_of_the_run(run: Run) -> None:
    """Recomputed from counts, bit for bit what was published."""
    found = run.score()

    for name in run.scores.data_vars:
        np.testing.assert_array_equal(found[name].item(), run.scores[name].item())


def test_other_rules_score_the_same_counts_anew(run: Run) -> None:
    """Without counting again; the rules are in the attributes."""
    rules = ScoringRules(absent_class="one", exclude_classes=("ghost",))
    found = run.score(["mean_iou"], rules=rules)

    ious = run.per_class.iou.values
    assert found.mean_iou.item() == pytest.approx((ious[0] + ious[1] + 1) / 3)
    assert json.loads(found.attrs["rules"]) == rules.document()


def test_unknown_names_are_refused_with_the_known_ones(run: Run) -> None:
    """Metric, column and table, each with a guess at what was meant."""
    with pytest.raises(ConfigError, match=r"no metric 'mean_io'; known: iou, .*; did you mean mean_iou\?"):
        run.score(["mean_io"])
    with pytest.raises(
        ConfigError, match=r"no metadata column 'sequnce'; it has: sequence, .*; did you mean sequence\?"
    ):
        run.score(by="sequnce")
    with pytest.raises(ConfigError, match=r"no table 'score'; known: .*; did you mean scores\?"):
        run.to_pandas("score")  # type: ignore[arg-type]


def test_more_groups_than_fit_in_memory_are_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the number, before anything is computed."""
    monkeypatch.setattr(opened, "MAX_GROUP_CLASSES", 8)

    with pytest.raises(ConfigError, match="'frame' has 10 different values; at most 2 can be scored at once"):
        run.score(by="frame")
    assert run.score(by="night").sizes["night"] == 2


def test_a_run_without_images_has_no_groups(tmp_path: Path) -> None:
    """Scores are NaN; grouping is refused in words."""
    run = open_run(finish_run(tmp_path / "run", random_matrices(0), summary=summary_of(0)))

    assert np.isnan(run.score().mean_iou.item())
    with pytest.raises(ConfigError, match="by: the run has no images, so 'sequence' has no values"):
        run.score(by="sequence")
    assert "Mean IoU -" in run._repr_html_()


def test_tables_become_data_frames(run: Run) -> None:
    """Index and columns by name, values as in the views."""
    assert run.to_pandas().loc["car", "truth_pixels"] == run.computed.areas.truth[1]
    assert run.to_pandas("per_image").loc["image-0003", "sequence"] == "s0"
    assert run.to_pandas("scores").loc["mean_iou", "value"] == run.computed["mean_iou"]
    assert (
        run.to_pandas("confusion").loc["(ignored)", "(void)"]
        == run.confusion.sel(truth="(ignored)", pred="(void)").item()
    )


def test_a_run_introduces_itself(run: Run) -> None:
    """Path, coverage, scores; in a notebook with everything from outside escaped."""
    assert str(run.path) in repr(run)
    assert "Coverage 100 %" in repr(run)
    assert "mean_iou" in repr(run)
    assert "<li>&lt;w&gt;</li>" in run._repr_html_()
    assert run._repr_html_().count("<table>") == 2


def test_the_summary_is_that_of_the_report(run: Run) -> None:
    """Suite, model, counts of images."""
    assert (run.summary.suite, run.summary.model, run.summary.images.counted) == ("streets", "net", IMAGES)


def test_a_damaged_provenance_is_told_in_words(tmp_path: Path) -> None:
    """Of the same size, so that opening passes."""
    folder = finish_run(tmp_path / "run", random_matrices(2))
    size = (folder / "provenance.json").stat().st_size
    (folder / "provenance.json").write_text("x" * size)

    with pytest.raises(InputError, match=r"provenance.json that cannot be read"):
        _ = open_run(folder).summary


def test_scores_can_be_merged_with_other_datasets(run: Run) -> None:
    """They are plain xarray objects."""
    both = xr.concat([run.per_class.load(), run.per_class.load()], "model")

    assert both.sizes["model"] == 2
