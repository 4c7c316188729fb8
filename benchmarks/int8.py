"""What int8 could save: a convolution of each level of CS in float32, bfloat16 and int8, by torch and by ONNX Runtime.

    python benchmarks/int8.py --model left_atrium

Numbers are random and quantised with one scale for all; volumes are quantised before, so that what is told is the
convolution alone. Milliseconds of the processor, the least of several, one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from processor import processor
from report import show
from torch import Tensor

from diffcl.models import ModelRegistry
from diffcl.networks.convolution import Convolution
from diffcl.networks.precision import computing
from diffcl.resources import models_folder

SCALE = 0.02
"""Of every quantised number."""


def by_torch(channels: int, volume: Tensor) -> dict[str, Callable[[], object]]:
    """A convolution in each format that torch has."""
    layer = Convolution(channels, channels, kernel_size=3, padding=1, bias=False).requires_grad_(False)
    layer = layer.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    half = volume.bfloat16()
    torch.backends.quantized.engine = "onednn"
    weight = torch.quantize_per_tensor(layer.weight.contiguous(), SCALE, 0, torch.qint8)
    packed = torch.ops.quantized.conv3d_prepack(weight, None, [1] * 3, [1] * 3, [1] * 3, 1)
    narrow = torch.quantize_per_tensor(volume, SCALE, 128, torch.quint8)

    def in_half() -> Tensor:
        with computing(half.device, half=True):
            answer: Tensor = layer(half)
        return answer

    return {
        "float32, torch": lambda: layer(volume),
        "bfloat16, torch": in_half,
        "int8, torch": lambda: torch.ops.quantized.conv3d(narrow, packed, SCALE, 128),
    }


def by_onnx(channels: int, volume: Tensor) -> Callable[[], object]:
    """The same convolution in int8 by ONNX Runtime."""
    random = np.random.default_rng(0)
    weight = random.integers(-127, 128, (channels, channels, 3, 3, 3)).astype(np.int8)
    constants = {"scale": np.float32(SCALE), "zero": np.uint8(128), "weight": weight, "middle": np.int8(0)}
    node = helper.make_node(
        "QLinearConv",
        ["volume", "scale", "zero", "weight", "scale", "middle", "scale", "zero"],
        ["answer"],
        pads=[1] * 6,
    )
    shape = list(volume.shape)
    graph = helper.make_graph(
        [node],
        "convolution",
        [helper.make_tensor_value_info("volume", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("answer", TensorProto.UINT8, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {"volume": random.integers(0, 256, shape).astype(np.uint8)}
    return lambda: session.run(None, given)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="left_atrium", help="name of a published model")
    parser.add_argument("--runs", type=int, default=5, help="of each (5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = ModelRegistry(Path("models"), models_folder()).load(options.model).info.recipe
    result: dict[str, object] = {"processor": processor()}
    for level, channels in enumerate(recipe.cs.filters):
        size = [side >> level for side in recipe.grid.window]
        volume = torch.randn(1, channels, *size).contiguous(memory_format=torch.channels_last_3d)
        ways = {**by_torch(channels, volume), "int8, ONNX Runtime": by_onnx(channels, volume)}
        for what, one in ways.items():
            taken = []
            with torch.inference_mode():
                for _ in range(options.runs + 1):  # the first prepares
                    start = time.process_time()
                    one()
                    taken.append(time.process_time() - start)
            name = f"{channels} channels, {'x'.join(map(str, size))}, {what}"
            result[name] = round(min(taken[1:]) * 1000, 1)
    show(result, as_json=options.json)


if __name__ == "__main__":
    main()
