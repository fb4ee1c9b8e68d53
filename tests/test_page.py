"Pages in one file, that of a run and that of scored images: each opened in a browser from its file, with nothing else to be had."
import base64
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_explore import SETTINGS, chromium, make_run

from ddad import plots
from ddad.core import page as frame
from ddad.core.storage import read_csv, write_csv
from ddad.detect.page import Batch, finding, write_page
from ddad.detect.threshold import conformal_p_values, conformal_threshold
from ddad.method import metrics
from ddad.study import review, static
from ddad.study.opened import read_run

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


# ---- a run

@pytest.fixture(scope="module")
def run(root, tmp_path_factory): return make_run(tmp_path_factory.mktemp("static") / "whole", root, SETTINGS | {"epochs": 1})


@pytest.fixture(scope="module")
def written(run, root, tmp_path_factory):
    "The page of a run with images and weights, made by the command."
    out = tmp_path_factory.mktemp("pages")
    static.main([str(run), "--out", str(out), "--data", str(root)])
    return out / "whole.html"


@pytest.fixture(scope="module")
def kermany(tmp_path_factory): return frame.write_html(tmp_path_factory.mktemp("kermany") / "page.html", static.run_page(KERMANY))


@pytest.fixture(scope="module")
def decisions(): return review.Decisions.of(read_run(KERMANY))


FOUND = """async () => { const p = Alpine.$data(document.body); p.at = AT; p.order = 'ORDER'; await Alpine.nextTick();
                         return [p.threshold, [...p.counts], p.rates, [...p.shown]]; }"""


