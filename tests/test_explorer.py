"The explorer: its numbers against ddad.method.metrics, its data, the widget without a page; then the page as a file, and once in JupyterLab."
import base64
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import invented
import numpy as np
import pytest
from browsers import chromium, fits
from conftest import run_cells
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import roc_curve

from ddad import Explorer, plots
from ddad.core.page import asset, front_end, write_html
from ddad.core.storage import read_csv, write_csv
from ddad.method import metrics
from ddad.study import view
from ddad.study.opened import read_run
from ddad.study.pictures import Pictures

REPO = Path(__file__).parents[1]
SETTINGS = dict(benchmark="Discs", k=2, epochs=2, refine_epochs=1, image_size=32, batch_size=16,
                n_unlabeled=24, anomaly_rate=0.5, seed=3)
OUTCOMES = ("correctly passed", "false alarm", "miss", "hit")
HOSTILE = ["<script>alert(1)</script>.png", '"></script><img src=x onerror=alert(2)>',
           "{{ 7 * 6 }}' x-html=\"1\" \\u003c", "ünïcödé \udcff.png", "</title>", "a" * 200]


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    """A run of two epochs, with others beside it.

    `bare` is the same without weights; `twin` has the same weights and two scores, A_inter's the other way round;
    the scores.csv of `damaged` was cut off; `Discs_PCA_seed0` is another method, its images in another order.
    """
    folder = tmp_path_factory.mktemp("explored") / "whole"
    run_cells(REPO / "nbs/paper/run.ipynb", **SETTINGS, data_root=str(root), out=str(folder))
    columns = read_csv(folder / "scores.csv")
    for name in ("bare", "damaged"):
        shutil.copytree(folder, folder.parent / name, ignore=shutil.ignore_patterns("weights"))
    (folder.parent / "damaged/scores.csv").write_text(
        "\n".join((folder / "scores.csv").read_text().splitlines()[:9]))
    shutil.copytree(folder, folder.parent / "twin")
    write_csv(folder.parent / "twin/scores.csv",
              {k: columns[k] for k in ("image", "label", "rec")} | {"inter": [-v for v in columns["inter"]]})
    (folder.parent / "Discs_PCA_seed0").mkdir()
    (folder.parent / "Discs_PCA_seed0/record.json").write_text(
        json.dumps({"benchmark": "Discs", "method": "PCA", "seed": 0}))
    write_csv(folder.parent / "Discs_PCA_seed0/scores.csv",
              {"image": columns["image"][::-1], "label": columns["label"][::-1],
               "score": columns["rec"][::-1]})
    return folder


@pytest.fixture(scope="module")
def csv(run): return {k: v if k == "image" else np.array(v) for k, v in read_csv(run / "scores.csv").items()}


# ---- the numbers of the front end

@pytest.fixture(scope="module")
def js(window):
    "Evaluates an expression with the front end as `m` and with values that are handed over."
    window.goto("about:blank")
    window.evaluate(
        "async text => { window.m = await import(URL.createObjectURL(new Blob([text], {type: 'text/javascript'}))); }", str(front_end()))
    typed = "const F = v => Float64Array.from(v);"
    return lambda expression, **given: window.evaluate(
        f"({{{', '.join(given) or 'none'}}}) => {{ {typed} return {expression}; }}", given or {"none": 0})


@pytest.fixture(scope="module")
def drawn():
    "Two scores with ties of 300 images in 120 groups."
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 150)
    a = (labels + rng.normal(size=300)).round(1)
    return labels, a, (0.8 * labels + 0.5 * a + rng.normal(size=300)).round(2), rng.integers(0, 120, 300)


