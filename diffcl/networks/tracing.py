"""Whether a network is being written as a graph rather than asked."""

from __future__ import annotations

import torch


def is_written() -> bool:
    """Whether torch writes the running network as ONNX, in this thread.

    torch alone would say so to every thread of the process, also to those that predict meanwhile.
    """
    # In this order, because the first question to torch.onnx imports all of it.
    return torch.jit.is_tracing() and torch.onnx.is_in_onnx_export()  # type: ignore[attr-defined,no-untyped-call]
