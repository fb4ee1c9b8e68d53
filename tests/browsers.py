"A real browser for the tests of pages."
import os
import shutil
from pathlib import Path

import pytest


def chromium(p, width=1280, height=900):
    "A page in Playwright's own Chromium if it is installed, else in the system's; it sees this machine alone."
    own = p.chromium.executable_path
    path = own if Path(own).is_file() else next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        if os.environ.get("CI"): pytest.fail("No Chromium: the pages cannot be tested.")
        pytest.skip("no Chromium: `playwright install chromium`, or the system's package")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    page = p.chromium.launch(executable_path=path,
                             args=flags).new_page(viewport={"width": width, "height": height})
    page.route(lambda url: "127.0.0.1" not in url and not url.startswith(("file:", "data:", "blob:")),
               lambda route: route.abort())
    return page


def watched(page):
    "Keeps whatever went wrong or was asked for outside of a file."
    page.set_default_timeout(20_000)
    page.wrong = []
    page.on("pageerror", lambda e: page.wrong.append(str(e)))
    page.on("console", lambda m: page.wrong.append(m.text))
    page.on("dialog", lambda d: (page.wrong.append(f"alert {d.message}"), d.dismiss()))
    page.on("request", lambda r: page.wrong.append(r.url)
            if not r.url.startswith(("file:", "data:", "blob:")) else None)
    return page


def fits(page):
    "At every width of a screen nothing reaches beyond it."
    for width in (1280, 800, 360):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(100)
        assert page.evaluate(
            "[document.documentElement.scrollWidth, document.body.scrollWidth].every(w => w <= innerWidth)"), width
    page.set_viewport_size({"width": 1280, "height": 900})
