"The explorer: what it computes, without a browser; then every part of its page in a real one, against a running Voilà server."
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import invented
import numpy as np
import pytest

from ddad import load_benchmark, plots
from ddad.core.record import Stages
from ddad.core.storage import read_csv, write_csv
from ddad.method import metrics, refine, scores
from ddad.study import explore, markup, others, review
from ddad.study.config import Config
from ddad.study.opened import read_run
from ddad.study.pictures import Pictures
from ddad.study.run import open_run, refine_run, train_run, weights_places, write_record

REPO = Path(__file__).parents[1]
SETTINGS = dict(benchmark="Discs", k=2, epochs=6, refine_epochs=1, image_size=32, batch_size=16, n_unlabeled=24, anomaly_rate=0.5, seed=3)


def make_run(folder, root, settings=SETTINGS):
    "A small run in a folder of its own, as nbs/paper/run.ipynb leaves it."
    config = Config.of(**settings)
    b = load_benchmark(root, config.benchmark, config.image_size, progress=False)
    open_run(folder, config, b.hash)
    places = weights_places(config, folder)
    modules, _ = train_run(config, b, places, progress=False)
    maps = scores.predict_maps(b.test, modules["udm"], modules["ndm"])
    maps |= refine.refine_maps(refine_run(config, b, modules, places, progress=False)[0], maps)
    columns = {name: scores.image_scores(m).double().tolist() for name, m in maps.items()}
    columns["inter_top"] = scores.image_scores(maps["inter"], refine.VARIANTS["stable"]).double().tolist()
    write_csv(folder / "scores.csv", {"image": b.test_names, "label": b.labels.tolist()} | columns)
    write_record(folder, config, b, Stages())
    return folder


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    """Beside it lie `bare`, the same without weights and, as old runs are, without `inter_top`; `damaged`, whose scores.csv was cut off;
    `twin`, with the same weights and two scores, A_inter's the other way round; and `Discs_PCA_seed0`, another method, its images in another order."""
    folder = make_run(tmp_path_factory.mktemp("explored") / "whole", root)
    for name in ("bare", "damaged"): shutil.copytree(folder, folder.parent / name, ignore=shutil.ignore_patterns("weights"))
    columns = read_csv(folder / "scores.csv")
    write_csv(folder.parent / "bare/scores.csv", {k: v for k, v in columns.items() if k != "inter_top"})
    lines = (folder / "scores.csv").read_text().splitlines()
    (folder.parent / "damaged/scores.csv").write_text("\n".join(lines[:9]))
    shutil.copytree(folder, folder.parent / "twin")
    write_csv(folder.parent / "twin/scores.csv", {k: columns[k] for k in ("image", "label", "rec")} | {"inter": [-v for v in columns["inter"]]})
    (folder.parent / "Discs_PCA_seed0").mkdir()
    (folder.parent / "Discs_PCA_seed0/record.json").write_text(json.dumps({"benchmark": "Discs", "method": "PCA", "seed": 0}))
    turned = {"image": columns["image"][::-1], "label": columns["label"][::-1], "score": columns["rec"][::-1]}
    write_csv(folder.parent / "Discs_PCA_seed0/scores.csv", turned)
    return folder


@pytest.fixture(scope="module")
def csv(run): return {k: v if k == "image" else np.array(v) for k, v in read_csv(run / "scores.csv").items()}


@pytest.fixture(scope="module")
def decisions(run): return review.Decisions.of(read_run(run))


# ---- without a browser



def table(csv, score, t):
    "The confusion table straight from scores.csv."
    flagged, sick = csv[score] >= t, csv["label"] == 1
    return {"hit": (flagged & sick).sum(), "miss": (~flagged & sick).sum(), "false alarm": (flagged & ~sick).sum(), "correctly passed": (~flagged & ~sick).sum()}


@pytest.mark.parametrize("score", ["rec", "r_dual"])
def test_counts_are_those_of_the_csv(decisions, csv, score):
    for t in [*csv[score][::5], csv[score].min() - 1, csv[score].max() + 1]: assert decisions.counts(score, t) == table(csv, score, t)


