"""Does training in bfloat16 move the scores? The NDM of Brain Tumor MRI (or another benchmark), trained in both precisions from the same seeds.

    .venv/bin/python benchmarks/precision.py --data ~/Med-AD --epochs 250 --seeds 0

Writes benchmarks/precision.json and benchmarks/precision.md: the AUC of each network alone, of A_rec and of A_intra. Scores are computed in float32 in both cases.
"""
import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from ddad import data, ensemble, experiment, metrics, scores

HERE = Path(__file__).parent
PRECISIONS = ("float32", "bfloat16")


def evaluate(b, k, epochs, seed, precision):
    "AUC of rec_1 ... rec_K, rec and intra."
    with tempfile.TemporaryDirectory() as tmp:
        modules, _ = ensemble.train_modules({"ndm": b.normal}, tmp, k=k, epochs=epochs, seed=seed, device="cpu", precision=precision)
    return {name: metrics.auc(scores.image_scores(m), b.labels) for name, m in scores.predict_maps(b.test, [], modules["ndm"]).items()}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data")
    p.add_argument("--benchmark", default="BrainTumor")
    p.add_argument("--epochs", type=int, default=250)
    p.add_argument("--k", type=int, default=3)
    p.add_argument("--seeds", type=int, nargs="+", default=[0])
    a = p.parse_args()
    b = data.load_benchmark(experiment.check_data(experiment.Config.of(a.benchmark), a.data), a.benchmark)
    runs = [{"seed": seed, "precision": precision, "auc": evaluate(b, a.k, a.epochs, seed, precision)} for seed in a.seeds for precision in PRECISIONS]
    report = {"benchmark": a.benchmark, "epochs": a.epochs, "k": a.k, "data_hash": b.hash, "commit": experiment.commit(), **experiment.environment(torch.device("cpu")), "runs": runs}
    experiment.write_json(HERE / "precision.json", report)
    (HERE / "precision.md").write_text(table(report))
    print(table(report))


def table(report):
    runs, names = report["runs"], list(report["runs"][0]["auc"])
    lines = [f"AUC on {report['benchmark']}, NDM of {report['k']} AE networks, {report['epochs']} epochs; commit {report['commit'][:8]}.", "",
             "| seed | trained in | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    lines += [f"| {r['seed']} | {r['precision']} | " + " | ".join(f"{r['auc'][n]:.3f}" for n in names) + " |" for r in runs]
    alone = {p: [r["auc"][n] for r in runs if r["precision"] == p for n in names if n.startswith("rec_")] for p in PRECISIONS}
    lines += ["", "Networks alone, mean ± std: " + "; ".join(f"{p} {np.mean(v):.3f} ± {np.std(v, ddof=1):.3f}" for p, v in alone.items()) + "."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__": main()
