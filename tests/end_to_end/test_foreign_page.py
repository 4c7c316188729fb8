"""A page of another site, in a real browser on the machine of an annotator."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from browser import headless
from selenium.webdriver.support.ui import WebDriverWait
from synthetic import SCANS, make_label

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning"
)  # MONAI Label's client leaves sockets open

PAGE = """<!doctype html><title>a page</title><body><script>
const server = %s;
const form = new FormData();
form.append('params', JSON.stringify({ save_label: true, label_tag: 'final' }));
const label = new FormData();
label.append('label', new Blob(['x']), 'a.nii.gz');
const asks = [
  ['POST', '/infer/organ?image=oblique', form],
  ['PUT', '/datastore/label?image=oblique', label],
  ['DELETE', '/datastore/?id=oblique'],
  ['POST', '/train/organ'],
  ['POST', '/batch/infer/organ'],
  ['POST', '/activelearning/first'],
  ['GET', '/datastore/image?image=oblique'],
  ['GET', '/info/'],
];
function image(path) {
  return new Promise(done => {
    const shown = new Image();
    shown.onload = () => done('read'); shown.onerror = () => done('refused');
    shown.src = server + path;
  });
}
async function ask(method, path, body, mode) {
  try {
    const answer = await fetch(server + path, { method, body, mode, credentials: 'include' });
    return answer.type === 'opaque' ? 'opaque' : 'read';
  } catch { return 'refused'; }
}
async function all() {
  const found = [];
  for (const [method, path, body] of asks) {
    found.push(await ask(method, path, body, 'cors'));
    if (method !== 'PUT' && method !== 'DELETE') found.push(await ask(method, path, body, 'no-cors'));
  }
  found.push(await image('/ohif/assets/favicon.ico'));
  window.found = found;
}
all();
</script>"""


@pytest.fixture
def page(server: Any, tmp_path: Path) -> Iterator[str]:
    """The address of the page, on another port, which is another origin."""
    (tmp_path / "index.html").write_text(PAGE % json.dumps(server.url))
    handler = partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{site.server_port}/"
        site.shutdown()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_a_page_of_another_site_neither_changes_nor_reads_anything(
    server: Any, page: str, tmp_path: Path
) -> None:
    sitk.WriteImage(make_label("oblique"), tmp_path / "label.nii.gz")
    server.client.save_label("oblique", str(tmp_path / "label.nii.gz"), {})
    before = server.client.datastore()["objects"]
    with headless(tmp_path / "profile") as browser:
        browser.get(page)
        found = WebDriverWait(browser, 60, 0.1).until(lambda _: browser.execute_script("return window.found"))
    assert "read" not in found
    assert len(found) == 15
    assert server.client.datastore()["objects"] == before
    assert set(before) >= set(SCANS)
    trail = (server.studies.parent / "my work" / "audit" / "audit.jsonl").read_text()
    assert "batch" not in trail
    for written in (server.studies.parent / "my work" / "audit").rglob("*"):
        assert written.stat().st_mode & 0o077 == 0
