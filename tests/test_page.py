"The report of scored images: opened in a browser from its file, with nothing else to be had."
import json

import numpy as np
import pytest
from browsers import fits
from PIL import Image
from test_explorer import HOSTILE

from ddad.detect.page import Batch, write_page
from ddad.detect.threshold import conformal_p_values, conformal_threshold


def opened(browser, path):
    browser.goto(f"file://{path}")
    browser.wait_for_selector("#rows", state="attached")
    return browser


def data(page): return json.loads(page.locator("#data").text_content())
def choose(page, name, what): page.locator("label", has_text=name).locator("select").first.select_option(what)


HELD_OUT = np.sort(np.random.default_rng(1).normal(0.2, 0.03, 12))


def scored(n=130, held_out=HELD_OUT, seed=0):
    "Rows as of scores.csv: every ninth image is abnormal, every third file has slices."
    rng, threshold, rows = np.random.default_rng(seed), conformal_threshold(held_out, 0.1), []
    for i in range(n):
        score = float(rng.normal(0.3 if i % 9 == 0 else 0.2, 0.03))
        rows.append(
            {"file": f"ward/scan_{i}.png", "slice": i % 4 if i % 3 == 0 else None, "score": score,
             "p_value": float(conformal_p_values(held_out, score)), "abnormal": int(score > threshold),
                     "patient": f"P{i // 4}", "overlay": f"overlays/{i}.png"})
    return rows, threshold


def batch(rows, threshold, held_out=HELD_OUT, **more):
    usual = dict(warnings=[], model={"networks": "2 x 2"}, failed=[], evaluation=None)
    return Batch(rows, held_out, threshold, 0.1, "inter", **usual | more)


