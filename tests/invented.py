"Invented images, and invented runs as folders and as tables of results."
from pathlib import Path

import numpy as np
from conftest import disc
from PIL import Image

from ddad.core.storage import write_csv, write_json
from ddad.method.recipe import NUMERICS
from ddad.rivals.methods import METHODS
from ddad.study.config import Config
from ddad.study.results import Results, add

MADE = {"data_hash": "a1", "versions": {"torch": "2"}, "precision": "float32", "commit": "0" * 40,
        "processor": "CPU",
        "images": {"normal": 100}, "finished": "2026-01-01T00:00:00Z"}


def scores_of(rng, noise=1.0, **gains):
    "Columns of 120 images in 60 groups; each score tells the classes apart by its gain. Little noise: seeds are alike."
    shared = np.random.default_rng(0)
    labels = np.repeat([0, 1], 60)
    about = {"image": [f"{i}.png" for i in range(120)], "label": labels.tolist(), "kind": ["a", "b"] * 60,
             "group": (np.arange(120) // 2).tolist()}
    drawn = {name: (1 - noise) * shared.normal(size=120) + noise * rng.normal(size=120) for name in gains}
    return about | {name: (labels * gain + drawn[name]).tolist() for name, gain in gains.items()}


def make_run(folder, seed=0, gain=1.0, benchmark="NIH", losses=None, changed=(), noise=1.0, **settings):
    "A run whose A_inter tells the classes apart by `gain` more than A_rec does; `changed`: of its record."
    config = Config.of(benchmark, **{"backbone": "AE-U", "seed": seed, "refined": "none"} | settings)
    gains = {"rec_1": 0.3, "rec_2": 0.3, "rec_3": 0.3, "rec": 0.5, "intra": 0.5, "inter": 0.5 + gain}
    path = Path(folder) / config.name
    write_csv(path / "scores.csv", scores_of(np.random.default_rng(seed), noise, **gains))
    if losses:
        write_csv(path / "curves.csv",
                  {"network": list(losses), "epoch": [1] * len(losses), "loss": list(losses.values())})
    stages = {"scoring": {"seconds": 1.0, "peak_memory_mb": 10.0}}
    training = {"udm_1": {"seconds": 50.0, "peak_memory_mb": 9.0, "finished": MADE["finished"]}}
    record = {"config": vars(config), "numerics": NUMERICS, "stages": stages, "training": training, **MADE}
    write_json(path / "record.json", record | dict(changed))
    return path


def make_rival(folder, method, seed=0, gain=0.0, benchmark="NIH", **changed):
    "Another method's run."
    cls, name = METHODS[method], f"{benchmark}_{method}_seed{seed}"
    path = Path(folder) / name.replace(" ", "-")
    write_csv(path / "scores.csv", scores_of(np.random.default_rng([seed, 7]), score=gain))
    record = {"benchmark": benchmark, "method": method, "seed": seed, "group": cls.group, "epochs": 1,
              "uses_unlabeled": cls.uses_unlabeled, "version": cls.version, "parameters": 5,
              "seconds": {"train": 1.0, "score": 0.1}, **MADE}
    write_json(path / "record.json", record | changed)
    return path


def tables(folder, *runs):
    "The tables of these folders."
    add(runs, folder / "figures")
    return Results(folder / "figures")


def discs(n, abnormal=False, seed=0, side=40):
    "Images of discs, (n, side, side) uint8."
    return np.stack([disc(rng, side, abnormal)[0] for rng in np.random.default_rng(seed).spawn(n)])


def keep(folder, images, name="{:02}.png"):
    "Writes images to a folder."
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images): Image.fromarray(image).save(folder / name.format(i))
    return folder
