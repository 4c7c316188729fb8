"""How fast the selective scan is on this processor, and how much memory it takes, beside other scans.

    python benchmarks/scan.py
    PYTHONPATH=PEERS python benchmarks/scan.py --peers mambapy transformers

The yardstick is `selective_scan_ref` of mamba-ssm. Both get the same float32 inputs with gate, skip, bias and
softplus, take turns, and the ratio of the medians counts; whose turn it is repeats its scan for a twentieth of a
second at least, as a network that scans again and again does. Peak memory is measured in a process for each, as
what the operating system saw beyond the inputs. Peers that diffcl does not install are imported from
wherever PYTHONPATH says.

The backward pass of `selective_scan_ref` fills a tensor of the whole length for each step of the scan, so its
time grows with the square of the length: hours at 24576. Forward and backward together, peers therefore get a
sixteenth of the length, and their time and memory count sixteenfold, which is less than they would take.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from types import ModuleType
from typing import Any

import process_memory
import torch
from processor import processor
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from diffcl.networks.selective_scan import selective_scan

Scan = Callable[..., Tensor]
LONG, SHORT = (2, 64, 24576), (1, 32, 4096)
STATES = 16
SHORTEST = 0.05
"""Seconds of a turn."""
TRAINED_SHARE = 16
"""Peers are trained on this part of the length."""
PACKAGES = {"reference": "mamba-ssm", "mambapy": "mambapy", "transformers": "transformers"}


def reference() -> Scan:
    """`selective_scan_ref` of mamba-ssm, imported without the CUDA module that its file asks for."""
    spec = importlib.util.find_spec("mamba_ssm")
    if spec is None:
        raise SystemExit("mamba-ssm is missing: make test installs it, without its kernels")
    package = ModuleType("mamba_ssm")
    package.__spec__, package.__path__ = spec, list(spec.submodule_search_locations or [])
    sys.modules |= {"mamba_ssm": package, "selective_scan_cuda": ModuleType("selective_scan_cuda")}
    from mamba_ssm.ops.selective_scan_interface import selective_scan_ref

    return selective_scan_ref


def transformers() -> Scan:
    """The sequential path of transformers' Mamba."""
    from transformers.models.mamba.modeling_mamba import mamba_selective_scan

    # As it is imported it would take the kernel of mamba-ssm, whose package is there.
    return inspect.unwrap(mamba_selective_scan)


def mambapy() -> Scan:
    """The parallel scan of mambapy, inside what its MambaBlock computes around it."""
    from mambapy.pscan import pscan

    def scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus):  # noqa: ANN001, ANN202
        assert delta_softplus
        u, steps = u.mT, functional.softplus(delta.mT + delta_bias)[..., None]
        states = pscan(torch.exp(steps * A), steps * B.mT[:, :, None] * u[..., None])
        return ((states @ C.mT[..., None])[..., 0] + D * u).mT * functional.silu(z)

    return scan


SCANS: dict[str, Callable[[], Scan]] = {
    "ours": lambda: selective_scan,
    "reference": reference,
    "mambapy": mambapy,
    "transformers": transformers,
}


def inputs(shape: tuple[int, int, int], *, train: bool) -> list[Any]:
    """Random arguments of a scan, `(B, D, L)`."""
    items, channels, length = shape
    rng = torch.Generator().manual_seed(0)
    u, delta, z = torch.randn(3, items, channels, length, generator=rng)
    B, C = torch.randn(2, items, STATES, length, generator=rng)
    D, bias = torch.randn(2, channels, generator=rng)
    A = -torch.rand(channels, STATES, generator=rng)
    return [tensor.clone().requires_grad_(train) for tensor in (u, delta, A, B, C, D, z, bias)] + [True]


def run(scan: Scan, arguments: list[Any], *, train: bool) -> None:
    """One forward pass, and a backward pass with gradients for all."""
    with torch.set_grad_enabled(train):
        out = scan(*arguments)
    if train:
        torch.autograd.grad(out, arguments[:-1], torch.ones_like(out))


