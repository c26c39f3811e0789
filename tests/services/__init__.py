"""Tests with services that need packages of the distribution or root; `make test-services` runs them."""
