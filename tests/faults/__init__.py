"""Faults, injected on purpose into whole runs at random moments."""
