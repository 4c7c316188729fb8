from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from fastapi import HTTPException
from synthetic import ORGAN, ORGAN_TOML, SCANS, fill_with, make_scan, publish_untrained, same_place

from diffcl.errors import UsageError
from diffcl.inference import Predictor
from diffcl.inference.expected_error import places_to_check
from diffcl.inference.outlook import UnderWay
from diffcl.io import read_scan
from diffcl.io.dicom.series_write import write_series
from diffcl.models import ModelRegistry, load_model
from diffcl.resources import app_folder
from diffcl.studies.label_history import SETTLED_NS
from diffcl.studies.progress import Progress


def refusal(app: Any, **request: Any) -> HTTPException:
    """The refusal of an inference request; a 4xx with one line, or 507 for a full disk."""
    with pytest.raises(HTTPException) as caught:
        app.infer({"model": "organ", "image": "oblique", **request})
    assert 400 <= caught.value.status_code < 500 or caught.value.status_code == 507
    assert "\n" not in caught.value.detail
    return caught.value


def infer(app: Any, **request: Any) -> tuple[sitk.Image, dict[str, Any]]:
    """Image and params of an answer."""
    result = app.infer({"model": "organ", "image": "oblique", **request})
    image = sitk.ReadImage(result["file"])
    Path(result["file"]).unlink()
    return image, result["params"]


