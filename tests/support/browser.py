"""A real browser without a window, Debian's Chromium.

Installed by `apt-get install --no-install-recommends chromium chromium-driver`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver

INSTALL = "apt-get install --no-install-recommends chromium chromium-driver"


@contextmanager
def headless(profile: Path, names: Sequence[str] = ()) -> Iterator[webdriver.Chrome]:
    """A browser with a profile of its own that knows no other machine than this one, by its address and some names."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        raise FileNotFoundError(f"Chromium is missing; install it with: {INSTALL}")
    own = [f"MAP {name} 127.0.0.1" for name in names]
    rules = ", ".join([*own, "MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1", "EXCLUDE localhost"])
    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.accept_insecure_certs = True  # those of the tests
    for argument in (
        "headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-quic", "no-first-run", "disable-sync",
        "disable-background-networking", "disable-component-update", "use-gl=angle", "use-angle=swiftshader",
        "enable-unsafe-swiftshader", "window-size=1100,700", f"user-data-dir={profile}",
        f"host-resolver-rules={rules}",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    running = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield running
    finally:
        running.quit()
