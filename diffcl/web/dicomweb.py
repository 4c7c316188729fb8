"""The part of a DICOMweb archive that viewers may read through the server: the series that it serves.

Source:
    DICOM PS3.18: the resources of QIDO-RS (section 10.6) and WADO-RS (10.4).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

UID: Final = r"[0-9][0-9.]{0,63}"

RESOURCE: Final = re.compile(
    rf"(?:studies(?:/(?P<study>{UID}))?/)?"
    rf"(?:series(?:/(?P<series>{UID}))?/)?"
    rf"(?:instances(?:/(?P<instance>{UID}))?/)?"
    rf"(?P<part>(?:metadata|rendered|thumbnail|bulk(?:data)?/[\w./-]{{1,256}}|"
    rf"frames/[0-9]{{1,6}}(?:,[0-9]{{1,6}}){{0,99}}(?:/(?:rendered|thumbnail))?)/)?"
)
"""A resource, with a slash at its end."""

STUDY: Final = "0020000D"
"""Tag of StudyInstanceUID in DICOM JSON."""

SERIES: Final = "0020000E"
"""Tag of SeriesInstanceUID."""

JSON: Final = "application/dicom+json"

TYPES: Final = (
    "application/dicom",
    "application/json",
    "application/octet-stream",
    "image/jpeg",
    "image/jp2",
    "image/jls",
    "image/png",
    "image/gif",
    "multipart/related",
    "video/mp4",
    JSON,
)
"""What may come back. Nothing of it runs in a page of the server's origin."""

LONGEST: Final = 256 << 20
"""Bytes of the longest list that is looked through."""


@dataclass(frozen=True)
class Resource:
    """What a viewer asks for.

    Attributes:
        study: StudyInstanceUID, if one is named.
        series: SeriesInstanceUID, if one is named.
        listed: Whether the answer is a list of objects in DICOM JSON, each with its UIDs.
        of_studies: Whether these are studies.
    """

    study: str
    series: str
    listed: bool
    of_studies: bool = False


def resource(path: str) -> Resource | None:
    """The resource at a path; None for what is no resource that a viewer needs.

    >>> resource("studies/1.2/series"), resource("studies/1.2/series/1.3/instances/1.4/frames/1")
    (Resource(study='1.2', series='', listed=True, of_studies=False),
     Resource(study='1.2', series='1.3', listed=False, of_studies=False))
    >>> resource("studies/1.2/series/1.3/reject/113001^DCM"), resource("studies/1.2")
    (None, None)
    """
    found = RESOURCE.fullmatch(f"{path}/") if path else None
    if found is None or ".." in path:
        return None
    study, series, part = found["study"] or "", found["series"] or "", (found["part"] or "").rstrip("/")
    searched = path.split("/")[-1] in ("studies", "series", "instances")
    if not searched and not series and part != "metadata":
        return None  # all of a study, of which some may not be seen
    return Resource(study, series, searched or part == "metadata", path == "studies")


def is_visible(asked: Resource, series: Mapping[str, str]) -> bool:
    """Whether what is asked for is, or may hold, something of some series.

    Args:
        asked: The resource.
        series: StudyInstanceUID by SeriesInstanceUID, of all that may be seen.
    """
    if asked.series:
        return asked.series in series and asked.study in ("", series[asked.series])
    return not asked.study or asked.study in series.values()


def only_visible(content: bytes, asked: Resource, series: Mapping[str, str]) -> bytes:
    """A list in DICOM JSON without what may not be seen.

    Args:
        content: The archive's answer.
        asked: What was asked for.
        series: See `is_visible`.

    Raises:
        ValueError: If it is no such list.
    """
    found = json.loads(content) if content.strip() else []
    if not isinstance(found, list) or len(content) > LONGEST:
        raise ValueError("not a list of DICOM objects")
    studies = set(series.values())
    kept = [
        one
        for one in found
        if (
            _value(one, STUDY, "") in studies
            if asked.of_studies
            else _value(one, SERIES, asked.series) in series
        )
    ]
    return json.dumps(kept).encode()


def is_safe_type(content_type: str) -> bool:
    """Whether a content may be handed on to a page of the server's origin.

    >>> is_safe_type('multipart/related; type="image/jpeg"'), is_safe_type("text/html"), is_safe_type("image/svg+xml")
    (True, False, False)
    """
    kind, _, rest = content_type.partition(";")
    inner = re.search(r'type="?([^";]+)', rest) if kind.strip().lower() == "multipart/related" else None
    return kind.strip().lower() in TYPES and (inner is None or inner[1].strip().lower() in TYPES)


def _value(one: Any, tag: str, otherwise: str) -> str:
    """The first value of an attribute; what was asked for where it is not in the answer."""
    try:
        return str(one[tag]["Value"][0])
    except (KeyError, IndexError, TypeError):
        return otherwise