def test_auc_roc_rates_and_percentiles(js, drawn):
    labels, a, b, _ = drawn
    y = labels.tolist()
    for values in (a, b, -a):
        ours = js("m.auc(F(v), y)", v=values.tolist(), y=y)
        assert ours == pytest.approx(metrics.auc(values, labels), abs=1e-12)
    assert np.isnan(js("m.auc(F(v), y)", v=[1, 2], y=[0, 0]))
    assert np.allclose(js("m.roc(F(v), y)", v=a.tolist(), y=y),
                       roc_curve(labels, a, drop_intermediate=False)[:2])
    for k, n in ((8, 10), (0, 7), (399, 400), (3, 3)):
        expected = [k / n, *binomtest(k, n).proportion_ci(method="wilson")]
        assert js("m.wilson(k, n)", k=k, n=n) == pytest.approx(expected, abs=1e-12)
    assert js("m.rates([10, 0, 2, 8]).sensitivity[0]") == 0.8
    assert js("m.rates([3, 0, 2, 0]).precision") is None
    for i in (0, 200):
        others = a[(labels == 0) & (np.arange(300) != i)]
        ours = js("m.percentile(F(v), y, i)", v=a.tolist(), y=y, i=i)
        assert ours == pytest.approx(100 * np.mean(others <= a[i]))


def test_intervals_are_those_of_the_metrics(js, drawn):
    labels, a, b, groups = drawn
    draws = np.random.default_rng(1).normal(size=997)
    for n in (10, 30, 421):
        ours = js("m.interval(d, n)", d=draws.tolist(), n=n)
        assert ours == pytest.approx(metrics._interval(draws, n), abs=2e-3)
    given = dict(a=a.tolist(), b=b.tolist(), y=labels.tolist(), g=groups.tolist())
    for js_groups, own in (("g", groups), ("null", None)):
        one, two, n = js(
            f"(d => [m.interval(d.draws[0], d.groups), m.interval(d.draws[1].map((v, i) => v - d.draws[0][i]), d.groups), d.groups])(m.bootstrap([F(a), F(b)], y, {js_groups}, 20000))", **given)
        assert n == (300 if own is None else len(set(groups)))
        assert one == pytest.approx(metrics.bootstrap_interval(metrics.auc, a, labels, own, n=20000),
                                    abs=2.5e-3)
        paired = metrics.seed_bootstrap(metrics.auc, [(a, b, labels, own)], n=20000)
        assert two == pytest.approx([paired["low"], paired["high"]], abs=2.5e-3)
    assert js("m.bootstrap([F([1, 2])], [0, 1], ['x', 'x'])") is None
    assert js("m.bootstrap([F([1, 2])], [0, 0], null)") is None


def test_thresholds_by_every_rule(js, drawn):
    labels, a, _, _ = drawn
    given = dict(v=a.tolist(), y=labels.tolist())
    step, start, count = js("(g => [g.step, g.start, g.count])(m.grid(F(v)))", **given)
    grid = step * (start + np.arange(count))
    alarms, hits = (np.array([np.mean(a[labels == y] >= t) for t in grid]) for y in (0, 1))
    assert count > 1000 and alarms[0] == hits[0] == 1 and alarms[-1] == hits[-1] == 0
    for share in (0.05, 0.3, 0.95):
        expected = {"false alarms": grid[alarms <= share + 1e-9][0],
                    "specificity": grid[1 - alarms >= share - 1e-9][0],
                    "sensitivity": grid[hits >= share - 1e-9][-1], "youden": grid[np.argmax(hits - alarms)]}
        for rule, t in expected.items():
            assert js(f"m.thresholdBy('{rule}', s, F(v), y)", s=share, **given) == t


