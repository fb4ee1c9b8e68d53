"""Times `ddad-score` from files to lines: 128 x 128 JPEG files, A_inter, K = 2, decoding and hashing included.

    .venv/bin/python benchmarks/files.py

The networks have random weights, which are as fast as trained ones; the images are drawn once, in a temporary folder.
Writes benchmarks/files.md.
"""
import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ddad.core.record import commit, environment
from ddad.detect.estimator import DDAD, _assemble
from ddad.detect.files import Options, write_scores
from ddad.detect.scorer import Networks
from ddad.method.networks import make_network

HERE = Path(__file__).parent


def detector():
    "Two ensembles of two networks with random weights, and a threshold."
    torch.manual_seed(0)
    d = DDAD(k=2, device="cpu")
    udm, ndm = ([make_network("AE").eval() for _ in range(2)] for _ in range(2))
    held_out = np.random.default_rng(0).integers(0, 255, (40, 64, 64), dtype=np.uint8)
    return _assemble(d, Networks(udm, ndm, {}), "inter").calibrate(held_out)


def draw(folder, n):
    "JPEG files as a camera would give: smooth, with some noise."
    rng, grid = np.random.default_rng(0), np.hypot(*np.meshgrid(*[np.linspace(-1, 1, 128)] * 2))
    for i in range(n):
        image = 200 * (grid < rng.uniform(0.5, 0.9)) + rng.normal(0, 10, (128, 128))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{i:05}.jpg", quality=90)
    return sorted(folder.iterdir())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--images", type=int, default=2000)
    p.add_argument("--repeats", type=int, default=3)
    a = p.parse_args()
    machine, rates = environment(torch.device("cpu")), []
    with tempfile.TemporaryDirectory() as folder:
        files = draw(Path(folder), a.images)
        model = detector()
        for _ in range(a.repeats):
            out, start = io.StringIO(), time.perf_counter()
            bad = write_scores(model, files, out, Options())
            rates.append(len(files) / (time.perf_counter() - start))
            assert not bad and out.getvalue().count("\n") == len(files) + 1
    text = (f"{a.images} JPEG files of 128 x 128, A_inter, AE, K = 2, float32, from file to line: "
            f"{np.median(rates):.0f} images a second, the median of {a.repeats} ({min(rates):.0f} to "
            f"{max(rates):.0f}); {machine['cores']} cores, {machine['processor']}; commit {commit()[:8]}.\n")
    (HERE / "files.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