def test_rates_and_their_intervals():
    found = review.rates({"hit": 8, "miss": 2, "false alarm": 0, "correctly passed": 10})
    z, n, p = 1.959963984540054, 10, 0.8
    centre, half = (p + z * z / 2 / n) / (1 + z * z / n), z * np.sqrt(p * (1 - p) / n + z * z / 4 / n / n) / (1 + z * z / n)
    assert found["sensitivity"] == pytest.approx((0.8, centre - half, centre + half)) and found["specificity"][0] == found["precision"][0] == 1
    assert np.isnan(review.rates({"hit": 0, "miss": 2, "false alarm": 0, "correctly passed": 3})["precision"]).all()


def test_wrong_decisions_come_first_and_the_worst_of_them_first(decisions, csv):
    t = decisions.youden("rec")
    order, wrong = decisions.order("most wrong first", "rec", t), (csv["rec"] >= t) != (csv["label"] == 1)
    assert 0 < wrong.sum() == wrong[order][:wrong.sum()].sum() and (np.diff(abs(csv["rec"] - t)[order][:wrong.sum()]) <= 0).all()
    assert set(decisions.order("misses", "rec", t)) | set(decisions.order("false alarms", "rec", t)) == set(np.flatnonzero(wrong))
    assert (np.diff(csv["rec"][decisions.order("highest score first", "rec", t)]) <= 0).all()
    with pytest.raises(ValueError, match="best"): decisions.order("best", "rec", t)


def test_a_filter_leaves_what_it_says():
    decisions = review.Decisions.of(read_run(REPO / "figures/runs/Kermany_AE-U_seed0"))
    assert set(decisions.kinds) == {"normal", "bacterial pneumonia", "viral pneumonia"} and len(set(decisions.groups)) < 800 and decisions.copies.sum() == 0
    view = review.View(decisions, "inter", decisions.youden("inter"))
    labels, kinds, groups = decisions.labels, decisions.kinds, decisions.groups
    largest = max(set(groups.tolist()), key=groups.tolist().count)
    expected = {
        review.Filter(): labels >= 0,
        review.Filter(kind="viral pneumonia"): kinds == "viral pneumonia",
        review.Filter(label="normal"): labels == 0,
        review.Filter(outcome="miss"): (labels == 1) & (decisions.scores["inter"] < view.threshold),
        review.Filter(group=largest): groups == largest,
        review.Filter(name="BACTERIA_1", label="abnormal"): np.array(["bacteria_1" in n for n in decisions.names]),
        review.Filter(copy="yes"): labels < 0,
        review.Filter(copy="no"): labels >= 0,
    }
    for wanted, mask in expected.items():
        shown = replace(view, filter=wanted)
        assert (shown.chosen == mask).all() and sum(shown.counts.values()) == mask.sum()
        assert sorted(shown.order("most wrong first")) == np.flatnonzero(mask).tolist()
    part = replace(view, filter=review.Filter(kind="viral pneumonia")).part
    assert part.names == [n for n, k in zip(decisions.names, kinds) if k == "viral pneumonia"] and np.isnan(part.auc("inter"))


def test_copies_are_those_of_the_committed_reports():
    "As many as figures/leaks.csv has."
    for name, normal, abnormal in (("BrainTumor_AE-U_seed0", 560, 85), ("BrainTumorLeakFree_AE-U_seed0", 0, 0), ("NIH_AE-U_seed0", 0, 0)):
        d = review.Decisions.of(read_run(REPO / "figures/runs" / name))
        assert (d.copies[d.labels == 0].sum(), d.copies[d.labels == 1].sum()) == (normal, abnormal)
    assert review.Decisions.of(read_run(REPO / "figures/runs/Phantom_AE_seed0")).copies is None
    assert review.copies_of("BrainTumor", d.names, "/nowhere/figures/runs/x") is None and review.copies_of("NIH", ["of-nobody.png"], REPO / "figures/x") is None


def test_percentiles_are_among_the_other_normal_test_images(decisions, csv):
    for i in (0, 5, 20):
        others = [v for n, (v, y) in enumerate(zip(csv["rec"], csv["label"])) if y == 0 and n != i]
        assert decisions.percentile("rec", i) == pytest.approx(100 * np.mean(np.array(others) <= csv["rec"][i]))
    told = markup.score_table(decisions, 0)
    assert "the 11 other normal test images (not trained on; not checked for copies in training)" in told and "the 12 other" in markup.score_table(decisions, 20)
    known = replace(decisions, copies=np.arange(24) < 3)
    assert "; 2 of them with a copy in training)" in markup.score_table(known, 0) and "has a copy in training" in markup.about_image(review.View(known, "rec", 0.1), 0)