def test_orders(js, drawn):
    labels, a, b, _ = drawn
    order = lambda how, images=range(300): np.array(
        js("m.ordered(h, i, F(v), y, 0.5, F(w))", h=how, i=[*images], v=a.tolist(), w=b.tolist(),
           y=labels.tolist()))
    wrong = (a >= 0.5) != (labels == 1)
    worst = order("most wrong first")
    assert wrong[worst][:wrong.sum()].all()
    assert (np.diff(abs(a - 0.5)[worst][:wrong.sum()]) <= 0).all()
    assert sorted(worst) == [*range(300)]
    assert {*order("misses")} == {*np.flatnonzero(wrong & (labels == 1))}
    assert {*order("false alarms")} == {*np.flatnonzero(wrong & (labels == 0))}
    assert (order("highest score first") == np.argsort(-a, kind="stable")).all()
    assert (order("lowest score first", [5, 3]) == sorted([5, 3], key=lambda i: a[i])).all()
    from scipy.stats import rankdata
    assert (order("disagree most") == np.argsort(-abs(rankdata(a) - rankdata(b)), kind="stable")).all()


def test_a_filter_leaves_what_it_says(js):
    data = view.collect([REPO / "figures/runs/Kermany_AE-U_seed0"])
    labels, kinds, groups, names = (np.array(data[k]) for k in ("labels", "kinds", "groups", "names"))
    outcomes = 2 * labels + (np.arange(800) % 2)
    left = lambda **filter: js("m.filtered(d, f, o)", d=data, f=filter, o=outcomes.tolist())
    expected = {(): labels >= 0, ("kind", "viral pneumonia"): kinds == "viral pneumonia",
                ("label", "normal"): labels == 0, ("outcome", "miss"): outcomes == 2,
                ("group", groups[7]): groups == groups[7], ("copy", "no"): labels >= 0,
                ("copy", "yes"): labels < 0,
                ("name", "BACTERIA_1 "): np.array(["bacteria_1" in n for n in names])}
    for asked, mask in expected.items():
        assert left(**dict([asked] if asked else [])) == np.flatnonzero(mask).tolist()
    assert js("m.csv(r)", r=[["a", 0.1, None], ['b,"c"', "d\ne", "<i>"]]) == 'a,0.1,\n"b,""c""","d\ne",<i>\n'
    viral = (labels == 1) & np.char.startswith(kinds.astype(str), "viral")
    assert left(label="abnormal", name="virus") == np.flatnonzero(viral).tolist()


# ---- the data

def unpacked(score): return np.frombuffer(base64.b64decode(score["values"]))


def test_scores_are_handed_over_as_they_are(run, csv):
    data = view.collect(
        [run, run.parent / "Discs_PCA_seed0", run.parent / "damaged", REPO / "figures/runs/NIH_AE-U_seed0"])
    first, pca = data["runs"]
    # none of a network alone
    assert {c["key"] for c in first["scores"]} == {"rec", "intra", "inter", "inter_top", "r_intra", "r_dual"}
    for score in first["scores"]: assert (unpacked(score) == csv[score["key"]]).all()
    assert (unpacked(pca["scores"][0]) == csv["rec"]).all()
    assert first["mappable"]
    assert not pca["mappable"]  # matched by name
    assert "damaged/scores.csv cannot be used" in data["notes"][0]
    assert "is on NIH, not on Discs" in data["notes"][1]
    with pytest.raises(ValueError, match="scores.csv cannot be used"): view.collect([run.parent / "damaged"])
    with pytest.raises(ValueError, match="no finished run"): view.collect([run.parent])


def test_it_opens_on_the_run_that_a_reader_wants(tmp_path):
    "Their own newest; else a committed one."
    assert view.first_run(tmp_path) is None
    (tmp_path / "figures").mkdir()
    for part in ("runs.csv", "results"): (tmp_path / "figures" / part).symlink_to(REPO / "figures" / part)
    assert view.first_run(tmp_path).name == "Kermany_AE-U_seed0"
    mine = invented.make_run(tmp_path / "runs", 2, benchmark="Phantom", backbone="AE",
                             changed={"finished": "2030-01-02"})
    assert view.first_run(tmp_path) == mine


def tile(sheet, src, n):
    side, column, row = sheet["side"], n % sheet["columns"], n // sheet["columns"]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(src.split(",")[1]))).convert("L")).astype(
        float)
    return pixels[row * side:(row + 1) * side, column * side:(column + 1) * side]


