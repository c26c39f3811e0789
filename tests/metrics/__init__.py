"""Tests of metrics and scoring."""
