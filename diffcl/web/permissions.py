"""The role that a request needs, and the line that it leaves in the audit trail."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from diffcl.access.roles import Role

OPEN: Final = (
    ("GET", r"/health"),
    ("GET", r"/auth/?"),
    ("POST", r"/auth/token"),
    ("GET|POST", r"/auth/login"),
    ("POST", r"/auth/logout"),
)
"""What anybody may ask."""

RULES: Final = (
    ("GET|HEAD", r"/logs/.*|/model/.*|/metrics", Role.ADMIN),
    ("GET|HEAD", r"/datastore/dataset", Role.ANNOTATOR),
    ("GET|HEAD", r"/.*", Role.READER),
    ("POST", r"/infer/[^/]+", Role.READER),
    ("PUT|DELETE", r"/session/[^/]*", Role.READER),
    ("POST", r"/activelearning/[^/]+", Role.ANNOTATOR),
    ("PUT", r"/datastore/(image|image/info)?", Role.ANNOTATOR),
    ("PUT", r"/datastore/label", Role.ANNOTATOR),
    ("PUT", r"/datastore/(label/info|updatelabelinfo)", Role.REVIEWER),
    ("POST|DELETE", r"/scoring/[^/]*", Role.ANNOTATOR),
)
"""Methods, path and role; what stands nowhere is for administrators."""

VERSION: Final = "version_"
"""Beginning of the tag of a label that a reviewer has corrected."""

AUDITED_READS: Final = re.compile(
    r"/datastore/(image|label|dataset)|/session/[^/]+|/proxy/dicom/.*/metadata|/logs/|/model/.*|/study/(scan|picture\.png)"
)
"""What is looked at."""

SERIES: Final = re.compile(r"/series/([0-9.]{1,64})(?:/|$)")

_OPEN = [(methods.split("|"), re.compile(path)) for methods, path in OPEN]

_RULES = [(methods.split("|"), re.compile(path, re.DOTALL), role) for methods, path, role in RULES]


def needed_role(method: str, path: str, tag: str = "") -> Role | None:
    """The least role that may ask; None for what anybody may.

    >>> needed_role("PUT", "/datastore/label"), needed_role("DELETE", "/datastore/label", "version_2")
    (<Role.ANNOTATOR: 2>, <Role.REVIEWER: 3>)
    >>> needed_role("POST", "/train/organ"), needed_role("GET", "/auth/")
    (<Role.ADMIN: 4>, None)
    """
    if any(method in methods and pattern.fullmatch(path) for methods, pattern in _OPEN):
        return None
    if path == "/datastore/label" and method in ("PUT", "DELETE") and tag.startswith(VERSION):
        return Role.REVIEWER
    found = (role for methods, pattern, role in _RULES if method in methods and pattern.fullmatch(path))
    return next(found, Role.ADMIN)


def audited(method: str, path: str, query: Mapping[str, str]) -> tuple[str, str] | None:
    """Action and id of the scan of a request that goes into the audit trail; None for one that does not.

    Everything that changes something does, and looking at scans, labels and logs. Ids of sessions and questions to an
    archive, in which names may stand, do not.

    >>> audited("PUT", "/datastore/label", {"image": "p07", "tag": "final"})
    ('PUT /datastore/label', 'p07')
    >>> audited("GET", "/proxy/dicom/wado/studies/1.2/series/1.3/metadata", {})
    ('GET /proxy/dicom/metadata', '1.3')
    >>> audited("OPTIONS", "*", {})
    """
    if method in ("GET", "HEAD") and not AUDITED_READS.fullmatch(path):
        return None
    if not path.startswith("/"):  # as in "OPTIONS *"
        return None
    parts = path.split("/")
    if parts[1] == "proxy":
        series = SERIES.search(path)
        return f"{method} /proxy/dicom/{parts[-1]}", series[1] if series else ""
    shown = "/session/" if parts[1] == "session" else path
    return f"{method} {shown}", query.get("image") or query.get("id") or query.get("label") or ""