def test_maps_are_those_of_the_scores(run, root, csv):
    found = Pictures(read_run(run), root)
    found.load_images(), found.load_networks()
    assert found.missing == [] and found.ready
    maps = view.map_sheets(found, [2, 20, 5])
    assert [layer["name"] for layer in maps["layers"]] == ["UDM reconstruction", "NDM reconstruction",
                                                           "A_rec", "A_intra", "A_inter", "R_intra", "R_dual"]
    for layer in maps["layers"][2:]:
        seen = found.look([20])[0][layer["key"]]
        assert seen.mean() == pytest.approx(csv[layer["key"]][20], rel=1e-4)
        assert (layer["low"],
                layer["high"]) == found.scale(layer["key"]) == plots.map_range(found.sample()[layer["key"]])
        drawn = layer["bottom"] + (layer["top"] - layer["bottom"]) * (tile(maps, layer["src"], 1) / 255) ** 2
        assert np.abs(drawn - seen.clip(layer["bottom"], layer["top"])).mean() < 0.03 * (
            layer["top"] - layer["bottom"])
    shown = view.image_sheets(found.data.test)["images"]
    assert np.abs(tile(shown, shown["src"], 7) - found.data.test[7, 0].numpy()).mean() < 4
    assert view.image_sheets(found.data.test, room=100) == {}


def test_what_is_missing_is_said(run, root, tmp_path, capsys, monkeypatch):
    "The reader learns what is not there, who makes the page why; where a licence forbids pictures nobody looks for them."
    text = view.explorer_page([run.parent / "bare"], tmp_path)
    assert "The images were not at hand" in text
    assert str(tmp_path) not in text
    assert f"bare: No images: There is no benchmark 'Discs' in {tmp_path}" in capsys.readouterr().err
    assert "The networks of this run were not at hand" in view.explorer_page([run.parent / "bare"], root)
    assert "make reproduce" in capsys.readouterr().err
    shutil.copytree(run, tmp_path / "other")
    record = json.loads((run / "record.json").read_text())
    (tmp_path / "other/record.json").write_text(json.dumps(record | {"data_hash": "0"}))
    view.explorer_page([tmp_path / "other"], root)
    assert "differ" in capsys.readouterr().err
    for name in ("Pictures", "load_benchmark"): monkeypatch.setattr(view, name, None)
    text = view.explorer_page([REPO / "figures/runs/ODIR_AE-U_seed0"])
    assert "may not be passed on" in text and "data:image" not in text


def test_the_command(run, root, tmp_path, capsys, monkeypatch):
    for given, said in ((["nowhere"], "no finished run"),
                        ([str(run), "figures/runs/NIH_AE-U_seed0"],
                         "one page shows the images of one benchmark"), (
                             [str(run), "--out", str(run / "record.json/x")], "cannot be written")):
        with pytest.raises(SystemExit) as stop: view.main(given)
        assert str(stop.value.code).startswith("ddad-explore: ")
        assert said in str(stop.value.code)
        assert "\n" not in str(stop.value.code)
    shown = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(view.webbrowser, "open", shown.append)
    with pytest.raises(SystemExit, match="no finished run here"): view.main([])
    view.main([str(run), "--data", str(root)])
    assert shown == [(tmp_path / "pages/whole.html").as_uri()]
    assert "pages/whole.html: " in capsys.readouterr().out


# ---- the widget without a page

def answers(explorer, question):
    "What the kernel sends for a question of the page."
    sent = []
    explorer.send = sent.append
    explorer._asked(explorer, question, [])
    explorer._worker.submit(int).result()
    return sent


