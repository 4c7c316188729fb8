"""A model that somebody sends is opened with suspicion."""

from __future__ import annotations

import errno
import io
import json
import pickle
import struct
from pathlib import Path
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile

import numpy as np
import pytest
import torch

from diffcl.errors import FullDiskError, ModelError
from diffcl.models import Model
from diffcl.models import archive as module
from diffcl.models.archive import open_package
from diffcl.models.weights import save_model


@pytest.fixture
def files(model: Model, tmp_path: Path) -> dict[str, bytes]:
    """The files of a good model."""
    folder = tmp_path / "made"
    folder.mkdir()
    save_model(folder, model.info, model.cs, model.ds)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def pack(files: dict[str, bytes], method: int = ZIP_STORED) -> io.BytesIO:
    archive = io.BytesIO()
    with ZipFile(archive, "w", method) as package:
        for name, content in files.items():
            package.writestr(name, content)
    return archive


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder inside another, to see whether anything is written beside it."""
    place = tmp_path / "outer" / "inner"
    place.mkdir(parents=True)
    return place


@pytest.mark.parametrize("inside", ["", "3/"], ids=["at the top", "in a folder"])
def test_a_good_model_comes_out_as_it_went_in(
    inside: str, files: dict[str, bytes], model: Model, place: Path
) -> None:
    found = open_package(pack({f"{inside}{name}": content for name, content in files.items()}), place, "it")
    assert found.info == model.info
    for network in ("cs", "ds"):
        want, got = getattr(model, network).state_dict(), getattr(found, network).state_dict()
        assert all(torch.equal(want[name], got[name]) for name in want)


def test_what_is_made_from_the_rest_is_left_in_the_package(files: dict[str, bytes], place: Path) -> None:
    """They are written anew from the weights; those that judged the model elsewhere judge nothing here."""
    others = {"cs.onnx": b"anything", "ds.onnx": b"", "doubt.png": b"", "judged.safetensors": b""}
    open_package(pack({**files, **others}), place, "it")
    assert sorted(path.name for path in place.iterdir()) == ["model.json", "weights.safetensors"]


class Opened:
    """Fails the test that unpickles it."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("a pickle was opened",)


BOMB = pickle.dumps(Opened())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("../evil.txt", b""),
        ("../model.json", b""),
        ("/tmp/model.json", b""),
        ("..\\model.json", b""),
        ("a/b/model.json", b""),
        ("model.pt", BOMB),
        ("data.pkl", BOMB),
        ("script.py", b"raise SystemExit"),
        ("other/model.json", b"{}"),
    ],
)
def test_what_is_no_part_of_a_model_is_not_unpacked(
    name: str, content: bytes, files: dict[str, bytes], place: Path
) -> None:
    with pytest.raises(ModelError, match="it: holds"):
        open_package(pack({**files, name: content}), place, "it")
    assert list(place.parent.rglob("*")) == [place]


def test_a_member_without_a_name_is_no_part_of_a_model(place: Path) -> None:
    archive = io.BytesIO()
    with ZipFile(archive, "w") as package:
        package.writestr("weights", b"")
        package.filelist[0].filename = ""
    with pytest.raises(ModelError, match="holds '', which is no part of a model"):
        open_package(archive, place, "it")


