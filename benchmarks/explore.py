"""Times the explorer in a real browser: from a key press to the page painted anew, and from a choice to the run opened.

    .venv/bin/python benchmarks/explore.py                # writes benchmarks/explore.md
    .venv/bin/python benchmarks/explore.py --screenshot   # draws figures/explore.png, with weights in runs/

The runs are synthetic: 2,000 test images of noise, 64 x 64, three networks a module trained for one epoch; the second
run has the same networks and other scores. A time ends when the last change that an action makes to the page has been
painted; the interval of a difference of AUC is drawn in a thread beside and timed on its own.
"""
import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from playwright.sync_api import sync_playwright

from ddad.core.record import commit, environment
from ddad.core.storage import read_csv, write_csv

REPO = Path(__file__).parents[1]
sys.path.insert(0, str(REPO / "tests"))
import test_explore

SPLITS = {"normal": 64, "unlabeled_normal": 40, "unlabeled_abnormal": 60, "test_normal": 1000, "test_abnormal": 1000}
WATCH = """() => {
  let start = 0, last = 0, queued = false;
  window.watched = 'body';
  const painted = () => {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => setTimeout(() => { queued = false; last = performance.now() }));
  };
  const seen = change => change.target.closest && change.target.closest(window.watched);
  new MutationObserver(changes => { if (changes.some(seen)) painted() })
    .observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true});
  const begin = () => { start = performance.now(); last = 0 };
  for (const e of ['keydown', 'click', 'change']) document.addEventListener(e, begin, true);
  window.elapsed = () => last - start;
}"""
PAINTED = """new Promise(f => requestAnimationFrame(() => setTimeout(() => f(performance.now()))))
  .then(now => now - window.changed)"""
OTHERS = ("A_inter", "A_intra", "R_intra", "R_dual", "A_rec")


def make_benchmark(root):
    "Noise; an abnormal image has a dark square."
    rng, folder, names = np.random.default_rng(0), root / "Synthetic", {}
    (folder / "images").mkdir(parents=True)
    for split, n in SPLITS.items():
        names[split] = [f"{split}_{i:04d}.png" for i in range(n)]
        for name in names[split]:
            image = rng.normal(90, 20, (64, 64))
            if "abnormal" in split: image[20:30, 20:30] -= rng.uniform(0, 80)
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / "images" / name)
    unlabeled = {"0": names["unlabeled_normal"], "1": names["unlabeled_abnormal"]}
    tree = {"train": {"0": names["normal"], "unlabeled": unlabeled},
            "test": {"0": names["test_normal"], "1": names["test_abnormal"]}}
    (folder / "data.json").write_text(json.dumps(tree))


def vary(path):
    "Scores that differ a little."
    rng, columns = np.random.default_rng(1), read_csv(path)
    scores = {k: (np.array(v) * rng.normal(1, 0.05, len(v))).tolist() for k, v in columns.items() if k not in ("image", "label")}
    write_csv(path, {k: columns[k] for k in ("image", "label")} | scores)


def timed(page, action, quiet=500, watched="body"):
    "Milliseconds from the event that `action` makes to the paint after the last change of what is `watched`."
    page.evaluate("watched => { window.watched = watched }", watched)
    action()
    page.wait_for_timeout(quiet)
    return page.evaluate("elapsed()")


def measure(page, address, presses):
    "Milliseconds of each action, by its name."
    found = {}
    start = page.evaluate("performance.now()")
    page.goto(address)
    page.wait_for_selector(".confusion", timeout=60_000)
    found["the page from nothing: server's kernel, imports, first run"] = [page.evaluate("performance.now()") - start]
    test_explore.opened(page)
    page.wait_for_timeout(2000)
    page.evaluate(WATCH)
    def button(name): return page.get_by_role("button", name=name, exact=True)
    def tile(i): return page.locator(".ddad-tile").nth(i)
    button("A_rec").click()
    def moves(order):
        test_explore.show(page, order)
        button("Youden").click()
        page.wait_for_timeout(500)
        test_explore.handle(page).focus()
        return [timed(page, lambda: page.keyboard.press("ArrowLeft")) for _ in range(presses)]
    for order in ("highest score first", "most wrong first"): found[f"a threshold move by key, {order}"] = moves(order)
    found |= measure_second(page, moves)
    found["another score"] = [timed(page, button(name).click) for name in OTHERS]
    found["a page of the gallery"] = [timed(page, page.get_by_role("button", name="next").click) for _ in range(5)]
    pictures = ".panels, .widget-html:has(.panels)"
    found["an image, its maps not yet computed"] = [timed(page, tile(3).click, 3000, pictures)]
    page.wait_for_timeout(3000)
    found["an image of the same page"] = [timed(page, tile(i).click) for i in (5, 7, 9, 11, 13)]
    return found | measure_opening(page)


