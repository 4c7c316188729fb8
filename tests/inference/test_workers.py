"""Scans shared among processes: the same files as in one process, whatever happens to a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dask
import psutil
import pytest
import SimpleITK as sitk
from synthetic import make_studies, publish_untrained

from diffcl.cli.main import run
from diffcl.files import replace_file
from diffcl.inference.outputs import Outputs, plan
from diffcl.inference.pipeline import Job, Outcome, Settings, segment
from diffcl.inference.workers import segment_on_workers
from diffcl.models import ModelRegistry


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    publish_untrained(ModelRegistry(tmp_path / "store"))
    return Settings("organ", tmp_path / "store", "cpu", "torch", "ensemble", None, None)


def jobs(scans: list[Path], out: Path) -> list[Job]:
    return [Job(scan, output) for scan, output in zip(scans, plan(scans, Outputs(out)), strict=True)]


def with_a_kill(outcomes: Iterator[Outcome]) -> list[Outcome]:
    """All outcomes; a worker is killed at the first."""
    found = [next(outcomes)]
    workers = [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
    workers[0].kill()
    return [*found, *outcomes]


def test_workers_do_each_scan_once_and_survive_the_death_of_one(settings: Settings, tmp_path: Path) -> None:
    scans = sorted(make_studies(tmp_path / "scans").glob("*.nii.gz"))
    bad = tmp_path / "scans" / "bad.nii.gz"
    bad.write_bytes(b"not an image")
    alone = [segment(job, settings) for job in jobs([*scans, bad], tmp_path / "alone")]
    together = with_a_kill(segment_on_workers(jobs([*scans, bad], tmp_path / "together"), settings, 2, None))
    assert sorted(outcome.job.scan for outcome in together) == sorted([*scans, bad])
    [failure] = [outcome for outcome in together if outcome.report is None]
    assert failure.error == alone[-1].error
    files = {path.name: path.read_bytes() for path in (tmp_path / "together").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "alone").iterdir()}
    assert sorted(files) == sorted(scan.name for scan in scans)


def half_written(job: Job, **_: object) -> Outcome:
    """A worker that dies for good while it writes."""
    assert job.output.label is not None
    with replace_file(job.output.label) as temporary:
        temporary.write_bytes(b"half")
        psutil.Process().kill()
    return Outcome(job, None)


def test_what_a_worker_was_writing_when_it_died_goes_and_the_scan_is_given_up(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffcl.inference.workers.segment", half_written)
    out = tmp_path / "out"
    young = out / f".{32 * 'a'}.nii.gz"
    [job] = jobs([tmp_path / "scan.nii.gz"], out)
    out.mkdir(exist_ok=True)
    young.write_bytes(b"somebody else's")
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        [outcome] = segment_on_workers([job], settings, 1, None)
    assert "given up after several tries (KilledWorker" in outcome.error
    assert [*out.iterdir()] == [young]


def test_what_is_there_is_left_out_on_request(settings: Settings, tmp_path: Path) -> None:
    scans = sorted(make_studies(tmp_path / "scans").glob("*.nii.gz"))[:2]
    words = ["predict", tmp_path / "scans", "--model", "organ", "--store", settings.store, "--new-only"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / scans[0].name).write_bytes(b"an earlier label")
    assert run([str(word) for word in [*words, "--out", tmp_path / "out"]]) == 0
    assert (tmp_path / "out" / scans[0].name).read_bytes() == b"an earlier label"
    assert sitk.ReadImage(tmp_path / "out" / scans[1].name).GetSize() == sitk.ReadImage(scans[1]).GetSize()


def test_a_scheduler_that_does_not_answer(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("diffcl.inference.workers.CONNECT_SECONDS", 0.2)
    [scan, *_] = make_studies(tmp_path / "scans").glob("*.nii.gz")
    words = ["predict", scan, "--model", "organ", "--store", settings.store, "--out", tmp_path / "o.nii.gz",
             "--cluster", "tcp://127.0.0.1:9"]  # fmt: skip
    assert run([str(word) for word in words]) == 2
    assert (
        "--cluster tcp://127.0.0.1:9: no Dask scheduler answers there. Start one" in capsys.readouterr().err
    )
