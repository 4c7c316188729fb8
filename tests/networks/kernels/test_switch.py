"""One switch between compiled kernels and plain definitions; it also falls where the kernels do not compile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diffcl.errors import UsageError
from diffcl.networks.kernels.switch import SETTING
from diffcl.networks.norm import activation_by_definition, normalised_activation

EVERY_KERNEL = """
import logging, sys, torch
import diffcl.networks.high_bands as detail, diffcl.networks.norm as norm, diffcl.networks.selective_scan as scan
logging.basicConfig(format="log: %(message)s")
torch.manual_seed(0)

def both(fast, plain, *given):
    got, want = ([one.clone().requires_grad_() for one in given] for _ in range(2))
    fast, plain = fast(*got), plain(*want)
    assert torch.equal(fast, plain)
    assert all(map(torch.equal, torch.autograd.grad(fast.sum(), got), torch.autograd.grad(plain.sum(), want)))

x, vector = torch.randn(2, 16, 4, 6, 5), torch.randn(2, 16)
both(norm.normalised_activation, norm.activation_by_definition, x, vector, vector)
both(detail.high_bands, detail.high_bands_by_definition, x)
bands = torch.randn(2, 18, 112)
both(detail.reweighted, detail.reweighted_by_definition, x, bands, bands)
u, b = torch.randn(2, 16, 9), torch.randn(2, 4, 9)
both(scan.selective_scan, scan.scan_by_definition, u, u, -torch.rand(16, 4), b, b)
print("numba" in sys.modules)
"""

SABOTAGE = {
    "a private part of numba is missing": "import numba.core.typeconv.castgraph as m; del m.Conversion",
    "the compiler refuses": "from llvmlite import ir; del ir.IRBuilder.shuffle_vector",
}


def run(script: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), **environment}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )


def test_switched_off_everything_is_the_definition_and_nothing_needs_the_compiler(tmp_path: Path) -> None:
    done = run(EVERY_KERNEL, tmp_path, **{SETTING: "off"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


@pytest.mark.parametrize("broken", SABOTAGE.values(), ids=SABOTAGE)
def test_kernels_that_do_not_compile_are_replaced_with_one_warning(broken: str, tmp_path: Path) -> None:
    done = run(f"{broken}\n{EVERY_KERNEL}", tmp_path)
    assert done.returncode == 0, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("log: the compiled kernels do not work here (")
    assert line.endswith("DIFFCL_KERNELS=off does that without this warning")


def test_the_switch_can_be_thrown_while_the_program_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    x, vector = torch.randn(1, 16, 9, 9, 9), torch.randn(1, 16)
    plain = activation_by_definition(x, vector, vector)
    assert not torch.equal(normalised_activation(x, vector, vector), plain)  # equal but for rounding
    monkeypatch.setenv(SETTING, "off")
    assert torch.equal(normalised_activation(x, vector, vector), plain)


def test_a_value_without_a_meaning_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "none")
    with pytest.raises(UsageError, match=r"^DIFFCL_KERNELS=none: has no such value\. Set it to on or off$"):
        normalised_activation(torch.ones(1, 16, 1, 1, 1), torch.ones(1, 16), torch.ones(1, 16))