def seconds(names: list[str], shape: tuple[int, int, int], runs: int, *, train: bool) -> dict[str, float]:
    """The median of each scan's times; they take turns."""
    scans = {name: SCANS[name]() for name in names}
    shares = {name: share(name, train=train) for name in names}
    arguments = {part: inputs(shortened(shape, part), train=train) for part in set(shares.values())}
    taken: dict[str, list[float]] = {name: [] for name in names}
    for scan in scans.values():
        run(scan, inputs((1, 32, 64), train=train), train=train)  # compiles, imports
    for _ in range(runs):
        for name, scan in scans.items():
            start, times = time.perf_counter(), 0
            while not times or time.perf_counter() - start < SHORTEST:
                run(scan, arguments[shares[name]], train=train)
                times += 1
            taken[name].append(shares[name] * (time.perf_counter() - start) / times)
    return {name: statistics.median(times) for name, times in taken.items()}


def share(name: str, *, train: bool) -> int:
    """The part of the length that a scan gets."""
    return TRAINED_SHARE if train and name != "ours" else 1


def shortened(shape: tuple[int, int, int], part: int) -> tuple[int, int, int]:
    """The shape with that part of the length."""
    return shape[0], shape[1], shape[2] // part


def peak_bytes(name: str, shape: tuple[int, int, int], threads: int, *, train: bool) -> int:
    """What a scan adds to the memory of a process of its own, at most."""
    part = share(name, train=train)
    command = [sys.executable, __file__, "--peak-of", name, "--threads", str(threads)]
    command += ["--shape", *map(str, shortened(shape, part)), *(["--train"] if train else [])]
    return part * int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def own_peak_bytes(name: str, shape: tuple[int, int, int], *, train: bool) -> int:
    """The same, of this process."""
    scan, arguments = SCANS[name](), inputs(shape, train=train)
    run(scan, inputs((1, 32, 64), train=train), train=train)
    return process_memory.peak_bytes(lambda: run(scan, arguments, train=train))


def ratio(one: float, other: float) -> float | None:
    """One peak over another; None where the other is too small to be seen.

    >>> ratio(3, 2), ratio(3, 0)
    (1.5, None)
    """
    return round(one / other, 4) if other else None


def parsed() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", nargs="*", default=[], choices=["mambapy", "transformers"])
    parser.add_argument("--runs", type=int, default=5, help="of each scan and size (5)")
    parser.add_argument("--threads", type=int, default=2, help="that torch may use (2)")
    parser.add_argument("--json", action="store_true", help="print one object on the last line")
    parser.add_argument("--peak-of", choices=list(SCANS), help=argparse.SUPPRESS)
    parser.add_argument("--shape", type=int, nargs=3, default=SHORT, help=argparse.SUPPRESS)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = parsed()
    torch.set_num_threads(options.threads)
    if options.peak_of:
        print(own_peak_bytes(options.peak_of, tuple(options.shape), train=options.train))
        return
    names = ["ours", "reference", *options.peers]
    table = Table("scan", "size", "median ms", "times ours", "peak MiB", "times ours")
    result: dict[str, Any] = {
        "processor": processor(),
        "threads": options.threads,
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
        **{PACKAGES[name]: version(PACKAGES[name]) for name in names[1:]},
    }
    cases = (("forward", LONG, False), ("forward", SHORT, False), ("train", LONG, True))
    for kind, shape, train in cases:
        taken = seconds(names, shape, options.runs, train=train)
        peaks = {name: peak_bytes(name, shape, options.threads, train=train) for name in names}
        for name in names:
            slower, larger = taken[name] / taken["ours"], ratio(peaks[name], peaks["ours"])
            compared = "-" if larger is None else f"{larger:.1f}"
            row = f"{1e3 * taken[name]:.2f}", f"{slower:.1f}", f"{peaks[name] / 2**20:.0f}", compared
            table.add_row(f"{name}, {kind}", "x".join(map(str, shape)), *row)
            if name != "ours":
                key = f"{kind}_ratio_{shape[2]}"
                result[key if name == "reference" else f"{name}_{key}"] = round(slower, 2)
        key = "memory_ratio" if kind == "forward" else "train_memory_ratio"
        result[f"{key}_{shape[2]}"] = ratio(peaks["ours"], peaks["reference"])
    Console().print(table)
    print(*(f"{name} {value}" for name, value in result.items()), sep="\n")
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