def header(shapes: dict[str, list[int]]) -> bytes:
    """A safetensors file that promises tensors and holds none."""
    text = json.dumps(
        {key: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for key, shape in shapes.items()}
    )
    return struct.pack("<Q", len(text)) + text.encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights.safetensors": None}, "holds 0 files weights.safetensors"),
        ({"model.json": None}, "holds 0 files model.json"),
        ({"weights.safetensors": BOMB}, "damaged"),
        ({"weights.safetensors": header({"cs.a": [1000, 1000]})}, "damaged"),
        ({"weights.safetensors": b""}, "damaged"),
        ({"model.json": b"{}"}, "model.json: name: Field required"),
        ({"model.json": BOMB}, "model.json"),
        ({"model.json": b'{"scores": ' + b'{"a": ' * 100_000}, "model.json: Invalid JSON"),
        ({"model.json": b"[" + b"1," * (1 << 19) + b"1]"}, "model.json is larger than 1048576 bytes"),
        ({"weights.safetensors": (1 << 62).to_bytes(8, "little")}, "damaged"),
    ],
)
def test_anything_but_a_whole_model_is_refused(
    change: dict[str, bytes | None], message: str, files: dict[str, bytes], place: Path
) -> None:
    changed = {name: content for name, content in {**files, **change}.items() if content is not None}
    with pytest.raises(ModelError) as caught:
        open_package(pack(changed), place, "it")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "fields", "told"),
    [
        ("grid", {"window": [1e6, 1e6, 1e6]}, "grid.window.0: Input should be less than or equal to 512"),
        (
            "grid",
            {"spacing": [0.001, 0.001, 0.001]},
            "grid.spacing.0: Input should be greater than or equal to 0.01",
        ),
        ("diffusion", {"sampling_steps": 1000}, "sampling_steps: Input should be less than or equal to 100"),
    ],
    ids=["window", "spacing", "steps"],
)
def test_a_model_that_would_never_answer_is_refused_in_one_line(
    section: str, fields: dict[str, object], told: str, files: dict[str, bytes], place: Path
) -> None:
    description = json.loads(files["model.json"])
    description["recipe"][section] |= fields
    with pytest.raises(ModelError) as caught:
        open_package(pack({**files, "model.json": json.dumps(description).encode()}), place, "it")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", [ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA], ids=["deflate", "bzip2", "lzma"])
def test_a_package_that_is_damaged_anywhere_in_any_packing_is_a_model_error(
    method: int, files: dict[str, bytes], place: Path
) -> None:
    whole = pack(files, method).getvalue()
    rng = np.random.default_rng(5)
    refused = 0
    for number in range(40):
        content = bytearray(whole)
        at = int(rng.integers(len(content) - 30)) if number % 2 else int(rng.integers(30, 200))
        content[at : at + 20] = rng.bytes(20)
        inside = place / str(number)
        inside.mkdir()
        try:
            open_package(io.BytesIO(bytes(content)), inside, "it")
        except ModelError:
            refused += 1
    assert refused > 30


def test_a_full_disk_is_no_fault_of_the_package(
    files: dict[str, bytes], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_unpack", full)
    with pytest.raises(FullDiskError):
        open_package(pack(files), place, "it")


@pytest.mark.parametrize("content", [b"", b"no archive", BOMB], ids=["empty", "text", "pickle"])
def test_a_file_that_is_no_archive_is_refused(content: bytes, place: Path) -> None:
    with pytest.raises(ModelError, match="it: is no ZIP file"):
        open_package(io.BytesIO(content), place, "it")


def test_a_damaged_archive_is_refused(files: dict[str, bytes], place: Path) -> None:
    content = bytearray(pack(files).getvalue())
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(ModelError):
        open_package(io.BytesIO(bytes(content)), place, "it")


def test_networks_larger_than_their_weights_are_never_built(files: dict[str, bytes], place: Path) -> None:
    """These would have some hundred million weights."""
    content = json.loads(files["model.json"])
    content["recipe"]["cs"]["filters"] = [1024, 1024, 1024]
    files["model.json"] = json.dumps(content).encode()
    with pytest.raises(ModelError, match=r"numbers, model\.json describes"):
        open_package(pack(files), place, "it")


def test_an_archive_that_unpacks_to_too_much_is_refused(
    files: dict[str, bytes], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.LARGEST, "card.md", 1000)
    with pytest.raises(ModelError, match="larger than 1000 bytes"):
        open_package(pack({**files, "card.md": b" " * 1001}), place, "it")


def test_weights_that_are_not_finite_are_refused(model: Model, tmp_path: Path, place: Path) -> None:
    (tmp_path / "bad").mkdir()
    broken = {name: weight.clone() for name, weight in model.cs.state_dict().items()}
    next(iter(broken.values())).flatten()[0] = float("nan")
    network = type(model.cs)(model.info.recipe)
    network.load_state_dict(broken)
    save_model(tmp_path / "bad", model.info, network, model.ds)
    with pytest.raises(ModelError, match="not finite"):
        open_package(pack({p.name: p.read_bytes() for p in (tmp_path / "bad").iterdir()}), place, "it")