def test_the_widget_answers(run, root):
    explorer = Explorer(run, run.parent, root)
    assert [r["name"] for r in explorer.data["runs"]] == ["whole", "Discs_PCA_seed0", "bare", "twin"]
    assert "damaged" in explorer.data["notes"][0]
    assert repr(explorer).startswith("Explorer(whole: 24 images, A_rec")
    assert explorer.threshold is None
    assert explorer.selection == []
    [pictures] = answers(explorer, {"images": True})
    assert pictures["images"]["columns"] == 5
    [maps] = answers(explorer, {"maps": "twin", "image": 3})
    assert maps["maps"]["twin"]["images"] == [3] and len(maps["maps"]["twin"]["layers"]) == 7
    [none] = answers(explorer, {"maps": "bare", "image": 3})
    assert "make reproduce" in none["maps"]["bare"]["missing"]
    answers(explorer, {"run": "twin"})
    assert explorer.data["runs"][0]["name"] == "twin"
    assert Explorer(run, run.parent, root, state="run=twin&score=rec").data["runs"][0]["name"] == "twin"


def test_the_widget_says_why_there_is_nothing(run, tmp_path):
    assert "no finished run" in Explorer(tmp_path / "nowhere", tmp_path).data["notes"][0]
    assert repr(Explorer(root=tmp_path)) == "Explorer()"
    broken = Explorer(run.parent / "damaged", run.parent)
    assert "cannot be used" in broken.data["notes"][0] and "whole" in broken.data["elsewhere"]
    assert "No images" in answers(Explorer(run, run.parent, tmp_path), {"images": True})[0]["notes"][0]


# ---- the page as a file

@pytest.fixture(scope="module")
def written(run, root, tmp_path_factory):
    out = tmp_path_factory.mktemp("pages") / "page.html"
    view.main(
        [str(run), str(run.parent / "twin"), str(run.parent / "Discs_PCA_seed0"), "--out", str(out), "--data",
         str(root)])
    return out


def opened(page, path, state=""):
    page.goto("about:blank")
    page.goto(f"file://{path}#{state}")
    page.wait_for_selector(".confusion")
    return page


def choose(page, label, option): page.get_by_label(label, exact=True).select_option(option)
def counts(page):
    return [int(page.locator(f".confusion .{o.replace(' ', '-')} b").inner_text()) for o in OUTCOMES]
def names(page): return [t.get_attribute("title").split(":")[0] for t in page.locator(".tile:visible").all()]
def threshold(page): return float(page.locator("b.threshold").inner_text())
def address_of(page): return page.wait_for_timeout(400) or page.url
def told(page): return page.locator(".told").inner_text()


def expected(csv, score, t):
    return np.bincount(2 * csv["label"] + (csv[score] >= t), minlength=4).tolist()


def test_the_page_opens_and_the_threshold_moves(browser, written, csv):
    page = opened(browser, written)
    assert page.locator(
        "h2",
        has_text="ROC").inner_text() == f"ROC curve of R_dual, AUC {metrics.auc(csv['r_dual'], csv['label']):.3f}"
    assert counts(page) == expected(csv, "r_dual", threshold(page))
    assert counts(page)[1] == 0  # 5 % of 12 images
    mark, point = page.locator(".mark").first, page.locator(".mark.point")
    before = mark.bounding_box(), point.bounding_box(), threshold(page)
    page.get_by_label("Threshold", exact=True).focus()
    for _ in range(60): page.keyboard.press("ArrowLeft")
    t = threshold(page)
    assert t < before[2] and counts(page) == expected(csv, "r_dual", t)
    assert mark.bounding_box()["x"] < before[0]["x"]
    assert point.bounding_box()["x"] >= before[1]["x"]
    assert point.bounding_box()["y"] <= before[1]["y"]
    for name, r in zip(("sensitivity", "specificity"), ((counts(page)[3], 12), (counts(page)[0], 12))):
        low, high = binomtest(*r).proportion_ci(method="wilson")
        assert page.locator(".rates tr", has_text=name).inner_text().split() == [
            name, f"{r[0] / r[1]:.3f}", f"{low:.3f}", "–", f"{high:.3f}"]
    choose(page, "Score", "inter")
    choose(page, "Threshold by", "sensitivity")
    page.get_by_label("percent").fill("75")
    assert counts(page)[3] >= 9 and counts(page) == expected(csv, "inter", threshold(page))
    fits(page)


