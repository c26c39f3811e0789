"""The files of a run: their contents, and that their bytes depend on the counts alone."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from markdown_it import MarkdownIt

from segpipe.classes import ClassList
from segpipe.counts.results import ResultsReader
from segpipe.errors import PROBLEM_FIELDS, InfrastructureError, Problem
from segpipe.metrics.base import chosen_metrics
from segpipe.metrics.rules import ScoringRules
from segpipe.reports import parquet
from segpipe.reports.base import REPORTS, ReportInput, write_reports
from segpipe.reports.parquet import write_parquet
from segpipe.reports.summary import RunSummary, Tally
from segpipe.reports.tables import (
    aggregates_table,
    confusions_table,
    counts_table,
    coverage_line,
    headline,
    notes_table,
    per_class_table,
    worst_images_table,
)
from segpipe.reports.text import printable
from segpipe.reports.words import HEAD, HEAD_END, same_for_same_counts
from tests.finished import CLASSES, file_hashes, finish_run, random_matrices, score_results, summary_of

IMAGES = 12
FILES = {
    "confusion.csv", "gates.xml", "per_class.csv", "per_group.csv",
    "per_class_distribution.csv", "per_slice.csv", "per_image.parquet", "per_image_class.parquet",
    "problems.parquet", "provenance.json", "report.html", "report.md", "scores.json",
}  # fmt: skip
EVIL = ["=HYPERLINK(1)", "a|b\n# x", "<script>x</script>", "[l](http://e)", "`\\", "\x1b[2Jz"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish_run(
        tmp_path_factory.mktemp("run") / "run",
        random_matrices(IMAGES),
        problems=[Problem(kind="decode", found="bad chunk", image="image-0003", chunk="c/3/0/0")],
        summary=summary_of(IMAGES, warnings=("no checksum",)),
    )


@pytest.fixture(scope="module")
def results(run: Path) -> ResultsReader:
    return ResultsReader(run / "results.zarr")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"), parse_constant=pytest.fail)


def read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_every_registered_kind_is_written(run: Path) -> None:
    """The registry finds the files of its folder."""
    assert set(REPORTS) == FILES
    assert FILES <= {path.name for path in run.iterdir()}


def test_scores_json_holds_every_figure_and_what_it_stands_on(run: Path, results: ResultsReader) -> None:
    """Floats read back to the same bits, NaN is null, and every mean carries its classes and rule."""
    found, scores = read_json(run / "scores.json"), score_results(results)

    assert set(found["aggregates"]) == set(scores.aggregates)
    for name, one in scores.aggregates.items():
        entry = found["aggregates"][name]
        assert entry["value"] == one.value
        assert entry["classes_used"] == list(one.classes_used)
        assert entry["classes_dropped"] == dict(one.classes_dropped)
        assert entry["flagged"] == dict(one.flagged)
        assert (entry["rule"], entry["averaging"]) == (one.rule, one.averaging)
    assert found["classes"][2]["iou"] is None
    assert found["classes"][1]["iou"] == float(scores.per_class["iou"][1])
    assert found["headline"] == "mean_iou"
    assert found["rules"] == ScoringRules().document()
    assert found["coverage"] == 1.0
    assert found["counts"]["pixels"] == int(random_matrices(IMAGES).sum())


def test_per_class_csv_has_a_row_for_every_class(run: Path, results: ResultsReader) -> None:
    """Areas in pixels and scores that read back; an absent class has empty cells."""
    header, *rows = read_csv(run / "per_class.csv")
    scores = score_results(results)

    assert header[:5] == ["class_id", "class_name", "truth_pixels", "pred_pixels", "hit_pixels"]
    assert [row[1] for row in rows] == list(CLASSES.names)
    assert header[5:] == list(scores.per_class)
    assert set(rows[2][5:]) == {""}
    assert float(rows[0][header.index("iou")]) == scores.per_class["iou"][0]


def test_confusion_csv_is_the_whole_matrix_with_names(run: Path) -> None:
    """K + 2 rows and columns."""
    header, *rows = read_csv(run / "confusion.csv")

    assert header[1:] == [*CLASSES.names, "(void)", "(invalid)"]
    assert [row[0] for row in rows] == [*CLASSES.names, "(ignored)", "(invalid)"]
    total = random_matrices(IMAGES).sum(axis=0)
    np.testing.assert_array_equal(np.array([row[1:] for row in rows], np.int64), total)


def test_per_image_parquet_has_ids_metadata_counts_and_scores(run: Path) -> None:
    """One row per image; mean IoU over the classes present, by hand for one image."""
    found = pd.read_parquet(run / "per_image.parquet")
    matrices = random_matrices(IMAGES)

    assert list(found.columns) == [
        "image", "sequence", "frame", "speed", "night",
        "pixels", "ignored", "void", "invalid_truth", "invalid_pred",
        *(one.averages[0] for one in chosen_metrics(None)),
    ]  # fmt: skip
    assert found.pixels.tolist() == matrices.sum(axis=(1, 2)).tolist()
    assert found.ignored.tolist() == matrices[:, 4].sum(axis=1).tolist()
    assert found.void.tolist() == matrices[:, :, 4].sum(axis=1).tolist()
    assert math.isnan(found.mean_iou[4])
    one = matrices[0]
    truth, pred = one[:4].sum(axis=1), one[:4, :4].sum(axis=0)
    hit = one.diagonal()[:4]
    present = (truth + pred) > 0
    assert found.mean_iou[0] == pytest.approx(np.mean(hit[present] / (truth + pred - hit)[present]))
    assert found.pixel_accuracy[0] == hit.sum() / truth.sum()


def test_per_image_class_parquet_has_rows_where_the_class_occurs(run: Path) -> None:
    """Their areas add up to those of the classes, and no row is empty."""
    found = pd.read_parquet(run / "per_image_class.parquet")
    total = random_matrices(IMAGES).sum(axis=0)

    assert (found.truth_pixels + found.pred_pixels > 0).all()
    sums = found.groupby("class_name")[["truth_pixels", "pred_pixels", "hit_pixels"]].sum()
    assert sums.loc["road"].tolist() == [total[0].sum(), total[:4, 0].sum(), total[0, 0]]
    assert "never" not in sums.index
    assert "image-0004" not in set(found.image)
    union = found.truth_pixels + found.pred_pixels - found.hit_pixels
    np.testing.assert_array_equal(found.iou, found.hit_pixels / union)


def test_problems_parquet_has_the_fields_of_a_problem(run: Path) -> None:
    """One row each."""
    found = pd.read_parquet(run / "problems.parquet")

    assert list(found.columns) == list(PROBLEM_FIELDS)
    assert found.loc[0, ["kind", "image", "chunk"]].tolist() == ["decode", "image-0003", "c/3/0/0"]


def test_no_problems_make_an_empty_table_with_columns(tmp_path: Path) -> None:
    """Programs find the columns either way."""
    run = finish_run(tmp_path / "run", random_matrices(2))

    assert list(pd.read_parquet(run / "problems.parquet").columns) == list(PROBLEM_FIELDS)


def test_the_report_puts_the_headline_first_and_says_what_it_averages(run: Path) -> None:
    """Then coverage, warnings, tables, rules."""
    text = same_for_same_counts((run / "report.md").read_text("utf-8"))
    order = [
        "# `streets`: `net`", "**Mean IoU 0.", "pooled)**", "Coverage 100 %: 12 counted of 12 planned",
        "matched by id", "## Warnings", "no checksum", "nowhere in truth", "## Scores",
        "## Classes to know of",
        "## Classes\n", "lowest mean IoU", "## The most frequent confusions", "## Pixels", "## Rules",
    ]  # fmt: skip

    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert "mean over 3 of 4 classes, of counts summed over 12 images" in text
    assert "image-0004" not in text  # it has nothing to score, so it is not among the worst


def test_a_report_says_that_images_were_matched_by_index(tmp_path: Path) -> None:
    """Order alone pairs them, and the reader must know."""
    run = finish_run(tmp_path / "run", random_matrices(2), summary=summary_of(2, alignment="index"))

    assert "matched by index: neither side has ids" in (run / "report.md").read_text("utf-8")


def test_bytes_are_the_same_for_the_same_counts(tmp_path: Path, run: Path) -> None:
    """Another time, host, path, version and cut of the appends: only provenance and the head differ."""
    other = finish_run(
        tmp_path / "elsewhere" / "run",
        random_matrices(IMAGES),
        cuts=[1, 2, 7],
        problems=[Problem(kind="decode", found="bad chunk", image="image-0003", chunk="c/3/0/0")],
        summary=summary_of(
            IMAGES, warnings=("no checksum",), run="000009-x", provenance={"host": "other"},
            timings={"count": 99.0},
            versions={"zarr": "4"}, config="cluster: other\n",
        ),
    )  # fmt: skip
    one, two = file_hashes(run), file_hashes(other)
    differing = {name for name in one if one[name] != two[name]}

    assert set(one) == set(two)
    assert differing == {"provenance.json", "report.html", "report.md", "MANIFEST.json"}
    for name in ("report.html", "report.md"):
        texts = [(folder / name).read_text("utf-8") for folder in (run, other)]
        assert same_for_same_counts(texts[0]) == same_for_same_counts(texts[1])
        assert "somewhere" not in same_for_same_counts(texts[0])
        assert "somewhere" in texts[0]


def test_hostile_names_and_ids_reach_every_file_unharmed(tmp_path: Path) -> None:
    """Tables keep their shape, no HTML passes, formulas are disarmed, programs get the exact text."""
    run = finish_run(
        tmp_path / "run",
        random_matrices(6),
        classes=ClassList(tuple(EVIL[:4])),
        ids=EVIL,
        columns={"=evil": np.array(EVIL, object)},
        summary=summary_of(6, warnings=tuple(EVIL), suite=EVIL[2], model=EVIL[3]),
    )
    report = (run / "report.md").read_text("utf-8")

    assert pd.read_parquet(run / "per_image.parquet").image.tolist() == EVIL
    assert [row[0] for row in read_csv(run / "confusion.csv")[1:5]] == ["'" + EVIL[0], *EVIL[1:4]]
    assert [entry["class_name"] for entry in read_json(run / "scores.json")["classes"]] == EVIL[:4]
    assert "\x1b" not in report
    blocks = MarkdownIt("commonmark", {"html": True}).enable("table").parse(report)
    kinds = {token.type for block in blocks for token in [block, *(block.children or [])]}
    assert not {"html_inline", "link_open", "image"} & kinds
    assert {block.content.strip() for block in blocks if block.type == "html_block"} == {HEAD, HEAD_END}
    assert [block.tag for block in blocks if block.type == "heading_open"].count("h1") == 1


def test_no_images_make_reports_that_say_so(tmp_path: Path) -> None:
    """Every file is there, every score is null, coverage is unknown."""
    run = finish_run(
        tmp_path / "run",
        random_matrices(0),
        summary=summary_of(0, pixels=Tally(planned=0, counted=0)),
    )

    found = read_json(run / "scores.json")
    assert {entry["value"] for entry in found["aggregates"].values()} == {None}
    assert found["coverage"] is None
    assert len(pd.read_parquet(run / "per_image.parquet")) == 0
    assert "Mean IoU -: mean over 0 of 4 classes" in (run / "report.md").read_text("utf-8")


def test_a_summary_survives_as_plain_data(run: Path) -> None:
    """provenance.json gives the summary back."""
    summary = summary_of(IMAGES, warnings=("no checksum",))

    assert RunSummary.from_document(read_json(run / "provenance.json")) == summary


def test_coverage_is_the_smaller_of_images_and_pixels() -> None:
    """All four figures of both are printed."""
    images = Tally(planned=4, counted=3, skipped=1)
    pixels = Tally(planned=1000, counted=700, skipped=200, quarantined=100)
    summary = replace(summary_of(4), images=images, pixels=pixels)

    assert summary.coverage == 0.7
    assert coverage_line(summary) == (
        "Coverage 70.00 %: 3 counted of 4 planned, 1 skipped, 0 quarantined images; "
        "700 counted of 1,000 planned, 200 skipped, 100 quarantined pixels"
    )


def test_a_report_that_cannot_be_written_says_where(
    run: Path, results: ResultsReader, tmp_path: Path
) -> None:
    """A message for people, with the path."""
    given = ReportInput(results, score_results(results), summary_of(IMAGES))

    with pytest.raises(
        InfrastructureError, match=f"{tmp_path}/gone/confusion.csv cannot be written: .*choose another"
    ):
        write_reports(tmp_path / "gone", given)


def test_row_groups_do_not_depend_on_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows come in any pieces, the file is the same."""
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 4)
    for name, size in (("a", 1), ("b", 3), ("c", 10)):
        blocks = [{"x": list(range(at, min(at + size, 10)))} for at in range(0, 10, size)]
        write_parquet(tmp_path / name, {"x": "int"}, blocks)

    assert len(set(file_hashes(tmp_path).values())) == 1
    assert [pq.ParquetFile(tmp_path / "a").metadata.row_group(i).num_rows for i in range(3)] == [4, 4, 2]


