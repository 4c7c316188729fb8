"""ONNX files answer as torch does, at every size, and are used only where they belong."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from synthetic import fill_with, make_scan

from diffcl.errors import ModelError, UsageError
from diffcl.geometry import voxels
from diffcl.inference import Predictor
from diffcl.inference.engine import choose_engine, engine_choice
from diffcl.inference.ensemble import Networks
from diffcl.io import Scan
from diffcl.models import Model, ModelInfo, ModelRegistry, load_model
from diffcl.models.onnx.export import write_onnx
from diffcl.models.onnx.network import load_network
from diffcl.models.onnx.scan import SEGMENT, with_scan
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter
from diffcl.networks.selective_scan import GRAPH_SCAN, scan_by_definition
from diffcl.phantom import varied_phantom
from diffcl.recipe import Recipe
from diffcl.resources import models_folder

ODD = Scan(make_scan("oblique"), "oblique", Path("oblique.nii.gz"))


@pytest.fixture(scope="module")
def published(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version with ONNX files."""
    folder = ModelRegistry(tmp_path_factory.mktemp("store")).add("organ", fill_with(model))
    write_onnx(load_model(folder), folder, share_weights=True)
    return folder


@pytest.fixture
def copied(published: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in published.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def drawn(recipe: Recipe) -> Model:
    """A model of random weights, attention of HF-Mamba included."""
    torch.manual_seed(1)
    info = ModelInfo.model_construct(name="organ", version=1, recipe=recipe)
    cs, ds = ConvolutionSegmenter(recipe).eval(), DiffusionSegmenter(recipe).eval()
    for name, weight in (*cs.named_parameters(), *ds.named_parameters()):
        if "attention" in name:
            torch.nn.init.normal_(weight, std=0.3)
    return Model(info, cs, ds, torch.device("cpu"))


@pytest.mark.parametrize(
    ("changes", "classes"),
    [
        ({"cs": {"hf_mamba_levels": [0, 1]}}, 2),
        ({"cs": {"hf_mamba_levels": []}, "ds": {"coarsening": 2}}, 1),
        ({"ds": {"diffusion": False}, "cs": {"hf_mamba_levels": [1]}}, 3),
        (
            {"cs": {"filters": [16, 16, 16]}, "ds": {"coarsening": 2, "filters": [16, 32], "blocks": [2, 1]}},
            3,
        ),
        (
            {
                "cs": {"strides": [(2, 2, 1)] * 2, "kernels": [(3, 3, 1), (3, 3, 3), (3, 3, 3)]},
                "ds": {"strides": [(2, 2, 1)] * 2, "coarsening": (2, 2, 1)},
            },
            1,
        ),
    ],
    ids=[
        "two levels of HF-Mamba",
        "none, coarse DS, one class",
        "a second CS",
        "compiled in torch",
        "thick slices",
    ],
)
def test_both_networks_answer_as_torch_at_every_size(
    recipe: Recipe, tmp_path: Path, changes: dict[str, dict[str, object]], classes: int
) -> None:
    labels = [{"value": value, "name": f"part{value}"} for value in range(1, classes + 1)]
    task = Recipe.model_validate(
        recipe.changed(grid={"window": [16, 16, 16]}, **changes).model_dump() | {"labels": labels}
    )
    model = drawn(task)
    cs_file, ds_file = write_onnx(model, tmp_path)
    cs, ds = (load_network(file, model.info, name) for file, name in ((cs_file, "cs"), (ds_file, "ds")))
    for items, grains in ((1, (4, 2, 3)), (3, (2, 5, 2)), (1, (6, 6, 7))):
        size = [grain * count for grain, count in zip(task.grains, grains, strict=True)]
        image, noisy = torch.randn(items, 1, *size), torch.randn(items, task.classes, *size)
        time = torch.arange(items) * 400
        with torch.inference_mode():
            for one, other in (
                (cs(image), model.cs(image)),
                (ds(image, noisy, time), model.ds(image, noisy, time)),
            ):
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("length", [1, 7, SEGMENT, SEGMENT + 1, 5 * SEGMENT - 3])
def test_the_scan_of_the_graph_is_the_definition(length: int) -> None:
    """Also where rates are so extreme that a state forgets at once, or never."""
    domain, name = GRAPH_SCAN.split("::")
    inputs = ["u", "steps", "A", "B", "C"]
    ranks = {"A": 2}
    infos = [
        onnx.helper.make_tensor_value_info(one, onnx.TensorProto.FLOAT, [None] * ranks.get(one, 3))
        for one in (*inputs, "y")
    ]
    node = onnx.helper.make_node(name, inputs, ["y"], domain=domain)
    graph = onnx.helper.make_graph([node], "scan", infos[:-1], infos[-1:])
    whole = with_scan(onnx.helper.make_model(graph, ir_version=9))
    onnx.checker.check_model(whole)
    rng = torch.Generator().manual_seed(length)
    u, steps = torch.randn(2, 3, length, generator=rng), torch.rand(2, 3, length, generator=rng) * 4
    A = -torch.tensor([1e-6, 0.3, 5.0, 1e4]).repeat(3, 1)
    B, C = torch.randn(2, 2, 4, length, generator=rng)
    session = onnxruntime.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {name: value.numpy() for name, value in zip(inputs, (u, steps, A, B, C), strict=True)}
    (found,) = session.run(None, feeds)
    expected = scan_by_definition(*(value.double() for value in (u, steps, A, B, C))).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_a_prediction_is_the_same_with_both_engines(published: Path) -> None:
    model = load_model(published)
    one, other = (Predictor(model, name)(ODD, keep_probabilities=True) for name in ("torch", "onnx"))
    assert [found.report.engine for found in (one, other)] == ["torch", "onnx"]
    assert (voxels(one.label) == voxels(other.label)).mean() >= 0.9999
    for pair in zip(one.probabilities, other.probabilities, strict=True):
        np.testing.assert_allclose(*(voxels(image) for image in pair), atol=1e-3)


@pytest.mark.parametrize("networks", ["ensemble", "cs"])
def test_a_published_model_labels_a_phantom_the_same_with_both_engines(networks: Networks) -> None:
    model = ModelRegistry(models_folder()).load("hippocampus")
    scan = Scan(varied_phantom(2).image, "phantom", Path("phantom.nii.gz"))
    one, other = (
        Predictor(model, name)(scan, networks=networks, keep_probabilities=True) for name in ("torch", "onnx")
    )
    assert voxels(one.label).any()
    assert (voxels(one.label) == voxels(other.label)).mean() >= 0.9999
    for pair in zip(one.probabilities, other.probabilities, strict=True):
        np.testing.assert_allclose(*(voxels(image) for image in pair), atol=1e-3)


def test_several_threads_may_ask_at_once(published: Path) -> None:
    predictor = Predictor(load_model(published), "onnx")
    with ThreadPoolExecutor(3) as threads:
        first, *rest = threads.map(lambda _: voxels(predictor(ODD).label), range(3))
    assert all(np.array_equal(first, other) for other in rest)


def test_weights_are_on_the_disk_once(published: Path) -> None:
    graph = onnx.load(published / "cs.onnx", load_external_data=False)
    referring = [one for one in graph.graph.initializer if one.external_data]
    assert {entry.value for one in referring for entry in one.external_data if entry.key == "location"} == {
        "weights.safetensors"
    }
    whole = {
        one.name: numpy_helper.to_array(one) for one in onnx.load(published / "cs.onnx").graph.initializer
    }
    weights = load_model(published).cs.state_dict()
    assert len(referring) > 10
    for one in referring:
        np.testing.assert_array_equal(whole[one.name], weights[one.name].numpy())


def test_a_file_says_what_it_is(published: Path, recipe: Recipe) -> None:
    graph = onnx.load(published / "ds.onnx", load_external_data=False)
    said = {entry.key: entry.value for entry in graph.metadata_props}
    assert (said["model"], said["version"], said["network"], said["opset"]) == ("organ", "1", "ds", "18")
    assert f"multiples of {recipe.grains_in_words}" in said["image"]
    assert "background, head, tail" in said["logits"]
    assert {"noisy", "time"} < set(said)
    assert {entry.domain for entry in graph.opset_import} == {""}


def test_another_answer_is_refused_and_nothing_is_written(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.models.onnx.export.agree", lambda *_: False)
    with pytest.raises(ModelError, match=r"cs\.onnx: would not answer as torch does"):
        write_onnx(model, tmp_path)
    assert not list(tmp_path.iterdir())


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def other_version(file: Path) -> None:
    graph = onnx.load(file, load_external_data=False)
    next(entry for entry in graph.metadata_props if entry.key == "version").value = "2"
    file.write_bytes(graph.SerializeToString())


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (cut, "is damaged, or no ONNX file"),
        (lambda file: file.write_bytes(b""), "is damaged, or no ONNX file"),
        (other_version, "is not the ds of organ 1"),
        (Path.unlink, "is missing"),
    ],
    ids=["cut", "empty", "another version", "missing"],
)
def test_a_file_that_cannot_be_used_is_refused_where_it_is_asked_for(
    copied: Path, damage: object, why: str
) -> None:
    damage(copied / "ds.onnx")  # type: ignore[operator]
    model = load_model(copied)
    with pytest.raises(ModelError, match=why):
        Predictor(model, "onnx")
    with pytest.raises(ModelError, match=why):
        Predictor(recorded(model, "onnx"))
    assert Predictor(model)(ODD).report.engine == "torch"


