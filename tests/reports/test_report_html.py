"""report.html: it says what report.md says, loads and runs nothing, and holds whatever stores call things."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from segpipe.classes import ClassGroup, ClassList
from segpipe.counts.results import ResultsReader, write_scores
from segpipe.errors import Problem
from segpipe.metrics.conventions.scoring import score_conventions
from segpipe.metrics.gates import GateReport, Verdict
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import StatisticScores
from segpipe.metrics.statistic_scores import score_statistic
from segpipe.reports.base import REPORTS, ReportInput
from segpipe.reports.heat import matrix
from segpipe.reports.kinds import report_html, report_md
from segpipe.reports.markup import element
from segpipe.reports.page import MAX_ROWS, table_section
from segpipe.reports.statistic_plots import PICTURES, pictures
from segpipe.reports.summary import Tally
from segpipe.reports.svg import BAR_PX, Axes, bar, histogram
from segpipe.reports.tables import Column, Table
from segpipe.reports.text import encodable
from segpipe.reports.words import same_for_same_counts
from segpipe.run.scored import score_run
from segpipe.statistics.base import STATISTICS
from segpipe.statistics.defined.calibration import Calibration
from segpipe.statistics.defined.components import Components
from segpipe.statistics.defined.threshold_sweep import ThresholdSweep
from tests.finished import CLASSES, random_matrices, summary_of, write_results

IMAGES = 12
RULES = ScoringRules(
    slices=({"by": "sequence"}, {"by": ["night", "sequence"]}),  # type: ignore[arg-type]
    intervals={"replicates": 100, "per_class": True},  # type: ignore[arg-type]
)
GROUPED = ClassList(CLASSES.names, CLASSES.colors, (ClassGroup("both", (0, 1)),))
GATES = GateReport(
    1.0,
    (
        Verdict(gate="mean_iou at least 0.9", passed=False, figure="mean_iou", limited="min", limit=0.9,
                value=0.2, reason="0.2 is below 0.9"),
        Verdict(gate="coverage at least 0.1", passed=True, figure="coverage", limited="min", limit=0.1,
                value=1.0),
    ),
)  # fmt: skip
PROBLEM = Problem(kind="decode", found="bad chunk", store="/some/where", image="image-0003")
HOSTILE = [
    "<script>alert(1)</script>", "</svg><img src=x onerror=y>", "\"quoted\" 'n' & so", "\x1b[2J\x00bell\x07",
    "abc\u202edef\u2066", "]]><!-- differs between runs -->", "a\uffff", "</style></title></textarea>",
    "&lt;b&gt;&#0;", "x" * 300, "javascript:alert(1)", "\u05e9\u05dc\u05d5\u05dd", "{{7*7}}", "=1+1",
]  # fmt: skip
ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "main", "section", "div", "nav", "h1", "h2", "h3", "p",
    "ul", "li", "a", "b", "bdi", "span", "wbr", "table", "thead", "tbody", "tr", "th", "td", "figure",
    "figcaption", "details", "summary", "dl", "dt", "dd", "pre", "svg", "rect", "path", "circle", "polyline",
    "text",
}  # fmt: skip


def given_of(folder: Path, *, results: Any = None, conventions: Any = (), **changes: Any) -> ReportInput:
    """What a report is made from: random matrices, and all that can be asked for without a pixel."""
    settings = {"matrices": random_matrices(IMAGES), "classes": GROUPED, **(results or {})}
    made = write_results(folder / "results.zarr", **settings)
    scores = score_run(made.path, changes.pop("rules", RULES))
    if conventions:
        blocks = ((block.ids, block.cells) for block in made.blocks())
        scores = replace(scores, conventions=score_conventions(blocks, made.classes, conventions))
    write_scores(made.path, scores)
    return ReportInput(
        ResultsReader(made.path), scores, **{"summary": summary_of(IMAGES), "gates": GATES, **changes}
    )


def written(given: ReportInput, folder: Path) -> str:
    report_html.write(given, folder / "report.html")
    return (folder / "report.html").read_text("utf-8")


def parsed(page: str) -> Element:
    """As XML: stricter than any browser."""
    return ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>"))


def shown(one: Element) -> str:
    return "".join(one.itertext()).strip()


class Tags(HTMLParser):
    """Start tags as a lenient reader of HTML sees them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append(tag)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReportInput, str]:
    """A report with everything, and what it was made from."""
    folder = tmp_path_factory.mktemp("full")
    made = given_of(folder, conventions=["keras", "monai-iou"], problems=[PROBLEM])
    return made, written(made, folder)


