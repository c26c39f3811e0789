"""A handful of faults; `make faults` does more than a hundred of all kinds."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.__main__ import chosen
from tests.faults.kinds import KINDS
from tests.faults.trial import IMAGES, Dataset, Trial
from tests.warm import Warm


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.make(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        ("scheduler_gone", 1),
        ("disk_full", 12),  # the plan cannot be written any more
        ("clock_moved", 1),  # back by two months
        ("partial_damaged", 1),
    ],
)
def test_a_fault_does_no_harm(kind: str, seed: int, dataset: Dataset, tmp_path: Path, warm: Warm) -> None:
    """Exit code and words are right, nothing runs on, no number is wrong, and nothing kept is lost."""
    outcome = KINDS[kind].run(Trial(dataset, warm, tmp_path, random.Random(f"{kind} {seed}")))
    assert outcome.wrong == ()
    assert outcome.kept <= IMAGES


def test_a_campaign_does_every_kind_and_is_decided_by_its_seed() -> None:
    names = chosen(7, 100, list(KINDS))
    assert len(names) == 100
    assert set(names) == set(KINDS)
    assert names == chosen(7, 100, list(KINDS)) != chosen(8, 100, list(KINDS))