def recorded(model: Model, engine: str) -> Model:
    """The same model, whose record names an engine."""
    info = model.info.model_copy(update={"provenance": {"engine": engine}})
    return replace(model, info=info)


@pytest.mark.parametrize(("record", "expected"), [("torch", "torch"), ("onnx", "onnx"), ("quantum", "torch")])
def test_the_engine_is_that_of_the_record_and_no_timing_decides(
    published: Path, record: str, expected: str
) -> None:
    model = recorded(load_model(published), record)
    assert choose_engine(model).name == choose_engine(model, "auto").name == expected
    assert Predictor(model)(ODD).report.engine == expected
    assert choose_engine(model, "torch").name == "torch"


def test_a_version_without_a_record_is_computed_by_torch(published: Path) -> None:
    assert "engine" not in load_model(published).info.provenance
    assert choose_engine(load_model(published)).name == "torch"


def test_a_label_needs_no_cache(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = []
    for home in ("one", "other"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / home))
        labels.append(voxels(Predictor(load_model(published))(ODD).label))
    assert np.array_equal(*labels)
    assert not list(tmp_path.iterdir())


def test_on_a_gpu_torch_computes(published: Path) -> None:
    elsewhere = replace(recorded(load_model(published), "onnx"), device=torch.device("cuda"))
    assert choose_engine(elsewhere).name == "torch"
    with pytest.raises(UsageError, match="computes on the CPU"):
        choose_engine(elsewhere, "onnx")


def test_a_model_in_memory_has_no_files(model: Model) -> None:
    with pytest.raises(ModelError, match="in memory alone"):
        choose_engine(model, "onnx")


def test_an_engine_of_another_name_is_refused() -> None:
    assert engine_choice("onnx") == "onnx"
    with pytest.raises(UsageError, match="engine fast: there is none of that name"):
        engine_choice("fast")


def test_a_network_answers_while_another_thread_writes_one(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    cs, image = drawn(recipe).cs, torch.randn(1, 1, 8, 12, 8)
    before = cs(image)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    assert torch.equal(cs(image), before)