def test_the_page_is_well_formed_and_read_alike_by_all_parsers(full: tuple[ReportInput, str]) -> None:
    """As XML and as HTML; only elements that show something, each once closed."""
    root = parsed(full[1])
    tags = [one.tag for one in root.iter()]

    assert Tags(full[1]).found == tags
    assert set(tags) <= ALLOWED
    assert tags.count("h1") == 1
    names = [one.get("id") for one in root.iter() if one.get("id")]
    assert len(names) == len(set(names))


def test_the_page_loads_nothing_runs_nothing_and_tells_the_browser_so(full: tuple[ReportInput, str]) -> None:
    """No script, no handler, no address but that of its own sections, and a policy that forbids the rest."""
    root = parsed(full[1])
    policy = [one.get("content", "") for one in root.iter("meta") if one.get("http-equiv")]
    links = {one.get("href", "") for one in root.iter() if one.get("href")}
    names = {f"#{one.get('id')}" for one in root.iter("section")}
    attributes = {name for one in root.iter() for name in one.keys()}

    assert policy == [
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    ]
    assert links <= names
    assert {"#scores", "#classes", "#slices", "#provenance"} <= links
    assert not {name for name in attributes if name.startswith("on") or name in ("src", "style", "srcset")}
    assert re.findall(r"https?:|url\(|@import|//", full[1]) == []


def test_whatever_report_md_says_stands_in_the_page(full: tuple[ReportInput, str], tmp_path: Path) -> None:
    """Every table, row by row, every warning, rule and reason."""
    report_md.write(full[0], tmp_path / "report.md")
    root = parsed(full[1])
    rows = {tuple(shown(cell).lstrip("\u2713\u2717 ") for cell in row) for row in root.iter("tr")}
    sentences = {shown(one) for one in root.iter() if one.tag in ("li", "p")}
    told = same_for_same_counts((tmp_path / "report.md").read_text("utf-8"))
    tokens = MarkdownIt("commonmark").enable("table").parse(told)
    own, cells = [], []
    for before, token in pairwise(tokens):
        words = "".join(child.content for child in token.children or []).replace("\u200b", "")
        if before.type in ("th_open", "td_open"):
            cells.append(words)
        elif before.type == "paragraph_open" and before.level == 2:
            assert words in sentences
        if token.type == "tr_close":
            own.append(tuple(cells))
            cells = []

    assert len(own) > 80
    assert [row for row in own if row not in rows] == []
    assert all(rule in sentences for rule in full[0].scores.rules.in_words())


def test_what_is_wrong_comes_before_the_headline(full: tuple[ReportInput, str], tmp_path: Path) -> None:
    """Failed gates, what was not counted, problems; and none of it where all is well."""
    half = replace(summary_of(IMAGES), images=Tally(planned=24, counted=12, quarantined=12))
    wrong = written(replace(full[0], summary=half, problems=[PROBLEM] * 30), tmp_path)
    order = [
        "Gates failed", "0.2 is below 0.9", "Not everything was counted", "12 quarantined images",
        "30 problems were found", "Problems, 20 of 30", "<b>Mean IoU", "Gates: 1 of 2 failed",
    ]  # fmt: skip
    places = [wrong.index(words) for words in order]
    assert places == sorted(places)

    matrices = np.zeros((3, 6, 6), np.int64)
    matrices[:, 0, 0] = 5
    plain = {"summary": summary_of(3), "rules": ScoringRules(), "gates": None}
    well = written(given_of(tmp_path, results={"matrices": matrices}, **plain), tmp_path)
    assert 'class="alert' not in well
    assert 'id="gates"' not in well


