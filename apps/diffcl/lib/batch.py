"""Batch inference on machines without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.batch_infer import BatchInferTask


class CpuBatchInfer(BatchInferTask):
    """MONAI Label's batch inference, one scan after the other.

    Its own default spreads scans over the GPUs, by their number, which is zero here.
    """

    def __call__(
        self, request: dict[str, Any], datastore: Datastore, infer: Callable[..., Any]
    ) -> dict[str, Any]:
        """Label every scan that the request names; the answer maps its id to the result."""
        result: dict[str, Any] = super().__call__(
            {**request, "multi_gpu": False, "device": "cpu", "max_workers": 1}, datastore, infer
        )
        return result
