from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pages import application, ask, project_of
from study_files import describe_version, empty_scans, keep_training, keep_versions, record

from diffcl.cli.main import run
from diffcl.errors import UsageError
from diffcl.web.pages.report import write_report


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    empty_scans(tmp_path / "heart study", [f"scan{number}" for number in range(5)])
    return tmp_path / "heart study"


def test_a_report_holds_what_is_known_and_what_is_not(studies: Path, tmp_path: Path) -> None:
    keep_versions(
        studies, "scan0", [record("2026-01-31", "ann <b>", 0.7, 1), record("2026-02-01", "bob", 0.8, 2)]
    )
    for number, (labelled, dice) in enumerate(((2, 0.747), (4, 0.823), (8, 0.852)), start=1):
        describe_version(studies / "models", number, labelled, dice, reason=f"Published: Dice {dice}.")
    keep_training(studies, "done", message="Published: Dice 0.852.")
    out = tmp_path / "report.html"
    assert run(["report", str(studies), "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert "heart study: report of the annotation project" in text
    assert (
        "5 scans, 1 with a label of a person; 2 versions of labels by 2 annotators: ann &lt;b&gt;, bob."
        in text
    )
    assert "was segmented by organ version 3, an ensemble" in text
    assert "with 8 labelled scans and 1 unlabelled scan" in text
    assert "the mean Dice was 0.852 (standard deviation 0.030, worst 0.752)" in text
    assert "more labels for 0.90" in text or "0.90 is probably not reached" in text
    assert '<th scope="row">organ_head</th><td class="number">1</td><td class="number">0.800</td>' in text
    for sentence in (
        "How far two people agree: no scan was outlined by two.",
        "no reviewer has approved one",
    ):
        assert sentence in text
    assert "Scores of version 3 by class" in text
    assert '<th scope="row">organ_head</th><td class="number">0.852</td><td class="number">0.030</td>' in text
    assert text.count('src="data:image/svg+xml;base64,') == 5
    assert "<script" not in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert len(text) < 1_000_000


def test_a_report_tells_how_far_people_agree_on_the_newest_labels(studies: Path, tmp_path: Path) -> None:
    def second(dice: float) -> dict[str, object]:
        compared = {"with_version": 1, "with_author": "ann", "classes": {"organ_head": {"dice": dice}}}
        return {**record("2026-02-01", "bob"), "agreement": compared}

    keep_versions(studies, "scan0", [record("2026-01-31", "ann"), second(0.1), second(0.7)])
    keep_versions(studies, "scan1", [record("2026-01-31", "ann"), second(0.9)])
    write_report(studies, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    told = "On 2 scans that two people have outlined, their labels agree with a mean Dice of 0.800 (0.700 to 0.900)."
    assert told in text
    assert "How far two people agree" not in text
    assert '<th scope="row">without label</th><td class="number">3</td>' in text


def test_a_version_that_one_scan_validated_has_no_spread(studies: Path, tmp_path: Path) -> None:
    describe_version(studies / "models", 1, 4, 0.6, scans=1)
    write_report(studies, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "on 1 validation scan, on which settings and weights were chosen too, the Dice was 0.600." in text
    assert "1 scan is few" in text


def test_a_report_of_nothing_says_so(studies: Path, tmp_path: Path) -> None:
    write_report(studies, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for sentence in ("5 scans, 0 with a label of a person", "There is no model yet.", "Nothing was trained here.",
                     "No label was made from a proposal yet."):  # fmt: skip
        assert sentence in text


def test_a_report_of_no_folder_and_as_another_kind_is_refused(studies: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        write_report(tmp_path / "nowhere", tmp_path / "report.html")
    with pytest.raises(UsageError, match="is not an HTML file"):
        write_report(studies, tmp_path / "report.pdf")
    with pytest.raises(
        UsageError, match=r"a server that serves it writes its report\. Open /study/report there"
    ):
        write_report(Path("http://127.0.0.1:8042/dicom-web"), tmp_path / "report.html")


def test_a_server_writes_the_same_report(studies: Path, tmp_path: Path) -> None:
    keep_versions(studies, "scan0", [record("2026-01-31", "ann", 0.7)])
    describe_version(tmp_path / "store", 1, 2, 0.747)
    app = application(project_of(studies, tmp_path / "store"))
    assert 'href="/study/report"' in ask(app, "/").text
    answer = ask(app, "/study/report")
    assert "5 scans, 1 with a label of a person; 1 version of labels by 1 annotator: ann." in answer.text
    assert "was segmented by organ version 1" in answer.text
    assert "style-src 'unsafe-inline'; img-src data:" in answer.headers["content-security-policy"]


def test_a_report_needs_no_server() -> None:
    missing = "for name in ('starlette', 'fastapi', 'uvicorn', 'monailabel'): sys.modules[name] = None"
    program = f"import sys\n{missing}\nimport diffcl.web.pages.report"
    subprocess.run([sys.executable, "-c", program], check=True)
