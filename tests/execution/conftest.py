"""What all tests of clusters share."""

from tests.run.conftest import _young_files_are_settled, pair

__all__ = ["_young_files_are_settled", "pair"]