def test_counts_orders_and_rates_are_those_of_decisions(browser, kermany, decisions):
    page = opened(browser, kermany)
    for number, score in enumerate(decisions.scores):
        grid = decisions.grid(score)
        state(page, f"p.score = {number}")
        assert state(page, "p.s.count") == len(grid) and state(page, "p.range") == [grid[0], grid[-1]]
        page.evaluate("Alpine.$data(document.body).start('youden')")
        assert state(page, "p.threshold") == decisions.youden(score)
        for at, how in zip((0, len(grid) // 3, len(grid) - 1), review.ORDERS):
            t, counts = grid[at], decisions.counts(score, grid[at])
            found = page.evaluate(FOUND.replace("AT", str(at)).replace("ORDER", how))
            assert found[0] == t and dict(zip(review.OUTCOMES, found[1])) == counts
            assert found[3] == decisions.order(how, score, t).tolist()
            for name, (value, low, high) in review.rates(counts).items():
                shown = found[2][name]
                assert shown is None if np.isnan(value) else shown == pytest.approx((value, low, high), abs=1e-9)
        assert state(page, "p.roc.auc") == pytest.approx(metrics.auc(decisions.scores[score], decisions.labels), abs=1e-12)


def test_all_follows_the_filters(browser, kermany, decisions):
    page = opened(browser, kermany)
    choose(page, "Kind", "viral pneumonia")
    viral = decisions.kinds == "viral pneumonia"
    hit = int((decisions.scores["r_dual"][viral] >= decisions.at_false_alarms("r_dual")).sum())
    assert [int(text) for text in page.locator(".confusion b").all_inner_texts()] == [hit, viral.sum() - hit, 0, 0]
    assert page.locator(".rates tr", has_text="specificity").inner_text().split() == ["specificity", "none"]
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
    assert state(page, "[...p.shown]") == wrong.tolist()
    page.get_by_role("button", name="next ›").click()
    assert page.locator(".tile").first.get_attribute("title") == decisions.names[wrong[48]]


def test_the_threshold_moves(browser, kermany, decisions):
    page = opened(browser, kermany)
    line = page.locator(".chart line.threshold")
    before, at = line.get_attribute("x1"), page.locator("circle.threshold").get_attribute("cx")
    page.get_by_label("Threshold").focus()
    for _ in range(30): page.keyboard.press("ArrowRight")
    t = state(page, "p.threshold")
    assert t > decisions.at_false_alarms("r_dual") and line.get_attribute("x1") != before
    assert page.locator("circle.threshold").get_attribute("cx") != at
    counts = decisions.counts("r_dual", t)
    assert f"flags {counts['hit']} of 400 abnormal and {counts['false alarm']} of 400 normal images" in page.locator(".lead").inner_text()


def test_an_image_opens(browser, written, run, root):
    page, csv = opened(browser, written), read_csv(run / "scores.csv")
    scores = {k: np.array(v) for k, v in csv.items() if k not in ("image", "label") and not re.fullmatch(r"rec_\d+", k)}
    normal = np.array(csv["label"]) == 0
    tile = page.locator(".tile").nth(2)
    name = tile.get_attribute("title")
    tile.click()
    i = csv["image"].index(name)
    assert page.locator("#name").inner_text() == name
    rows = page.locator(".scores tbody tr")
    assert "percentile among the 12 normal test images" in page.locator(".scores").inner_text() and rows.count() == len(scores)
    for n, values in enumerate(scores.values()):
        value, percentile = rows.nth(n).locator("td").all_inner_texts()[:2]
        assert float(value) == pytest.approx(values[i], rel=1e-3)
        assert int(percentile) == round(100 * np.mean(values[normal] <= values[i]))
    assert page.locator("dialog figure").count() == 1 + 5 and page.locator("dialog img.heat").count() == 5
    page.keyboard.press("ArrowRight")
    assert page.locator("#name").inner_text() == page.locator(".tile").nth(3).get_attribute("title")
    fits(page)
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog[open]", state="detached")
    fits(page)


def test_maps_have_the_scale_and_the_colours_of_every_figure(browser, written, run, root):
    page = opened(browser, written)
    found = static.Pictures(read_run(run), root)
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
    page.evaluate("address => { const stack = document.createElement('div'); stack.id = 'probe'; stack.style = 'position:fixed;left:0;top:0;width:64px;height:64px;background:#000;z-index:9'; "
                  "const image = new Image(64, 64); image.className = 'heat'; image.src = address; stack.append(image); document.body.append(stack); return image.decode(); }", frame.picture(gray, quality=100))
    drawn = np.asarray(Image.open(io.BytesIO(page.locator("#probe").screenshot())).convert("RGB"))[32] / 255
    expected = plots.overlay(np.zeros((1, 1, 64), np.uint8), np.linspace(0, 1, 64)[None])[0]
    assert np.abs(drawn - expected).max() < 0.06


def test_no_picture_where_the_licence_forbids_it(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(static, "Pictures", None)  # nobody looks for them
    text = static.run_page(REPO / "figures/runs/ODIR_AE-U_seed0")
    assert "may not be passed on" in text and "data:image" not in text
    page = opened(browser, frame.write_html(tmp_path / "page.html", text))
    assert page.locator(".tile img").count() == 0 and page.locator(".tile .name").count() == 48
    fits(page)


def test_without_weights_there_are_no_maps(browser, run, root, tmp_path, capsys):
    "The reader learns what is not there, who makes the page why."
    shutil.copytree(run, tmp_path / "bare", ignore=shutil.ignore_patterns("weights"))
    text = static.run_page(tmp_path / "bare", tmp_path)
    assert "The images were not at hand" in text and str(tmp_path) not in text and f"bare: No images: There is no benchmark 'Discs' in {tmp_path}" in capsys.readouterr().err
    page = opened(browser, frame.write_html(tmp_path / "page.html", static.run_page(tmp_path / "bare", root)))
    assert "not every map" in page.locator("header").inner_text() and "make reproduce" in capsys.readouterr().err
    page.locator(".tile").first.click()
    assert page.locator("dialog figure").count() == 1 and page.locator("dialog .scores").is_visible()


def test_a_hostile_run_does_nothing(browser, run, tmp_path):
    shutil.copytree(run, tmp_path / "odd", ignore=shutil.ignore_patterns("weights"))
    columns = read_csv(run / "scores.csv")
    columns["image"][:5], columns["kind"] = HOSTILE, ["normal", *HOSTILE[:3]] * 6
    columns |= {'<img src=x onerror="alert(3)">': columns["rec"]}
    write_csv(tmp_path / "odd/scores.csv", columns)
    page = opened(browser, frame.write_html(tmp_path / "page.html", static.run_page(tmp_path / "odd")))
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


# ---- scored images

HELD_OUT = np.sort(np.random.default_rng(1).normal(0.2, 0.03, 12))


def scored(n=130, held_out=HELD_OUT, seed=0):
    "Rows as of scores.csv: every ninth image is abnormal, every third file has slices."
    rng, threshold, rows = np.random.default_rng(seed), conformal_threshold(held_out, 0.1), []
    for i in range(n):
        score = float(rng.normal(0.3 if i % 9 == 0 else 0.2, 0.03))
        rows.append({"file": f"ward/scan_{i}.png", "slice": i % 4 if i % 3 == 0 else None, "score": score, "p_value": float(conformal_p_values(held_out, score)), "abnormal": int(score > threshold),
                     "patient": f"P{i // 4}", "overlay": f"overlays/{i}.png"})
    return rows, threshold


def batch(rows, threshold, held_out=HELD_OUT, **more):
    usual = dict(warnings=[], model={"networks": "2 x 2"}, failed=[], evaluation=None)
    return Batch(rows, held_out, threshold, 0.1, "inter", **usual | more)


def shown(rows, most=70, side=48):
    rng = np.random.default_rng(2)
    ranked = sorted(range(len(rows)), key=lambda i: -rows[i]["score"])[:most]
    grays = [rng.integers(0, 256, (side, side // 2), dtype=np.uint8) for _ in ranked]
    return [(i, gray, Image.fromarray(np.stack([gray, gray // 2, gray // 3], -1))) for i, gray in zip(ranked, grays)]


EVALUATION = {"normal": 213, "abnormal": 27, "intervals": "by image", "auc": (0.931, 0.882, 0.973), "ap": (0.8, None, None), "sensitivity": (0.7, 0.6, 0.8), "specificity": None,
              "kinds": [{"kind": "tumour", "images": 27, "flagged": 20, "auc": (0.9, 0.8, 0.95)}, {"kind": "cyst", "images": 213, "flagged": 9, "auc": None}]}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    "A report with everything, and its rows."
    rows, threshold = scored()
    more = dict(warnings=["The batch looks unlike the held-out images."], failed=["a.png cannot be read as an image."], evaluation=EVALUATION)
    return write_page(tmp_path_factory.mktemp("batch") / "report.html", batch(rows, threshold, **more), shown(rows)), rows, threshold


def test_the_report_says_what_was_found(browser, found):
    path, rows, threshold = found
    page, above = opened(browser, path), sum(r["score"] > threshold for r in rows)
    sentence = f"{above} of 130 slices are above the threshold; of normal slices like the held-out ones at most 10 % would be."
    assert page.locator(".lead").inner_text() == sentence
    assert page.locator("p.warning:visible").inner_text() == "The batch looks unlike the held-out images."
    text = page.locator("main").inner_text()
    assert "12 held-out images cannot give p below 0.077." in text and "1 file could not be scored" in text and "2 x 2" in text
    cells = [row.split() for row in page.locator("#evaluation tr").all_inner_texts()]
    for row in ("AUC 0.931 [0.882, 0.973]", "AP 0.800", "tumour 27 20 0.900 [0.800, 0.950]", "cyst 213 9"): assert row.split() in cells
    evaluation = page.locator("#evaluation").inner_text()
    assert "specificity" not in evaluation and "213 normal and 27 abnormal images; 95 % intervals by image" in evaluation
    low, high = state(page, "p.range")  # of the histogram
    assert low <= min(r["score"] for r in rows) and high >= max(r["score"] for r in rows)
    assert sum(page.evaluate(f"binned(values, [{low}, {high}], 30)")) == 130
    x = float(page.locator("line.threshold").get_attribute("x1"))
    assert (x - 40) / 350 == pytest.approx((threshold - low) / (high - low))
    fits(page)


def test_the_highest_scores_open_and_swap(browser, found):
    path, rows, _ = found
    page, tiles = opened(browser, path), browser.locator(".tile")
    ranked = sorted(range(130), key=lambda i: -rows[i]["score"])
    assert tiles.count() == 60
    page.get_by_role("button", name="more", exact=True).click()
    assert tiles.count() == 70
    opacity = lambda: tiles.nth(5).locator("img").nth(1).evaluate("e => getComputedStyle(e).opacity")
    assert opacity() == "1"
    tiles.nth(5).hover()
    assert opacity() == "0"
    page.get_by_label("maps over the images").uncheck()
    assert opacity() == "0"
    tiles.nth(5).click()
    assert page.locator("#name").inner_text().startswith(rows[ranked[5]]["file"])
    assert f"A_inter {rows[ranked[5]]['score']:.3f}"[:12] in page.locator("#told").inner_text()
    fits(page)
    page.keyboard.press("ArrowRight")
    assert rows[ranked[6]]["file"] in page.locator("#name").inner_text()


def test_the_table_sorts_and_filters(browser, found):
    path, rows, _ = found
    page, place = opened(browser, path), lambda: page.locator("#place").inner_text()
    cells = lambda n: page.locator(f"#rows tbody td:nth-of-type({n})").all_inner_texts()
    names = lambda order: [rows[i]["file"] for i in order][:50]
    assert page.locator("#rows th").all_inner_texts() == ["file", "slice", "score ↓", "p value", "abnormal", "patient"]
    assert cells(1) == names(sorted(range(130), key=lambda i: -rows[i]["score"])) and place() == "1 – 50 of 130"
    page.locator("#rows th button", has_text="file").click()
    assert cells(1) == names(range(130))  # scan_2 before scan_10
    page.locator("#rows th button", has_text="slice").click()
    assert cells(2) == [c for c in "0123" for _ in range(11)] + [""] * 6  # what has no slice comes last
    page.get_by_role("searchbox").fill("SCAN_12")
    assert place() == "1 – 11 of 11"
    page.get_by_role("searchbox").fill("")
    choose(page, "Show", "0")
    page.locator("button", has_text="next ›").click()
    n = sum(not r["abnormal"] for r in rows)
    assert place() == f"51 – {n} of {n}" and set(cells(5)) == {"no"}


def test_sentences_for_few_and_for_none():
    rows, threshold = scored(1)
    one = batch([rows[0] | {"abnormal": 1, "slice": None}], threshold)
    assert finding(one).startswith("1 of 1 image is above the threshold;") and finding(batch([], threshold)) == "Nothing could be scored."
    assert finding(batch(rows, None, np.array([]))).startswith("1 slice, without a threshold")


@pytest.mark.parametrize("rows", [[], [{"file": "a.png", "slice": None, "score": 0.5, "p_value": None, "abnormal": None}] * 3], ids=["nothing", "all the same"])
def test_a_report_without_a_threshold(browser, tmp_path, rows):
    page = opened(browser, write_page(tmp_path / "report.html", batch(rows, None, np.array([]), model={}), []))
    assert page.locator("line.threshold:visible").count() == 0 and page.locator(".tile").count() == 0
    assert "no p-values" in page.locator("main").inner_text() and page.locator("#rows tbody tr").count() == len(rows)
    fits(page)


def test_a_hostile_batch_does_nothing(browser, tmp_path):
    rows, threshold = scored(9)
    for row, name in zip(rows, HOSTILE): row["file"] = row["patient"] = row["kind"] = name
    rows[0]["<script>alert(4)</script>"] = 1
    more = dict(warnings=HOSTILE, failed=HOSTILE, model=dict(zip(HOSTILE, HOSTILE)), evaluation=EVALUATION | {"kinds": [{"kind": k, "images": 1, "flagged": 0, "auc": None} for k in HOSTILE]})
    page = opened(browser, write_page(tmp_path / "report.html", batch(rows, threshold, **more), shown(rows)))
    assert set(page.locator("#rows td:first-of-type").all_inner_texts()) >= set(HOSTILE[:3]) and page.locator("#failed li").all_inner_texts()[:3] == HOSTILE[:3]
    page.locator(".tile").first.click()
    page.wait_for_timeout(200)
    assert page.title() == "DDAD: scores of 9 slices"
    fits(page)


def test_a_report_of_6000_images_is_below_10_mb(browser, tmp_path):
    "Pictures of noise, which compresses worst; the table has the highest scores."
    rows, threshold = scored(6000)
    path = write_page(tmp_path / "report.html", batch(rows, threshold), shown(rows, 1600, 64))
    assert path.stat().st_size < 10_000_000
    page = opened(browser, path)
    assert page.locator(".tile").count() == 60 and page.evaluate("DATA.shown.length") >= 800
    assert "The table has the 5000 highest of 6000 scores" in page.locator("main").inner_text()
    highest = max(rows, key=lambda row: row["score"])
    assert page.locator("#rows tbody td").first.inner_text() == highest["file"]


def test_light_and_dark(browser, found, kermany):
    for scheme in ("light", "dark"):
        browser.emulate_media(color_scheme=scheme)
        for path in (found[0], kermany):
            page = opened(browser, path)
            ground, ink = (page.evaluate(f"getComputedStyle(document.{what}.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)") for what in ("documentElement).backgroundColor", "body).color"))
            assert (ground > ink) == (scheme == "light")
    browser.emulate_media(color_scheme="light")
