"""What holds for every test: few threads, no display, the same examples in every run."""

from __future__ import annotations

import os

from hypothesis import settings

# Read when torch, numba and matplotlib are imported, and by every process that a test starts.
for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "2")
os.environ["MPLBACKEND"] = "agg"

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