def test_order_and_paths_of_problems_stay_in_the_head(full: tuple[ReportInput, str], tmp_path: Path) -> None:
    """They depend on who counted what, and where it lies."""
    other = replace(PROBLEM, store="/else/where", image="image-0004")
    given = full[0]
    pages = [written(replace(given, problems=p), tmp_path) for p in ([PROBLEM, other], [other, PROBLEM])]

    assert pages[0] == pages[1]
    assert "/some/where" in pages[0]
    assert "/some/where" not in same_for_same_counts(pages[0])
    moved = written(replace(given, problems=[replace(PROBLEM, store="/x"), other]), tmp_path)
    assert same_for_same_counts(moved) == same_for_same_counts(pages[0])


def test_hostile_names_are_shown_and_nothing_else(tmp_path: Path) -> None:
    """Classes, groups, ids, metadata, suite, model, warnings, problems, gates, versions, configuration."""
    number = len(HOSTILE)
    harmless = [f"name{at}" for at in range(number)]
    pages = {}
    for kind, names in (("hostile", HOSTILE), ("harmless", harmless)):
        colors = tuple((at, at, at) for at in range(number))
        classes = ClassList(tuple(names), colors, (ClassGroup(names[0], (0, 1)),))
        summary = summary_of(
            number, suite=names[0], model=names[1], run=names[2], warnings=tuple(names), rules=tuple(names),
            provenance={"host": names[0]}, versions={names[1]: names[2]}, config="\n".join(names),
        )  # fmt: skip
        verdicts = tuple(replace(GATES.verdicts[0], gate=name, reason=name) for name in names)
        given = given_of(
            tmp_path / kind,
            results={
                "matrices": np.random.default_rng(1).integers(0, 4, (number, number + 2, number + 2)),
                "classes": classes, "ids": names, "columns": {names[0]: np.array(names, object)},
            },
            rules=ScoringRules(slices=({"by": names[0]},), metrics=("iou",)),  # type: ignore[arg-type]
            conventions=["monai-iou"],
            summary=summary,
            problems=[replace(PROBLEM, found=name) for name in names],
            gates=GateReport(1.0, verdicts),
        )  # fmt: skip
        pages[kind] = written(given, tmp_path)
    root = parsed(pages["hostile"])
    tags = [one.tag for one in root.iter()]
    cells = {shown(one) for one in root.iter() if one.tag in ("td", "th", "bdi", "li")}

    assert Tags(pages["hostile"]).found == tags
    # Where a name stands the structure is that of any other name; sorting changes nothing in it.
    assert tags == [one.tag for one in parsed(pages["harmless"]).iter()]
    assert {encodable(name).strip() for name in HOSTILE} <= cells
    assert not any(mark in pages["hostile"] for mark in "\x1b\x00\x07\u202e\u2066\uffff")
    assert pages["hostile"].count("<!-- differs between runs -->") == 3


@given(text=st.one_of(st.text(max_size=30), st.sampled_from(HOSTILE)))
def test_any_text_is_text_and_any_attribute_one(text: str) -> None:
    """Read back by a parser of XML they are what was to be shown."""
    one = ElementTree.fromstring(element("p", text, title=text))

    assert shown(one) == encodable(text).strip()
    assert one.get("title") == encodable(text)
    assert list(one) == []