def test_another_result_is_matched_by_name(run, decisions, csv):
    pca = others.Other.of(run.parent / "Discs_PCA_seed0", decisions, "PCA")
    assert (pca.scores["score"] == csv["rec"]).all()
    both = pca.beside(decisions)
    assert both.difference("rec", pca.key("score"))["difference"] == 0 and both.disagreement("rec", pca.key("score")).max() == 0
    twin = others.Other.of(run.parent / "twin", decisions)
    d = twin.beside(decisions)
    expected = metrics.paired_bootstrap(metrics.auc, csv["inter"], -csv["inter"], csv["label"], n=1000)
    assert d.difference("inter", twin.key("inter")) == expected and expected["difference"] < 0
    assert f"{expected['difference']:+.3f} [{expected['low']:+.3f}, {expected['high']:+.3f}]" in others.difference_sentence(d, "inter", twin.key("inter"), ("a", "b"))
    with pytest.raises(ValueError, match="no scores of 2 of the 26 images"): others.Other.of(run.parent / "twin", replace(decisions, names=[*decisions.names, "a", "b"]))
    said = others.every_score([pca, twin], decisions, 3)
    assert said["PCA"]["score"] == (csv["rec"][3], decisions.percentile("rec", 3)) and set(said["twin"]) == {"rec", "inter"}


@pytest.mark.parametrize("wrong, says", [("colour=red", "colour"), ("threshold=x", "no number"), ("run=../../etc", "no run")])
def test_a_link_that_names_what_is_not_there_still_opens_the_page(run, tmp_path, wrong, says):
    page = explore.Explorer(run, tmp_path, tmp_path, state=wrong)
    assert says in page.message.value.lower() and page.run.label == "whole" and page.decisions is not None


def test_it_opens_on_the_run_that_a_reader_wants(tmp_path, monkeypatch):
    "Their own newest; else real images at hand, those without copies first; else the phantom."
    def first(): return explore.first_run(tmp_path).name
    there = ["Phantom"]
    monkeypatch.setattr(explore, "benchmarks_at_hand", lambda data_root: there)
    assert explore.first_run(tmp_path) is None
    (tmp_path / "figures").mkdir()
    for part in ("runs.csv", "results"): (tmp_path / "figures" / part).symlink_to(REPO / "figures" / part)
    assert first() == "Phantom_AE_seed0"
    there.append("BrainTumor")
    assert first() == "BrainTumor_AE-U_seed0"
    there.append("NIH")
    assert first() == "NIH_AE-U_seed0"
    mine = invented.make_run(tmp_path / "runs", 2, benchmark="Phantom", backbone="AE", changed={"finished": "2030-01-02"})
    assert explore.first_run(tmp_path) == mine


def test_thresholds_for_looking(decisions, csv):
    for score in decisions.scores:
        grid = decisions.grid(score)
        assert len(grid) > 1000 and table(csv, score, grid[0])["hit"] == 12 and table(csv, score, grid[-1])["hit"] == 0
        for share in (0, 0.1, 0.5):
            t = decisions.at_false_alarms(score, share)
            assert table(csv, score, t)["false alarm"] <= 12 * share and (t == grid[0] or table(csv, score, grid[grid < t][-1])["false alarm"] > 12 * share)
        def right(t, score=score): return sum(table(csv, score, t)[o] for o in ("hit", "correctly passed"))
        assert right(decisions.youden(score)) == max(map(right, grid))


def test_maps_are_those_of_the_scores(run, root, csv):
    pictures = Pictures(read_run(run), root)
    pictures.load_images(), pictures.load_networks()
    assert pictures.missing == [] and pictures.ready
    for i, seen in zip((2, 20), pictures.look([2, 20])):
        for score in ("rec", "intra", "inter", "r_intra", "r_dual"): assert seen[score].mean() == pytest.approx(csv[score][i], rel=1e-4)
        assert np.square(pictures.data.test[i, 0].numpy() / 127.5 - 1 - seen["ndm"]) == pytest.approx(seen["rec"], abs=1e-5)
    sample = pictures.sample()
    assert len(sample["rec"]) == 24 and pictures.scale("rec") == plots.map_range(sample["rec"])


