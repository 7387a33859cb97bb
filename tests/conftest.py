"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# Time is measured by the benchmark: a machine under load must not fail a property.
settings.register_profile("netplumb", deadline=None)
settings.load_profile("netplumb")
