"""`diffcl serve`: the annotation server, on a folder of scans."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer

from diffcl.api import usable_device
from diffcl.cli.console import warn
from diffcl.cli.options import DeviceOption, EngineOption
from diffcl.cli.phantom import write_phantom
from diffcl.cli.sharing import check_sharing, door_arguments
from diffcl.errors import UsageError
from diffcl.files import make_folder, not_written

SAMPLES = 6
"""How many scans are made where no sample scans came with the installation."""


def serve(
    studies: Annotated[
        str | None,
        typer.Option(
            help="Folder of scans, or the address of a DICOMweb archive; by default a copy of the sample scans."
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default lets this machine alone in.")
    ] = "127.0.0.1",
    models: Annotated[
        str | None, typer.Option(help="Names of the models to serve, with commas; by default all.")
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or TOML file of a recipe whose task is served too, with or without a model of it; may be given "
            "more than once."
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the models that users train; by default `models` inside the studies, or inside the "
            "folder of --work for an archive."
        ),
    ] = None,
    work: Annotated[
        Path,
        typer.Option(
            help="Folder for the copy of the sample scans, for logs, and for what is kept beside an archive."
        ),
    ] = Path("work"),
    device: DeviceOption = "cpu",
    engine: EngineOption = "auto",
    queue: Annotated[
        int | None,
        typer.Option(
            min=1, help="How many inferences may wait before others are sent away for a while; 8 by default."
        ),
    ] = None,
    versions: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many versions of each label are kept in a folder of scans; all by default. The newest, each "
            "person's last and reviewed ones always are.",
        ),
    ] = None,
    users: Annotated[
        Path | None,
        typer.Option(help="File of those who may log in; see diffcl users. Others then get nothing."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate, with its chain, for https. Needs --tls-key.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key of the certificate.")] = None,
    behind_proxy: Annotated[
        bool, typer.Option(help="A proxy on this machine brings the requests, with https of its own.")
    ] = False,
    root_path: Annotated[
        str, typer.Option(help="Prefix of the addresses at that proxy, which takes it away: /diffcl.")
    ] = "",
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A further name by which the server is asked; may be repeated.")
    ] = None,
    max_upload: Annotated[
        int | None, typer.Option(min=1, help="MiB of the largest request with files; 4096 by default.")
    ] = None,
) -> None:
    """Serve scans and models to 3D Slicer, OHIF and every other MONAI Label client.

    Labels and trained models are kept beside the scans. The sample scans are copied first, and never changed.

    - `diffcl serve`
    - `diffcl serve --studies scans/ --models hippocampus --port 8123`
    - `diffcl serve --studies scans/ --recipe my-organ.toml --recipe another.toml`
    - `diffcl serve --studies http://127.0.0.1:8042/dicom-web`
    - `diffcl serve --studies scans/ --users users.json --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem`
    """
    _check_server()
    from diffcl.studies.sole_server import SoleServer

    tls = check_sharing(host, users, (tls_cert, tls_key), behind_proxy)
    _check_port(host, port)
    served, credentials = _without_credentials(_studies(studies, work))
    app = _app(work)
    command = [
        sys.executable, "-m", "lib.server.start", "start_server", "--app", str(app), "--studies", served,
        "--host", host, "--port", str(port), "--uvicorn_app", "lib.server.application:app",
    ]  # fmt: skip
    beside = Path(served)
    if _is_archive(served):
        beside = work.resolve()
        make_folder(beside)
        command += ["--conf", "work", str(beside)]
    SoleServer(beside).check()
    if models is not None:
        _check_models(models, beside / "models" if store is None else store, recipe or [])
        command += ["--conf", "models", models]
    if recipe:
        command += ["--conf", "recipe", _recipes(recipe)]
    if device != "cpu":
        command += ["--conf", "device", usable_device(device)]
    if engine != "auto":
        command += ["--conf", "engine", engine]
    if store is not None:
        command += ["--conf", "store", str(store.resolve())]
    if queue is not None:
        command += ["--conf", "queue", str(queue)]
    if versions is not None:
        command += ["--conf", "versions", str(versions)]
    command += ["--conf", "audit", str(work.resolve() / "audit")]
    command += door_arguments(host, users, tls, behind_proxy, root_path, allow_host or [], max_upload)
    warn(_next_steps(f"http{'s' if tls else ''}://{host}:{port}", served))
    # MONAI Label reads settings from a file .env of the working directory, and PYTHONPATH without asking for it.
    os.chdir(app)
    environment = {**credentials, **os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    os.execve(sys.executable, command, environment)


def _check_server() -> None:
    if find_spec("monailabel") is not None:
        return
    if sys.version_info >= (3, 13):
        raise UsageError(
            "diffcl serve",
            f"MONAI Label does not run with Python {sys.version_info[0]}.{sys.version_info[1]}",
            'Make an environment with Python 3.10, 3.11 or 3.12, and there pip install "diffcl[server]"',
        )
    raise UsageError("diffcl serve", "MONAI Label is not installed", 'Run pip install "diffcl[server]"')


def _check_port(host: str, port: int) -> None:
    try:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{host}:{port}", f"cannot be listened on ({reason})",
                         "Choose another port, for example make serve PORT=8123") from error  # fmt: skip


def _studies(studies: str | None, work: Path) -> str:
    """The absolute path of the studies, or the address of an archive."""
    if studies is None:
        return str(_sample_copy(work))
    if _is_archive(studies):
        return studies
    folder = Path(studies)
    if not folder.is_dir():
        raise UsageError(folder, "no such folder", "Name a folder of scans")
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        warn(f"{folder}: its disk is read-only. What is there can be looked at, and no label is kept")
    elif not os.access(folder, os.W_OK):
        raise UsageError(
            folder, "is not writable, and labels are kept in it", "Change its permissions or copy it"
        )
    return str(folder.resolve())


def _is_archive(studies: str) -> bool:
    return studies.startswith(("http://", "https://"))


def _without_credentials(studies: str) -> tuple[str, dict[str, str]]:
    """The studies, and the credentials in their address as settings: MONAI Label writes addresses into its log."""
    if not _is_archive(studies) or "@" not in urlsplit(studies).netloc:
        return studies, {}
    parts = urlsplit(studies)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return address, {
        "MONAI_LABEL_DICOMWEB_USERNAME": unquote(parts.username or ""),
        "MONAI_LABEL_DICOMWEB_PASSWORD": unquote(parts.password or ""),
    }


def _sample_copy(work: Path) -> Path:
    """A copy of the sample scans that annotators may change; one that is there is kept as it is."""
    from diffcl.files import replace_folder
    from diffcl.resources import samples_folder

    samples, copy = samples_folder(), (work / "sample-scans").resolve()
    if copy.is_dir():
        return copy
    if not samples.is_dir():  # an installed package has none, but can make them
        samples = work / "phantoms"
        for seed in range(SAMPLES):
            write_phantom(samples, seed)
    make_folder(work)
    with replace_folder(copy) as temporary:
        for scan in sorted((samples / "images").glob("*.nii.gz")):
            shutil.copyfile(scan, temporary / scan.name)
    return copy


def _app(work: Path) -> Path:
    """A folder that stands for the app's: MONAI Label writes its log into it."""
    from diffcl.resources import app_folder

    folder = work.resolve() / "server"
    make_folder(folder)
    for name in ("main.py", "lib"):
        link, target = folder / f".{name}", app_folder().resolve() / name
        if (folder / name).is_symlink() and (folder / name).readlink() == target:
            continue
        try:
            link.unlink(missing_ok=True)
            link.symlink_to(target)
            link.replace(folder / name)
        except OSError as error:
            raise not_written(folder / name, error) from error
    return folder


