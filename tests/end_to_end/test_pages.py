"""The pages of a study in a real browser: wide and narrow, light and dark, by keyboard, live, and from here alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import headless
from pages import Started, application, in_order, project_of
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from study_files import describe_version, empty_scans, keep_training, keep_versions, record
from threaded import serving

from diffcl.web.headers import SecurityHeaders

SECONDS = 60

PAGES = (
    "/",
    "/study/scans",
    "/study/quality",
    "/study/training",
    "/study/versions",
    "/study/scan?image=case-0",
)

LOADED = """
return performance.getEntriesByType('resource').map(one => one.name).filter(one => !one.startsWith(location.origin));
"""
"""What a page asked of others."""

BROKEN = (
    "return [...document.images].filter(one => !one.complete || one.naturalWidth === 0).map(one => one.src);"
)
"""Pictures that did not come."""


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Six scans, of which one has a label; three versions of a model; a training that was stopped."""
    empty_scans(tmp_path / "studies", [f"case-{number}" for number in range(6)])
    keep_versions(tmp_path / "studies", "case-0", [record("2026-01-31", "ann", 0.8)])
    keep_training(tmp_path / "studies", "training")
    for number, (labelled, dice) in enumerate(((2, 0.747), (4, 0.823), (8, 0.852)), start=1):
        describe_version(tmp_path / "store", number, labelled, dice)
    return tmp_path / "studies"


@pytest.fixture
def started() -> Started:
    return Started()


@pytest.fixture
def url(studies: Path, started: Started) -> Iterator[str]:
    """The address of the pages, which a program of its own thread serves."""
    project = project_of(studies, studies.parent / "store", started, upcoming=in_order)
    with serving(SecurityHeaders(application(project)), log_level="warning") as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with headless(tmp_path / "profile") as running:
        yield running


def opened(browser: webdriver.Chrome, address: str) -> None:
    """Open a page and wait until it shows what it is about."""
    browser.get(address)
    wait(browser, lambda: "being read" not in browser.title and browser.title != "Reading · diffcl")


def wait(browser: webdriver.Chrome, condition: Callable[[], object]) -> None:
    WebDriverWait(browser, SECONDS).until(lambda _: condition())


def press_tab(browser: webdriver.Chrome) -> str:
    """Go on to the next thing that can be used; its text."""
    ActionChains(browser).send_keys(Keys.TAB).perform()
    return str(browser.execute_script("return document.activeElement.textContent")).strip()


def text_of(browser: webdriver.Chrome) -> str:
    """What the page says."""
    return str(browser.execute_script("return document.querySelector('main').innerText"))


def look(browser: webdriver.Chrome, width: int, theme: str) -> None:
    """Show pages so wide, in the colours of a theme."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def test_every_page_fits_loads_from_here_alone_and_breaks_no_rule(
    browser: webdriver.Chrome, url: str
) -> None:
    backgrounds = set()
    for width, theme in ((1280, "light"), (400, "dark")):
        look(browser, width, theme)
        for path in PAGES:
            opened(browser, url + path)
            wait(browser, lambda: browser.execute_script(BROKEN) == [])
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width, path
            assert browser.execute_script(LOADED) == []
            assert browser.get_log("browser") == [], path
            assert len(browser.find_elements(By.TAG_NAME, "h1")) == 1
            assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
            assert browser.execute_script("return [...document.images].every(one => one.alt)")
            backgrounds.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2


def test_the_report_is_printed_on_white_paper_and_nothing_is_cut_off(
    browser: webdriver.Chrome, url: str, studies: Path
) -> None:
    describe_version(studies.parent / "store", 4, 9, 0.86, reason="Published: " + "better than before, " * 20)
    look(browser, 718, "dark")  # A4 without its margins, at 96 dots per inch
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": [dark]})
    opened(browser, f"{url}/study/report")
    assert "better than before" in text_of(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 718
    paper = "return getComputedStyle(document.body).backgroundColor"
    assert browser.execute_script(paper) == "rgb(255, 255, 255)"


def test_the_keyboard_alone_goes_everywhere(browser: webdriver.Chrome, url: str) -> None:
    opened(browser, f"{url}/")
    assert press_tab(browser) == "To the content"
    reached = [press_tab(browser) for _ in range(30)]
    for name in ("Project", "Scans", "Quality", "Training", "Versions", "case-1", "Description of the API"):
        assert name in reached
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert browser.execute_script(outline) != "none"


def test_an_open_page_without_scans_fills_when_one_comes(
    browser: webdriver.Chrome, url: str, studies: Path
) -> None:
    for scan in studies.glob("*.nii.gz"):
        scan.unlink()
    opened(browser, f"{url}/")
    assert "No scan yet." in text_of(browser)
    empty_scans(studies, ["first"])
    wait(browser, lambda: "open 3D Slicer with this address" in text_of(browser))
    assert "No scan yet." not in text_of(browser)
    assert browser.find_elements(By.LINK_TEXT, "first")


def test_an_open_page_shows_a_label_that_comes(browser: webdriver.Chrome, url: str, studies: Path) -> None:
    opened(browser, f"{url}/")
    browser.execute_script("window.seconds = 0; seconds = 0.3; later();")
    assert "1 scan of 6 has a label." in text_of(browser)
    keep_versions(studies, "case-1", [record("2026-02-01", "bob")])
    wait(browser, lambda: "2 scans of 6 have a label." in text_of(browser))


def test_a_version_is_put_into_use_and_a_training_started_with_a_click(
    browser: webdriver.Chrome, url: str, studies: Path, started: Started
) -> None:
    opened(browser, f"{url}/study/versions")
    browser.find_element(By.LINK_TEXT, "Use version 1").click()
    wait(browser, lambda: "Put organ version 1 into use?" in text_of(browser))
    browser.find_element(By.XPATH, "//button[.='Use version 1']").click()
    wait(
        browser,
        lambda: "The version is in use from now on." in text_of(browser),
    )
    assert (studies.parent / "store" / "organ" / "current").read_text().strip() == "1"
    opened(browser, f"{url}/study/training")
    browser.find_element(By.XPATH, "//button[.='Train organ']").click()
    wait(browser, lambda: "The training begins." in text_of(browser))
    assert [task for task, _ in started.asked] == ["organ"]
