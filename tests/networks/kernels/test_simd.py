"""Compiled kernels follow the file that they share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from diffcl.networks.kernels import simd

KERNEL = """
import numpy as np
from lanes import compiled, load, maximum, splat, store

@compiled
def above(x, least, y):
    store(y, 0, maximum(load(x, 0), splat(least)))

x, y = np.arange(-8, 8, dtype=np.float32), np.empty(16, np.float32)
above(x, np.float32(3), y)
print(*y.astype(int), above.stats.cache_hits.total())
"""


def test_an_edit_of_the_shared_file_compiles_the_kernels_anew(tmp_path: Path) -> None:
    shared = tmp_path / "lanes.py"
    shared.write_text(Path(simd.__file__).read_text())
    (tmp_path / "kernel.py").write_text(KERNEL)

    def run() -> list[int]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
        environment["NUMBA_CACHE_DIR"] = str(tmp_path / "cache")
        command = [sys.executable, "-m", "kernel"]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return [int(number) for number in done.stdout.split()]

    larger, smaller = [max(x, 3) for x in range(-8, 8)], [min(x, 3) for x in range(-8, 8)]
    assert run() == [*larger, 0]
    assert run() == [*larger, 1]  # from the disk
    shared.write_text(
        shared.read_text().replace('fcmp_ordered(">", right, left)', 'fcmp_ordered("<", right, left)')
    )
    assert run() == [*smaller, 0]
