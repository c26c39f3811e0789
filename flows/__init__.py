"""Prefect flows, and the only place that knows Prefect: stages as tasks, results as artifacts."""

from __future__ import annotations

import os

# Prefect reads these when it is imported. Nothing phones home, and a flow runs without a server of its own.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "true")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
