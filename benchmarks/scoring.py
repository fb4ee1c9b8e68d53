"""Times the scoring of decoded images: one by one in float32 as one would first write it, and by the detector.

    .venv/bin/python benchmarks/scoring.py --benchmark Phantom          # after `make reproduce`, whose weights it takes
    .venv/bin/python benchmarks/scoring.py --benchmark BrainTumor --data ~/Med-AD

Both ways have the same trained networks and the same images in memory. Also compares the scores: how far float32 and bfloat16 differ, and what that does to the AUC.
Writes benchmarks/scoring.md.
"""
import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from ddad.core.checkpoints import load_weights
from ddad.core.images import to_float
from ddad.core.record import commit, environment
from ddad.core.storage import markdown
from ddad.datasets.registry import PHANTOM
from ddad.detect.estimator import DDAD, _assemble
from ddad.detect.scorer import Networks
from ddad.method import metrics, networks, scores
from ddad.method.recipe import MODULES
from ddad.study.config import Config
from ddad.study.run import open_data, weights_places

HERE = Path(__file__).parent
SCORES = {"inter": "A_inter: six networks", "r_dual": "R_dual: six networks and ASR-Net"}


def trained(config, store):
    "UDM, NDM and the ASR-Net of R_dual from the graph's store."
    files = lambda what, names: [weights_places(config, "", store)[what] / f"{n}.safetensors" for n in names]
    members = {m: files(m, [f"{m}_{i}" for i in range(1, config.k + 1)]) for m in MODULES}
    asr = files("r_dual", ["r_dual"])[0]
    if missing := [p for p in (*members["udm"], *members["ndm"], asr) if not p.is_file()]:
        sys.exit(
            f"There are no weights {missing[0]}: run make reproduce BENCHMARK={config.benchmark} first, or name another --store.")
    udm, ndm = ([load_weights(networks.make_network(config.backbone), p) for p in members[m]]
                for m in MODULES)
    return udm, ndm, load_weights(networks.ASRNet(), asr)


def one_by_one(images, udm, ndm, asr, score):
    "What one would write first: the score of each image in turn."
    found = []
    with torch.no_grad():
        for image in images:
            x = to_float(image[None])
            maps = scores.anomaly_maps(x, *(torch.stack([net(x) for net in nets]) for nets in (udm, ndm)))
            if score == "r_dual":
                maps["r_dual"] = asr(torch.cat([maps["inter"], maps["intra"]], 1)).softmax(1)[:, 1:]
            found.append(maps[score].mean().item())
    return np.array(found)


def timed(function, images, repeats=3):
    "Images a second, the median of some repeats after one to warm up, and the scores."
    found, seconds = function(images[:128]), []
    for _ in range(repeats):
        start = time.perf_counter()
        found = function(images)
        seconds.append(time.perf_counter() - start)
    return len(images) / float(np.median(seconds)), found


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--benchmark", default=PHANTOM)
    p.add_argument("--data", default=None)
    p.add_argument("--store", default="runs", help="where the graph keeps weights (default: runs)")
    a = p.parse_args()
    config = Config.of(a.benchmark, device="cpu")
    udm, ndm, asr = trained(config, a.store)
    b = open_data(config, a.data)
    images, labels = b.test, b.labels.numpy()
    machine, rows = environment(torch.device("cpu")), []
    for score in SCORES:
        refiners = {"r_dual": asr} if score == "r_dual" else {}
        ways = {"one by one, float32": lambda x, score=score: one_by_one(x, udm, ndm, asr, score)}
        for precision in ("float32", "bfloat16"):
            detector = _assemble(DDAD(device="cpu", score_precision=precision), Networks(udm, ndm, refiners),
                                 score)
            ways[f"the detector, {precision}"] = lambda x, d=detector: d.anomaly_score(x)
        found = {way: timed(f, images) for way, f in ways.items()}
        slow, exact = found["one by one, float32"]
        rows += [{"score": SCORES[score], "way": way, "images a second": f"{rate:.0f}",
                  "against one by one": f"{rate / slow:.1f} x", "AUC": f"{metrics.auc(s, labels):.4f}",
                  "relative difference of the scores": f"{np.linalg.norm(s - exact) / np.linalg.norm(exact):.1e}",
                  "rank correlation": f"{spearmanr(s, exact)[0]:.5f}"} for way, (rate, s) in found.items()]
    text = (f"{config.benchmark}, {config.backbone}, K = 3, {len(images)} images of 64 x 64 in memory; "
            f"{machine['cores']} cores, {machine['processor']}; commit {commit()[:8]}.\n\n{markdown(rows)}\n")
    (HERE / "scoring.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