def shown(rows, most=70, side=48):
    rng = np.random.default_rng(2)
    ranked = sorted(range(len(rows)), key=lambda i: -rows[i]["score"])[:most]
    grays = [rng.integers(0, 256, (side, side // 2), dtype=np.uint8) for _ in ranked]
    return [(i, gray, Image.fromarray(np.stack([gray, gray // 2, gray // 3], -1)))
            for i, gray in zip(ranked, grays)]


EVALUATION = {"normal": 213, "abnormal": 27, "intervals": "by image", "auc": (0.931, 0.882, 0.973),
              "ap": (0.8, None, None), "sensitivity": (0.7, 0.6, 0.8), "specificity": None,
              "kinds": [{"kind": "tumour", "images": 27, "flagged": 20, "auc": (0.9, 0.8, 0.95)},
                        {"kind": "cyst", "images": 213, "flagged": 9, "auc": None}]}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    "A report with everything, and its rows."
    rows, threshold = scored()
    more = dict(warnings=["The batch looks unlike the held-out images."],
                failed=["a.png cannot be read as an image."], evaluation=EVALUATION)
    return write_page(tmp_path_factory.mktemp("batch") / "report.html", batch(rows, threshold, **more),
                      shown(rows)), rows, threshold


def test_the_report_says_what_was_found(browser, found):
    path, rows, threshold = found
    page, above = opened(browser, path), sum(r["score"] > threshold for r in rows)
    sentence = f"{above} of 130 slices are above the threshold; of normal slices like the held-out ones at most 10 % would be."
    assert page.locator(".lead").inner_text() == sentence
    assert page.locator("p.warning:visible").inner_text() == "The batch looks unlike the held-out images."
    text = page.locator("main").inner_text()
    assert "12 held-out images cannot give p below 0.077." in text
    assert "1 file could not be scored" in text
    assert "2 x 2" in text
    cells = [row.split() for row in page.locator("#evaluation tr").all_inner_texts()]
    for row in ("AUC 0.931 [0.882, 0.973]", "AP 0.800", "tumour 27 20 0.900 [0.800, 0.950]", "cyst 213 9"):
        assert row.split() in cells
    evaluation = page.locator("#evaluation").inner_text()
    assert "specificity" not in evaluation
    assert "213 normal and 27 abnormal images; 95 % intervals by image" in evaluation
    every = [*(r["score"] for r in rows), *HELD_OUT, threshold]
    left, wide = page.locator(".mark").evaluate(
        "e => [parseFloat(e.style.left), e.parentElement.clientWidth]")
    assert left / wide == pytest.approx((threshold - min(every)) / (max(every) - min(every)), abs=0.01)
    fits(page)


def test_the_highest_scores_open_and_swap(browser, found):
    path, rows, _ = found
    page, tiles = opened(browser, path), browser.locator(".tile")
    ranked = sorted(range(130), key=lambda i: -rows[i]["score"])
    assert tiles.count() == 60
    page.locator("#highest button", has_text="next").click()
    assert page.locator("#highest .where").inner_text() == "61 – 70 of 70"
    assert browser.locator(".tile:visible").count() == 10
    page.locator("#highest button", has_text="previous").click()
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
    assert page.locator("#rows th").all_inner_texts() == ["file", "slice", "score ↓", "p value", "abnormal",
                                                          "patient"]
    assert cells(1) == names(sorted(range(130), key=lambda i: -rows[i]["score"]))
    assert place() == "1 – 50 of 130"
    page.locator("#rows th button", has_text="file").click()
    assert cells(1) == names(range(130))  # scan_2 before scan_10
    page.locator("#rows th button", has_text="slice").click()
    assert cells(2) == [c for c in "0123" for _ in range(11)] + [""] * 6  # what has no slice comes last
    page.get_by_role("searchbox").fill("SCAN_12")
    assert place() == "1 – 11 of 11"
    page.get_by_role("searchbox").fill("")
    choose(page, "Show", "0")
    page.locator("#all button", has_text="next ›").click()
    n = sum(not r["abnormal"] for r in rows)
    assert place() == f"51 – {n} of {n}" and set(cells(5)) == {"no"}


@pytest.mark.parametrize(
    "rows", [
        [], [{"file": "a.png", "slice": None, "score": 0.5, "p_value": None, "abnormal": None}] * 3], ids=[
            "nothing", "all the same"])
def test_a_report_without_a_threshold(browser, tmp_path, rows):
    page = opened(
        browser, write_page(tmp_path / "report.html", batch(rows, None, np.array([]), model={}), []))
    assert page.locator(".mark:visible").count() == 0 and page.locator(".tile").count() == 0
    assert "no p-values" in page.locator("main").inner_text()
    assert page.locator("#rows tbody tr").count() == len(rows)
    fits(page)


def test_a_hostile_batch_does_nothing(browser, tmp_path):
    rows, threshold = scored(9)
    for row, name in zip(rows, HOSTILE): row["file"] = row["patient"] = row["kind"] = name
    rows[0]["<script>alert(4)</script>"] = 1
    more = dict(warnings=HOSTILE, failed=HOSTILE, model=dict(zip(HOSTILE, HOSTILE)),
                evaluation=EVALUATION | {
                    "kinds": [{"kind": k, "images": 1, "flagged": 0, "auc": None} for k in HOSTILE]})
    page = opened(browser, write_page(tmp_path / "report.html", batch(rows, threshold, **more), shown(rows)))
    assert set(page.locator("#rows td:first-of-type").all_inner_texts()) >= set(HOSTILE[:3])
    assert page.locator("#failed li").all_inner_texts()[:3] == HOSTILE[:3]
    page.locator(".tile").first.click()
    page.wait_for_timeout(200)
    assert page.title() == "DDAD: scores of 9 slices"
    fits(page)


def test_a_report_of_6000_images_is_below_10_mb(browser, tmp_path):
    "Pictures of noise, which compresses worst; the table has the highest scores."
    rows, threshold = scored(6000)
    path = write_page(tmp_path / "report.html", batch(rows, threshold), shown(rows, 48, 256))
    assert path.stat().st_size < 10_000_000
    page = opened(browser, path)
    assert page.locator(".tile").count() == len(data(page)["shown"]) == 48
    assert "The table has the 5000 highest of 6000 scores" in page.locator("main").inner_text()
    highest = max(rows, key=lambda row: row["score"])
    assert page.locator("#rows tbody td").first.inner_text() == highest["file"]
