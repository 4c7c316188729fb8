"""Whether a network is being written as a graph rather than asked."""

from __future__ import annotations

import torch


def is_written() -> bool:
    """Whether torch writes the running network as ONNX, in this thread.

    torch alone would say so to every thread of the process, also to those that predict meanwhile.
    """
    return torch.onnx.is_in_onnx_export() and torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
