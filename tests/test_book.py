"The book: its links followed, and some of its pages opened in a browser."
import functools
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from browsers import chromium

REPO = Path(__file__).parents[1]
OPENED = ("index.html", "method/04_scores.html", "features/02_ratio.html", "guides/start.html",
          "paper/claims.html", "paper/methods.html", "paper/status.html",
          "api/detect.html", "study/14_explorer.html")
WITH_EQUATIONS = {"method/04_scores.html", "features/02_ratio.html"}
WITH_PICTURES = {"guides/start.html", "paper/claims.html", "paper/methods.html"}


class Page(HTMLParser):
    "What a page has: its anchors, its links, what it loads, its headings."

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loads = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = {name: value or "" for name, value in attrs}
        self.ids |= {attrs[name] for name in ("id", "name") if name in attrs}
        if tag == "a" and "href" in attrs: self.links.append(attrs["href"])
        loaded = ("src", "href", "data", "poster") if tag != "a" else ()
        self.loads += [attrs[name] for name in loaded if name in attrs]

    handle_startendtag = handle_starttag


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("book")
    env = {k: v for k, v in os.environ.items() if k != "DDAD_REPOSITORY"} | {"PYTHONPATH": str(REPO)}
    done = subprocess.run([sys.executable, str(REPO / "book"), str(out)], env=env, capture_output=True,
                          text=True, cwd=out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"The book: {out / 'html/index.html'}"
    return out / "html"


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts}


def test_every_notebook_has_its_page(site):
    for path in REPO.glob("nbs/**/*.ipynb"):
        part = path.relative_to(REPO / "nbs").parent.name or "core"
        assert (site / part / f"{path.stem}.html").is_file(), path
    for path in REPO.glob("figures/*.ipynb"): assert (site / "paper" / f"{path.stem}.html").is_file(), path


def broken(site, pages):
    found = []
    for path, page in pages.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc: continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir(): target /= "index.html"
            there = target.is_file() and target.is_relative_to(site)
            run = parse_qs(parts.fragment).get("run")  # a view of the explorer
            if there and run: there = f'"name":"{run[0]}"' in target.read_text(encoding="utf-8")
            elif there and parts.fragment and target in pages:
                there = unquote(parts.fragment) in pages[target].ids
            if not there: found.append(f"{path.relative_to(site)}: {link}")
    return found


def test_every_link_leads_somewhere(site, pages):
    assert sum(len(page.links) for page in pages.values()) > 3000
    assert broken(site.resolve(), {path.resolve(): page for path, page in pages.items()}) == []


def test_no_page_asks_the_web_for_anything(site, pages):
    outside = re.compile(r"^(https?:)?//")
    assert [(path, load) for path, page in pages.items() for load in page.loads if outside.match(load)] == []
    for path in site.rglob("*.css"):
        asked = re.findall(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]*)",
                           path.read_text(encoding="utf-8"))
        assert asked == [], path


def test_nothing_of_nbdev_and_no_hidden_code_is_shown(pages):
    for path in pages:
        text = re.sub(r"<[^>]+>", "", path.read_text(encoding="utf-8"))
        assert not re.search(r"^#\|\s*(export|hide|default_exp|slow)", text, re.MULTILINE), path


def test_the_reference_tells_what_a_function_takes(site):
    text = re.sub(r"<[^>]+>", "", (site / "api/method.html").read_text(encoding="utf-8"))
    assert "images (N, 1, H, W) in [-1, 1]" in text and "rec, intra and inter, each (N, 1, H, W)" in text
    for name in ("detect", "datasets", "rivals", "study"):
        assert "Parameters" in (site / f"api/{name}.html").read_text(encoding="utf-8")


# ---- in a browser

class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


