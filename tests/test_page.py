"Pages in one file, that of a run and that of scored images: each opened in a browser from its file, with nothing else to be had."
import base64
import io
import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import rankdata

from ddad.core import page as frame
from ddad.core.storage import read_csv, write_csv
from ddad.method import metrics, plots
from ddad.study import report, review, static
from test_explore import chromium, make_run

REPO = Path(__file__).parents[1]
KERMANY = REPO / "figures/runs/Kermany_AE-U_seed0"
HOSTILE = ["<script>alert(1)</script>.png", '"></script><img src=x onerror=alert(2)>', "{{ 7 * 6 }}' x-html=\"1\" \\u003c", "ünïcödé \udcff.png", "</title>"]
SIDEWAYS = "[document.documentElement.scrollWidth, document.body.scrollWidth].every(w => w <= innerWidth)"


@pytest.fixture(scope="module")
def browser():
    "A page that opens files alone and keeps whatever went wrong or was asked for."
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as p:
        page = chromium(p, 1280, 900)
        page.set_default_timeout(20_000)
        page.route("file://**", lambda route: route.continue_())
        page.wrong = []
        page.on("pageerror", lambda e: page.wrong.append(str(e)))
        page.on("console", lambda m: page.wrong.append(m.text))
        page.on("dialog", lambda d: (page.wrong.append(f"alert {d.message}"), d.dismiss()))
        page.on("request", lambda r: page.wrong.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        yield page


@pytest.fixture(autouse=True)
def nothing_went_wrong(request):
    yield
    if "browser" in request.fixturenames: assert request.getfixturevalue("browser").wrong == []


def opened(browser, path, width=1280):
    browser.set_viewport_size({"width": width, "height": 900})
    browser.goto(f"file://{path}")
    browser.wait_for_selector("main:visible")
    return browser


def state(page, of): return page.evaluate(f"(() => {{ const p = Alpine.$data(document.body); return {of}; }})()")


def choose(page, name, what): page.locator("label", has_text=name).locator("select").first.select_option(what)


def fits(page):
    "At every width of a screen nothing reaches beyond it."
    for width in (1280, 800, 360):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(SIDEWAYS), width
    page.set_viewport_size({"width": 1280, "height": 900})


def pixels(address):
    image = Image.open(io.BytesIO(base64.b64decode(address.split(",")[1])))
    return np.asarray(image.convert("RGB"))


# ---- the frame

def test_the_classes_have_the_colours_of_every_figure():
    style = frame.asset("core/web/page.css")
    assert f"--normal: {plots.NORMAL}; --abnormal: {plots.ABNORMAL};" in style


def test_a_page_is_whole_or_not_there(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written"): frame.write_page(tmp_path / "file/page.html", "x")
    with pytest.raises(ValueError): frame.json_text([float("nan")])


# ---- a run

@pytest.fixture(scope="module")
def run(root, tmp_path_factory): return make_run(tmp_path_factory.mktemp("static") / "whole", root)


@pytest.fixture(scope="module")
def written(run, root, tmp_path_factory):
    "The page of a run with images and weights, made by the command."
    out = tmp_path_factory.mktemp("pages")
    static.main([str(run), "--out", str(out), "--data", str(root)])
    return out / "whole.html"


@pytest.fixture(scope="module")
def kermany(tmp_path_factory): return frame.write_page(tmp_path_factory.mktemp("kermany") / "page.html", static.run_page(KERMANY))


@pytest.fixture(scope="module")
def decisions(): return review.Decisions.of(review.read_run(KERMANY))


def test_counts_orders_and_rates_are_those_of_decisions(browser, kermany, decisions):
    page, n = opened(browser, kermany), len(decisions.names)
    for number, score in enumerate(decisions.scores):
        grid = decisions.grid(score)
        state(page, f"p.score = {number}")
        assert state(page, "p.s.count") == len(grid) and state(page, "p.range") == [grid[0], grid[-1]]
        page.evaluate("Alpine.$data(document.body).start('youden')")
        assert state(page, "p.threshold") == decisions.youden(score)
        for at in [0, *range(7, len(grid), len(grid) // 6), len(grid) - 1]:
            t = grid[at]
            for how in review.ORDERS[:3]:
                found = page.evaluate(f"async () => {{ const p = Alpine.$data(document.body); p.at = {at}; p.order = '{how}'; await Alpine.nextTick(); return [p.threshold, [...p.counts], p.rates, [...p.shown]]; }}")
                assert found[0] == t and dict(zip(review.OUTCOMES, found[1])) == decisions.counts(score, t)
                assert found[3] == decisions.order(how, score, t).tolist() and len(found[3]) == n
            for name, (value, low, high) in review.rates(decisions.counts(score, t)).items():
                shown = found[2][name]
                assert shown is None if np.isnan(value) else shown == pytest.approx((value, low, high), abs=1e-9)
        assert state(page, "p.roc.auc") == pytest.approx(metrics.auc(decisions.scores[score], decisions.labels), abs=1e-12)


def test_all_follows_the_filters(browser, kermany, decisions):
    page = opened(browser, kermany)
    choose(page, "Kind", "viral pneumonia")
    viral = decisions.kinds == "viral pneumonia"
    hit = int((decisions.scores["r_dual"][viral] >= decisions.at_false_alarms("r_dual")).sum())
    cell = page.locator(".confusion b")
    assert [int(cell.nth(i).inner_text()) for i in range(4)] == [hit, viral.sum() - hit, 0, 0]
    assert page.locator(".rates tr", has_text="specificity").inner_text().split() == ["specificity", "none"] and "needs both classes" in page.locator("main").inner_text()
    assert page.locator("#place").inner_text() == f"1 – 48 of {viral.sum()}" and page.locator(".tile").count() == 48
    choose(page, "Kind", "")
    page.get_by_role("searchbox").fill("VIRUS_1")
    named = np.array(["virus_1" in name.lower() for name in decisions.names])
    choose(page, "Class", "abnormal")
    assert state(page, "[...p.inside]") == np.flatnonzero(named & (decisions.labels == 1)).tolist()
    page.get_by_role("searchbox").fill("")
    choose(page, "Class", "")
    choose(page, "Outcome", "miss")
    wrong = decisions.order("misses", "r_dual", decisions.at_false_alarms("r_dual"))
    choose(page, "Order", "most wrong first")
    assert state(page, "[...p.shown]") == wrong.tolist() and state(page, "p.counts.reduce((a, b) => a + b)") == 800
    page.get_by_role("button", name="next ›").click()
    assert page.locator(".tile").first.get_attribute("title") == decisions.names[wrong[48]]


def test_the_threshold_moves(browser, kermany, decisions):
    page = opened(browser, kermany)
    line = page.locator(".chart line.threshold")
    before, at = line.get_attribute("x1"), page.locator("circle.threshold").get_attribute("cx")
    page.get_by_label("Threshold").focus()
    for _ in range(30): page.keyboard.press("ArrowRight")
    t = state(page, "p.threshold")
    assert t > decisions.at_false_alarms("r_dual") and line.get_attribute("x1") != before and page.locator("circle.threshold").get_attribute("cx") != at
    counts = decisions.counts("r_dual", t)
    assert f"flags {counts['hit']} of 400 abnormal and {counts['false alarm']} of 400 normal images" in page.locator(".lead").inner_text()
    took = page.evaluate("async () => { const p = Alpine.$data(document.body), start = performance.now(); for (let n = 0; n < 20; n++) { p.at = 100 + 30 * n; await Alpine.nextTick(); } return (performance.now() - start) / 20; }")
    assert took < 100


def test_an_image_opens(browser, written, run, root):
    page, csv = opened(browser, written), read_csv(run / "scores.csv")
    scores, labels = {k: np.array(v) for k, v in csv.items() if k not in ("image", "label") and not re.fullmatch(r"rec_\d+", k)}, np.array(csv["label"])
    tile = page.locator(".tile").nth(2)
    name = tile.get_attribute("title")
    tile.click()
    i = csv["image"].index(name)
    assert page.locator("#name").inner_text() == name
    rows = page.locator(".scores tbody tr")
    assert "percentile among the 12 normal test images" in page.locator(".scores").inner_text() and rows.count() == len(scores)
    for n, (key, values) in enumerate(scores.items()):
        cells = rows.nth(n).locator("td")
        assert float(cells.nth(0).inner_text()) == pytest.approx(values[i], rel=1e-3)
        assert int(cells.nth(1).inner_text()) == round(100 * np.mean(values[labels == 0] <= values[i]))
    pictures = page.locator("dialog figure")
    assert pictures.count() == 1 + 5 and page.locator("dialog img.heat").count() == 5
    page.keyboard.press("ArrowRight")
    assert page.locator("#name").inner_text() == page.locator(".tile").nth(3).get_attribute("title")
    fits(page)
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog[open]", state="detached")
    fits(page)


def test_maps_have_the_scale_and_the_colours_of_every_figure(browser, written, run, root):
    page = opened(browser, written)
    found = static.Pictures(review.read_run(run), root)
    found.load_images(), found.load_networks()
    maps = found.maps(found.data.test)
    shown = page.evaluate("DATA.maps")
    assert [m["name"] for m in shown] == ["A_rec", "A_intra", "A_inter", "R_intra", "R_dual"]
    for m, key in zip(shown, ("rec", "intra", "inter", "r_intra", "r_dual")):
        low, high = plots.map_range(maps[key].numpy())
        assert [float(m["low"]), float(m["high"])] == pytest.approx([low, high], rel=0.06)
        strength = ((maps[key][5, 0].numpy() - low) / (high - low)).clip(0, 1)
        assert np.abs(pixels(m["pictures"][5])[..., 0] / 255 - strength).mean() < 0.04
    gray = np.tile(np.linspace(0, 255, 64).round().astype(np.uint8), (64, 1))
    page.evaluate(f"address => {{ const stack = document.createElement('div'); stack.id = 'probe'; stack.style = 'position:fixed;left:0;top:0;width:64px;height:64px;background:#000;z-index:9'; "
                  f"const image = new Image(64, 64); image.className = 'heat'; image.src = address; stack.append(image); document.body.append(stack); return image.decode(); }}", frame.picture(gray, quality=100))
    drawn = np.asarray(Image.open(io.BytesIO(page.locator("#probe").screenshot())).convert("RGB"))[32] / 255
    expected = plots._overlay(np.zeros((1, 1, 64), np.uint8), np.linspace(0, 1, 64)[None])[0]
    assert np.abs(drawn - expected).max() < 0.06


def test_no_picture_where_the_licence_forbids_it(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(static, "Pictures", None)  # nobody looks for them
    for name in ("LGG_AE-U_seed0", "ODIR_AE-U_seed0"):
        text = static.run_page(REPO / "figures/runs" / name)
        assert "may not be passed on" in text and "data:image" not in text
    page = opened(browser, frame.write_page(tmp_path / "page.html", text))
    assert page.locator(".tile img").count() == 0 and page.locator(".tile .name").count() == 48
    fits(page)


def test_a_run_is_below_10_mb_with_its_maps(run, tmp_path, monkeypatch):
    "1,600 images of noise, which compresses worst, and five maps of noise."
    monkeypatch.setattr(frame, "_WAYS", ((2, 30), *frame._WAYS[-1:]))  # quick; the first ways do not fit anyway
    rng, names = np.random.default_rng(0), [f"{i}.png" for i in range(1600)]
    (tmp_path / "noise").mkdir()
    shutil.copy(run / "record.json", tmp_path / "noise")
    record = json.loads((run / "record.json").read_text()) | {"images": {}}
    (tmp_path / "noise/record.json").write_text(json.dumps(record))
    write_csv(tmp_path / "noise/scores.csv", {"image": names, "label": [0, 1] * 800} | {s: rng.random(1600).tolist() for s in ("rec", "intra", "inter", "r_intra", "r_dual")})
    class Noise:
        def __init__(self, *_): self.missing, self.ready, self.data = [], True, self
        test_names = names
        load_images = load_networks = lambda self: None
        @property
        def test(self): return static.torch.from_numpy(rng.integers(0, 256, (1600, 1, 64, 64), dtype=np.uint8))
        def maps(self, batch): return {s: static.torch.rand(len(batch), 1, 64, 64) for s in ("rec", "inter", "r_dual")}
    monkeypatch.setattr(static, "Pictures", Noise)
    text = static.run_page(tmp_path / "noise")
    assert len(text.encode()) < 10_000_000 and text.count("data:image/webp") > 3200


def test_a_hostile_run_does_nothing(browser, run, tmp_path):
    shutil.copytree(run, tmp_path / "odd", ignore=shutil.ignore_patterns("weights"))
    columns = read_csv(run / "scores.csv")
    columns["image"][:5], columns["kind"] = HOSTILE, ["normal", *HOSTILE[:3]] * 6
    columns |= {'<img src=x onerror="alert(3)">': columns["rec"]}
    write_csv(tmp_path / "odd/scores.csv", columns)
    page = opened(browser, frame.write_page(tmp_path / "page.html", static.run_page(tmp_path / "odd")))
    assert set(page.locator(".tile .name").all_inner_texts()) >= set(HOSTILE[:3])
    choose(page, "Score", '<img src=x onerror="alert(3)">')
    page.locator(".tile").first.click()
    page.keyboard.press("Escape")
    choose(page, "Kind", HOSTILE[1])
    page.wait_for_timeout(200)
    assert page.title().endswith("odd") and page.locator("#place").inner_text() == "1 – 6 of 6"


def test_the_command_says_what_is_wrong(run, tmp_path, capsys):
    for given, said in ((["nowhere"], "no finished run"), ([str(run), str(run)], "Two runs are called whole"), ([str(run), "--out", str(run / "record.json")], "cannot be written")):
        with pytest.raises(SystemExit) as stop: static.main(given)
        assert str(stop.value.code).startswith("ddad-page: ") and said in str(stop.value.code) and "\n" not in str(stop.value.code)
    with pytest.raises(SystemExit): static.main(["--help"])
    assert "10 MB" in capsys.readouterr().out
