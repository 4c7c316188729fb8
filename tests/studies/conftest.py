"""A store of models and a folder of scans."""

import pytest
from served import label_file, store, studies
from two_tasks import opened, submit

from diffcl.studies import archive_contents as contents

__all__ = ["label_file", "opened", "store", "studies", "submit"]


@pytest.fixture
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What others store in an archive is seen at once, so that no test has to wait for it."""
    monkeypatch.setattr(contents, "FRESH_SECONDS", 0)
    monkeypatch.setattr(contents, "REST", 0)
