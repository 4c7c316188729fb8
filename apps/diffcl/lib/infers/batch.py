"""Batch inference, one scan after the other, of which none stops the others."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.batch_infer import BatchInferTask

from diffcl.errors import failure_sentence
from diffcl.web.children import SERVER, end_with_the_server, is_child

logger = logging.getLogger(__name__)


class CpuBatchInfer(BatchInferTask):
    """MONAI Label's batch inference on machines without a GPU.

    Its own default spreads scans over the GPUs, by their number, which is zero here.
    """

    def __call__(
        self, request: dict[str, Any], datastore: Datastore, infer: Callable[..., Any]
    ) -> dict[str, Any]:
        """Label every scan that the request names.

        Returns:
            The result of each scan by its id; for one that failed {"error": SENTENCE}.

        Raises:
            HTTPException: 502 or 503 if the archive fails.
        """
        if SERVER in os.environ and is_child():
            end_with_the_server()

        def one_alone(request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
            try:
                answer: dict[str, Any] = infer(request, datastore)
                return answer
            except HTTPException as error:
                if error.status_code >= 500:
                    raise
                why = str(error.detail)
            except Exception as error:  # noqa: BLE001  one scan never stops the others
                why = failure_sentence(str(request["image"]), error)
            logger.warning(f"{request['image']} has no label: {why}")
            return {"error": why}

        result: dict[str, Any] = super().__call__(
            {**request, "multi_gpu": False, "device": "cpu", "max_workers": 1}, datastore, one_alone
        )
        return result