def test_what_is_missing_is_said(run, root, tmp_path):
    bare = Pictures(read_run(run.parent / "bare"), root)
    bare.load_images(), bare.load_networks()
    assert bare.data is not None and not bare.ready and len(bare.missing) == 1 and "make reproduce" in bare.missing[0]
    lost = Pictures(read_run(run), tmp_path)
    lost.load_images(), lost.load_networks()
    assert lost.data is None and not lost.ready and "Discs" in lost.missing[0] and len(lost.missing) == 1
    shutil.copytree(run, tmp_path / "other")
    record = json.loads((run / "record.json").read_text())
    (tmp_path / "other/record.json").write_text(json.dumps(record | {"data_hash": "0"}))
    other = Pictures(read_run(tmp_path / "other"), root)
    other.load_images()
    assert "differ" in other.missing[0]


def test_a_run_that_cannot_be_shown_is_refused_in_a_sentence(run, tmp_path):
    with pytest.raises(ValueError, match="no finished run"): read_run(tmp_path)
    with pytest.raises(ValueError, match="scores.csv cannot be used"): review.Decisions.of(read_run(run.parent / "damaged"))
    for text in ("", "image,label\n", "image,label,rec\na,0,x\n"):
        (run.parent / "damaged/scores.csv").write_text(text)
        with pytest.raises(ValueError, match="scores.csv cannot be used"): review.Decisions.of(read_run(run.parent / "damaged"))
    assert "no finished run" in explore.Explorer(tmp_path / "nowhere", tmp_path).message.value


def test_a_file_name_is_never_markup(run, tmp_path):
    shutil.copytree(run, tmp_path / "odd", ignore=shutil.ignore_patterns("weights"))
    path = tmp_path / "odd/scores.csv"
    path.write_text(path.read_text().replace("test_normal_00.png", "<script>alert(1)</script>.png"))
    page = explore.Explorer(tmp_path / "odd", tmp_path, tmp_path)
    page.select(0)
    assert "&lt;script&gt;" in page.detail.about.value and "<script" not in page.detail.about.value + page.message.value + page.detail.panels.value


# ---- in a browser

def chromium(p, width=1280, height=1700):
    "A page in Playwright's own Chromium if it is installed, else in the system's; it sees this machine alone."
    own = p.chromium.executable_path
    path = own if Path(own).is_file() else next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        if os.environ.get("CI"): pytest.fail("No Chromium: the explorer's page cannot be tested.")
        pytest.skip("no Chromium: `playwright install chromium`, or the system's package")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    page = p.chromium.launch(executable_path=path, args=flags).new_page(viewport={"width": width, "height": height})
    page.asked = set()
    page.on("websocket", lambda socket: overheard(page.asked, socket))
    page.route(lambda url: "127.0.0.1" not in url, lambda route: route.abort())
    return page