def test_filters_orders_and_csv(browser, written, csv):
    page = opened(browser, written, "score=inter&threshold=0.1")
    page.get_by_label("Name has").fill("_0")
    assert told(page).startswith("20 of 24 images: 10 normal, 10 abnormal") and len(names(page)) == 20
    choose(page, "Class", "abnormal")
    assert "none, for all 10 images are abnormal" in page.locator("h2", has_text="ROC").inner_text()
    assert "no normal image" in page.locator(".rates").inner_text()
    assert page.get_by_label("Copy in training").is_hidden() and page.get_by_label("Kind").is_hidden()
    choose(page, "Order", "highest score first")
    sick = [i for i in np.argsort(-csv["inter"], kind="stable") if csv["label"][i]
            and "_0" in csv["image"][i]]
    assert names(page) == [csv["image"][i] for i in sick]
    with page.expect_download() as download: page.get_by_role("button", name="Images as CSV").click()
    kept = read_csv(download.value.path(), text=True)
    assert download.value.suggested_filename == "whole_10_images.csv"
    assert kept["image"] == names(page)
    assert [float(v) for v in kept["whole:inter"]] == csv["inter"][sick].tolist()
    page.get_by_role("button", name="All images").click()
    assert told(page).startswith("24 of 24 images")


def drag(page, chart, start, end):
    box = page.locator(f"[aria-label='{chart}'] .u-over").bounding_box()
    at = lambda share: (box["x"] + share[0] * box["width"], box["y"] + share[1] * box["height"])
    page.mouse.move(*at(start))
    page.mouse.down()
    page.mouse.move(*at(end), steps=4)
    page.mouse.up()


def test_a_brush_chooses_images(browser, written, csv):
    page = opened(browser, written, "score=inter")
    low, high = csv["inter"].min(), csv["inter"].max()
    page.locator("[aria-label='Histogram of the scores by class']").scroll_into_view_if_needed()
    drag(page, "Histogram of the scores by class", (0.5, 0.5), (1.02, 0.5))
    assert set(names(page)) == {n for n, v in zip(csv["image"], csv["inter"]) if v > (low + high) / 2}
    assert told(page).startswith("24 of 24")
    chart = page.locator("[aria-label='Two scores of each image']")
    chart.scroll_into_view_if_needed()
    drag(page, "Two scores of each image", (0.01, 0.01), (0.5, 0.99))
    assert set(names(page)) == {n for n, v in zip(csv["image"], csv["inter"]) if v < (low + high) / 2}
    address = address_of(page)
    page.get_by_role("button", name="all", exact=True).click()
    assert len(names(page)) == 24
    opened(page, written, address.split("#")[1])
    page.wait_for_selector(".brushed button")


def test_a_second_run_and_another_method(browser, written, csv):
    page = opened(browser, written, "score=inter")
    choose(page, "Compare with", "twin")
    page.wait_for_selector("text=95 % over 24 images")
    difference = metrics.auc(-csv["inter"], csv["label"]) - metrics.auc(csv["inter"], csv["label"])
    assert f"{difference:+.3f} [" in page.locator("[role=status]", has_text="95 %").last.inner_text()
    assert "A_inter of twin" in page.locator("h2", has_text="A_inter and").inner_text()
    choose(page, "Order", "disagree most")
    assert set(names(page)[:2]) == {csv["image"][i] for i in (csv["inter"].argmin(), csv["inter"].argmax())}
    page.locator(".tile").nth(1).click()
    first, second = (page.locator(".panels").nth(n).locator("figcaption").all_inner_texts() for n in (0, 1))
    assert len(first) == 8
    assert [c.split() for c in second] == [c.split() for c in first[1:]]
    assert "one scale" in page.locator(".about").inner_text()  # the ends of the colour bars
    choose(page, "Compare with", "Discs_PCA_seed0")
    assert "PCA_seed0 has no maps here" in page.locator(".about").inner_text()