class TestInfo:
    def test_every_model_has_a_task_for_each_list_of_the_viewers(self, app: Any) -> None:
        models = app.info()["models"]
        assert list(models) == ["organ", "organ_uncertainty", "organ_clicks", "organ_complete"]
        assert models["organ"]["type"] == "segmentation"
        assert models["organ"]["labels"] == {"organ_head": 1, "organ_tail": 2}
        assert models["organ_uncertainty"]["type"] == "others"

    def test_a_model_is_not_looked_up_for_each_of_its_tasks(
        self, app: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked, in_use = list[str](), ModelRegistry.in_use
        monkeypatch.setattr(
            ModelRegistry, "in_use", lambda store, name: [asked.append(name), in_use(store, name)][1]
        )
        assert len(app.info()["models"]) == 4
        assert 1 <= len(asked) <= 2

    def test_what_the_viewers_read_is_plain_json(self, app: Any) -> None:
        info = json.loads(json.dumps(app.info(), allow_nan=False))
        assert info["labels"] == ["organ_head", "organ_tail"]
        assert {"random", "first"} <= set(info["strategies"])
        assert "config" not in info  # Slicer takes that for a server that is too old
        assert all(isinstance(name, str) for name in info["models"]["organ"]["config"]["networks"])

    def test_of_several_trainings_the_one_at_work_is_shown(
        self, app: Any, studies: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "liver.toml").write_text(ORGAN_TOML.replace('"organ"', '"liver"'))
        conf = {**app.conf, "models": "organ,liver", "recipe": str(tmp_path / "liver.toml")}
        two = type(app)(str(app_folder()), str(studies), conf)
        liver, organ = (Progress(studies / "training" / name) for name in ("liver", "organ"))

        def shown() -> dict[str, Any]:
            stats = two.info()["train_stats"]
            assert set(stats) == {"liver", "organ"}
            return dict(next(iter(stats.values())))

        assert shown() == {}
        with organ.running(7):
            assert shown()["total_epochs"] == 7
            organ.tell("done", "Published.")
        with liver.running(8):
            assert shown()["total_epochs"] == 8
            with organ.running(9):
                liver.tell("done", "Published.")
                assert shown()["total_epochs"] == 9
                organ.tell("done", "Published.")

    def test_a_new_version_is_described_at_once(self, app: Any, store: ModelRegistry) -> None:
        publish_untrained(store)
        assert app.info()["models"]["organ"]["description"].startswith("organ, version 2, ")

    def test_a_model_says_what_it_learned_from_and_how_good_it_is(
        self, app: Any, store: ModelRegistry
    ) -> None:
        def says() -> str:
            return str(app.info()["models"]["organ"]["description"])

        assert says() == "organ, version 1, learned from 2 labelled and 1 unlabelled scans, not validated"
        model = load_model(store.folder("organ"))
        scores = {"ensemble": {"dice": 0.8126, "scans": 4}}
        uploaded = {"labelled": [], "unlabelled": [], "validation": ["d"], "uploaded": "2026-01-01"}
        info = model.info.model_copy(update={"scores": scores, "provenance": uploaded})
        store.add("organ", fill_with(replace(model, info=info)))
        assert says() == (
            "organ, version 2, uploaded, with no record of scans, Dice 0.813 on 4 validation scans"
        )
        assert says().removeprefix("organ") in app.info()["models"]["organ_uncertainty"]["description"]

    def test_a_damaged_model_is_not_offered(self, app: Any, store: ModelRegistry) -> None:
        (store.folder("organ") / "model.json").write_text("{")
        again = type(app)(str(app_folder()), app.studies, app.conf)
        assert again.info()["models"] == {}
        assert refusal(again).status_code == 404

    def test_proposals_and_trainings_compute_on_the_device_that_is_set(
        self, app: Any, studies: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        made: list[Any] = []
        its_names = type(app).init_trainers.__globals__
        monkeypatch.setitem(its_names, "StudyTraining", lambda *given: made.append(given))
        on_gpu = type(app)(str(app_folder()), str(studies), {**app.conf, "device": "cuda"})
        assert [given[-1] for given in made] == ["cuda"]
        assert on_gpu._models._device == "cuda"  # noqa: SLF001

    def test_a_device_that_is_not_there_is_refused(self, app: Any, studies: Path) -> None:
        with pytest.raises(UsageError, match="there is none of that name"):
            type(app)(str(app_folder()), str(studies), {**app.conf, "device": "gpu"})

    def test_a_task_without_a_model_can_be_labelled(
        self, app: Any, studies: Path, label_file: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "organ.toml").write_text(ORGAN_TOML.replace('"organ"', '"new_organ"'))
        conf = {
            "store": str(tmp_path / "none"),
            "models": "new_organ",
            "recipe": str(tmp_path / "organ.toml"),
        }
        new = type(app)(str(app_folder()), str(studies), conf)
        info = new.info()
        assert info["labels"] == ["organ_head", "organ_tail"]
        assert list(info["trainers"]) == ["new_organ"]
        assert list(info["models"]) == ["new_organ", "new_organ_complete"]
        caught = refusal(new, model="new_organ")
        assert caught.status_code == 409
        assert "no model yet" in caught.detail
        assert new.next_sample({"strategy": "random"})["id"]
        new.datastore().save_label("oblique", str(label_file), "final", {})
        assert new.datastore().get_label_info("oblique", "final")["task"] == "new_organ"

    def test_an_unknown_model_stops_the_start(self, app: Any, studies: Path) -> None:
        with pytest.raises(Exception, match="model heart: there is none of that name"):
            type(app)(str(app_folder()), str(studies), {"models": "organ, heart"})


class TestInference:
    @pytest.mark.parametrize("name", SCANS)
    @pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
    def test_an_answer_lies_exactly_on_its_scan(
        self, name: str, suffix: str, app: Any, studies: Path
    ) -> None:
        scan = sitk.ReadImage(studies / f"{name}.nii.gz")
        for model in ("organ", "organ_uncertainty"):
            image, _ = infer(app, model=model, image=name, result_extension=suffix)
            assert same_place(image, scan)
            assert image.GetPixelID() == sitk.sitkUInt8

    def test_the_label_is_that_of_the_library(self, app: Any, store: ModelRegistry, studies: Path) -> None:
        image, params = infer(app)
        expected = Predictor(load_model(store.folder("organ")))(read_scan(studies / "oblique.nii.gz"))
        np.testing.assert_array_equal(
            sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(expected.label)
        )
        assert params["report"]["volumes_ml"] == expected.report.volumes_ml

    def test_the_params_carry_the_report_and_the_version(self, app: Any) -> None:
        _, params = infer(app, networks=["ensemble", "cs", "ds"])
        assert params["label_names"] == {"organ_head": 1, "organ_tail": 2}
        assert (params["model"], params["version"]) == ("organ", 1)
        assert params["report"]["networks"] == "ensemble"
        assert params["latencies"]["total"] > 0
        json.dumps(params, allow_nan=False)

    def test_a_line_says_what_a_person_wants_to_know(self, app: Any) -> None:
        _, params = infer(app)
        volumes = params["report"]["volumes_ml"]
        assert params["summary"] == (
            f"organ_head {volumes['organ_head']:.2f} ml, organ_tail {volumes['organ_tail']:.2f} ml; "
            f"doubt {params['report']['doubt']:.2f}; organ version 1, learned from 2 labelled and 1 unlabelled scans"
        )
        assert app.datastore().get_image_info("oblique")["proposal"]["summary"] == params["summary"]

    def test_how_far_it_is_stands_in_what_the_viewers_ask_for(self, app: Any) -> None:
        assert app.info()["inference"] is None
        app._models._now = UnderWay("organ", "oblique", 8, 2)  # noqa: SLF001
        told = app.info()["inference"]
        assert (told["image"], told["windows_done"], told["windows"]) == ("oblique", 2, 8)

    def test_where_to_look_is_marked_on_request(self, app: Any, store: ModelRegistry, studies: Path) -> None:
        plain, _ = infer(app)
        marked, params = infer(app, check_here=True)
        assert params["label_names"] == {"organ_head": 1, "organ_tail": 2, "check_here": 3}
        prediction = Predictor(load_model(store.folder("organ")))(read_scan(studies / "oblique.nii.gz"))
        where = sitk.GetArrayFromImage(places_to_check(prediction.uncertainty, (1.5, 1.5, 1.5))) == 1
        assert where.any()  # an untrained model doubts
        expected = np.where(where, 3, sitk.GetArrayFromImage(plain))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(marked), expected)
        assert same_place(marked, plain)

    def test_a_mark_is_never_kept(self, app: Any) -> None:
        plain, _ = infer(app)
        result = app.infer({"model": "organ", "image": "oblique", "check_here": "true", "save_label": True})
        Path(result["file"]).unlink()
        kept = sitk.ReadImage(app.datastore().get_label_uri("oblique", "original"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(kept), sitk.GetArrayFromImage(plain))

    def test_uncertainty_fills_the_bytes(self, app: Any, store: ModelRegistry, studies: Path) -> None:
        image, params = infer(app, model="organ_uncertainty")
        expected = Predictor(load_model(store.folder("organ")))(read_scan(studies / "oblique.nii.gz"))
        wanted = np.round(sitk.GetArrayFromImage(expected.uncertainty) * 255)
        np.testing.assert_allclose(sitk.GetArrayFromImage(image), wanted, atol=1)
        assert params["label_names"] == {}

    def test_the_networks_asked_are_the_ones_that_answer(self, app: Any) -> None:
        answers = {
            networks: infer(app, networks=networks)[1]["report"] for networks in ("ensemble", "cs", "ds")
        }
        assert [answers[networks]["networks"] for networks in answers] == list(answers)
        assert answers["cs"]["disagreement"] is None

    def test_ohif_gets_raw_bytes(self, app: Any, studies: Path) -> None:
        request = {"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False}
        file = Path(app.infer({"model": "organ", "image": "oblique", **request})["file"])
        content = file.read_bytes()
        file.unlink()
        assert b"encoding: raw" in content
        size = np.prod(sitk.ReadImage(studies / "oblique.nii.gz").GetSize())
        assert len(content) - content.index(b"\n\n") - 2 == size

    def test_another_voxel_type_holds_the_same_values(self, app: Any) -> None:
        plain, _ = infer(app)
        wide, _ = infer(app, result_dtype="int16")
        assert wide.GetPixelID() == sitk.sitkInt16
        np.testing.assert_array_equal(sitk.GetArrayViewFromImage(wide), sitk.GetArrayViewFromImage(plain))

    def test_a_new_version_answers_the_next_request(self, app: Any, store: ModelRegistry) -> None:
        assert infer(app)[1]["version"] == 1
        publish_untrained(store)
        assert infer(app)[1]["version"] == 2
        store.switch("organ", 1)
        assert infer(app)[1]["version"] == 1

    def test_the_answer_may_be_kept_as_a_proposal(self, app: Any) -> None:
        result = app.infer(
            {"model": "organ", "image": "oblique", "save_label": True, "label_tag": "original"}
        )
        assert result["label"] == "oblique"
        Path(result["file"]).unlink()
        info = app.datastore().get_label_info("oblique", "original")
        assert info["params"]["label_names"] == {"organ_head": 1, "organ_tail": 2}
        assert app.datastore().get_labeled_images() == []

    def test_several_models_answer_together(self, app: Any, store: ModelRegistry, studies: Path) -> None:
        heart = ORGAN.model_copy(update={"name": "heart", "labels": ORGAN.labels[:1]})
        publish_untrained(store, recipe=heart)
        conf = {"store": str(store.folders[0]), "models": "organ,heart"}
        both = type(app)(app_dir=str(app_folder()), studies=str(studies), conf=conf)
        result = both.infer({"model": "organ+heart", "image": "oblique", "save_label": True})
        names = {"organ_head (organ)": 1, "organ_tail": 2, "organ_head (heart)": 3}
        assert result["params"]["label_names"] == names
        assert result["params"]["versions"] == {"organ": 1, "heart": 1}
        assert result["params"]["summary"].count("doubt") == 2
        Path(result["file"]).unlink()
        assert both.datastore().get_image_info("oblique")["proposal"]["model"] == "organ+heart"
        assert both.datastore().status()["label_tags"] == {"original": 1}
        both.bundle_path("organ+heart")

    @pytest.mark.parametrize("model", ["organ+heart", "organ+organ", "organ+", "organ+organ_uncertainty"])
    def test_only_served_models_answer_together_and_each_once(self, app: Any, model: str) -> None:
        for ask in (app.bundle_path, lambda name: app.infer({"model": name, "image": "oblique"})):
            with pytest.raises(HTTPException) as refused:
                ask(model)
            assert refused.value.status_code == 404

    @pytest.mark.parametrize("tag", ["final", "version_2", 7, {"a": 1}], ids=str)
    def test_the_answer_is_never_kept_as_a_label_of_a_person(self, app: Any, tag: Any) -> None:
        assert refusal(app, save_label=True, label_tag=tag).status_code == 422
        assert app.datastore().status()["label_tags"] == {}

    def test_uncertainty_is_not_kept_as_a_label(self, app: Any) -> None:
        assert refusal(app, model="organ_uncertainty", save_label=True).status_code == 422

    def test_a_scan_sent_with_the_request_is_answered(self, app: Any, studies: Path) -> None:
        with tempfile.NamedTemporaryFile(suffix=".nii.gz") as file:
            Path(file.name).write_bytes((studies / "oblique.nii.gz").read_bytes())
            sent = {"image": file.name, "received": Path(file.name)}
            image, _ = infer(app, **sent)
            assert same_place(image, sitk.ReadImage(studies / "oblique.nii.gz"))
            assert refusal(app, **sent, save_label="true").status_code == 422
            assert "is a path" in refusal(app, image=file.name, received=file.name).detail

    def test_the_scan_of_a_session_is_answered(self, app: Any, studies: Path, tmp_path: Path) -> None:
        (tmp_path / "mine.nii.gz").write_bytes((studies / "oblique.nii.gz").read_bytes())
        _, session = app.sessions().add_session(str(tmp_path / "mine.nii.gz"))
        image, params = infer(app, image=session.image, session=session.to_json())
        assert same_place(image, sitk.ReadImage(studies / "oblique.nii.gz"))
        assert params["report"]["case"] == "mine"

    def test_a_dicom_series_of_a_session_is_answered(self, app: Any, tmp_path: Path) -> None:
        scan = sitk.Cast(make_scan("oblique"), sitk.sitkInt16)
        write_series(scan, tmp_path / "series")
        _, session = app.sessions().add_session(str(tmp_path / "series"))
        image, params = infer(app, image=session.image, result_extension=".nrrd")
        assert same_place(image, scan)
        assert params["report"]["case"] == "series"

    def test_all_scans_can_be_answered_in_one_go(self, app: Any) -> None:
        app.batch_infer({"model": "organ", "images": "all"})
        assert app.datastore().status()["label_tags"] == {"original": 4}


class TestRefusals:
    def test_an_unknown_model_is_a_404_that_lists_the_known(self, app: Any) -> None:
        caught = refusal(app, model="heart")
        assert caught.status_code == 404
        assert caught.detail == (
            "model heart: there is none of that name. Known: organ, organ_clicks, organ_complete, organ_uncertainty"
        )

    def test_an_unknown_scan_is_a_404_that_lists_the_known(self, app: Any) -> None:
        caught = refusal(app, image="nobody")
        assert caught.status_code == 404
        assert caught.detail.endswith("Known: anisotropic, flipped, oblique, straight")

    @pytest.mark.parametrize("image", ["", None, 7, ["oblique"]])
    def test_a_request_without_a_scan_says_what_to_do(self, image: Any, app: Any) -> None:
        assert "Name the id of a scan" in refusal(app, image=image).detail

    @pytest.mark.parametrize(
        "image", ["/etc/passwd", "../my studies/oblique.nii.gz", "a\\b", "file:///etc/passwd"]
    )
    def test_a_path_is_not_a_scan(self, image: str, app: Any) -> None:
        assert "is a path" in refusal(app, image=image).detail

    def test_even_an_existing_file_is_not_a_scan(self, app: Any, studies: Path, label_file: Path) -> None:
        for path in (studies / "oblique.nii.gz", label_file):
            assert "is a path" in refusal(app, image=str(path)).detail

    def test_a_file_among_other_temporary_files_is_not_a_scan(self, app: Any, studies: Path) -> None:
        with tempfile.NamedTemporaryFile(prefix="secret", suffix=".nii.gz") as file:
            Path(file.name).write_bytes((studies / "oblique.nii.gz").read_bytes())
            assert "is a path" in refusal(app, image=file.name).detail

    def test_a_scan_that_vanished_is_a_404(self, app: Any, studies: Path) -> None:
        (studies / "oblique.nii.gz").unlink()
        assert refusal(app).status_code == 404

    @pytest.mark.parametrize("content", [b"", b"no scan" * 99], ids=["empty", "no scan"])
    def test_an_unreadable_scan_is_named(self, content: bytes, app: Any, studies: Path) -> None:
        (studies / "oblique.nii.gz").write_bytes(content)
        caught = refusal(app)
        assert caught.status_code == 422
        assert caught.detail.startswith("oblique: ")
        assert str(studies) not in caught.detail

    def test_an_impossible_option_is_named(self, app: Any) -> None:
        assert refusal(app, networks="both").detail.startswith("option networks: 'both'")

    def test_damaged_weights_are_named(self, app: Any, store: ModelRegistry) -> None:
        weights = store.folder("organ") / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        assert "weights.safetensors: is damaged" in refusal(app).detail

    def test_nothing_is_left_in_the_temporary_folder(
        self, app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "temporary"
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        refusal(app, result_extension=".exe")
        refusal(app, image="nobody")
        assert list(folder.iterdir()) == []

    def test_a_full_disk_is_a_sentence(self, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object, **__: object) -> None:
            raise RuntimeError("ITK ERROR: no space left")

        monkeypatch.setattr(sitk.ImageFileWriter, "Execute", full)
        refused = refusal(app)
        assert refused.status_code == 507
        assert "the answer cannot be written" in refused.detail


class TestOtherRequests:
    def test_the_next_scan_has_no_label_yet(self, app: Any, label_file: Path) -> None:
        app.datastore().save_label("oblique", str(label_file), "final", {})
        answers = {app.next_sample({"strategy": "random"})["id"] for _ in range(3)}
        assert answers == {"anisotropic", "flipped", "straight"}

    def test_an_unknown_strategy_is_a_404_that_lists_the_known(self, app: Any) -> None:
        with pytest.raises(HTTPException, match="strategy magic: there is none of that name") as caught:
            app.next_sample({"strategy": "magic"})
        assert caught.value.status_code == 404

    def test_after_submitting_the_annotator_is_told_what_changed(self, app: Any, label_file: Path) -> None:
        store = app.datastore()
        store.save_label("oblique", str(label_file), "final", {})
        store.save_label("oblique", str(label_file), "final", {})
        assert app.on_save_label("oblique", "oblique") == {"version": 2, "changed_voxels": 0}

    def test_after_correcting_a_proposal_the_annotator_is_told_how_much(
        self, app: Any, tmp_path: Path
    ) -> None:
        image, _ = infer(app, check_here=True)
        sitk.WriteImage(image, tmp_path / "untouched.nii.gz")
        app.datastore().save_label("oblique", str(tmp_path / "untouched.nii.gz"), "final", {})
        told = app.on_save_label("oblique", "oblique")
        assert told["remark"] == "The segment check_here was left out."
        assert (told["started_from"]["model"], told["started_from"]["version"]) == ("organ", 1)
        assert all(change["dice"] == 1 for change in told["started_from"]["changes"].values())
        assert told["summary"].endswith("organ version 1: organ_head nothing; organ_tail nothing")
        assert told["started_from"]["summary"].endswith("learned from 2 labelled and 1 unlabelled scans")

        proposal, _ = infer(app)
        values = sitk.GetArrayFromImage(proposal)
        before = int((values == 1).sum())
        values[0, 0, :5] = [1, 1, 1, 0, 0]
        added = int((values == 1).sum()) - before
        corrected = sitk.GetImageFromArray(values)
        corrected.CopyInformation(proposal)
        sitk.WriteImage(corrected, tmp_path / "corrected.nii.gz")
        app.datastore().save_label("oblique", str(tmp_path / "corrected.nii.gz"), "final", {})
        changes = app.on_save_label("oblique", "oblique")["started_from"]["changes"]["organ_head"]
        assert changes["added"] - changes["removed"] == added

    def test_models_are_neither_uploaded_nor_given_out(self, app: Any) -> None:
        assert app.model_file("organ") is None
        with pytest.raises(HTTPException, match="diffcl publish"):
            app.model_file("organ", validate=False)

    def test_a_trainer_that_does_not_exist_is_refused_before_a_process_starts(self, app: Any) -> None:
        with pytest.raises(HTTPException, match="model heart: there is none"):
            app.bundle_path("heart")
        assert app.bundle_path("organ") is None

    def test_warming_up_loads_the_model(self, app: Any) -> None:
        app._models.warm_up()  # noqa: SLF001
        assert "organ" in app._models._loaded  # noqa: SLF001

    def test_a_damaged_model_does_not_stop_the_warm_up(self, app: Any, store: ModelRegistry) -> None:
        (store.folder("organ") / "weights.safetensors").write_bytes(b"")
        app._models.warm_up()  # noqa: SLF001


@pytest.fixture(scope="module")
def opened() -> list[str]:
    """Every file that Python opens from now on; a hook for it cannot be taken back."""
    names: list[str] = []
    sys.addaudithook(lambda event, given: names.append(str(given[0])) if event == "open" else None)
    return names


def test_a_thousand_scans_are_not_opened_to_show_them(
    app: Any, studies: Path, label_file: Path, opened: list[str]
) -> None:
    for number in range(1000 - len(SCANS)):
        os.link(studies / "straight.nii.gz", studies / f"scan{number:04}.nii.gz")

    def touched() -> Counter[str]:
        """How often scans, and the index or what becomes it, were opened since it was last asked."""
        files = [Path(name) for name in opened if Path(name).parent == studies and not name.endswith(".lock")]
        files = [file for file in files if not file.is_dir()]  # folders are settled
        opened.clear()
        return Counter("index" if file.suffix == ".json" else file.name for file in files)

    touched()
    many = type(app)(str(app_folder()), str(studies), app.conf)
    counts = {"total": 1000, "completed": 0, "label_tags": {}, "tasks": {}, "partly_drawn": {}}
    assert many.info()["datastore"] == counts
    at_start = touched()
    assert set(at_start) == {"index"}
    assert at_start.total() < 10

    time.sleep(2 * SETTLED_NS / 1e9)
    many.info()
    touched()
    for person in ("ann", "bob", "eve"):
        assert many.info()["datastore"]["total"] == 1000
        assert len(many.datastore().get_unlabeled_images()) == 1000
        assert many.next_sample({"client_id": person})["remaining"] == 1000
    assert not touched()

    many.datastore().save_label("oblique", str(label_file), "final", {})
    assert many.info()["datastore"]["completed"] == 1
    assert many.next_sample({"client_id": "ann"})["remaining"] == 999
    after_one = touched()
    assert set(after_one) == {"index", "oblique.nii.gz"}
    assert after_one.total() < 10


def test_a_folder_of_files_answers_no_dicom(app: Any) -> None:
    with pytest.raises(HTTPException, match="folder of files") as caught:
        app.infer_seg({"model": "organ", "image": "oblique"})
    assert caught.value.status_code == 422