@contextmanager
def serving(command, folder, env):
    "The port of a server once it answers; `command` is a module and its arguments, run in a folder."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = os.environ | {"PYTHONPATH": str(REPO)} | env
    server = subprocess.Popen([sys.executable, "-m", *command, f"--port={port}"], cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0: break
            time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        server.wait(20)


@contextmanager
def served(**env):
    "The address of a Voilà server of nbs/guides/explore.ipynb, with these variables in its environment."
    with serving(["voila", "nbs/guides/explore.ipynb", "--no-browser", "--Voila.ip=127.0.0.1"], REPO, env) as port: yield f"http://127.0.0.1:{port}/"


def overheard(asked, socket):
    "Keeps in `asked` the messages that a page has sent to its kernel and that the kernel has not finished with."
    if not socket.url.split("?")[0].endswith("/channels"): return
    asked.clear()  # what an earlier page left open nobody answers
    ids = lambda frame: re.findall(rb'"msg_id": ?"([^"]+)"', frame)  # its own, then its parent's
    socket.on("framesent", lambda frame: asked.update(ids(frame)[:1]))
    socket.on("framereceived", lambda frame: asked.difference_update(ids(frame)[1:2]) if b'"execution_state": "idle"' in frame else None)


def answered(page):
    "Waits until the kernel has answered all that the page asked, and the page has had the time to draw it."
    calm = 0
    for _ in range(1200):
        page.evaluate("new Promise(done => setTimeout(done, 50))")  # in the page: behind all that it still has to draw
        calm = 0 if page.asked else calm + 1
        if calm == 3: return
    pytest.fail("the kernel did not answer within a minute")


def choose(page, label, option, **exact):
    page.get_by_label(label, **exact).select_option(option)
    answered(page)


def click(page, what):
    what.click()
    answered(page)


def press(page, button, **exact): click(page, page.get_by_role("button", name=button, **exact))


def opened(page):
    "Waits until images and weights have been looked for."
    page.wait_for_selector(".confusion", timeout=120_000)
    page.wait_for_function("!document.querySelector('[role=status]').innerText.includes('Reading')", timeout=120_000)
    answered(page)


@pytest.fixture(scope="module")
def browsers():
    with pytest.importorskip("playwright.sync_api").sync_playwright() as p: yield p


@pytest.fixture(scope="module")
def page(run, root, browsers):
    with served(DDAD_RUN=str(run), DDAD_DATA=str(root)) as address:
        page = chromium(browsers)
        page.set_default_timeout(60_000)
        page.errors = []
        page.on("pageerror", lambda e: page.errors.append(str(e)))
        page.goto(address)
        opened(page)
        yield page


def shown(page): return {o: int(page.locator(f".confusion .{o.replace(' ', '-')} b").inner_text()) for o in review.OUTCOMES}
def threshold(page): return float(page.locator(".widget-slider:has-text('Threshold') .widget-readout").inner_text())
def handle(page): return page.locator(".widget-slider:has-text('Threshold') .noUi-handle")
def names(page): return [t.split(":")[0] for t in page.locator(".ddad-tile:visible").all_inner_texts()]
def show(page, how): choose(page, "Show", how)


def settled(page, csv, score):
    "The threshold on the page, once the table on the page is that of scores.csv at this threshold."
    answered(page)
    assert shown(page) == table(csv, score, threshold(page))
    return threshold(page)


def test_the_page_opens_on_the_run_named(page, csv):
    assert page.title() == "DDAD: explore a run" and page.get_by_label("Run").locator("option:checked").inner_text() == "whole"
    assert page.locator("h2", has_text="ROC").inner_text() == f"ROC curve of R_dual, AUC {metrics.auc(csv['r_dual'], csv['label']):.3f}"
    settled(page, csv, "r_dual")
    assert shown(page)["false alarm"] == 0  # 5 % of 12 images


def test_another_score(page, csv, decisions):
    before = page.locator(".bqplot path.line").first.get_attribute("d")
    press(page, "A_inter", exact=True)
    page.wait_for_function(f"document.body.innerText.includes('ROC curve of A_inter, AUC {metrics.auc(csv['inter'], csv['label']):.3f}')")
    settled(page, csv, "inter")
    assert page.locator(".bqplot path.line").first.get_attribute("d") != before
    for name, score in (("A_rec", "rec"), ("R_intra", "r_intra"), ("A_inter", "inter")):  # ranges that do not meet: the browser once sent back what it had cut
        press(page, name, exact=True)
        page.wait_for_function(f"document.body.innerText.includes('ROC curve of {name}, AUC')")
        assert settled(page, csv, score) == pytest.approx(decisions.at_false_alarms(score), rel=1e-3)


def test_the_keyboard_moves_the_threshold_and_everything_follows(page, csv):
    point = page.locator(".bqplot").nth(1).locator("path.dot").last
    press(page, "Youden")
    first, table_before, before = settled(page, csv, "inter"), shown(page), point.bounding_box()
    handle(page).focus()
    for _ in range(60): page.keyboard.press("PageDown")
    page.keyboard.press("ArrowLeft")
    t = settled(page, csv, "inter")
    assert t < first and shown(page) != table_before
    now = point.bounding_box()
    assert now != before and now["x"] >= before["x"] and now["y"] <= before["y"], "the point of the ROC curve goes up and to the right"
    rates = review.rates(table(csv, "inter", t))
    for name, values in rates.items(): assert [float(v) for v in re.findall(r"\d\.\d+", page.locator(f".rates .{name}").inner_text())] == pytest.approx(values, abs=5.1e-4)


def test_the_gallery_in_every_order(page, csv, decisions):
    t = threshold(page)
    for how in ("highest score first", "misses", "false alarms"):
        show(page, how)
        expected = [decisions.names[i] for i in decisions.order(how, "inter", t)]
        assert names(page) == expected[:24] and page.locator(".where").inner_text().endswith(f"of {len(expected)}")
    show(page, "most wrong first")
    worst = decisions.order("most wrong first", "inter", t)[0]
    tile = page.locator(".ddad-tile").first
    assert tile.inner_text() == markup.tile_name(decisions, worst, "inter", decisions.outcomes("inter", t)[worst])
    assert "data:image/png" in tile.evaluate("e => getComputedStyle(e).backgroundImage")


def test_an_image_with_everything_about_it(page, csv, run, root):
    show(page, "highest score first")
    name = next(n for n in names(page) if "abnormal" in n)
    i = csv["image"].index(name)
    click(page, page.locator(".ddad-tile", has_text=name))
    page.wait_for_selector(f"h2:has-text('{name}')")
    page.wait_for_selector("text=percentile among the 12 other normal test images (not trained on; not checked for copies in training)")
    captions = " ".join(page.locator(".panels figcaption").all_inner_texts())
    assert all(what in captions for what in ("UDM reconstruction", "NDM reconstruction", "A_rec", "A_intra", "A_inter", "R_intra", "R_dual"))
    assert page.locator(".panels .overlay").count() == 5
    pixels = page.evaluate("Promise.all([...document.querySelectorAll('.stack img')].map(i => i.decode().then(() => i.naturalWidth)))")
    assert set(pixels) == {32}
    for score in ("rec", "intra", "inter", "inter_top", "r_intra", "r_dual"):
        value, percentile = page.locator(f".scores .{score} td").all_inner_texts()
        assert float(value) == pytest.approx(csv[score][i], rel=1e-3) and float(percentile) == pytest.approx(100 * np.mean(csv[score][csv["label"] == 0] <= csv[score][i]), abs=0.51)


def test_the_keyboard_alone(page):
    "Tab reaches the slider and a tile; Enter opens it."
    page.get_by_label("Run").focus()
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("[document.activeElement.className, document.activeElement.innerText].join('|')"))
        if "ddad-tile" in reached[-1]: break
    assert any("noUi-handle" in r for r in reached) and any("Youden" in r for r in reached) and "ddad-tile" in reached[-1]
    page.keyboard.press("Tab")
    name = page.evaluate("document.activeElement.innerText").split(":")[0]
    page.keyboard.press("Enter")
    answered(page)
    page.wait_for_selector(f"h2:has-text('{name}')")