def _check_models(models: str, store: Path, recipes: Sequence[str]) -> None:
    """Check that each model is there, or is that of a recipe and may come."""
    from diffcl.models import ModelRegistry
    from diffcl.recipe import load_recipe
    from diffcl.resources import models_folder

    known = ModelRegistry(store, models_folder())
    new = [load_recipe(recipe).name for recipe in recipes]
    for name in (part.strip() for part in models.split(",")):
        if name not in new:
            known.folder(name)


def _recipes(recipes: Sequence[str]) -> str:
    """Names of recipes that come with diffcl, or absolute paths of files, with commas between them; checked.

    Raises:
        UsageError: If two are of one task, or a file has a comma in its name.
    """
    from diffcl.recipe import load_recipe

    found: dict[str, str] = {}
    for recipe in recipes:
        name = load_recipe(recipe).name
        if name in found:
            raise UsageError(
                f"--recipe {recipe}", f"is of the task {name}, as {found[name]}", "Give one of them"
            )
        found[name] = str(Path(recipe).resolve()) if Path(recipe).is_file() else recipe
        if "," in found[name]:
            raise UsageError(f"--recipe {recipe}", "has a comma in its name", "Name the file otherwise")
    return ",".join(found.values())


def _next_steps(address: str, studies: str) -> str:
    ohif = (
        f"{address}/ohif/" if _is_archive(studies) else "needs a DICOMweb archive as --studies; see make pacs"
    )
    return f"""\
Serving {studies}
  3D Slicer   MONAI Label module, server address {address}
  OHIF        {ohif}
  shell       curl {address}/info/
Ready when "Application startup complete" appears. Stop with Ctrl-C.
"""
