"""OHIF in a real browser, through the real server, on a real archive."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from browser import headless
from orthanc import Orthanc
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait
from synthetic import make_scan

from diffcl.io.dicom.series_write import write_series

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the client imports cgi
    from monailabel.client import MONAILabelClient

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning"
)  # MONAI Label's client leaves sockets open

SECONDS = 300
"""Far more than any step takes, for machines that do other things as well."""

OUTLINED = """
const [one] = window.services.segmentationService.getSegmentations();
const { cache, metaData } = window.cornerstone;
return one.representationData.Labelmap.imageIds.flatMap(id => {
    const image = cache.getImage(id);
    const { imagePositionPatient } = metaData.get('imagePlaneModule', image.referencedImageId);
    return [...image.getPixelData()].filter(value => value > 0).map(value => [imagePositionPatient, value]);
});
"""
"""Position of the slice, and value, of every voxel that the viewer shows as outlined."""

LONG_RUN = """
const { fetch, setInterval } = window;
const inference = { image: 'scan', windows: 9, windows_done: 3, seconds_left: 130, warnings: ['The scan is large.'] };
const told = [{ inference }];
window.setInterval = (look, ms, ...rest) => setInterval(look, ms === 10000 ? 100 : ms, ...rest);
window.fetch = (address, ...rest) => String(address).endsWith('/info/')
    ? Promise.resolve(new Response(JSON.stringify(told.pop() ?? {}))) : fetch(address, ...rest);
