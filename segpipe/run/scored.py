"""The scores of a whole run, from the counts of its images: for the stage that stores them, and later."""

from __future__ import annotations

from dataclasses import replace

from segpipe.counts.results import ResultsReader
from segpipe.metrics.groups import score_class_groups
from segpipe.metrics.rules import ScoringRules
from segpipe.metrics.scores import Scores
from segpipe.metrics.scoring import score_counts


def score_run(results: ResultsReader, rules: ScoringRules) -> Scores:
    """All scores under some rules, those of groups of classes too; no label map is read.

    Raises:
        InfrastructureError: the images do not add up to the stored total: the results are damaged.
    """
    weights = results.image_weights(rules)
    total = results.scored_total(weights)
    scores = score_counts(results.cells(), total, results.classes, rules, weights)
    groups = score_class_groups(total, results.classes, rules, units_per_pixel=scores.units_per_pixel)
    return replace(scores, groups=groups)