def test_an_image_with_everything_about_it(browser, written, csv):
    page = opened(browser, written, "score=inter&order=highest+score+first")
    tiles = page.locator(".tile")
    tiles.nth(2).focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    name = names(page)[3]
    i = csv["image"].index(name)
    assert page.locator(".about h2").inner_text() == name
    assert page.locator(".tile.chosen").get_attribute("title").startswith(name)
    for key, row in zip(("rec", "intra", "inter"), page.locator(".scores tbody tr").all()):
        value, percent = row.locator("td").all_inner_texts()
        others = csv[key][(csv["label"] == 0) & (np.arange(24) != i)]
        assert float(value) == pytest.approx(csv[key][i], rel=1e-3)
        assert float(percent) == round(100 * np.mean(others <= csv[key][i]))
    assert f"the {len(others)} other normal test images (not trained on; not checked for copies in training)" in page.locator(".about").inner_text()
    page.locator("summary").click()
    page.locator("details", has_text="PCA_seed0: PCA").wait_for()  # filled when it opens, an event later
    side = page.locator(".over canvas").first.evaluate(
        "c => [c.width, c.getContext('2d').getImageData(0, 0, 32, 32).data.some(v => v > 0)]")
    assert side == [32, True]


def test_an_address_opens_the_view_again(browser, written):
    page = opened(browser, written, "score=inter")
    choose(page, "Class", "abnormal")
    choose(page, "Compare with", "twin")
    page.locator(".tile").nth(3).click()
    address, before = address_of(page), (threshold(page), names(page), page.locator(".about h2").inner_text())
    assert "run=whole&score=inter&second=twin&" in address and "label=abnormal" in address
    opened(page, written, address.split("#")[1])
    assert (threshold(page), names(page), page.locator(".about h2").inner_text()) == before
    assert address_of(page) == address
    page.evaluate("location.hash = 'run=twin&score=rec'")
    page.wait_for_function(
        "document.querySelector('h2').textContent == 'Scores, A_rec' || document.body.innerText.includes('Scores, A_rec')")
    for wrong, says in (("colour=red", "colour"), ("threshold=x", "no number"), ("run=../../etc", "no run"),
                        ("kind=cyst", "no kind"), ("brush=%7B", "not whole")):
        assert says in opened(page, written, wrong).locator(".warning").inner_text()


def test_copies_are_flagged(browser, tmp_path):
    path = write_html(tmp_path / "page.html",
                      view.explorer_page([REPO / "figures/runs/BrainTumor_AE_seed0"], tmp_path))
    page = opened(browser, path)
    choose(page, "Copy in training", "yes")
    assert told(page) == "645 of 1200 images: 560 normal, 85 abnormal; 645 with a copy in training"
    assert page.locator(".tile").first.inner_text().endswith("copy in training")
    assert page.locator(".tile .name").count() == 24
    page.get_by_role("button", name="next ›").click()
    assert page.locator(".where").inner_text() == "25 – 48 of 645"
    fits(page)


