"""Arrays are kept under a digest, mapped, and removed when nobody has used them for long."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import numpy as np
import pytest

from diffcl.data import array_cache
from diffcl.data.array_cache import digest, keep, load, prune
from diffcl.errors import ScanError

KEY = 32 * "a"
ARRAY = np.random.default_rng(0).normal(size=(1, 4, 5, 6)).astype(np.float32)


def test_what_is_kept_comes_back_in_every_order_of_memory(tmp_path: Path) -> None:
    turned = np.asfortranarray(ARRAY[0])
    made = keep(tmp_path, KEY, {"image": ARRAY, "turned": turned}, {"mean": 0.1})
    found = load(tmp_path, KEY)
    assert found is not None
    assert found.notes == made.notes == {"mean": 0.1}
    for name, array in (("image", ARRAY), ("turned", turned)):
        for entry in (made, found):
            assert np.array_equal(entry.arrays[name](), array)
            assert entry.arrays[name]().flags.f_contiguous == array.flags.f_contiguous
    assert load(tmp_path, 32 * "b") is None


def test_what_was_opened_stays_although_its_files_go_or_are_replaced(tmp_path: Path) -> None:
    keep(tmp_path, KEY, {"image": ARRAY}, {})
    held = load(tmp_path, KEY)
    keep(tmp_path, KEY, {"image": 0 * ARRAY}, {})
    assert held is not None
    assert np.array_equal(held.arrays["image"](), ARRAY)
    array_cache.remove(tmp_path / KEY)
    assert np.array_equal(held.arrays["image"](), ARRAY)


def test_what_is_written_to_a_mapped_array_reaches_no_file(tmp_path: Path) -> None:
    entry = keep(tmp_path, KEY, {"image": ARRAY}, {})
    entry.arrays["image"]()[:] = 7
    found = load(tmp_path, KEY)
    assert found is not None
    assert np.array_equal(found.arrays["image"](), ARRAY)


def test_an_array_takes_memory_only_while_it_is_used(tmp_path: Path) -> None:
    def mapped() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("RssFile:")))

    entry = keep(tmp_path, KEY, {"image": np.ones(2**25, np.uint8)}, {})
    before = mapped()
    array = entry.arrays["image"]()
    assert array.sum() == 2**25
    assert mapped() - before > 2**24
    del array
    assert mapped() - before < 2**22


def test_more_arrays_can_be_held_than_files_be_open(tmp_path: Path) -> None:
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    keep(tmp_path, KEY, {"image": ARRAY}, {})
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, most))
    try:
        held = [load(tmp_path, KEY) for _ in range(300)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
    assert all(one is not None for one in held)


@pytest.mark.parametrize("hurt", ["cut off", "no array", "other form", "no notes", "notes no JSON"])
def test_an_entry_that_is_not_whole_is_none(tmp_path: Path, hurt: str) -> None:
    keep(tmp_path, KEY, {"image": ARRAY}, {})
    image, notes = tmp_path / KEY / "image.npy", tmp_path / KEY / "notes.json"
    content = image.read_bytes()
    if hurt == "cut off":
        image.write_bytes(content[:-1])
    elif hurt == "no array":
        image.write_bytes(b"nothing")
    elif hurt == "other form":
        image.write_bytes(content[:6] + b"\x02" + content[7:])
    elif hurt == "no notes":
        notes.unlink()
    else:
        notes.write_text("{")
    assert load(tmp_path, KEY) is None


def test_the_digest_follows_kind_settings_and_content(tmp_path: Path) -> None:
    file = tmp_path / "a.nii.gz"
    found = []
    for kind, settings, content in (("x", 1, b"1"), ("y", 1, b"1"), ("x", 2, b"1"), ("x", 1, b"2")):
        file.write_bytes(content)
        found.append(digest(kind, settings, [file]))
    assert len({*found}) == 4
    with pytest.raises(ScanError, match=r"b\.nii\.gz: cannot be read \(No such file"):
        digest("x", 1, [tmp_path / "b.nii.gz"])


def aged(folder: Path, name: str, days: float, size: int = 1000) -> Path:
    place = folder / name
    if name.endswith(".npz"):
        place.write_bytes(size * b"0")
    else:
        keep(folder, name, {"image": np.zeros(size, np.uint8)}, {})
    then = time.time() - days * 24 * 3600
    for path in (*place.glob("*"), place):
        os.utime(path, (then, then))
    return place


def test_what_is_old_goes_and_what_was_used_stays(tmp_path: Path) -> None:
    gone = [aged(tmp_path, 32 * "0", 31), aged(tmp_path, f"{32 * '1'}.npz", 31)]
    used, young = aged(tmp_path, 32 * "2", 31), aged(tmp_path, 32 * "3", 29)
    other = aged(tmp_path, "mine", 31)
    assert load(tmp_path, used.name) is not None
    prune(tmp_path)
    assert not [path for path in gone if path.exists()]
    assert all(path.exists() for path in (used, young, other))


def test_beyond_its_size_the_cache_loses_what_was_not_used_longest_but_nothing_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [aged(tmp_path, 32 * str(n), days, 100_000) for n, days in enumerate((0.5, 0.6, 2, 3))]
    monkeypatch.setattr(array_cache, "LARGEST_BYTES", 330_000)
    prune(tmp_path)
    assert [path.exists() for path in places] == [True, True, True, False]
    monkeypatch.setattr(array_cache, "LARGEST_BYTES", 10)
    prune(tmp_path)
    assert [path.exists() for path in places] == [True, True, False, False]
    prune(tmp_path / "missing")


def test_entries_of_other_versions_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.nii.gz"
    file.write_bytes(b"1")
    now = digest("x", 1, [file])
    monkeypatch.setattr(array_cache, "VERSION", array_cache.VERSION - 1)
    assert digest("x", 1, [file]) != now
