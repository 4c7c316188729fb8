"""Scans shared among many processes, of this machine or of a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from distributed import Client, Future, LocalCluster, as_completed

from diffcl.errors import UsageError
from diffcl.files import WRITER, remove_temporary_files
from diffcl.inference.outputs import folders_of
from diffcl.inference.pipeline import Job, Outcome, Settings, segment

RETRIES = 2
"""How often a scan is tried again that failed for another reason than itself. One whose worker dies is given
to others until it has taken four workers with it, Dask's own limit."""

CONNECT_SECONDS = 15


def segment_on_workers(
    jobs: Sequence[Job], settings: Settings, workers: int, cluster: str | None
) -> Iterator[Outcome]:
    """Segment scans, each on whichever worker is free, and yield what became of them as they are done.

    What a worker of this machine was writing when it died is removed at the end.

    Args:
        jobs: The scans. Workers read and write the same paths.
        settings: How.
        workers: Processes to start on this machine; not used with a cluster.
        cluster: Address of a Dask scheduler.

    Raises:
        UsageError: If the scheduler does not answer.
    """
    writer = uuid4().hex[:16]
    if cluster is None:
        settings = replace(settings, threads=max(1, (os.cpu_count() or 1) // workers))
    try:
        with _client(workers, cluster, writer) as client:
            yield from _outcomes(client, jobs, settings)
    finally:
        for folder in folders_of(job.output for job in jobs):
            remove_temporary_files(folder, writer)


def _outcomes(client: Client, jobs: Sequence[Job], settings: Settings) -> Iterator[Outcome]:
    places, settings = [_absolute(job) for job in jobs], _anywhere(settings)
    futures = client.map(segment, places, settings=settings, pure=False, retries=RETRIES)
    of_future = dict(zip(futures, jobs, strict=True))
    for future in as_completed(futures):
        job = of_future.pop(future)
        yield _outcome(future, job)
        future.release()


def _outcome(future: Future, job: Job) -> Outcome:
    fault = future.exception()
    if fault is None:
        found: Outcome = future.result()
        return replace(found, job=job)
    return Outcome(
        job, None, f"{job.scan}: was given up after several tries ({type(fault).__name__}: {fault})"
    )


def _absolute(job: Job) -> Job:
    """A worker of a cluster has another working directory."""
    output = job.output
    named = {name: path.absolute() for name, path in vars(output).items() if path is not None}
    others = tuple((name, path.absolute()) for name, path in job.others)
    return Job(job.scan.absolute(), replace(output, **named), others)


def _anywhere(settings: Settings) -> Settings:
    model = Path(settings.model)
    return replace(settings, store=settings.store.absolute(),
                   model=str(model.absolute()) if model.is_dir() else settings.model)  # fmt: skip


@contextmanager
def _client(workers: int, cluster: str | None, writer: str) -> Iterator[Client]:
    if cluster is None:
        with (
            LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=None, env={WRITER: writer}
            ) as local,
            Client(local) as client,
        ):
            yield client
        return
    try:
        client = Client(cluster, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise UsageError(f"--cluster {cluster}", "no Dask scheduler answers there",
                         "Start one with dask scheduler, or use --workers") from error  # fmt: skip
    with client:
        yield client