def test_a_hostile_run_does_nothing(browser, run, tmp_path):
    shutil.copytree(run, tmp_path / "odd", ignore=shutil.ignore_patterns("weights"))
    columns = read_csv(run / "scores.csv")
    columns["image"][:6], columns["kind"], columns["group"] = HOSTILE, [*HOSTILE[:3], "normal"] * 6, [
        HOSTILE[1]] * 24
    write_csv(tmp_path / "odd/scores.csv", columns | {'<img src=x onerror="alert(3)">': columns["rec"]})
    page = opened(
        browser, write_html(tmp_path / "page.html", view.explorer_page([tmp_path / "odd"], tmp_path)))
    assert set(page.locator(".tile .name").all_inner_texts()) >= set(HOSTILE[:3])
    choose(page, "Score", '<img src=x onerror="alert(3)">')
    for n in range(6): page.locator(".tile").nth(n).click()
    choose(page, "Kind", HOSTILE[1])
    opened(page, tmp_path / "page.html",
           "name=%3Cimg+src%3Dx+onerror%3Dalert(5)%3E&run=%3Cimg src=x onerror=alert(6)%3E")
    page.wait_for_timeout(200)
    assert page.title().endswith("odd") and page.locator(".where").inner_text() == "none"
    fits(page)


def test_light_and_dark(browser, written):
    style = asset("core/web/explorer.css")
    assert f"--normal: light-dark({plots.NORMAL}, " in style
    assert f"--abnormal: light-dark({plots.ABNORMAL}, " in style
    assert plots.OUTLINE in front_end()
    for scheme in ("light", "dark"):
        browser.emulate_media(color_scheme=scheme)
        page = opened(browser, written)
        card, ink = (
            page.evaluate(
                f"getComputedStyle(document.querySelector('{of}')).{what}.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)") for of, what in ((".card", "backgroundColor"), ("body", "color")))
        assert (card > ink) == (scheme == "light")
    browser.emulate_media(color_scheme="light")


# ---- JupyterLab

@pytest.mark.slow
def test_in_jupyterlab(run, root, browsers, tmp_path):
    "The widget asks the kernel for pictures and maps, and the kernel learns what was chosen."
    cells = [
        f"from ddad import Explorer\ne = Explorer({str(run)!r}, {str(run.parent)!r}, {str(root)!r})\ne.score = 'inter'\ne", "open('chosen.txt', 'w').write(f'{e.score} {e.threshold} {len(e.selection)}')", "e.threshold = 0.25"]
    made = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "outputs": [], "execution_count": None,
         "source": text} for n, text in enumerate(cells)]
    (tmp_path / "x.ipynb").write_text(
        json.dumps(
            {"cells": made,
             "metadata": {
                 "kernelspec": {"name": "python3", "display_name": "python3",
                                "language": "python"}}, "nbformat": 4, "nbformat_minor": 5}))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
               "--IdentityProvider.token=", "--ip=127.0.0.1"]
    server = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(REPO)},
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        page = chromium(browsers, 1400, 1800)
        page.set_default_timeout(90_000)
        for _ in range(600):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0: break
            time.sleep(0.1)
        page.goto(f"http://127.0.0.1:{port}/lab/tree/x.ipynb")
        page.wait_for_selector("text=| Idle")
        page.locator(".jp-Cell .jp-InputArea-editor").first.click()
        page.keyboard.press("Shift+Enter")
        page.wait_for_selector(".ddad .tile canvas")
        page.wait_for_selector(".ddad .over canvas")  # a map
        assert page.locator(".ddad").get_by_label("Score", exact=True).input_value() == "inter"
        page.locator(".ddad").get_by_label("Score", exact=True).select_option("rec")
        page.locator(".ddad").get_by_label("Class", exact=True).select_option("normal")
        page.wait_for_timeout(1500)
        page.locator(".jp-Cell .jp-InputArea-editor").nth(1).click()
        page.keyboard.press("Shift+Enter")
        for _ in range(300):
            if (tmp_path / "chosen.txt").is_file(): break
            page.wait_for_timeout(100)
        score, t, n = (tmp_path / "chosen.txt").read_text().split()
        assert score == "rec" and n == "12" and float(t) == pytest.approx(threshold(page), rel=1e-3)
        page.keyboard.press("Shift+Enter")
        page.wait_for_function("Number(document.querySelector('.ddad b.threshold').textContent) == 0.25")
    finally:
        server.terminate()
        server.wait(20)
