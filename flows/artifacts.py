"""What a flow run shows in Prefect: the report, tables, and how far counting is."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import cast
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.logging import get_run_logger

from segpipe.metrics.comparison import Comparison
from segpipe.reports.comparison import (
    class_tables,
    comparison_markdown,
    comparison_words,
    image_tables,
)
from segpipe.reports.tables import Table, coverage_line, per_class_table, worst_images_table
from segpipe.reports.text import markdown_text
from segpipe.run.opened import Run
from segpipe.run.progress import Progress, Work

MARKDOWN_BYTES = 200_000
"""A report that is longer is cut: the API refuses large documents, and nobody reads them there."""

TABLE_ROWS = 200
UPDATE_EVERY_S = 2.0


class ArtifactProgress:
    """Counting as a progress artifact of the task run, at most every two seconds.

    An API that does not answer for a while is no reason to end what may have counted for hours: it is logged
    once, and the artifact moves on when the API is back.
    """

    def __init__(self) -> None:
        self._artifact: UUID | None = None
        self._total = self._done = Work()
        self._updated = 0.0
        self._told = False

    def stage(self, name: str) -> None:
        """Stages are tasks: Prefect shows them."""

    def begin(self, total: Work, done: Work) -> None:
        """Make the artifact."""
        self._total, self._done = total, done
        self._update()

    def advance(self, work: Work) -> None:
        """Move it on."""
        self._done += work
        if time.monotonic() - self._updated >= UPDATE_EVERY_S:
            self._update()

    def end(self) -> None:
        """Say how far it came."""
        self._update()

    def note(self, text: str) -> None:
        """A warning goes to the run's log."""
        get_run_logger().warning("%s", text)

    def remark(self, text: str) -> None:
        """A line of the run's log."""
        get_run_logger().info("%s", text)

    def _percent(self) -> float:
        return 100 * self._done.pixels / self._total.pixels if self._total.pixels else 100.0

    def _update(self) -> None:
        percent = min(self._percent(), 100.0)
        try:
            if self._artifact is None:
                described = f"Counting {self._total.images:,} images"
                made = create_progress_artifact(percent, key="segpipe-counting", description=described)
                self._artifact = cast(UUID, made)
            else:
                update_progress_artifact(self._artifact, progress=percent)
        except Exception as error:
            if not self._told:
                self.note(f"Prefect cannot be told how far counting is ({type(error).__name__})")
            self._told = True
        # After the attempt, however long it took: an API that hangs shall not be asked again at once.
        self._updated = time.monotonic()


class Both:
    """Progress that is told to two."""

    def __init__(self, first: Progress, second: Progress) -> None:
        self._both = first, second

    def stage(self, name: str) -> None:
        """A stage begins."""
        for progress in self._both:
            progress.stage(name)

    def begin(self, total: Work, done: Work) -> None:
        """Counting begins."""
        for progress in self._both:
            progress.begin(total, done)

    def advance(self, work: Work) -> None:
        """Some more has been counted."""
        for progress in self._both:
            progress.advance(work)

    def end(self) -> None:
        """Counting has ended."""
        for progress in self._both:
            progress.end()

    def note(self, text: str) -> None:
        """Something that the user should know."""
        for progress in self._both:
            progress.note(text)

    def remark(self, text: str) -> None:
        """Nothing to worry about."""
        for progress in self._both:
            progress.remark(text)


def shortened(markdown: str, where: str, limit_bytes: int = MARKDOWN_BYTES) -> str:
    """A text that fits the API: cut after a whole line, with a word on where the rest is.

    >>> shortened("one\\ntwo\\nthree\\n", "report.md", limit_bytes=9)
    'one\\ntwo\\n\\n(cut here; the whole is in report.md)\\n'
    """
    data = markdown.encode()
    if len(data) <= limit_bytes:
        return markdown
    kept = data[: data.rfind(b"\n", 0, limit_bytes) + 1].decode()
    return f"{kept}\n(cut here; the whole is in {where})\n"


def publish_artifacts(folder: Path) -> None:
    """The report, the classes and the worst images of a reported run, as artifacts of the flow run."""
    run = Run(folder)
    suite, model = run.summary.suite, run.summary.model
    report, page = folder / "report.md", folder / "report.html"
    text = shortened(report.read_text(encoding="utf-8"), str(report))
    # Whoever looks at a table alone is told as well how much of the dataset it stands on.
    coverage = markdown_text(coverage_line(run.summary))
    title = f"Report of {suite}/{model}. {coverage}"
    create_markdown_artifact(text, artifact_key(suite, model, "report"), title)
    link = artifact_key(suite, model, "link")
    create_link_artifact(
        page.absolute().as_uri(), page.name, link, f"Where the report of {suite}/{model} is, with plots"
    )
    tables = {"classes": per_class_table(run.computed), "worst-images": worst_images_table(run.results)}
    for name, table in tables.items():
        described = f"{table.title}. {coverage}"
        create_table_artifact(plain_rows(table), artifact_key(suite, model, name), described)


def publish_comparison(comparison: Comparison, suite: str, model: str) -> None:
    """The report of a comparison, the classes, and the images that moved most, as artifacts."""
    headline = markdown_text(comparison_words(comparison)[0])
    text = shortened(comparison_markdown(comparison), "what `segpipe compare --output` writes")
    create_markdown_artifact(text, artifact_key(suite, model, "comparison"), headline)
    tables = {**class_tables(comparison), **image_tables(comparison)}
    for name, table in tables.items():
        described = f"{table.title}. {headline}"
        create_table_artifact(plain_rows(table), artifact_key(suite, model, "comparison", name), described)


def artifact_key(*parts: str) -> str:
    """A key as Prefect takes them: lowercase letters, numbers and dashes.

    >>> artifact_key("Night_2", "model.v1", "report")
    'night-2-model-v1-report'
    """
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def plain_rows(table: Table) -> list[dict[str, str]]:
    """The first rows of a table, each by the names of its columns."""
    heads = [column.name for column in table.columns]
    return [dict(zip(heads, row, strict=True)) for row in table.rows[:TABLE_ROWS]]
