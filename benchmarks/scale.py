"""How time and memory grow with the number of images: loading, an epoch of training, and scoring, on synthetic benchmarks of up to 30,000 images (RSNA has 26,684).

    .venv/bin/python benchmarks/scale.py                     # 10 minutes on two cores, 1 GB of disk for the time
    .venv/bin/python benchmarks/scale.py --sizes 1000 3000
    .venv/bin/python benchmarks/scale.py --draw              # the picture alone, from scale.json

Each size is measured in a process of its own. Half of the images are known normal, a quarter unlabeled, a quarter test images; each is a picture of 256 x 256 pixels. Memory is the process's peak above what it has after its imports.
Writes benchmarks/scale.json, benchmarks/scale.md and figures/scale.png.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.ticker import FixedLocator, NullLocator
from PIL import Image

from ddad import load_benchmark, plots
from ddad.core.machine import pick_precision
from ddad.core.record import Stages, _processor, _resident, commit
from ddad.core.storage import write_json, written
from ddad.core.training import Schedule, fit, image_batches, seeded
from ddad.datasets.layout import as_repartition
from ddad.method import networks, refine
from ddad.method.ensemble import _reconstruction_loss
from ddad.study.notebooks import MALLOC

HERE = Path(__file__).parent
STAGES = {"load": "decode and load", "cached": "load again, from the cache",
          "train": "an epoch of one network, half of the images",
          "refine": "an epoch of one ASR-Net, half of the images",
          "score": "score all: A_inter of 4 networks"}
PIXELS = 64 * 64
# bytes a pixel and image: three copies in uint8; ASR-Net keeps two maps of half of the images in float32, twice
BOUND = {"load": 3, "cached": 3, "train": 3, "refine": 3 + 2 * 2 * 4 / 2, "score": 3}
CONSTANT = 600e6  # bytes: a batch's activations, the maps of 1024 images, the optimizer


def picture(seed):
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8))
    return coarse.resize((256, 256), Image.Resampling.BICUBIC)


def write_some(folder, names, first):
    for i, name in enumerate(names): picture(first + i).save(folder / name, compress_level=1)


def make(root, n):
    "The benchmark `Many` of n images."
    shares = {"normal": n // 2, "unlabeled_normal": n // 8, "unlabeled_abnormal": n // 8,
              "test_normal": n // 8}
    shares["test_abnormal"] = n - sum(shares.values())
    lists = {split: [f"{split}_{i:06}.png" for i in range(count)] for split, count in shares.items()}
    (folder := root / "Many/images").mkdir(parents=True)
    names = [name for split in lists.values() for name in split]
    with ProcessPoolExecutor() as pool:
        for job in [pool.submit(write_some, folder, names[i:i + 500], i) for i in range(0, n, 500)]:
            job.result()
    write_json(folder.parent / "data.json", as_repartition(lists))


def measure(root):
    "Seconds and bytes of each stage in this process."
    torch.set_num_threads(os.cpu_count())
    make_network = lambda i: seeded(lambda: networks.make_network("AE"), 0, i)
    nets = [make_network(i).eval() for i in range(4)]
    precision, base, found = pick_precision("auto", torch.device("cpu")), _resident(), {}

    def stage(name, work):
        stages = Stages()
        with stages(name): result = work()
        found[name] = {"seconds": stages.record[name]["seconds"],
                       "bytes": 1e6 * (stages.record[name]["peak_memory_mb"] - base)}
        return result
    images = stage("load", lambda: load_benchmark(root, "Many", progress=False))
    del images
    images = stage("cached", lambda: load_benchmark(root, "Many", progress=False))
    torch.set_num_threads(1)  # as in training: one network a core
    stage(
        "train", lambda: fit(make_network(9), image_batches(images.normal, 64, 0), _reconstruction_loss,
                             root / "net.safetensors", Schedule(1, 5e-4, precision=precision)))
    stage(
        "refine", lambda: fit(networks.ASRNet(),
                              refine._map_batches(images.normal, nets[:2], nets[2:], ("inter", "intra"), 8,
                                                  (0,)),
                              refine._refinement_loss, root / "asr.safetensors",
                              Schedule(1, 1e-4, precision=precision)))
    torch.set_num_threads(os.cpu_count())
    stage(
        "score", lambda: [refine.score_images(x, nets[:2], nets[2:])
                          for x in (images.normal, images.unlabeled_normal, images.unlabeled_abnormal,
                                    images.test)])
    return found


COLORS = dict(zip(STAGES, ("#7f7f7f", "#c5a880", plots.MODULE_COLORS["udm"], plots.SCORE_COLORS["r_dual"],
                           plots.SCORE_COLORS["inter"])))


@plots.styled
def draw(sizes):
    fig, axes = plots.panels(1, 2, plots.PAGE, 2.6)
    n = np.array([s["images"] for s in sizes])
    for name in STAGES:
        seconds, mb = (np.array([s["stages"][name][what] for s in sizes]) / unit
                       for what, unit in (("seconds", 1), ("bytes", 1e6)))
        for ax, values in zip(axes, (seconds, mb)): ax.plot(n, values, "o-", color=COLORS[name])
    for stage, gray in (("score", "0.6"), ("refine", "0.2")):
        axes[1].plot(n, (BOUND[stage] * PIXELS * n + CONSTANT) / 1e6, ":", color=gray)
    for ax, what in zip(axes, ("seconds", "peak memory (MB)")):
        ax.set(xlabel="images", ylabel=what, xscale="log", yscale="log")
        ax.xaxis.set_major_locator(FixedLocator(n))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.yaxis.set_major_formatter("{x:,g}")
    marks = [plt.Line2D([], [], marker="o", color=COLORS[name], label=label)
             for name, label in STAGES.items()]
    marks += [plt.Line2D([], [], linestyle=":", color=gray, label=label)
              for gray, label in (("0.6", "bound of memory"), ("0.2", "bound of memory, ASR-Net"))]
    plots.legend_below(fig, marks, 3)
    plots.save(fig, HERE.parent / "figures/scale")


def table(record):
    sizes = record["sizes"]
    head = ["", *(f"{s['images']:,} images" for s in sizes),
            f"a thousand images, at {sizes[-1]['images']:,} / at {sizes[0]['images']:,}"]
    def row(label, what, unit, form):
        values = [s["stages"][what][unit] for s in sizes]
        shown = [f"{v:.1f} s" if unit == "seconds" else f"{v / 1e6:.0f} MB" for v in values]
        rates = [1000 * v / s["images"] for v, s in zip(values, sizes)]
        return [f"{label}, {form}", *shown,
                f"{rates[-1]:.2f} s / {rates[0]:.2f} s" if unit == "seconds" else f"bound: {(BOUND[what] * PIXELS * sizes[-1]['images'] + CONSTANT) / 1e6:.0f} MB"]
    rows = [row(label, name, unit, form) for name, label in STAGES.items()
            for unit, form in (("seconds", "time"), ("bytes", "memory"))]
    lines = [head, ["---"] * len(head), *rows]
    return (
        f"Images of 64 x 64 from files of 256 x 256, AE; {record['cores']} cores, {record['processor']}; commit {record['commit'][:8]}.\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)
            + f"\n\nMemory above the imports is at most {CONSTANT / 1e6:.0f} MB and 3 bytes a pixel and image (12 KB an image at 64 x 64), {BOUND['refine']:g} bytes (45 KB) while an ASR-Net of two maps trains.\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10_000, 30_000])
    p.add_argument("--measure", help=argparse.SUPPRESS)
    p.add_argument("--draw", action="store_true", help="only redraw the picture of what was measured")
    a = p.parse_args()
    if a.draw: return draw(json.loads((HERE / "scale.json").read_text())["sizes"])
    if a.measure: return print(json.dumps(measure(Path(a.measure))))
    record = {"sizes": [], "cores": os.cpu_count(), "processor": _processor(), "commit": commit(),
              "torch": torch.__version__, "bound": BOUND, "constant": CONSTANT}
    for n in a.sizes:
        with tempfile.TemporaryDirectory() as tmp:
            start = time.time()
            make(Path(tmp), n)
            print(f"{n} images made in {time.time() - start:.0f} s", file=sys.stderr)
            env = {**os.environ, **MALLOC, "DDAD_CACHE": f"{tmp}/cache"}
            done = subprocess.run([sys.executable, __file__, "--measure", tmp], env=env,
                                  capture_output=True, text=True, check=True)
            record["sizes"].append({"images": n, "stages": json.loads(done.stdout.splitlines()[-1])})
            print(record["sizes"][-1], file=sys.stderr)
    write_json(HERE / "scale.json", record)
    with written(HERE / "scale.md") as part: part.write_text(table(record))
    draw(record["sizes"])
    print(table(record))


if __name__ == "__main__": main()