@pytest.fixture(scope="module")
def browser(site):
    "A page that sees this server alone and keeps what went wrong on it; and the server's address."
    sync_api = pytest.importorskip("playwright.sync_api")
    pages_of = functools.partial(Quiet, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), pages_of) as server, sync_api.sync_playwright() as p:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = chromium(p, 1280, 900)
        page.set_default_timeout(60_000)
        page.wrong = []
        page.on("pageerror", lambda e: page.wrong.append(str(e)))
        page.on("console", lambda m: page.wrong.append(m.text) if m.type in ("error", "warning") else None)
        # aborted: the page was left
        page.on("requestfailed",
                lambda r: r.failure == "net::ERR_ABORTED" or page.wrong.append(f"failed: {r.url}"))
        page.on("response", lambda r: page.wrong.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.address = f"http://127.0.0.1:{server.server_port}/"
        yield page
        server.shutdown()


SIDEWAYS = "[document.documentElement.scrollWidth, document.body.scrollWidth].every(w => w <= innerWidth)"
# what sticks out of the page and cannot be scrolled to; code, and on a wide screen an equation, that would have to be scrolled
CUT = """() => {
    const article = document.querySelector('.bd-article'), right = article.getBoundingClientRect().right + 1;
    const scrolls = e => e !== article && (['auto', 'scroll'].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
    const out = [...article.querySelectorAll('mjx-container[display] > *, table, img, svg')].filter(e => e.getBoundingClientRect().right > right);
    const wide = [...article.querySelectorAll('pre')].filter(e => e.scrollWidth > e.clientWidth + 1);
    return [...wide, ...out.filter(e => !scrolls(e) || innerWidth > 1000 && e.closest('mjx-container'))].map(e => e.tagName + ' ' + e.textContent.slice(0, 60));
}"""
PICTURES = """async () => {
    const all = [...document.querySelectorAll('.bd-article img')];
    all.forEach(i => i.loading = 'eager');
    await Promise.all(all.map(i => i.decode().catch(() => {})));
    return [all.length, all.filter(i => i.naturalWidth == 0 || !i.alt).map(i => i.src)];
}"""


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", OPENED)
def test_a_page_opens(browser, name, width):
    browser.set_viewport_size({"width": width, "height": 900})
    browser.goto(browser.address + name)
    if name in WITH_EQUATIONS:
        browser.wait_for_selector("mjx-container[display=true]")
        assert browser.locator("mjx-container").count() >= browser.locator(".math").count() > 0
        assert browser.locator("mjx-merror").count() == 0
    pictures, lost = browser.evaluate(PICTURES)
    assert lost == [] and pictures >= (name in WITH_PICTURES)
    assert browser.evaluate(SIDEWAYS) and browser.evaluate(CUT) == [] and browser.wrong == []


def test_the_explorer_opens_on_scans(browser, site):
    "A run with its maps, one on features, and a score without maps, on one page; a link from another page chooses the run."
    assert (site / "run.html").stat().st_size < 6_000_000
    browser.goto(browser.address + "guides/explore.html")
    browser.locator("a[href*='run.html#run=']").first.click()
    browser.wait_for_selector(".over canvas")
    assert browser.locator(".tile canvas").count() == 24 and browser.locator(".panels figure").count() == 6
    runs = browser.get_by_label("Run", exact=True).locator("option").all_inner_texts()
    assert len(runs) == 4 and any("features" in name for name in runs)
    browser.get_by_label("Compare with",
                         exact=True).select_option(next(name for name in runs if "Thumbnail" in name))
    browser.wait_for_selector("text=95 % over 421 groups")
    assert "has no maps here" in browser.locator(".about").inner_text()
    for width in (1280, 800, 360):
        browser.set_viewport_size({"width": width, "height": 900})
        browser.wait_for_timeout(100)
        assert browser.evaluate(SIDEWAYS)
    assert browser.wrong == []


def test_search(browser):
    browser.goto(browser.address + "search.html?q=anomaly+rate")
    browser.wait_for_function("document.querySelectorAll('#search-results li a').length > 3")
    assert browser.locator("#search-results a[href*='ablations']").count()


def test_a_picture_opens_on_a_click(browser):
    browser.set_viewport_size({"width": 1280, "height": 900})
    browser.goto(browser.address + "guides/start.html")
    browser.locator(".cell_output img").first.click()
    large = browser.locator("dialog.large[open] img")
    assert large.bounding_box()["width"] > browser.locator(".cell_output img").first.bounding_box()["width"]
    browser.keyboard.press("Escape")
    browser.wait_for_selector("dialog.large[open]", state="detached")
