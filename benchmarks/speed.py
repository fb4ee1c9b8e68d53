"""Times each stage against the plain way of doing it, as whole processes, one after the other in one run.

    make benchmark DATA=~/Med-AD BENCHMARK=BrainTumor

The plain way: float32, one network after another, images decoded anew each epoch, images scored one by one, a pass over the test set in each epoch of ASR-Net. Both ways train
the same networks on the same data for a few epochs; `paper` in the table scales each stage's seconds an epoch to the paper's 250 and 100 epochs. The floor
of a stage is its arithmetic (counted by PyTorch) over the rate at which this machine multiplies large matrices in the precision of that stage.
Writes benchmarks/speed.md.
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from ddad import load_benchmark
from ddad.core.images import read_image, to_float
from ddad.core.machine import Machine, pick_precision
from ddad.core.record import Stages, commit, environment
from ddad.core.training import generator
from ddad.datasets.layout import read_repartition
from ddad.datasets.opening import benchmark_root
from ddad.datasets.registry import PHANTOM
from ddad.method import networks, refine, scores
from ddad.method.data import unlabeled_counts
from ddad.method.recipe import train_modules, train_refiners
from ddad.study.config import Config
from ddad.study.notebooks import MALLOC

HERE = Path(__file__).parent
WAYS = ("plain", "float32", "auto")
NAMES = {"plain": "the plain way", "float32": "ddad, float32", "auto": "ddad"}



def plain(root, config, stages):
    "What one would write first."
    names, images = read_repartition(root, config.benchmark), root / config.benchmark / "images"
    normal, abnormal = unlabeled_counts(config.n_unlabeled, config.anomaly_rate,
                                        len(names["unlabeled_normal"]), len(names["unlabeled_abnormal"]))
    sets = {"ndm": names["normal"],
            "udm": names["normal"] + names["unlabeled_normal"][:normal] + names["unlabeled_abnormal"][:abnormal]}
    read = lambda n: to_float(torch.from_numpy(read_image(images / n, config.image_size).copy())[None, None])
    nets = {module: [networks.make_network(config.backbone) for _ in range(config.k)] for module in sets}
    for module, members in nets.items():
        with stages(module):
            for net in members:
                opt = torch.optim.Adam(net.parameters(), config.lr, (0.5, 0.999))
                for _ in range(config.epochs):
                    x = torch.cat([read(n) for n in sets[module]])
                    for index in torch.randperm(len(x)).split(
                        config.batch_size)[:len(x) // config.batch_size]:
                        loss = net.train().loss(x[index])
                        opt.zero_grad()
                        loss.backward()
                        opt.step()

    def maps_of(x):
        with torch.no_grad():
            udm, ndm = (torch.stack([net.eval()(x) for net in nets[m]]) for m in ("udm", "ndm"))
            return scores.anomaly_maps(x, udm, ndm)

    test = names["test_normal"] + names["test_abnormal"]
    with stages("scoring"):
        for n in test: scores.image_scores(maps_of(read(n))["inter"])
    with stages("r_dual"):
        asr = networks.ASRNet()
        opt = torch.optim.Adam(asr.parameters(), config.refine_lr, (0.5, 0.999),
                               weight_decay=config.refine_weight_decay)
        for epoch in range(config.refine_epochs):
            x = torch.cat([read(n) for n in sets["ndm"]])
            planted, masks = refine.synthetic_anomalies(x, generator(epoch))
            for index in torch.randperm(len(x)).split(config.refine_batch_size):
                maps = maps_of(planted[index])
                loss = refine.focal_loss(asr.train()(torch.cat([maps["inter"], maps["intra"]], 1)).softmax(1),
                                         masks[index])
                opt.zero_grad()
                loss.backward()
                opt.step()
            with torch.no_grad():
                for n in test:
                    maps = maps_of(read(n))
                    asr.eval()(torch.cat([maps["inter"], maps["intra"]], 1)).softmax(1)[:, 1].mean().item()


def ours(root, config, stages):
    "The package, as nbs/paper/run.ipynb calls it."
    shared = dict(seed=config.seed, machine=Machine("cpu", progress=False))
    with tempfile.TemporaryDirectory() as tmp:
        with stages("data"): b = load_benchmark(root, config.benchmark, config.image_size, progress=False)
        with stages("modules"):
            sets = {"udm": torch.cat([b.normal, b.unlabeled(config.n_unlabeled, config.anomaly_rate)]),
                    "ndm": b.normal}
            modules, _ = train_modules(config, sets, tmp, **shared)
        with stages("scoring"): maps = scores.predict_maps(b.test, modules["udm"], modules["ndm"])
        with stages("r_dual and r_intra, side by side"):
            nets, _ = train_refiners(config, sets, modules, tmp, **shared)
        with stages("refined scoring"): refine.refine_maps(nets, maps)


def worker(way, root, config):
    stages, start = Stages(), time.perf_counter()
    (plain if way == "plain" else ours)(root, config, stages)
    print(json.dumps({"seconds": time.perf_counter() - start, "stages": stages.record,
                      "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}))


def whole_process(way, arguments):
    "Seconds from the start of a fresh process to its end, and what it says of its stages."
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run([sys.executable, __file__, *arguments, "--worker", way],
                              env={**os.environ, "DDAD_CACHE": cache, **(MALLOC if way != "plain" else {})},
                              stdout=subprocess.PIPE, text=True, check=True)
    return {**json.loads(done.stdout.splitlines()[-1]), "whole_process_seconds": time.perf_counter() - start}


def matmul_rate(dtype, n=2048, repeats=20):
    "Operations a second of large matrix products, all cores."
    a, b = (torch.rand(n, n).to(dtype) for _ in range(2))
    a @ b
    start = time.perf_counter()
    for _ in range(repeats): a @ b
    return 2 * n**3 * repeats / (time.perf_counter() - start)


def operations(config, n_normal, n_udm, n_test):
    "Arithmetic of each stage at the paper's epochs."
    def count(f):
        with FlopCounterMode(display=False) as counter: f()
        return counter.get_total_flops()
    net = networks.make_network(config.backbone)
    x = torch.rand(config.batch_size, 1, config.image_size, config.image_size)
    step = count(lambda: net.loss(x).backward())
    one = count(lambda: net(x)) / len(x)
    def asr_step(channels):
        asr = networks.ASRNet(channels)
        maps = torch.rand(config.refine_batch_size, channels, *x.shape[2:])
        masks = torch.zeros(config.refine_batch_size, *x.shape[2:])
        return count(lambda: refine.focal_loss(asr(maps).softmax(1), masks).backward())
    steps = config.k * 250 * (n_normal // config.batch_size + n_udm // config.batch_size)
    refine_steps = 100 * (n_normal // config.refine_batch_size)
    return {"modules": step * steps, "scoring": 2 * config.k * one * n_test,
            "r_dual": asr_step(2) * refine_steps + 50 * n_normal * 2 * config.k * one,
            "r_intra": asr_step(1) * refine_steps + 50 * n_normal * config.k * one}


def paper_seconds(result, config):
    "Seconds of each stage, scaled to the paper's 250 and 100 epochs."
    scale = {"ndm": 250 / config.epochs, "udm": 250 / config.epochs, "modules": 250 / config.epochs,
             "r_dual": 100 / config.refine_epochs,
             "r_dual and r_intra, side by side": 100 / config.refine_epochs}
    return {name: s["seconds"] * scale.get(name, 1) for name, s in result["stages"].items()}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data")
    p.add_argument("--benchmark", default=PHANTOM)
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--refine-epochs", type=int, default=1)
    p.add_argument("--rounds", type=int, default=1,
                   help="how often all ways run in turn; the fastest of each counts")
    p.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    a = p.parse_args()
    config = Config.of(a.benchmark, epochs=a.epochs, refine_epochs=a.refine_epochs,
                       precision="auto" if a.worker in (None, "plain") else a.worker, device="cpu")
    root = benchmark_root(config.benchmark, a.data)
    if a.worker: return worker(a.worker, root, config)
    results = {}
    for _ in range(a.rounds):
        for way in WAYS:
            result = whole_process(way, [x for x in sys.argv[1:]])
            if way not in results or result["whole_process_seconds"] < results[way]["whole_process_seconds"]:
                results[way] = result
            print(f"{NAMES[way]}: {result['whole_process_seconds']:.1f} s", flush=True)
    names = read_repartition(root, config.benchmark)
    ops = operations(config, len(names["normal"]), len(names["normal"]) + config.n_unlabeled,
                     len(names["test_normal"]) + len(names["test_abnormal"]))
    rates = {"float32": matmul_rate(torch.float32), "bfloat16": matmul_rate(torch.bfloat16)}
    precision = pick_precision("auto", torch.device("cpu"))
    report = {"benchmark": config.benchmark, "epochs": a.epochs, "refine_epochs": a.refine_epochs,
              "commit": commit(), **environment(torch.device("cpu")),
              "precision": precision, "operations_at_the_papers_epochs": ops, "operations_per_second": rates,
              "ways": results,
              "paper_seconds": {way: paper_seconds(r, config) for way, r in results.items()}}
    (HERE / "speed.md").write_text(table(report))
    print(table(report))


def table(r):
    ways, paper = r["ways"], r["paper_seconds"]
    lines = [
        f"{r['benchmark']}, AE; {r['cores']} cores, {r['processor']}; training of ddad in {r['precision']}; commit {r['commit'][:8]}.", "",
             f"| | whole process, {r['epochs']} and {r['refine_epochs']} epochs (s) | peak memory (MB) | at the paper's 250 and 100 epochs (min) |", "|---|---|---|---|"]
    for way in ways:
        lines.append(
            f"| {NAMES[way]} | {ways[way]['whole_process_seconds']:.0f} | {ways[way]['peak_memory_mb']:.0f} | {sum(paper[way].values()) / 60:.0f} |")
    lines += ["", "The plain way trains the ASR-Net of R_dual alone; ddad that of R_intra beside it.", "",
              "| stage, at the paper's epochs | the plain way (min) | ddad (min) | floor (min) | ddad over floor |", "|---|---|---|---|---|"]
    rate = r["operations_per_second"][r["precision"]]
    exact = r["operations_per_second"]["float32"]
    ops = r["operations_at_the_papers_epochs"]
    rows = [
        ("UDM and NDM", paper["plain"]["udm"] + paper["plain"]["ndm"], paper["auto"]["modules"],
         ops["modules"] / rate),
            ("scoring", paper["plain"]["scoring"], paper["auto"]["scoring"], ops["scoring"] / exact),
            ("ASR-Net: R_dual; ddad: R_dual and R_intra", paper["plain"]["r_dual"],
             paper["auto"]["r_dual and r_intra, side by side"], (ops["r_dual"] + ops["r_intra"]) / rate)]
    lines += [f"| {name} | {p / 60:.2f} | {o / 60:.2f} | {f / 60:.2f} | {o / f:.1f} |"
              for name, p, o, f in rows]
    lines += [
        "",
        f"Measured rate of large matrix products, all cores: {exact / 1e9:.0f} GFLOP/s in float32, {r['operations_per_second']['bfloat16'] / 1e9:.0f} GFLOP/s in bfloat16."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__": main()
