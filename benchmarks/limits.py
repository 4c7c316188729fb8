"""How far CS and its selective scan are from what this processor can do.

    python benchmarks/limits.py --model left_atrium --json

A prediction of one window by CS against a product of two large matrices: floating-point operations a second, in the
same process, precision and number of threads. The scan, which does little with each number, against a copy of memory:
bytes a second, counting what it must read and write once. What HF-Mamba takes of CS is the time between entering and
leaving its modules. All take turns, and medians count.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from processor import processor
from report import show
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from diffcl.models import ModelRegistry
from diffcl.networks.hf_mamba import HFMamba
from diffcl.networks.selective_scan import selective_scan
from diffcl.resources import models_folder

Shape = Sequence[int]

MATRIX = 4096
SCAN = (2, 64, 24576)
"""Items, channels and tokens of the scan."""
STATES = 16
OPERATIONS = 7
"""Operations of the selective scan for each token, channel and state: decay, its exponential, input, state, output."""
COPIED = 256 * 2**20
"""Bytes of the copy, far more than caches hold."""


def convolution_operations(x: Shape, weight: Shape, *_: object, out_shape: Shape, **__: object) -> int:
    """Floating-point operations of a convolution by oneDNN, which torch does not count by itself."""
    return int(conv_flop_count(list(x), list(weight), list(out_shape)))


COUNTED = {torch.ops.aten.mkldnn_convolution: convolution_operations}


class Stopwatch:
    """Seconds spent inside modules of a kind."""

    def __init__(self, network: nn.Module, kind: type[nn.Module]) -> None:
        self.seconds = 0.0
        self._entered = 0.0
        for module in network.modules():
            if isinstance(module, kind):
                module.register_forward_pre_hook(self._enter)
                module.register_forward_hook(self._leave)

    def _enter(self, *_: object) -> None:
        self._entered = time.perf_counter()

    def _leave(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._entered


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="left_atrium", help="name of a published model")
    parser.add_argument("--runs", type=int, default=7, help="of each (7)")
    parser.add_argument("--threads", type=int, default=2, help="that may be used (2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = ModelRegistry(Path("models"), models_folder()).load(options.model)
    window = torch.randn(1, 1, *model.info.recipe.grid.window)
    left, right = torch.randn(2, MATRIX, MATRIX)
    source, target = torch.ones(2, COPIED // 4)
    items, channels, length = SCAN
    u, delta, z = torch.randn(3, items, channels, length)
    B, C = torch.randn(2, items, STATES, length)
    D, bias = torch.randn(2, channels)
    A = -torch.rand(channels, STATES)
    inside = Stopwatch(model.cs, HFMamba)
    work: dict[str, Callable[[], object]] = {
        "cs": lambda: model.cs(window),
        "product": lambda: left @ right,
        "scan": lambda: selective_scan(u, delta, A, B, C, D, z, bias, delta_softplus=True),
        "copy": lambda: target.copy_(source),
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    shares = []
    with torch.inference_mode():
        with FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
            model.cs(window)
        for run in range(2 + options.runs):  # the first two compile and warm up
            for name, one in work.items():
                inside.seconds = 0.0
                start = time.perf_counter()
                one()
                taken = time.perf_counter() - start
                if run >= 2:
                    seconds[name].append(taken)
                    shares += [inside.seconds / taken] if name == "cs" else []
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    rate = {"cs": counter.get_total_flops() / middle["cs"], "product": 2 * MATRIX**3 / middle["product"]}
    moved = 4 * (4 * u.numel() + 2 * B.numel())  # u, delta, z, B and C are read, the result is written
    operations = OPERATIONS * u.numel() * STATES
    result: dict[str, Any] = {
        "model": f"{model.info.name} {model.info.version}",
        "window": "x".join(map(str, model.info.recipe.grid.window)),
        "processor": processor(),
        "threads": options.threads,
        "torch": torch.__version__,
        "cs_seconds": round(middle["cs"], 3),
        "cs_gflop": round(counter.get_total_flops() / 1e9, 1),
        "cs_gflops_a_second": round(rate["cs"] / 1e9, 1),
        "product_gflops_a_second": round(rate["product"] / 1e9, 1),
        "cs_over_product": round(rate["cs"] / rate["product"], 3),
        "hf_mamba_share_of_cs": round(statistics.median(shares), 3),
        "scan_seconds": round(middle["scan"], 4),
        "scan_operations_a_byte": round(operations / moved, 1),
        "scan_gflops_a_second": round(operations / middle["scan"] / 1e9, 1),
        "scan_gb_a_second": round(moved / middle["scan"] / 1e9, 2),
        "copy_gb_a_second": round(2 * COPIED / middle["copy"] / 1e9, 2),
        "scan_over_copy": round(moved / middle["scan"] / (2 * COPIED / middle["copy"]), 3),
    }
    show(result, as_json=options.json)


if __name__ == "__main__":
    main()
