"""The studies folder: scans and labels that no upload, crash or second process can hurt."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import SimpleITK as sitk
from fastapi import HTTPException
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore, LocalDatastoreModel
from monailabel.interfaces.datastore import DefaultLabelTag
from numpy.typing import NDArray

from diffcl.active_learning.scores import Scorable
from diffcl.errors import DataError, OutputError, ScanError, UsageError, named
from diffcl.files import finite, remove_leftovers, replace_file
from diffcl.geometry import Geometry, same_grid, voxels
from diffcl.io import read_label, read_scan, scan_name, write_image
from diffcl.io.fingerprint import state_of
from diffcl.io.formats import image_suffix
from diffcl.recipe import Recipe
from diffcl.studies.label_history import LABEL_SUFFIX, History, stamp
from lib.changes import started_from
from lib.http_errors import refusals, unknown
from lib.index import Index
from lib.names import check_name
from lib.submission import Proposal, check_label

logger = logging.getLogger(__name__)

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")

LABEL_SUFFIXES = (*SUFFIXES, ".seg.nrrd")
"""Formats of scans and labels: those that are one file."""

FINAL = DefaultLabelTag.FINAL.value
ORIGINAL = DefaultLabelTag.ORIGINAL.value

SETTLED_NS = 50_000_000
"""A folder changed more recently than this may change again within the resolution of its time stamp."""


class StudyDatastore(LocalDatastore):
    """MONAI Label's local datastore, of which only the reading is left.

    What is on disk is looked at whenever something is asked, so files may come and go by hand and other
    processes may write. All that is written is written beside its place and moved in; a label is checked
    before it replaces another, and every accepted one is kept.

    Args:
        folder: The studies; made if missing.
        tasks: Gives the recipes whose classes labels may hold.
    """

    def __init__(self, folder: Path, tasks: Callable[[], Sequence[Recipe]]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        self._tasks = tasks
        self._index = Index(folder)
        self._saving = Lock()
        self._seen: tuple[int, ...] = ()
        with self._index.locked():
            self._snapshot = self._index.read()
        self._datastore_path = str(folder)
        self._extensions = [f"*{suffix}" for suffix in SUFFIXES]
        self.history = History(folder / "history")
        self._proposals = folder / "proposals"
        self._history_seen = -1
        self.refresh()

    @property
    def _datastore(self) -> LocalDatastoreModel:
        """What is there now, never changed once given out; all that is inherited reads it from here."""
        with self._index.locked():
            if not self._seen or self._seen != self._marks():
                self._reconcile_datastore()
                if self._history_seen != self.history.changed:
                    self._catch_up()
            return self._snapshot

    def refresh(self) -> None:
        """Look at the disk again."""
        with self._index.locked():
            self._reconcile_datastore()
            self._catch_up()

    def to_score(self) -> dict[str, Scorable]:
        """The scans that scores are wanted of: all."""
        index = self._datastore
        folder = Path(index.image_path())
        files = {
            image_id: folder / f"{image_id}{entry.image.ext}" for image_id, entry in index.objects.items()
        }
        return {
            image_id: Scorable(partial(state_of, file), partial(_as_it_is, file))
            for image_id, file in files.items()
        }

    def get_image_uri(self, image_id: str) -> str:
        """Path of a scan.

        Raises:
            HTTPException: 404 if it is not there, or not any more.
        """
        path: str = super().get_image_uri(image_id)
        if not path:
            raise HTTPException(404, f"image {image_id[:80]}: not there, or not any more")
        return path

    def set_name(self, name: str) -> None:
        """Name the studies."""
        with refusals(), self._change() as index:
            index.name = name

    def set_description(self, description: str) -> None:
        """Describe the studies."""
        with refusals(), self._change() as index:
            index.description = description

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """A temporary ZIP file of the labelled scans and their final labels.

        Raises:
            HTTPException: 404 if there is none.
        """
        if not self.datalist():
            raise HTTPException(404, "studies: no scan has a final label yet")
        archive: str = super().get_dataset_archive(limit_cases)
        return archive

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Add a scan, or replace one of the same grid; its labels stay.

        Raises:
            HTTPException: 4xx, if the id is not safe, the file is no scan, or an existing label would no
                longer fit it.
        """
        file = Path(image_filename)
        with refusals(), self._saving:
            image_id = check_name(image_id or scan_name(file), "image id")
            suffix = image_suffix(file) or ""
            if suffix not in SUFFIXES:
                raise ScanError(f"scan {image_id}", "not a format for scans", f"Send {', '.join(SUFFIXES)}")
            with named(f"scan {image_id}"):
                grid = Geometry.of(read_scan(file).image)
            known = self._datastore.objects.get(image_id)
            if known and known.labels and not same_grid(grid, self._grid(image_id)):
                raise DataError(f"scan {image_id}", "has labels, and the new scan lies on another grid",
                                "Upload it under another name")  # fmt: skip
            with self._change() as index:
                folder = Path(index.image_path())
                with replace_file(folder / f"{image_id}{suffix}", durable=True) as temporary:
                    shutil.copyfile(file, temporary)
                new = self._image_model(image_id, suffix, begins=False)
                entry = index.objects.setdefault(image_id, new)
                former, entry.image.ext = entry.image.ext, suffix
                entry.image.info.update({**(image_info or {}), **stamp(), "name": f"{image_id}{suffix}"})
                if former != suffix:
                    (folder / f"{image_id}{former}").unlink(missing_ok=True)
        return image_id

    def remove_image(self, image_id: str) -> None:
        """Remove a scan and its labels; the versions of its final label are kept.

        Raises:
            HTTPException: 404 for an unknown scan.
        """
        for tag in self._entry(image_id).labels:
            self.remove_label(image_id, tag)
        with refusals(), self._change() as index:
            entry = index.objects.pop(image_id, None)
            if entry:
                (Path(index.image_path()) / f"{image_id}{entry.image.ext}").unlink(missing_ok=True)
                self._proposal_file(image_id).unlink(missing_ok=True)

    def keep_proposal(self, image_id: str, label: sitk.Image, about: dict[str, Any]) -> None:
        """Remember what was proposed for a scan, to compare it with what the annotator makes of it.

        Args:
            image_id: The scan.
            label: The proposed classes, on the scan's grid.
            about: `model`, `version` and `task`, and whether places to check were `marked`.
        """
        try:
            self._proposals.mkdir(exist_ok=True)
            write_image(label, self._proposal_file(image_id))
            self.update_image_info(image_id, {"proposal": about})
        except (OSError, OutputError, HTTPException) as error:
            logger.error(f"The proposal for {image_id} is not kept: {getattr(error, 'detail', error)}")

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Check a label and make it the scan's label of that tag; a final one is kept as a version.

        Args:
            image_id: The scan.
            label_filename: The received file.
            label_tag: `final`, or any other.
            label_info: The client's params.

        Raises:
            HTTPException: 404 for an unknown scan, 4xx for a label that is refused; the old one stays.
        """
        self._entry(image_id)
        where = f"label of {image_id}"
        with refusals(), self._saving, TemporaryDirectory() as temporary:
            tag = check_name(label_tag, "label tag")
            grid, tasks = self._grid(image_id), self._tasks()
            about = self._about_proposal(image_id)
            proposal = self._proposal(image_id, about, grid)
            with named(where):
                checked = check_label(Path(label_filename), grid, tasks, label_info, where, proposal)
            label = Path(temporary) / f"label{LABEL_SUFFIX}"
            write_image(checked.label, label)
            record = {
                **label_info,
                "label_info": checked.classes,
                "task": checked.task,
                "remark": checked.remark,
                "changed_voxels": self._changed_voxels(image_id, voxels(checked.label)),
                "started_from": started_from(about, checked, proposal),
            }
            self._keep(image_id, tag, label, record)
        return image_id

    def restore_label(self, image_id: str, version: int) -> None:
        """Make an older version the final label again, as a new version.

        Raises:
            HTTPException: 4xx for an unknown scan or version.
        """
        self._entry(image_id)
        with refusals(), self._saving:
            record = self.history.restore(image_id, version)
            self._install(image_id, FINAL, self.history.label(image_id, record["version"]), record)

    def remove_label(self, label_id: str, label_tag: str, by: Mapping[str, str] | None = None) -> None:
        """Remove a label; a final one stays among the versions.

        Args:
            label_id: Its scan.
            label_tag: Its tag.
            by: Who asked for it, for the record of the removal.

        Raises:
            HTTPException: 404 if there is none.
        """
        self._label_entry(label_id, label_tag)
        with refusals(), self._saving:
            self._keep(label_id, label_tag, None, dict(by or {}))

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add to what is known of a scan.

        Raises:
            HTTPException: 404 for an unknown scan.
        """
        self._entry(image_id)
        with refusals(), self._change() as index:
            if image_id in index.objects:
                index.objects[image_id].image.info.update(finite(info))

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add to what is known of a label; what its version's record says stays as it is.

        Raises:
            HTTPException: 404 for an unknown label.
        """
        self._label_entry(label_id, label_tag)
        with refusals(), self._change() as index:
            label = index.label(label_id, label_tag)
            if label:
                record = self.history.newest(label_id) if label_tag == FINAL else {}
                label.info.update({**finite(info), **record})

    def _entry(self, image_id: str) -> ImageLabelModel:
        objects = self._datastore.objects
        if image_id not in objects:
            raise unknown("image", image_id, objects)
        return objects[image_id]

    def _label_entry(self, image_id: str, tag: str) -> DataModel:
        labels = self._entry(image_id).labels
        if tag not in labels:
            raise HTTPException(404, f"label of {image_id}: there is none with the tag {tag[:40]!r}")
        return labels[tag]

    def _grid(self, image_id: str) -> Geometry:
        return Geometry.of(read_scan(Path(self.get_image_uri(image_id))).image)

    def _proposal_file(self, image_id: str) -> Path:
        return self._proposals / f"{image_id}{LABEL_SUFFIX}"

    def _about_proposal(self, image_id: str) -> dict[str, Any] | None:
        """What is known of a scan's last proposal; clients may write anything in its place."""
        about = self._entry(image_id).image.info.get("proposal")
        return about if isinstance(about, dict) else None

    def _proposal(self, image_id: str, about: dict[str, Any] | None, grid: Geometry) -> Proposal | None:
        """What was last proposed for a scan; without its label where that is gone or the scan is another."""
        if not about:
            return None
        label = None
        try:
            image = read_label(self._proposal_file(image_id))
            label = voxels(image) if same_grid(Geometry.of(image), grid) else None
        except ScanError as error:
            logger.warning(str(error))
        return Proposal(label, str(about.get("task")), about.get("marked") is True)

    def _changed_voxels(self, image_id: str, array: NDArray[Any]) -> int | None:
        """Voxels that differ from the final label, else the original one; None without either."""
        labels = self._entry(image_id).labels
        tag = next((tag for tag in (FINAL, ORIGINAL) if tag in labels), None)
        if tag is None:
            return None
        former = voxels(read_label(Path(self.get_label_uri(image_id, tag))))
        return int((former != array).sum()) if former.shape == array.shape else None

    def _keep(self, image_id: str, tag: str, label: Path | None, record: dict[str, Any]) -> None:
        """Put a label in its place, None for none; a final one after it stands among the versions."""
        record = finite({**record, **stamp()})
        if tag == FINAL:
            record = self.history.add(image_id, label, record)
        self._install(image_id, tag, label, record)

    def _install(self, image_id: str, tag: str, label: Path | None, record: dict[str, Any]) -> None:
        with self._change() as index:
            if image_id not in index.objects:
                raise UsageError(f"image {image_id}", "was removed meanwhile", "Ask for the next scan")
            if tag != FINAL or self.history.newest(image_id)["version"] == record["version"]:
                _put(index, image_id, tag, label, record)  # else another process has a newer one

    def _catch_up(self) -> None:
        """Put in place what a kill left between the versions and the index, or somebody restored."""
        self._history_seen = self.history.changed
        newest = {image_id: self.history.newest(image_id) for image_id in self._snapshot.objects}
        behind = {
            image_id: record
            for image_id, record in newest.items()
            if record
            and record["version"] != self._snapshot.objects[image_id].image.info.get("label_version")
        }
        if behind:
            with self._change() as index:
                for image_id, record in behind.items():
                    label = None if record["removed"] else self.history.label(image_id, record["version"])
                    _put(index, image_id, FINAL, label, record)
        if not self._seen:
            self._reconcile_datastore()

    @contextmanager
    def _change(self) -> Iterator[LocalDatastoreModel]:
        """The index as it is on disk, to be changed in the block and then written."""
        with self._index.locked():
            index = self._index.read()
            yield index
            self._index.write(index)
            self._seen = ()

    def _reconcile_datastore(self) -> None:
        """Make the index say what is on disk; the index is locked."""
        for tag in (FINAL, ORIGINAL):
            _labels(self._snapshot, tag).mkdir(parents=True, exist_ok=True)
        marks = self._marks()
        index = self._index.read()
        before = index.model_dump()
        begins = not index.objects
        known = {image_id: entry.image.ext for image_id, entry in index.objects.items()}
        images = _listing(Path(index.image_path()), known, SUFFIXES)
        index.objects = {
            image_id: index.objects.get(image_id) or self._image_model(image_id, ext, begins=begins)
            for image_id, ext in sorted(images.items())
        }
        root = _labels(index, "")
        tags = [entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")]
        found = {}
        for tag in tags:
            known = {
                image_id: entry.labels[tag].ext
                for image_id, entry in index.objects.items()
                if tag in entry.labels
            }
            found[tag] = _listing(root / tag, known, LABEL_SUFFIXES)
        for image_id, entry in index.objects.items():
            entry.image.ext = images[image_id]
            entry.labels = {
                tag: self._label_model(entry, image_id, tag, files[image_id])
                for tag, files in found.items()
                if image_id in files
            }
        if index.model_dump() != before:
            self._index.write(index)
        self._snapshot = index
        settled = time.time_ns() - max(marks) > SETTLED_NS
        self._seen = marks if settled and marks == self._marks() else ()

    def _image_model(self, image_id: str, ext: str, *, begins: bool) -> ImageLabelModel:
        """The index's entry of a scan that came while others were known, or with which the index begins anew.

        Only in the latter case its versions are surely its own: somebody may have put another scan in its place.
        """
        info = {**stamp(), "name": f"{image_id}{ext}"}
        newest = {} if begins else self.history.newest(image_id)
        if newest:
            info["label_version"] = newest["version"]
        return ImageLabelModel(image=DataModel(ext=ext, info=info))

    def _label_model(self, entry: ImageLabelModel, image_id: str, tag: str, ext: str) -> DataModel:
        """The index's entry of a label file; one put there by hand gets what the versions know of it."""
        known = entry.labels.get(tag)
        if known and known.ext == ext:
            return known
        record = self.history.newest(image_id) if tag == FINAL else {}
        return DataModel(ext=ext, info={**stamp(), **record, "name": f"{image_id}{ext}"})

    def _marks(self) -> tuple[int, ...]:
        """What changes whenever a file comes, goes or is replaced: times in nanoseconds since 1970."""
        root = _labels(self._snapshot, "")
        tags = {FINAL, ORIGINAL, *self._snapshot.tags()}
        paths = [
            self._index.path,
            self.history.folder,
            Path(self._snapshot.image_path()),
            root,
            *(root / tag for tag in sorted(tags)),
        ]
        return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


def _as_it_is(file: Path) -> AbstractContextManager[Path]:
    """A file that stays when it is given back."""
    return nullcontext(file)


def _labels(index: LocalDatastoreModel, tag: str) -> Path:
    return Path(index.label_path(tag))


def _put(
    index: LocalDatastoreModel, image_id: str, tag: str, label: Path | None, record: dict[str, Any]
) -> None:
    """Put a copy of a label, None for none, where the index then says that it is."""
    entry, folder = index.objects[image_id], _labels(index, tag)
    former = entry.labels.pop(tag, None)
    if label is not None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{image_id}{LABEL_SUFFIX}"
        with replace_file(folder / name, durable=True) as temporary:
            shutil.copyfile(label, temporary)
        entry.labels[tag] = DataModel(ext=LABEL_SUFFIX, info={**record, "name": name})
    if former and (label is None or former.ext != LABEL_SUFFIX):
        (folder / f"{image_id}{former.ext}").unlink(missing_ok=True)
    if tag == FINAL:
        entry.image.info["label_version"] = record["version"]


def _listing(folder: Path, known: Mapping[str, str], suffixes: Sequence[str]) -> dict[str, str]:
    """Id and extension of every scan or label file of a folder.

    Of files that differ in the extension only, the known one counts, or the first of `suffixes`.
    """
    found: dict[str, list[str]] = {}
    for entry in os.scandir(folder):
        name = scan_name(Path(entry.name))
        fits = entry.name[len(name) :].lower() in suffixes
        if not entry.name.startswith(".") and fits and entry.is_file():
            found.setdefault(name, []).append(entry.name[len(name) :])
    order = {suffix: rank for rank, suffix in enumerate(suffixes)}
    return {
        name: known[name]
        if known.get(name) in extensions
        else min(extensions, key=lambda ext: order[ext.lower()])
        for name, extensions in found.items()
    }