def address_of(page): return page.locator("a.view").get_attribute("href")


def test_the_filter_on_the_page(page, csv):
    show(page, "highest score first")
    page.get_by_label("Name has").fill("_0")
    page.keyboard.press("Enter")
    answered(page)
    page.wait_for_selector("text=20 of 24 images: 10 normal, 10 abnormal")
    inside = [i for i, n in enumerate(csv["image"]) if "_0" in n]
    part = {k: [v[i] for i in inside] if k == "image" else v[inside] for k, v in csv.items()}
    settled(page, part, "inter")
    assert page.locator("h2", has_text="ROC").inner_text().endswith(f"AUC {metrics.auc(part['inter'], part['label']):.3f}")
    assert len(names(page)) == 20 and page.locator(".bqplot").nth(2).locator("path.dot").count() == 20
    choose(page, "Class", "abnormal")
    page.wait_for_selector("h2:has-text('ROC curve and AUC: none, for all 10 images are abnormal')")
    assert page.locator(".rates .specificity").inner_text().endswith("no normal image") and page.get_by_label("Copy in training").is_hidden()
    press(page, "All images")
    page.wait_for_selector("text=24 of 24 images")
    settled(page, csv, "inter")


def test_the_selection_is_saved(page, csv):
    choose(page, "Class", "normal")
    page.wait_for_selector("text=12 of 24 images")
    press(page, "Images as CSV")
    with page.expect_download() as download: page.get_by_role("link", name="whole_12_images.csv").click()
    kept = read_csv(download.value.path(), text=True)
    assert download.value.suggested_filename == "whole_12_images.csv" and kept["image"] == csv["image"][:12] and [float(v) for v in kept["inter"]] == csv["inter"][:12].tolist()
    press(page, "All images")
    page.wait_for_selector("text=24 of 24 images")
    page.wait_for_selector("a.csv", state="detached")  # it was of another selection