def measure_second(page, moves):
    "The same beside a second run, and with a filter."
    def choose(label, value): return lambda: page.get_by_label(label).select_option(value)
    found, told = {}, ".ddad-choices"
    parts = "body *:not(.ddad-choices *)"
    found["a second run: scores, curves, gallery"] = [timed(page, choose("Compare with", "second"), 3000, parts)]
    choose("Compare with", "nothing")()
    page.wait_for_timeout(1000)
    found["a second run: the interval of the difference"] = [timed(page, choose("Compare with", "second"), 5000, told)]
    for order in ("most wrong first", "disagree most"):
        found[f"a threshold move by key beside a second run, {order}"] = moves(order)
    values = ("abnormal", "normal", "any") * 2
    found["another filter"] = [timed(page, choose("Class", value), 2000, parts) for value in values]
    choose("Outcome", "hit")()
    page.wait_for_timeout(2000)
    found["a threshold move by key that the filter follows"] = moves("most wrong first")
    page.get_by_role("button", name="All images").click()
    choose("Compare with", "nothing")()
    page.wait_for_timeout(2000)
    return found


def measure_opening(page):
    "The same of another run that is chosen."
    numbers, pictures = [], []
    for name in ("second", "first") * 2:
        page.get_by_label("Run").select_option(name)
        page.wait_for_function("document.querySelector('[role=status]').innerText.includes('Reading')")
        numbers.append(page.evaluate(PAINTED))
        test_explore.opened(page)
        page.wait_for_timeout(500)
        pictures.append(page.evaluate("elapsed()"))
    found = {"numbers and curves": numbers, "pictures and weights too": pictures}
    return {f"opening another run: {what}": times for what, times in found.items()}


def table(found, environment):
    machine = f"{environment['cores']} cores, {environment['processor']}"
    lines = [f"2,000 test images; {machine}; Chromium; commit {commit()[:8]}.", "",
             "| from the event to the page painted anew | median (ms) | slowest (ms) | times |", "|---|---|---|---|"]
    lines += [f"| {name} | {np.median(v):.0f} | {max(v):.0f} | {len(v)} |" for name, v in found.items()]
    return "\n".join(lines) + "\n"


def benchmark(presses):
    with tempfile.TemporaryDirectory() as tmp, sync_playwright() as p:
        root = Path(tmp)
        os.environ["DDAD_CACHE"] = str(root / "cache")
        make_benchmark(root)
        settings = dict(benchmark="Synthetic", k=3, epochs=1, refine_epochs=1, n_unlabeled=100, image_size=64)
        shutil.copytree(test_explore.make_run(root / "runs/first", root, settings), root / "runs/second")
        vary(root / "runs/second/scores.csv")
        with test_explore.served(DDAD_RUN=str(root / "runs/first"), DDAD_DATA=str(root)) as address:
            page = test_explore.chromium(p)
            page.add_init_script("addEventListener('change', () => { window.changed = performance.now() }, true)")
            text = table(measure(page, address, presses), environment(torch.device("cpu")))
    (REPO / "benchmarks/explore.md").write_text(text)
    print(text)


def screenshot(path, width=1280, height=1740):
    with test_explore.served(DDAD_RUN=str(REPO / "figures/runs/Kermany_AE-U_seed0_epochs30")) as address, sync_playwright() as p:
        page = test_explore.chromium(p, width, height)
        page.goto(address, timeout=300_000)  # the first page imports torch
        test_explore.opened(page)
        page.get_by_role("button", name="A_inter", exact=True).click()
        page.wait_for_timeout(500)
        page.get_by_role("button", name="Youden").click()
        test_explore.show(page, "most wrong first")
        page.get_by_label("Compare with").select_option("AE-U_seed1_epochs30")
        page.get_by_label("Show").select_option("most wrong first")
        page.locator(".ddad-tile").nth(1).click()
        page.wait_for_selector(".pair .overlay", timeout=120_000)
        page.wait_for_selector("text=AUC 0.", timeout=120_000)
        page.mouse.move(0, 0)
        page.wait_for_timeout(1000)
        page.screenshot(path=path)
    palette = dict(colors=256, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    Image.open(path).convert("RGB").quantize(**palette).save(path, optimize=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--presses", type=int, default=30, help="threshold moves to time in each order of the gallery")
    p.add_argument("--screenshot", nargs="?", const=REPO / "figures/explore.png", type=Path,
                   help="draw the page instead, into this file")
    p.add_argument("--width", type=int, default=1280)
    p.add_argument("--height", type=int, default=1740)
    a = p.parse_args()
    if a.screenshot: screenshot(a.screenshot, a.width, a.height)
    else: benchmark(a.presses)


if __name__ == "__main__": main()