def test_tables_and_drawings_can_be_read_aloud(full: tuple[ReportInput, str]) -> None:
    """Headings know what they head; a drawing has a title, or is skipped because its number is beside it."""
    root = parsed(full[1])
    drawings = list(root.iter("svg"))

    assert {one.get("scope") for one in root.iter("th")} == {"row", "col"}
    assert all(
        len([cell for cell in row if cell.tag == "th"]) == 1 for body in root.iter("tbody") for row in body
    )
    assert drawings
    for one in drawings:
        assert one.get("aria-hidden") == "true" or (one.get("role") == "img" and one[0].tag == "title")
    regions = [one for one in root.iter("div") if one.get("role") == "region"]
    assert len(regions) == len(list(root.iter("table")))
    assert all(one.get("aria-label") and one.get("tabindex") == "0" for one in regions)
    assert root.get("lang") == "en"


def _luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("light", [True, False])
def test_words_can_be_read_on_what_is_behind_them(full: tuple[ReportInput, str], light: bool) -> None:
    """A contrast of 4.5 at least (WCAG 2.2, 1.4.3), 3 for strokes (1.4.11), on light and on dark screens."""
    style = shown(next(parsed(full[1]).iter("style")))
    colors = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part)) for part in style.split(":root {")[1:3]]
    found = colors[0] if light else colors[0] | colors[1]
    pairs = [("text", "back"), ("text", "panel"), ("text", "right"), ("quiet", "back"), ("quiet", "panel")]
    pairs += [("text", "bad-back"), ("bad", "bad-back"), ("text", "warn-back"), ("warn", "warn-back")]
    pairs += [("accent", "back"), ("good", "panel"), ("bad", "panel")]
    pairs += [(f"on-m{at}" if at > 3 else "text", f"m{at}") for at in range(7)]
    for above, behind, least in [*((*pair, 4.5) for pair in pairs), ("text", "fill", 3.0)]:
        one, other = sorted(map(_luminance, (found[above], found[behind])))
        assert (other + 0.05) / (one + 0.05) >= least, (above, behind)


def test_many_classes_keep_the_page_short(tmp_path: Path) -> None:
    """The worst are shown, all of them in a table that is opened; the heat map takes the most mistaken."""
    classes = ClassList(tuple(f"c{at}" for at in range(60)))
    matrices = np.zeros((2, 62, 62), np.int64)
    matrices[:, range(50), range(50)] = np.arange(50) + 1
    matrices[:, range(49), range(1, 50)] = 3
    given = given_of(
        tmp_path, results={"matrices": matrices, "classes": classes}, rules=ScoringRules(), gates=None
    )
    page = written(given, tmp_path)
    root = parsed(page)
    heat = next(one for one in root.iter("table") if one.get("class") == "heat")
    folded = [shown(one[0]) for one in root.iter("details")]

    assert "The 20 classes of the lowest IoU" in page
    assert "The IoU of 50 classes, the best first. 10 are in neither truth nor prediction" in page
    assert "All classes (60 rows)" in folded
    assert len(heat[1]) == 32
    assert "Shown are the 32 of 60 classes with the most mistaken pixels; confusion.csv has all." in page


@pytest.mark.parametrize("column", [None, "speed"])
def test_confusions_say_where_they_lack_the_weights_of_images(tmp_path: Path, column: str | None) -> None:
    """Below the heat map's title and the table's, in the same words as report.md; nothing without weights."""
    made = given_of(tmp_path, rules=ScoringRules(image_weights=column))
    report_md.write(made, tmp_path / "report.md")
    words = (
        "Numbers of pixels, without the weights of images: a share of a true class is not its recall in the "
        "scores, which counts weights."
    )
    notes = [shown(one) for one in parsed(written(made, tmp_path)).iter("p") if one.get("class") == "note"]
    found = [text for text in notes if words in text]

    assert len(found) == (2 if column else 0)
    assert all(text == words or text.startswith("Rows are true classes") for text in found)
    section = f"## The most frequent confusions\n\n{words}\n\n| truth |"
    assert (section in (tmp_path / "report.md").read_text("utf-8")) == bool(column)