"""
"""Lets the page look at once how far a run is, and be told of one that takes long."""

ELSEWHERE = """
return performance.getEntriesByType('resource').map(one => one.name).filter(one => !one.startsWith(location.origin));
"""
"""What the page asked of others."""


class Viewer:
    """The page, as a person sees it.

    Args:
        browser: The browser.
    """

    def __init__(self, browser: webdriver.Chrome) -> None:
        self._browser = browser

    def until(self, seen: Callable[[], Any]) -> Any:
        """Wait until something is there, and give it."""
        waiting = WebDriverWait(
            self._browser, SECONDS, 0.2, ignored_exceptions=[WebDriverException, IndexError]
        )
        return waiting.until(lambda _: seen())

    def find(self, selector: str, text: str = "", at: int = 0) -> WebElement:
        """An element on the page with a text."""
        found = self._browser.find_elements(By.CSS_SELECTOR, selector)
        return [one for one in found if one.is_displayed() and text in one.text][at]

    def texts(self, selector: str) -> list[str]:
        """What elements say."""
        return [one.text for one in self._browser.find_elements(By.CSS_SELECTOR, selector)]

    def click(self, selector: str, text: str = "", at: int = 0) -> None:
        """Click an element as soon as it can be clicked."""
        self.until(lambda: [self.find(selector, text, at).click()])

    def press(self, selector: str, text: str) -> None:
        """Press a button by the keyboard."""
        self.find(selector, text).send_keys(Keys.ENTER)

    def outlined(self) -> Counter[tuple[float, ...]]:
        """How many voxels of each value are outlined in the slice at each position."""
        shown = self._browser.execute_script(OUTLINED)
        return Counter((*np.round(position, 2).tolist(), value) for position, value in shown)

    def told(self, text: str) -> str:
        """Wait for a notification with a text; all of it."""
        line = self.until(lambda: self.find("[data-sonner-toast]", text)).text
        return str(line).replace("\n", " ")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """A browser without a window that knows no other machine than this one."""
    with headless(tmp_path / "profile") as running:
        yield running


def put(archive: Orthanc, folder: Path, *, upwards: bool) -> tuple[str, str]:
    """Put a slanted series into the archive, numbered along its normal or against it; its study and itself."""
    files = write_series(make_scan("oblique"), folder, name=f"patient-{folder.name}")
    for number, file in enumerate(files if upwards else reversed(files), start=1):
        one = pydicom.dcmread(file)
        one.InstanceNumber = number
        one.save_as(file)
    archive.add(files)
    return str(one.StudyInstanceUID), str(one.SeriesInstanceUID)


def slices(label: sitk.Image) -> Counter[tuple[float, ...]]:
    """How many voxels of each value a label has in the slice at each position."""
    values = sitk.GetArrayViewFromImage(label)
    found = Counter[tuple[float, ...]]()
    for k, plane in enumerate(values):
        place = np.round(label.TransformIndexToPhysicalPoint((0, 0, k)), 2).tolist()
        found.update((*place, int(value)) for value in plane[plane > 0])
    return found


def test_a_proposal_is_shown_where_it_belongs_corrected_and_submitted(
    start_server: Any, archive: Orthanc, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    studies = [put(archive, tmp_path / name, upwards=name == "upwards") for name in ("upwards", "downwards")]
    running = start_server(tmp_path / "served", "--studies", archive.url)
    client, page = running.client, Viewer(browser)
    browser.set_window_size(1100, 700)
    for done, (study, series) in enumerate(studies):
        browser.get(f"{running.url}/ohif/monai-label?StudyInstanceUIDs={study}")
        page.until(lambda: page.find("[data-cy=viewport-overlay-bottom-left]", "W:", at=2))
        browser.save_screenshot(str(tmp_path / f"{done} scan.png"))
        if done == 0:
            page.click("button", "Confirm and Hide")  # that it is for investigational use only

        page.click(".settingsTable button")
        page.until(lambda: page.find(".modelSelector select", "organ"))
        page.click("a", "Options / Configurations")
        page.until(
            lambda: page.texts(".optionsConfig tbody td:first-child") == ["networks", "seed", "check_here"]
        )
        page.until(lambda: [Select(page.find("select#inferorgannetworks")).select_by_visible_text("cs")])
        page.click("input#inferorgancheck_here")
        page.click("button", "Confirm")
        if not done:
            browser.execute_script(LONG_RUN)
        page.click(".modelSelector button", "Run")
        if not done:
            assert "scan: 3 of 9 windows, about 2 min left. The scan is large." in page.told("of 9 windows")
        line = page.told("; doubt ")
        assert "organ_head" in line
        assert "organ version 1, learned from 2 labelled and 1 unlabelled scans" in line
        proposed = slices(proposal_of(client, series))
        assert len({place[:3] for place in proposed}) > 3
        page.until(page.outlined)
        assert page.outlined() == proposed
        browser.save_screenshot(str(tmp_path / f"{done} proposal.png"))

        page.click("[data-cy=SubmitLabel]")
        assert "Label 1 is stored. Changed in the proposal of organ version 1:" in page.told("is stored")
        browser.save_screenshot(str(tmp_path / f"{done} submitted.png"))
        assert client.info()["datastore"]["completed"] == done + 1
        assert slices(label_of(client, series)) == proposed

    published = running.store.folders[0] / "organ"
    published.rename(tmp_path / "away")
    # Notifications can lie over the button, and for good: a page that loses one under the pointer believes the pointer
    # to be on them still. Keys reach the button.
    page.press(".modelSelector button", "Run")
    assert "task organ: no model yet. Label some scans, submit them and train" in page.told("no model")
    (tmp_path / "away").rename(published)

    before = page.outlined()
    page.click("[data-cy=panelSegmentationWithTools-btn]")
    page.click("[data-cy=Brush]")
    pane = page.find("[data-cy=viewport-pane]")
    ActionChains(browser).move_to_element(pane).click_and_hold().move_by_offset(9, 5).release().perform()
    page.until(lambda: page.outlined() != before)
    page.click("button[aria-haspopup=menu]", at=1)
    page.click("[role=menuitem]", "Export & Download")
    page.click("[role=menuitem]", "Export DICOM SEG")
    assert "Label 2 is stored." in page.told("Label 2")
    assert slices(label_of(client, series)) == page.outlined() != before
    assert client.info()["datastore"]["completed"] == 2
    assert browser.execute_script(ELSEWHERE) == []


def proposal_of(client: MONAILabelClient, series: str) -> sitk.Image:
    """What the server proposes for a series."""
    file, _ = client.infer("organ", series, {"networks": "cs", "result_extension": ".nrrd"})
    label = sitk.ReadImage(file)
    Path(file).unlink()
    return label


def label_of(client: MONAILabelClient, series: str) -> sitk.Image:
    """The label of a series that the loop goes on with."""
    file = Path(client.download_label(series, "final"))
    label = sitk.ReadImage(file)
    file.unlink()
    return label
