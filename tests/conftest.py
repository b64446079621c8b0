"""Settings of the whole suite."""

from __future__ import annotations

from hypothesis import settings

# The same examples in every run: a test that fails once fails again. No deadline: these machines are noisy.
settings.register_profile("seqcast", derandomize=True, deadline=None)
settings.load_profile("seqcast")
