"""Loaded by worker processes on this machine as they start: Ctrl-C is the driver's business."""

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
