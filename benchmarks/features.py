"""Times the detector on frozen features: fitting on 1,000 + 1,000 images of Brain Tumor MRI at 64 x 64, scoring its test images from memory.

    .venv/bin/python benchmarks/features.py

CPU seconds are those of all cores together. Writes benchmarks/features.md.
"""
import time
import warnings
from pathlib import Path

import psutil
import torch

from ddad import DDAD, load_benchmark
from ddad.core.record import commit, environment
from ddad.core.storage import markdown
from ddad.features.frozen import extract


def busy():
    "CPU seconds of all that runs on this machine."
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0)


def timed(what, n, function):
    before = time.perf_counter(), time.process_time(), busy()
    function()
    wall, own, total = (
        now - then for now, then in zip((time.perf_counter(), time.process_time(), busy()), before))
    return {"step": what, "images": n, "seconds": f"{wall:.0f}", "images a second": f"{n / wall:.0f}",
            "CPU seconds": f"{own:.0f}",
            "cores busy with other work": f"{max(0, total - own) / wall:.1f}"}


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # this benchmark's copies
    scans, about = load_benchmark("BrainTumor"), environment(torch.device("cpu"))
    normal, unlabeled, test = scans.normal[:1000], scans.unlabeled(1000, 0.6), scans.test
    extract(test[:2], "cpu")  # the network is exported once and kept
    detector = DDAD(backbone="features", device="cpu", random_state=0)
    rows = [timed("fit", len(normal) + len(unlabeled), lambda: detector.fit(normal, unlabeled=unlabeled)),
            timed("score", len(test), lambda: detector.anomaly_score(test))]
    text = f"{markdown(rows)}\n\n{about['cores']} cores, {about['processor']}; commit {commit()[:8]}.\n"
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
