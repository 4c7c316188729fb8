"""How long a prediction takes from the scan's file to the files of its label, uncertainty and report.

    python benchmarks/inference.py --model left_atrium --json
    python benchmarks/inference.py --recipe left_atrium --threads 1
    python benchmarks/inference.py --model left_atrium --picture docs/inference.png
    PYTHONPATH=PEERS python benchmarks/inference.py --model left_atrium --peers

One process, warm, as a server is. The engines and networks take turns and medians count; those of the faster engine
are the result. Without --scan, a scan of the size of one of the left atrium challenge is made: 190x140x88 voxels of
0.625 mm, bright bodies in noise. With --recipe the networks have random weights, which take the same time.

Peers get the same file and the same two threads and end with a label file on the same grid: the `segmentation` task of
MONAI Label's radiology app, as that app sets it up, and the predictor of nnU-Net, imported from wherever PYTHONPATH
says, with a plain network of as many weights as CS and DS have, with and without mirroring. Both have as many classes
as the model, and random weights.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from matplotlib.figure import Figure
from nnunet_predictor import Segment, nnunet_predictor
from process_memory import peak_bytes
from processor import processor
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

from diffcl.files import replace_file, write_text
from diffcl.inference import Predictor
from diffcl.inference.ensemble import Networks
from diffcl.io import read_scan, write_image
from diffcl.models import Model, ModelInfo, ModelRegistry, load_model
from diffcl.models.metadata import EngineName
from diffcl.models.onnx.export import write_onnx
from diffcl.models.onnx.network import FILES
from diffcl.models.profile import Profile
from diffcl.models.weights import save_model
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter
from diffcl.networks.precision import knows_bfloat16
from diffcl.recipe import load_recipe
from diffcl.resources import models_folder

SIZE, SPACING = (190, 140, 88), 0.625
ENGINES: tuple[EngineName, ...] = ("torch", "bfloat16", "onnx")
ASKED: tuple[Networks, ...] = ("ensemble", "cs")
STAGES = ("read", "prepare", "networks", "restore", "postprocess", "write")


def made_scan(path: Path, seed: int = 0) -> Path:
    """Write a scan with bright bodies in noise."""
    rng = np.random.default_rng(seed)
    shapes = gaussian_filter(rng.normal(size=SIZE[::-1]), 9)
    values = 300 * (shapes > shapes.std()) + rng.gamma(4, 25, SIZE[::-1])
    image = sitk.GetImageFromArray(values.astype(np.int16))
    image.SetSpacing([SPACING] * 3)
    sitk.WriteImage(image, path)
    return path


def untrained(name: str, folder: Path) -> Model:
    """The networks of a recipe with random weights, and their ONNX files."""
    torch.manual_seed(0)
    recipe = load_recipe(name)
    info = ModelInfo(
        name=recipe.name, version=1, created="", recipe=recipe, profile=Profile(modality=recipe.modality)
    )
    save_model(folder, info, ConvolutionSegmenter(recipe), DiffusionSegmenter(recipe))
    write_onnx(load_model(folder), folder, share_weights=True)
    return load_model(folder)


def segment(predictor: Predictor, scan: Path, networks: Networks, out: Path) -> dict[str, float]:
    """Seconds of every stage of one prediction."""
    times = [time.perf_counter()]
    read = read_scan(scan)
    times.append(time.perf_counter())
    found = predictor(read, networks=networks)
    times.append(time.perf_counter())
    write_image(found.label, out / "label.nii.gz")
    write_image(found.uncertainty, out / "uncertainty.nii.gz")
    write_text(out / "report.json", found.report.model_dump_json())
    times.append(time.perf_counter())
    return {
        "read": times[1] - times[0],
        **found.report.seconds,
        "write": times[3] - times[2],
        "total": times[3] - times[0],
    }


def monailabel_task(classes: int, scan: Path, out: Path) -> Callable[[Path], None]:
    """The `segmentation` task of MONAI Label's radiology app, with the network and settings of its configuration.

    It gets an NRRD copy of the scan: its transforms stop at a NIfTI file with MONAI 1.6.
    """
    app = Path(sys.prefix) / "monailabel" / "sample-apps" / "radiology"
    sys.path.insert(0, str(app))
    from lib.infers.segmentation import Segmentation
    from monai.networks.nets import SegResNet

    network = SegResNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=classes,
        init_filters=32,
        blocks_down=(1, 2, 2, 4),
        blocks_up=(1, 1, 1),
        dropout_prob=0.2,
    )
    labels = {f"class {value}": value for value in range(1, classes)}
    task = Segmentation(
        path=None, network=network, roi_size=(96, 96, 96), target_spacing=(1.5, 1.5, 1.5), labels=labels
    )

    copy = out / "copy.nrrd"
    sitk.WriteImage(read_scan(scan).image, copy, useCompression=True)

    def run(_: Path) -> None:
        file, _ = task({"image": str(copy), "device": "cpu", "result_extension": ".nii.gz"})
        Path(file).unlink()

    return run


def on_files(segment: Segment, out: Path) -> Callable[[Path], None]:
    """From the file of a scan to the file of its label."""

    def run(scan: Path) -> None:
        sitk.WriteImage(segment(sitk.ReadImage(scan)), out / "nnunet.nii.gz", useCompression=True)

    return run


def parsed() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", default="hippocampus", help="name or folder of a model (hippocampus)")
    which.add_argument("--recipe", help="name or file of a recipe, whose networks get random weights")
    parser.add_argument("--store", type=Path, default=Path("models"), help="folder of your models (models)")
    parser.add_argument("--scan", type=Path, help="a scan; by default one is made")
    parser.add_argument("--runs", type=int, default=5, help="of each (5)")
    parser.add_argument("--threads", type=int, default=2, help="that may be used (2)")
    parser.add_argument("--peers", action="store_true", help="time MONAI Label's task and nnU-Net as well")
    parser.add_argument("--picture", type=Path, help="draw where the time goes as this .png")
    parser.add_argument("--json", action="store_true", help="print one object on the last line")
    return parser.parse_args()


def contenders(
    options: argparse.Namespace, model: Model, scan: Path, out: Path
) -> dict[str, Callable[[Path], dict[str, float]]]:
    """What is timed, by name; each gives the seconds of its stages."""
    there = all((model.folder / file).is_file() for file in FILES.values()) if model.folder else False
    able = {"torch": True, "bfloat16": knows_bfloat16(), "onnx": there}
    predictors = {name: Predictor(model, name) for name in ENGINES if able[name]}

    def ours(engine: EngineName, networks: Networks) -> Callable[[Path], dict[str, float]]:
        return lambda scan: segment(predictors[engine], scan, networks, out)

    def timed(run: Callable[[Path], None]) -> Callable[[Path], dict[str, float]]:
        def measured(scan: Path) -> dict[str, float]:
            start = time.perf_counter()
            with contextlib.redirect_stdout(sys.stderr):
                run(scan)
            return {"total": time.perf_counter() - start}

        return measured

    found = {f"{networks}, {engine}": ours(engine, networks) for networks in ASKED for engine in predictors}
    if options.peers:
        found["monailabel"] = timed(monailabel_task(model.info.recipe.classes, scan, out))
        found["nnunet"] = timed(on_files(nnunet_predictor(model, mirroring=True), out))
        found["nnunet, no mirroring"] = timed(on_files(nnunet_predictor(model, mirroring=False), out))
    return found


def main() -> None:
    """Measure and print."""
    options = parsed()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.recipe:
            (folder / "model").mkdir()
            model = untrained(options.recipe, folder / "model")
        else:
            model = ModelRegistry(options.store, models_folder()).load(options.model)
        scan = options.scan or made_scan(folder / "scan.nii.gz")
        result: dict[str, Any] = {
            "model": f"{model.info.name} {model.info.version}",
            "scan": "x".join(map(str, read_scan(scan).image.GetSize())),
            "processor": processor(),
            "threads": options.threads,
            "load": round(os.getloadavg()[0], 2),
            "torch": torch.__version__,
            "onnxruntime": version("onnxruntime"),
        }
        timed = contenders(options, model, scan, folder)
        for run in timed.values():
            run(scan)  # loads, compiles
        stages: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in timed}
        for _ in range(options.runs):
            for name, run in timed.items():
                for stage, seconds in run(scan).items():
                    stages[name][stage].append(seconds)
        peaks = {name: peak_bytes(lambda run=run: run(scan)) for name, run in timed.items()}
    middle = {
        name: {stage: statistics.median(times) for stage, times in one.items()}
        for name, one in stages.items()
    }
    report(result, middle, peaks)
    if options.picture:
        draw(middle, options.picture)
    if options.peers:
        result |= {"monailabel_version": version("monailabel"), "nnunet_version": version("nnunetv2")}
    print(*(f"{name} {value}" for name, value in result.items()), sep="\n")
    if options.json:
        print(json.dumps(result))


def draw(middle: dict[str, dict[str, float]], picture: Path) -> None:
    """A bar for each contender of the model, with its stages."""
    bars = {name: one for name, one in middle.items() if STAGES[0] in one}
    figure = Figure(figsize=(9, 1.2 + 0.5 * len(bars)), layout="constrained")
    axes = figure.subplots()
    left = dict.fromkeys(bars, 0.0)
    for stage in (*STAGES, "rest"):
        seconds = [one.get(stage, one["total"] - sum(one[name] for name in STAGES)) for one in bars.values()]
        axes.barh(list(bars), seconds, left=list(left.values()), label=stage)
        left = {name: start + more for (name, start), more in zip(left.items(), seconds, strict=True)}
    axes.invert_yaxis()
    axes.set(xlabel="seconds, from the scan's file to the files of label, uncertainty and report")
    axes.legend(frameon=False, ncols=7, loc="lower center", bbox_to_anchor=(0.45, 1.0))
    axes.spines[["top", "right"]].set_visible(False)
    with replace_file(picture) as temporary:
        figure.savefig(temporary, dpi=110)


def report(result: dict[str, Any], middle: dict[str, dict[str, float]], peaks: dict[str, int]) -> None:
    """Print the stages, and add totals and ratios to the result."""
    names = [*STAGES, "total"]
    table = Table("median seconds", *names, "peak MiB")
    for name, one in middle.items():
        table.add_row(
            name,
            *(f"{one[stage]:.3f}" if stage in one else "" for stage in names),
            f"{peaks[name] / 2**20:.0f}",
        )
        if "," in name or name in ("monailabel", "nnunet"):
            key = name.replace(", ", "_").replace(" ", "_")
            result[f"{key}_seconds"] = round(one["total"], 3)
            result[f"{key}_peak_mib"] = round(peaks[name] / 2**20)
    for networks in ASKED:
        fastest = min(
            (name for name in middle if name.startswith(networks)), key=lambda name: middle[name]["total"]
        )
        result[f"{networks}_seconds"] = round(middle[fastest]["total"], 3)
        result[f"{networks}_engine"] = fastest.rpartition(" ")[2]
    for peer in ("monailabel", "nnunet", "nnunet, no mirroring"):
        if peer in middle:
            key = peer.replace(", ", "_").replace(" ", "_")
            result[f"ratio_{key}"] = round(middle[peer]["total"] / result["ensemble_seconds"], 2)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
