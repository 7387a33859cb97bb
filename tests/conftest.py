"""What holds for every test."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# Time is measured by the benchmark: a machine under load must not fail a property.
settings.register_profile("netplumb", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("netplumb")

# A shell starts what runs in its background, and nohup anything, deaf to SIGINT, and so would be each program that a
# test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Set where the tests run in parallel, this would wrap what a command prints into a pipe.
os.environ.pop("COLUMNS", None)
