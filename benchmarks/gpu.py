"""How many networks should share a GPU? Trains 1 to 16 side by side, as threads with a stream each and as processes.

    python benchmarks/gpu.py                       # on a GPU; writes benchmarks/gpu.md
    python benchmarks/gpu.py --device cpu --jobs 1 2 --epochs 1 --out /tmp/gpu.md   # a rehearsal

Each network has 1,000 images of noise of 64 x 64, the paper's batch size and a few epochs; what a training costs does not depend on what the images show.
The first epoch of each network is left out: it compiles and fills caches.
"""
import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import torch

from ddad.core.machine import Machine, pick_device
from ddad.core.record import commit, environment
from ddad.core.storage import markdown
from ddad.method.recipe import Recipe, train_modules

IMAGES = 1000


def train(networks, epochs, device, workers, barrier=None):
    "Trains so many networks in this process; the seconds of all epochs but the first."
    recipe = Recipe(k=max(2, networks), epochs=1)
    images = {
        "ndm": torch.randint(0, 256, (IMAGES, 1, 64, 64), dtype=torch.uint8,
                             generator=torch.Generator().manual_seed(0))}
    machine = Machine(device, workers=workers, progress=False)
    with tempfile.TemporaryDirectory() as warm, tempfile.TemporaryDirectory() as folder:
        train_modules(recipe, images, warm, machine=machine)
        if barrier: barrier.wait()
        start = time.perf_counter()
        train_modules(Recipe(k=recipe.k, epochs=epochs), images, folder, machine=machine)
        return (time.perf_counter() - start) * networks / recipe.k


def _process(epochs, device, barrier, queue): queue.put(train(1, epochs, device, 1, barrier))


def side_by_side(jobs, epochs, device):
    "The seconds of so many processes, each with a network, the slowest one."
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(jobs), context.Queue()
    processes = [context.Process(target=_process, args=(epochs, device, barrier, queue)) for _ in range(jobs)]
    for p in processes: p.start()
    seconds = [queue.get(timeout=600) for _ in processes]
    for p in processes: p.join()
    return max(seconds)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--device", default="cuda")
    p.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    p.add_argument("--epochs", type=int, default=10)
    p.add_argument("--out", default=str(Path(__file__).with_suffix(".md")))
    a = p.parse_args()
    device = pick_device(a.device)
    rows = []
    for jobs in a.jobs:
        rate = {"threads": jobs * IMAGES * a.epochs / train(jobs, a.epochs, a.device, jobs),
                "processes": jobs * IMAGES * a.epochs / side_by_side(jobs, a.epochs, a.device)}
        rows.append({"networks side by side": jobs}
                    | {f"{way}, images a second": f"{value:,.0f}" for way, value in rate.items()})
        print(rows[-1], flush=True)
    about = environment(device)
    Path(a.out).write_text(
        f"# Networks side by side on a GPU\n\n{markdown(rows)}\n\n{about['device']}, torch {about['versions']['torch']}; {a.epochs} epochs of {IMAGES} images each; commit {commit()[:8]}.\n", encoding="utf-8")


if __name__ == "__main__": main()