def test_the_heat_map_is_a_part_of_the_matrix(full: tuple[ReportInput, str]) -> None:
    """Its rows add up to the true pixels of the class, whatever part of the columns is shown."""
    results = full[0].results
    total = results.total()
    for number in (1, 2, 3, 4):
        found = matrix(results, number)
        np.testing.assert_array_equal(found.pixels.sum(axis=1), total[found.rows].sum(axis=1))
        assert found.columns[: len(found.rows)] == [CLASSES.names[row] for row in found.rows]
        assert ("(other classes)" in found.columns) == (number < 3)
        assert found.columns[-2:] == ["(void)", "(invalid)"]
        known = found.pixels.sum(axis=1) > 0
        np.testing.assert_allclose(np.nansum(found.shares, axis=1)[known], 1.0)
    assert found.pixels[0, 1] == total[0, 1]


def test_a_long_table_is_cut_and_says_where_the_rest_is() -> None:
    """At so many rows that a page stays small."""
    columns = (Column("id"), Column("class", number=False, untrusted=True))
    table = Table("T", columns, [(str(at), "x") for at in range(MAX_ROWS + 1)])
    found = table_section(table, file="per_class.csv")

    assert found.count("<tr>") == MAX_ROWS + 1
    assert "The first 1,000 of 1,001 rows; per_class.csv has them all." in found
    assert "The first" not in table_section(replace(table, rows=table.rows[1:]))


def test_every_file_that_the_page_names_is_a_file_of_a_run() -> None:
    """Also those of what is left out of long tables."""
    source = Path(report_html.__file__).read_text("utf-8")
    named = set(re.findall(r"\w+\.(?:csv|parquet)", source))

    assert named
    assert named <= set(REPORTS)


def test_a_run_of_no_images_has_a_page(tmp_path: Path) -> None:
    """It says that nothing was counted."""
    nothing = {"matrices": random_matrices(0)}
    summary = summary_of(0, pixels=Tally(planned=0, counted=0))
    rules = ScoringRules()
    page = written(given_of(tmp_path, results=nothing, summary=summary, rules=rules, gates=None), tmp_path)

    assert "Mean IoU -" in page
    assert "Not everything was counted" in page
    assert 'id="images"' not in page
    assert {shown(one) for one in parsed(page).iter("b")} == {"Mean IoU -", "Coverage -"}


def test_a_bar_is_as_long_as_its_score() -> None:
    """And its whisker lies where the interval does; of no score there is no bar."""
    one = ElementTree.fromstring(bar(0.25, low=0.0, high=1.0, whole=0.5))
    track, filled, whole, whisker = one

    assert float(filled.get("width", "")) == pytest.approx(0.25 * float(track.get("width", "")))
    assert whole.get("d", "").startswith(f"M{BAR_PX / 2:g} ")
    assert re.findall(r"M([\d.]+) [\d.]+v6", whisker.get("d", "")) == ["0.5", f"{BAR_PX - 0.5:g}"]
    assert bar(float("nan")) == ""


def test_a_histogram_has_a_column_for_every_part_that_is_not_empty() -> None:
    """Each as high as its count, and its numbers can be read."""
    found = ElementTree.fromstring(histogram([0, 3, 0, 5], "T", "x", "y"))
    columns = [one for one in found.iter("rect") if len(one)]

    assert [shown(one) for one in columns] == ["0.25 to 0.5: 3", "0.75 to 1: 5"]
    heights = [float(one.get("height", "")) for one in columns]
    assert heights[0] / heights[1] == pytest.approx(3 / 5, abs=0.001)


def test_a_number_that_is_none_is_drawn_nowhere() -> None:
    """A place that is not finite is a mistake of the report, and no broken drawing."""
    with pytest.raises(ValueError, match="nan is no place in a drawing"):
        Axes(100, 100, "x", "y").dot(float("nan"), 0.5, "T")


def scored(statistic: Any, classes: ClassList, **sums: Any) -> StatisticScores:
    counts = {field.name: np.zeros((1, *field.shape), np.int64) for field in statistic.fields(len(classes))}
    counts |= {name: np.array([values]) for name, values in sums.items()}
    return score_statistic(statistic, [counts], classes, ScoringRules())


