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
    record = {"benchmark": config.benchmark, "backbone": config.backbone, "images": len(images),
              "commit": commit(), **environment(torch.device("cpu")), "scores": {}}
    for score in SCORES:
        refiners = {"r_dual": asr} if score == "r_dual" else {}
        ways = {"one by one, float32": lambda x, score=score: one_by_one(x, udm, ndm, asr, score)}
        for precision in ("float32", "bfloat16"):
            detector = _assemble(DDAD(device="cpu", score_precision=precision), Networks(udm, ndm, refiners),
                                 score)
            ways[f"the detector, {precision}"] = lambda x, d=detector: d.anomaly_score(x)
        found = {way: timed(f, images) for way, f in ways.items()}
        exact = found["one by one, float32"][1]
        record["scores"][score] = {
            way: {"images_per_second": round(rate, 1), "auc": metrics.auc(s, labels),
                  "rank_correlation": float(spearmanr(s, exact)[0]),
                  "relative_difference": float(np.linalg.norm(s - exact) / np.linalg.norm(exact))}
            for way, (rate, s) in found.items()}
    text = report(record)
    (HERE / "scoring.md").write_text(text, encoding="utf-8")
    print(text)


def report(r):
    lines = [
        f"{r['benchmark']}, {r['backbone']}, K = 3, {r['images']} images of 64 x 64 in memory; {r['cores']} cores, {r['processor']}; commit {r['commit'][:8]}.", ""]
    lines += [
        "| score | way | images a second | against one by one | AUC | relative difference of the scores | rank correlation |", "|---|---|---|---|---|---|---|"]
    for score, ways in r["scores"].items():
        slow = next(iter(ways.values()))["images_per_second"]
        for way, v in ways.items():
            lines.append(
                f"| {SCORES[score]} | {way} | {v['images_per_second']:.0f} | {v['images_per_second'] / slow:.1f} x | {v['auc']:.4f} | {v['relative_difference']:.1e} | {v['rank_correlation']:.5f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