def test_a_second_run_and_another_method(page, csv):
    choose(page, "Compare with", "twin")
    found = metrics.paired_bootstrap(metrics.auc, csv["inter"], -csv["inter"], csv["label"], n=1000)
    page.wait_for_selector(f"text={found['difference']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}], 95 % over 24 images")
    assert page.locator(".bqplot").nth(2).locator("text.axislabel").all_text_contents() == ["A_inter", "A_inter of twin"]
    show(page, "disagree most")
    assert set(names(page)[:2]) == {csv["image"][i] for i in (csv["inter"].argmin(), csv["inter"].argmax())}
    click(page, page.locator(".ddad-tile").nth(1))
    page.wait_for_selector(".pair .overlay")
    left, right = page.locator(".pair figcaption").all_inner_texts()
    assert left.split()[-2:] == right.split()[-2:] and "One scale for both" in page.locator(".ddad").inner_text()  # the ends of the colour bars
    choose(page, "Compare with", "PCA_seed0")
    page.wait_for_selector("text=PCA_seed0 is not a run of DDAD")
    page.wait_for_selector("text=score of PCA_seed0 has AUC")


def test_a_link_opens_the_view_again(page, csv):
    choose(page, "Compare with", "twin")
    choose(page, "Class", "abnormal")
    page.wait_for_selector("text=12 of 24 images")
    link, before = address_of(page), (threshold(page), names(page), page.locator(".about h2, h2:has-text('.png')").inner_text())
    assert "state=run=whole;score=inter;threshold=" in link and "second=twin" in link
    page.get_by_role("link", name="link to this view").click()
    opened(page)
    page.wait_for_selector("text=12 of 24 images")
    page.wait_for_selector(".pair .overlay")
    assert (threshold(page), names(page), page.locator("h2:has-text('.png')").inner_text()) == before and page.get_by_label("Compare with").input_value() == "twin"
    assert address_of(page) == link and page.url.endswith(link)
    press(page, "All images")
    choose(page, "Compare with", "nothing")
    page.wait_for_selector("text=24 of 24 images")


@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_is_wider_than_the_window(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(500)
    assert page.evaluate("[...document.querySelectorAll('*')].filter(e => !e.parentElement?.closest('.bqplot') && e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.className)") == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": 1280, "height": 1700})


def test_a_run_without_weights_and_one_that_is_damaged(page, csv):
    choose(page, "Run", "bare")
    page.wait_for_selector("text=No weights for reconstructions and maps: `make reproduce")
    settled(page, csv, "inter")  # as before: it has the same images
    assert page.get_by_role("button", name="A_inter, upper half").count() == 0
    click(page, page.locator(".ddad-tile").first)
    page.wait_for_selector("text=percentile among the 1")
    assert page.locator(".panels figure").count() == 1
    choose(page, "Run", "damaged")
    page.wait_for_selector("text=scores.csv cannot be used")
    assert page.get_by_label("Run").locator("option:checked").inner_text() == "bare"


def test_copies_in_training_are_flagged_and_found(page):
    choose(page, "Run", "BrainTumor_AE_seed0")
    page.wait_for_selector("text=1200 of 1200 images")
    choose(page, "Copy in training", "yes")
    page.wait_for_selector("text=645 of 1200 images: 560 normal, 85 abnormal; 645 with a copy in training")
    tile = page.locator(".ddad-tile").first
    assert tile.inner_text().endswith("has a copy in training") and "copy in training" in tile.evaluate("e => getComputedStyle(e, '::after').content")
    choose(page, "Copy in training", "no")
    page.wait_for_selector("text=555 of 1200 images: 40 normal, 515 abnormal; 0 with a copy in training")


def test_nothing_went_wrong_in_the_browser(page): assert page.errors == []
