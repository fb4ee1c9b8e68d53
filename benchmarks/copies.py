"""How well copies are told from other images: half of the patients set the bar, the other half is judged by it.

    python benchmarks/copies.py DATA    # a Med-AD folder with NIH, Kermany, RSNAPart, LGG and ODIR; writes benchmarks/copies.md
"""
import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ddad.core.images import read_image
from ddad.core.record import now
from ddad.core.storage import markdown, read_csv
from ddad.datasets.copies import PLANTED, compare, plant, set_bar, small
from ddad.datasets.layout import benchmark_folder, list_names

HALVINGS, PLANTS = 10, 100


def read(root, name):
    folder = benchmark_folder(root, name)
    names = [n for names in list_names(folder).values() for n in names]
    table = read_csv(folder / "labels.csv", text=True)
    patients = dict(zip(table["image"], table["patient"]))
    return [read_image(folder / "images" / n, None) for n in names], np.array([patients[n] for n in names])


def halve(images, grays, patients, seed):
    "The bar that one half of the patients sets, and how many of 1,000 images of the other half it joins wrongly."
    rng = np.random.default_rng(seed)
    everyone = rng.permutation(np.unique(patients))
    setting = np.isin(patients, everyone[:len(everyone) // 2])
    compared = [compare(images[torch.from_numpy(half)], patients[half]) for half in (setting, ~setting)]
    chosen = rng.choice(np.flatnonzero(setting), min(PLANTS, setting.sum()), replace=False)
    bar = set_bar(compared[0], plant([grays[i] for i in chosen]), "patients")
    wrong = np.nanmean(compared[1].unlike >= bar.value) if bar.tells else 0.0
    return {"bar": bar.value, "wrong": 1000 * wrong, "recall": np.mean([bar.recall[w] for w in PLANTED]),
            "tells": bar.tells}


def judge(root, name):
    grays, patients = read(root, name)
    images = torch.stack([small(g) for g in grays])
    found = [halve(images, grays, patients, seed) for seed in tqdm(range(HALVINGS), desc=name)]
    row = {"benchmark": name, "images": len(grays), "patients": len(set(patients))}
    if not all(f["tells"] for f in found): return row | {"copies told from others": "no"}
    bars, wrong = [f["bar"] for f in found], [f["wrong"] for f in found]
    return row | {"copies told from others": "yes", "bar": f"{min(bars):.2f} to {max(bars):.2f}",
                  "planted copies found": f"{np.mean([f['recall'] for f in found]):.1%}",
                  "joined wrongly, of 1,000: mean": f"{np.mean(wrong):.2f}",
                  "worst half": f"{max(wrong):.2f}"}


def clock(n):
    images = torch.randint(0, 256, (n, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    start = time.perf_counter()
    compare(images, np.arange(n) % 2)
    return {"images": n, "seconds": round(time.perf_counter() - start)}


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("data", type=Path)
    root = p.parse_args().data
    rows = [judge(root, name) for name in ("NIH", "Kermany", "RSNAPart", "LGG", "ODIR")]
    rows = [{column: row.get(column) for column in rows[0]} for row in rows]
    text = f"""# Copies told from other images

{HALVINGS} times, half of the patients of a benchmark set the bar and the other half was judged by it: how many of 1,000
images are joined with an image of another patient? Planted copies are those of the chapter *Copies*.

{markdown(rows)}

Comparing each image with each other one, on {os.cpu_count()} cores with {torch.get_num_threads()} threads:

{markdown([clock(n) for n in (1500, 3000, 6000)])}

Made by `python benchmarks/copies.py DATA`, {now()[:10]}.
"""
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
