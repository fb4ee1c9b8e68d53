"""Does training in bfloat16 move the scores? Float32 twins of networks of a committed run.

    .venv/bin/python benchmarks/precision.py figures/runs/BrainTumor_AE_seed0 --data ~/Med-AD --members 1

Each NDM network named is trained anew from the same seed, on the same images in the same order, in float32. Its A_rec AUC stands beside that of its twin in the committed run; the
spread of all networks of the committed runs of that benchmark and backbone is the seed noise to hold the difference against. Unfinished twins are resumed (runs/precision/).
Writes benchmarks/precision.json and benchmarks/precision.md.
"""
import argparse
import json
import re
from pathlib import Path

import numpy as np
import torch

from ddad.core.images import to_float
from ddad.core.record import commit, environment
from ddad.core.storage import write_json
from ddad.core.training import Schedule, fit, image_batches, seeded
from ddad.method import metrics, networks, scores
from ddad.method.ensemble import reconstruct
from ddad.method.recipe import module_key
from ddad.study import results
from ddad.study.config import Config
from ddad.study.run import open_data

HERE = Path(__file__).parent


def twin(b, config, i, folder):
    "AUC of A_rec of NDM network i, trained in float32 on one thread."
    member, device = (config.seed, "ndm", i), torch.device("cpu")
    torch.set_num_threads(1)
    net = seeded(lambda: networks.make_network(config.backbone, config.latent, config.width, config.image_size), *member)
    fit(net, image_batches(b.normal, config.batch_size, *member), lambda net, x: net.loss(x), folder / f"{config.name}_ndm_{i}.safetensors",
        Schedule(config.epochs, config.lr), device=device, key=module_key(config, "ndm", b.normal, config.seed))
    recon, var = reconstruct([net], b.test)
    return metrics.auc(scores.image_scores(scores.member_maps(to_float(b.test), recon, var))[0], b.labels)


def committed_networks(config, runs):
    "AUC of each network alone in the committed runs of this configuration, all seeds."
    found = results.select(results.read_runs(runs), benchmark=config.benchmark, backbone=config.backbone)
    return [r["auc"] for run in found for r in run.record["results"] if re.fullmatch(r"rec_\d+", r["score"])]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", type=Path, help="a committed run's folder")
    p.add_argument("--data", help="the Med-AD folder")
    p.add_argument("--members", type=int, nargs="*", default=[1], help="the networks to train a twin of; none: only the table anew")
    a = p.parse_args()
    record = json.loads((a.run / "record.json").read_text())
    config = Config.of(**record["config"] | {"precision": "float32"})
    report = {"run": a.run.name} if a.members else json.loads((HERE / "precision.json").read_text())
    report["committed_networks"] = committed_networks(config, a.run.parent)
    if a.members:
        b = open_data(config, a.data)
        if b.hash != record["data_hash"]: raise SystemExit(f"{a.data} holds other images than {a.run} was made from.")
        folder = Path("runs/precision")
        folder.mkdir(parents=True, exist_ok=True)
        committed = {r["score"]: r["auc"] for r in record["results"]}
        twins = [{"member": i, "float32": twin(b, config, i, folder), record["precision"]: committed[f"rec_{i}"]} for i in a.members]
        report |= {"commit": commit(), **environment(torch.device("cpu")), "config": record["config"], "data_hash": b.hash, "twins": twins}
    write_json(HERE / "precision.json", report)
    (HERE / "precision.md").write_text(table(report, record["precision"]))
    print(table(report, record["precision"]))


def table(report, precision):
    lines = [f"A_rec AUC of a network alone; {report['run']}, {report['config']['epochs']} epochs.", "", f"| NDM network | float32 | {precision} | difference |", "|---|---|---|---|"]
    lines += [f"| {t['member']} | {t['float32']:.3f} | {t[precision]:.3f} | {t[precision] - t['float32']:+.3f} |" for t in report["twins"]]
    spread = report["committed_networks"]
    lines += ["", f"The {len(spread)} networks of the committed runs: {np.mean(spread):.3f} ± {np.std(spread, ddof=1):.3f} over networks, from {min(spread):.3f} to {max(spread):.3f}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__": main()
