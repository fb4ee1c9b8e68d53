"""Times the explorer in a real browser: from an input to the page painted anew.

    .venv/bin/python benchmarks/explore.py                # writes benchmarks/explore.md
    .venv/bin/python benchmarks/explore.py --screenshot   # draws figures/explore.png

2,000 test images of noise, 64 x 64, and two runs on them. A time ends when the page is painted; of it, `script` is what
the front end computes and changes, and the rest is the browser's, which waits for the next of 60 pictures a second. The
intervals of AUC are drawn after a pause, and timed on their own.
"""
import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from playwright.sync_api import sync_playwright

from ddad.core.page import render, sheet, write_html
from ddad.core.record import commit, environment
from ddad.core.storage import write_csv, write_json
from ddad.study.config import Config
from ddad.study.view import collect, explorer_page

REPO = Path(__file__).parents[1]
sys.path.insert(0, str(REPO / "tests"))
sys.path.insert(0, str(REPO / "book"))
from browsers import chromium  # noqa: E402

N = 2000
TIMED = """async ([act, times]) => {
  const find = label => document.querySelector(`[aria-label="${label}"]`), found = [];
  const set = (label, value) => { const e = find(label); e.value = value; e.dispatchEvent(new Event(e.tagName == "SELECT" ? "change" : "input")); };
  const slide = by => set("Threshold", Number(find("Threshold").value) + by);
  const run = new Function("set", "slide", "n", act);
  for (let n = 0; n < times; n++) {
    await new Promise(f => setTimeout(f, 400));
    const start = performance.now();
    run(set, slide, n);
    const script = performance.now();
    await new Promise(f => requestAnimationFrame(() => setTimeout(f)));
    found.push([script - start, performance.now() - start]);
  }
  return found;
}"""
ACTIONS = {  # what is done, as the page's own inputs; how often
    "the threshold": ("slide(n % 2 ? 3 : -7)", 40),
    "the threshold, beside a second run": (
        "if (!n) set('Compare with', 'second'); else slide(n % 2 ? 3 : -7)", 40),
    "the threshold, disagree most": ("if (!n) set('Order', 'disagree most'); else slide(n % 2 ? 3 : -7)", 40),
    "the threshold, with a filter that follows it": (
        "if (!n) set('Outcome', 'hit'); else slide(n % 2 ? 3 : -7)", 40),
    "a filter by class": ("if (!n) set('Outcome', ''); else set('Class', ['abnormal', 'normal', ''][n % 3])",
                          30),
    "a filter by name": ("if (!n) set('Class', ''); else set('Name has', ['1', '12', ''][n % 3])", 30),
    "another score": ("set('Score', ['rec', 'inter'][n % 2])", 20),
}


def make_page(path):
    "Two runs on images of noise; abnormal ones score higher."
    rng, names = np.random.default_rng(0), [f"image_{i:04d}.png" for i in range(N)]
    labels = np.repeat([0, 1], N // 2)
    for run in ("first", "second"):
        config = Config.of("Synthetic", backbone="AE-U", refined="none")
        columns = {s: (labels + rng.normal(size=N)).tolist() for s in ("rec", "intra", "inter")}
        about = {"image": names, "label": labels.tolist(), "kind": ["a", "b"] * (N // 2),
                 "group": (np.arange(N) // 2).tolist()}
        write_csv(path / run / "scores.csv", about | columns)
        write_json(path / run / "record.json", {"config": vars(config)})
    data = collect([path / "first", path / "second"])
    data["images"] = sheet(rng.integers(0, 256, (N, 64, 64), dtype=np.uint8), 20)
    return write_html(path / "page.html",
                      render("core/web/page.html", "Synthetic", data,
                             'page(document.querySelector("main"), DATA);', body=""))


def table(found, environment):
    machine = f"{environment['cores']} cores, {environment['processor']}, of which other work took a load of {os.getloadavg()[2]:.0f}"
    lines = [f"2,000 test images, two runs; {machine}; Chromium; commit {commit()[:8]}.", "",
             "| from an input to the page painted anew | fastest (ms) | median (ms) | slowest (ms) | of it script, median (ms) | times |", "|---|---|---|---|---|---|"]
    for name, times in found.items():
        script, painted = np.array(times).T
        lines.append(
            f"| {name} | {painted.min():.0f} | {np.median(painted):.0f} | {painted.max():.0f} | {np.median(script):.1f} | {len(times)} |")
    return "\n".join(lines) + "\n"


def benchmark():
    with tempfile.TemporaryDirectory() as tmp, sync_playwright() as p:
        page = chromium(p)
        page.goto(f"file://{make_page(Path(tmp))}")
        page.wait_for_selector(".tile canvas")
        found = {name: page.evaluate(TIMED, list(act))[1:] for name, act in ACTIONS.items()}
        drawn = page.evaluate("""async () => {
          const e = document.querySelector('[aria-label="Class"]'), told = document.querySelector(".choices [role=status]"), start = performance.now();
          e.dispatchEvent(new Event("change"));
          const before = performance.now();
          e.value = "";
          document.querySelector('[aria-label="Kind"]').value = "a";
          document.querySelector('[aria-label="Kind"]').dispatchEvent(new Event("change"));
          while (!told.textContent.includes("95 %")) await new Promise(f => setTimeout(f, 1));
          return [[before - start, performance.now() - start]];
        }""")
        found["both intervals and that of the difference, the pause of 120 ms with them"] = drawn
        text = table(found, environment(torch.device("cpu")))
    (REPO / "benchmarks/explore.md").write_text(text)
    print(text)


def screenshot(path, width, height):
    from stage import EXPLORED
    with tempfile.TemporaryDirectory() as tmp, sync_playwright() as p:
        page = chromium(p, width, height)
        made = write_html(Path(tmp) / "page.html",
                          explorer_page([REPO / "figures" / place for place in EXPLORED]))
        page.goto(
            f"file://{made}#run=Kermany_AE-U_seed0_quick&score=inter&second=Kermany_Thumbnail-D-n-against-D-u_seed0")
        page.wait_for_selector(".over canvas")
        page.wait_for_selector("text=95 % over")
        page.screenshot(path=path)
    palette = dict(colors=256, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    Image.open(path).convert("RGB").quantize(**palette).save(path, optimize=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--screenshot", nargs="?", const=REPO / "figures/explore.png", type=Path,
                   help="draw the page instead, into this file")
    p.add_argument("--width", type=int, default=1280)
    p.add_argument("--height", type=int, default=1822)
    a = p.parse_args()
    if a.screenshot: screenshot(a.screenshot, a.width, a.height)
    else: benchmark()


if __name__ == "__main__": main()
