from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
import SimpleITK as sitk

from diffcl.io import read_scan
from diffcl.io.dicom.seg_write import write_seg
from diffcl.recipe import load_recipe

KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"
JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"


@pytest.mark.parametrize(
    ("named", "content", "meant"),
    [
        ("ISO_IR 149", KOREAN.encode("euc_kr"), KOREAN),
        ("ISO 2022 IR 149", KOREAN.encode("euc_kr"), KOREAN),
        ("\\ISO_IR 149", KOREAN.encode("euc_kr"), KOREAN),
        ("\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C" + "洪^".encode("euc_kr") + b"\x1b$)C"
         + "吉洞=".encode("euc_kr") + b"\x1b$)C" + "홍^".encode("euc_kr") + b"\x1b$)C"
         + "길동".encode("euc_kr"), KOREAN),
        ("\\ISO 2022 IR 87", JAPANESE.encode("iso2022_jp"), JAPANESE),
        ("\\ISO_IR 87", JAPANESE.encode("iso2022_jp"), JAPANESE),
        ("GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
        ("ISO_IR 144", "Люксембург".encode("iso8859_5"), "Люксембург"),
        ("ISO_IR 100", "Müller^Jürgen".encode("latin-1"), "Müller^Jürgen"),
        ("UTF-8", KOREAN.encode(), KOREAN),
        (None, KOREAN.encode(), KOREAN),
        ("", "Müller^Jürgen".encode(), "Müller^Jürgen"),
        (None, "Müller^Jürgen".encode("latin-1"), "Müller^Jürgen"),
        ("ISO_IR 100", KOREAN.encode(), KOREAN),
        ("ISO_IR 192", KOREAN.encode(), KOREAN),
        ("ISO_IR 149", KOREAN.encode(), KOREAN),
        ("NONSENSE", KOREAN.encode(), KOREAN),
    ],
)  # fmt: skip
def test_a_name_arrives_as_it_was_meant(
    series: Path, label: sitk.Image, tmp_path: Path, named: str | None, content: bytes, meant: str
) -> None:
    for file in series.iterdir():
        image = pydicom.dcmread(file)
        name, term = (one + b" " * (len(one) % 2) for one in (content, (named or "").encode()))
        image.PatientName = "N" * len(name)  # pydicom would write neither as it is meant here
        image.SpecificCharacterSet = ""
        if named is None:
            del image.SpecificCharacterSet
        image.save_as(file)
        written = file.read_bytes().replace(b"N" * len(name), name)
        assert written.count(b"\x08\x00\x05\x00CS\0\0") == (named is not None)
        length = len(term).to_bytes(2, "little")
        file.write_bytes(written.replace(b"\x08\x00\x05\x00CS\0\0", b"\x08\x00\x05\x00CS" + length + term))
    source = read_scan(series).series
    assert source is not None
    path = tmp_path / "seg.dcm"
    write_seg(label, source, load_recipe("hippocampus").labels, path, model_name="model", model_version=1)
    written = pydicom.dcmread(path)
    assert str(written.PatientName) == meant
    assert written.SpecificCharacterSet == "ISO_IR 192"