def test_the_worst_images_are_the_worst_in_order(results: ResultsReader) -> None:
    """By mean IoU, those without one left out."""
    frame = score_results(results).per_image["mean_iou"]
    expected = [index for index in np.argsort(frame, kind="stable") if not np.isnan(frame[index])]
    table = worst_images_table(results, 5)

    assert [row[0] for row in table.rows] == [f"image-{index:04d}" for index in expected[:5]]
    assert table.title == "The 5 images of the lowest mean IoU"
    assert len(worst_images_table(results, 100).rows) == IMAGES - 1


def test_the_most_frequent_confusions_are_mistakes_on_valid_truth(results: ResultsReader) -> None:
    """No hits, no ignored truth; void and invalid predictions are mistakes too."""
    rows = confusions_table(results, 100).rows
    total = random_matrices(IMAGES).sum(axis=0)
    numbers = [int(row[2].replace(",", "")) for row in rows]

    assert numbers == sorted(numbers, reverse=True)
    assert sum(numbers) == total[:4].sum() - np.trace(total[:4, :4])
    assert {row[0] for row in rows} == {"road", "car"}
    assert {"(void)", "(invalid)"} <= {row[1] for row in rows}
    assert all(row[0] != row[1] for row in rows)


def test_tables_hold_a_cell_for_every_column_and_no_line_ends(results: ResultsReader) -> None:
    """So that any renderer can take them."""
    scores = score_results(results)
    tables = [
        aggregates_table(scores), per_class_table(scores), counts_table(scores), notes_table(scores),
        worst_images_table(results), confusions_table(results),
    ]  # fmt: skip

    for table in tables:
        assert table.rows
        for row in table.rows:
            assert len(row) == len(table.columns)
            assert all(cell == printable(cell) for cell in row)


def test_notes_tell_every_class_that_is_left_out_or_flagged(results: ResultsReader) -> None:
    """And in which figures."""
    rows = {(row[0], row[1]): row for row in notes_table(score_results(results)).rows}

    assert rows["never", "left out"][2] == "absent from truth and prediction"
    assert "mean_iou" in rows["ghost", "kept"][3]
    assert rows["ghost", "kept"][2] == "predicted, but nowhere in truth: scores 0"


def test_the_headline_names_its_averaging(results: ResultsReader) -> None:
    """Pooled, over how many classes and images."""
    assert headline(score_results(results)).endswith("of counts summed over 12 images (pooled)")