def drawn(one: StatisticScores, classes: ClassList) -> Element:
    return ElementTree.fromstring(element("div", *pictures(one, classes)))


def test_a_reliability_diagram_shows_the_bins_that_hold_pixels() -> None:
    """Accuracy and mean confidence of each, and the share of the pixels."""
    classes = ClassList.numbered(2)
    confidence = [0, 0, int(0.6 * 8 * 2**30), int(0.9 * 2 * 2**30)]
    one = scored(Calibration(bins=4), classes, pixels=[0, 0, 8, 2], right=[0, 0, 4, 2], confidence=confidence)
    root = drawn(one, classes)
    rows = [tuple(map(shown, row)) for row in root.iter("tr")]
    dots = [shown(dot) for dot in root.iter("circle")]

    assert rows[1:] == [
        ("0.5 to 0.75", "8", "0.6000", "0.5000", "-0.1000"),
        ("0.75 to 1", "2", "0.9000", "1.0000", "0.1000"),
    ]
    assert dots[0] == "confidence 0.6000, accuracy 0.5000, 80.00 % of pixels"


def test_curves_are_of_the_classes_of_the_lowest_average_precision() -> None:
    """At most twelve, each with its name; a class that is not in truth has none."""
    classes = ClassList(tuple(f"<{at}>" for at in range(15)))
    positive, negative = np.zeros((15, 4), np.int64), np.ones((15, 4), np.int64)
    positive[1:] = [[0, 0, 0, at] for at in range(1, 15)]
    root = drawn(
        scored(ThresholdSweep(bins=4, name="fine"), classes, positive=positive, negative=negative), classes
    )
    names = [shown(one) for one in root.iter("bdi")]

    assert names == [f"<{at}>" for at in range(1, 13)]
    assert "the 12 of 14 classes of the lowest average precision" in shown(root)
    places = [one.get("points", "").split(" ") for one in root.iter("polyline")]
    assert all(len(points) == 4 for points in places)
    dots = [shown(one) for one in root.iter("circle")]
    assert dots == [f"threshold 0.75: recall 1.0000, precision {at / (at + 1):.4f}" for at in range(1, 13)]


def test_components_are_told_by_size() -> None:
    """Of all classes together."""
    classes = ClassList.numbered(2)
    truth, found = [[4, 0, 0], [4, 2, 0]], [[1, 0, 0], [1, 2, 0]]
    root = drawn(
        scored(Components(), classes, truth=truth, found=found, pred=found, confirmed=found), classes
    )
    rows = [tuple(map(shown, row)) for row in root.iter("tr")]

    assert rows[1:] == [
        ("small", "8", "2", "0.2500", "2", "2", "1.0000"),
        ("medium", "2", "2", "1.0000", "2", "2", "1.0000"),
        ("large", "0", "0", "-", "0", "0", "-"),
    ]


def test_pictures_are_of_statistics_that_there_are() -> None:
    """A kind that is renamed would lose its picture in silence."""
    assert set(PICTURES) <= set(STATISTICS)


def test_every_bar_stands_beside_its_own_number(full: tuple[ReportInput, str]) -> None:
    """In all tables: scores, classes, groups, images, slices; and a swatch beside its own class."""
    cells = [one for one in parsed(full[1]).iter() if one.tag in ("td", "th") and len(one)]
    bars = [one for one in cells if one[0].get("class") == "inline"]
    swatches = {shown(one): one[0][0].get("fill") for one in cells if one[0].get("class") == "swatch"}

    assert len(bars) > 30
    for one in bars:
        (width,) = [rect.get("width", "") for rect in one.iter("rect") if rect.get("class") == "bar"]
        assert float(width) == pytest.approx((BAR_PX - 1) * float(shown(one)), abs=0.02)
    assert swatches == {"road": "#010203", "ghost": "#040506"}
