"""The texts of a header in the characters they were meant in, also where the header names these wrongly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.values import convert_value

TEXTS: Final = ("PN", "LO", "SH", "LT", "ST", "UC", "UT")
"""Kinds of attributes whose characters SpecificCharacterSet names."""

GROUPS: Final = (0x0008, 0x0010, 0x0012, 0x0020)
"""Where the attributes of patient and study stand."""

UTF_8: Final = "ISO_IR 192"
LATIN_1: Final = "ISO_IR 100"
ESCAPE: Final = b"\x1b"

WITH_ESCAPES: Final = ("58", "87", "149", "159")
"""Character sets of many bytes, which the standard knows with escapes only: some programs write `ISO_IR 149`."""

OTHER_NAMES: Final = {
    "UTF8": UTF_8, "ISOIR192": UTF_8, "LATIN1": LATIN_1, "ISO88591": LATIN_1, "ASCII": "", "ISOIR6": "",
    "KSX1001": "ISO 2022 IR 149", "KSC5601": "ISO 2022 IR 149", "EUCKR": "ISO 2022 IR 149",
    "GBK": "GBK", "GB18030": "GB18030", "GB2312": "GB18030",
}  # fmt: skip
"""What some programs write instead of the terms of the standard, without blanks and marks."""

_WRONG: Final = re.compile("[\ufffd\x80-\x9f]")
"""What stands in no text that was decoded rightly."""


def with_texts(header: Dataset) -> Dataset:
    """A header whose texts of patient and study, as far as they were not looked at before, are decoded.

    The character set that the header names is taken if it fits all texts, also under another name than that of
    the standard. Where it does not fit or none is named, they are taken as UTF-8 if they can be that.

    Args:
        header: Left as it is.

    Source:
        DICOM PS3.3 section C.12.1.1.2.
    """
    raw = list(_raw_texts(header))
    encodings = _encodings(raw, character_sets(header.get("SpecificCharacterSet")))
    found = Dataset()
    found.update({tag: header.get_item(tag) for tag in header.keys()})  # noqa: SIM118 - a data set iterates elements
    for element in raw:
        found[element.tag] = _decoded(element, encodings)
    return found


def character_sets(named: Any) -> list[str]:
    """The terms of the standard for the character sets that a header names.

    >>> character_sets("ISO_IR 149"), character_sets(["", "iso-2022-ir 87"]), character_sets(None), character_sets(5)
    (['ISO 2022 IR 149'], ['', 'ISO 2022 IR 87'], [], ['5'])
    """
    several = (
        named if isinstance(named, list | MultiValue) else [named or ""]
    )  # of a damaged header a number, too
    terms = [str(one) for one in several]
    return [_term(term) for term in terms] if any(terms) else []


def _term(named: str) -> str:
    short = re.sub(r"[^A-Z0-9]", "", named.upper())
    if short in OTHER_NAMES:
        return OTHER_NAMES[short]
    found = re.fullmatch(r"ISO(2022)?IR(\d+)", short)
    if found is None:
        return named
    return f"ISO 2022 IR {found[2]}" if found[1] or found[2] in WITH_ESCAPES else f"ISO_IR {found[2]}"


def _raw_texts(header: Dataset) -> Iterator[RawDataElement]:
    """The texts of a header, and sequences that may hold some, as they stand in the file."""
    for tag in header.keys():  # noqa: SIM118 - a data set iterates elements
        element: Any = header.get_item(tag)
        if not element.is_raw or not element.value or tag.group not in GROUPS:
            continue
        kind = element.VR or (dictionary_VR(tag) if dictionary_has_tag(tag) else "")
        if kind in (*TEXTS, "SQ"):
            yield element._replace(VR=kind)


def _encodings(raw: list[RawDataElement], terms: list[str]) -> list[str]:
    """The encodings of Python that fit all texts of a header."""
    texts = [(str(element.VR), element, element.value or b"") for element in raw if element.VR != "SQ"]
    if not terms and all(content.isascii() for _, _, content in texts):
        return convert_encodings([""])
    choices = [*([terms] if terms else []), [UTF_8], *([term] for term in terms[1:] if term)]
    for choice in choices:
        if choice[0] == "" and any(
            not content.isascii() and ESCAPE not in content for _, _, content in texts
        ):
            continue  # another than the first character set begins with an escape
        encodings = convert_encodings(list(choice))
        try:
            decoded = [convert_value(kind, element, encodings) for kind, element, _ in texts]
        except (LookupError, ValueError):
            continue
        if not any(_WRONG.search(str(one)) for one in decoded):
            return encodings
    return convert_encodings(list(terms or [LATIN_1]))


def _decoded(element: RawDataElement, encodings: list[str]) -> DataElement:
    value = convert_value(str(element.VR), element, encodings)
    return DataElement(element.tag, str(element.VR), value, already_converted=True)
