"Each page's answer follows from the results: executed on invented ones and on these turned round, its first sentence turns."
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.stats import norm

from ddad.core.storage import write_csv, write_json
from ddad.datasets.registry import PHANTOM, shipped_repartition
from ddad import plots
from ddad.method import metrics
from ddad.rivals.methods import METHODS
from ddad.study import results
from ddad.study.config import Config
from ddad.study.graph import rival_name

REPO = Path(__file__).parents[1]
HALF = 60
LABELS = np.repeat([0, 1], HALF)
UP, DOWN = 1, -1


def drawn(rng, gap):
    "Scores whose abnormal ones lie `gap` above the normal ones, both normally distributed but for chance."
    even = norm.ppf((np.arange(HALF) + 0.5) / HALF)
    return np.concatenate([rng.permutation(even), rng.permutation(even) + gap]).tolist()


def columns(benchmark):
    images = [f"{i}.png" for i in range(2 * HALF)]
    if benchmark == "BrainTumor": images = [name for split in ("test_normal", "test_abnormal") for name in shipped_repartition(benchmark)[split][:HALF]]
    return {"image": images, "label": LABELS.tolist(), "kind": ["a", "b"] * HALF, "group": (np.arange(2 * HALF) // 2).tolist()}


def make_run(folder, benchmark, seed, gaps, networks=200, losses=(0.02, 0.01), **settings):
    "A run whose scores tell the classes apart by `gaps`, with what all pages read of it."
    config = Config.of(benchmark, seed=seed, **settings)
    path, rng = folder / "runs" / config.name, np.random.default_rng(seed)
    path.mkdir(parents=True)
    write_csv(path / "scores.csv", columns(benchmark) | {name: drawn(rng, gap) for name, gap in gaps.items()})
    names = [f"{module}_{i}" for module in ("udm", "ndm") for i in (1, 2, 3)]
    training = {name: {"seconds": (networks + seed) / 6, "finished": "2026-01-01T00:00:00Z"} for name in names} | {"r_dual": {"seconds": 100, "finished": "2026-01-01T00:02:00Z"}}
    stages = {name: {"seconds": 1, "peak_memory_mb": 1} for name in ("scoring", "refined scoring")}
    write_json(path / "record.json", {"config": vars(config), "images": {"normal": 1}, "training": training, "stages": stages, "processor": "none", "precision": "float32"})
    write_csv(path / "curves.csv", {"network": names, "epoch": [1] * 6, "loss": [losses[name[0] == "n"] + 1e-5 * (seed + i) for i, name in enumerate(names)]})
    return path


def make_rival(folder, benchmark, method, seed, gap):
    path, cls = folder / "baselines" / rival_name(benchmark, method, seed, {}), METHODS[method]
    path.mkdir(parents=True)
    write_csv(path / "scores.csv", columns(benchmark) | {"score": drawn(np.random.default_rng([seed, 7]), gap)})
    found = {"auc": 0.5, "auc_low": 0.4, "auc_high": 0.6}
    write_json(path / "record.json", {"benchmark": benchmark, "method": method, "seed": seed, "group": cls.group, "uses_unlabeled": cls.uses_unlabeled, "version": cls.version, "epochs": 1,
                                      "parameters": 1, "seconds": {"train": 1, "score": 1}, "results": found, "pixels": {}})


def make_pixels(path, aps):
    "Pixel AP of each image with a lesion, all a little different."
    some = np.linspace(-0.01, 0.01, 2 * HALF)
    kinds = {f"{score}_{figure}": (value + some).tolist() for score, value in aps.items() for figure in ("ap", "pro", "dice", "flagged")}
    write_csv(path / "pixels.csv", {"label": LABELS.tolist(), "lesion": (0.1 * LABELS).tolist()} | kinds)


def make_epochs(path, last, mean):
    "R_dual over epochs whose AUC swings by `last` and by `mean`."
    table = {f"{weights}_{share}_{epoch}": drawn(np.random.default_rng(epoch), 1 + swing * (epoch == 20)) for weights, swing in (("last", last), ("mean", mean)) for share in (1.0, 0.5, 0.25, 0.1) for epoch in (10, 20, 30)}
    for which in ("test", "synthetic"): write_csv(path / f"{which}_epochs.csv", {"label": LABELS.tolist()} | table)


def world(folder, way, seeds):
    "A folder of results that speak for everything, or against it."
    up = way == UP
    small = dict(n_unlabeled=results.sweep_size("NIH"), draw="stratified")
    gaps = {"rec_1": 0.0, "rec_2": 0.0, "rec_3": 0.0, "rec": 0.0, "intra": 0.0, "inter": 1.5, "inter_top": 1.5, "r_intra": 0.0, "r_dual": 2.3, "r_image": 0.0}
    if not up: gaps |= {"rec": 4.0, "inter": -1.0, "inter_top": -1.0, "r_dual": -2.0}
    stable = gaps | {"r_dual": 3.5 if up else -3.5}
    for seed in seeds:
        make_run(folder, "NIH", seed, gaps, networks=400 if up else 20, losses=(0.02, 0.01) if up else (0.01, 0.02), backbone="AE-U")
        make_epochs(make_run(folder, "NIH", seed, stable, backbone="AE-U", variant="stable"), *((2.0, 0.1) if up else (0.1, 2.0)))
        for rate, gap in ((0.0, 0.0), (0.6, 1.0), (1.0, 2.0)): make_run(folder, "NIH", seed, {"rec": 1.0, "intra": 0.0, "inter": gap if up else 2 - gap}, **small, anomaly_rate=rate)
        make_run(folder, "NIH", seed, {"rec": 1.0, "inter": 3.0 if up else 0.0}, **small, match="a")
        for setting, values in {"k": (2, 5), "latent": (8, 32)}.items():
            for value, gap in zip(values, (0.5, 2.0) if up else (2.0, 0.5)): make_run(folder, "NIH", seed, {"rec_1": 0.0, "rec": 0.0, "intra": 0.0, "inter": gap}, **{setting: value})
        official = {"rec": 1.32, "inter": 1.50} if up else {"rec": 0.5, "inter": 0.5}
        brain = make_run(folder, "BrainTumor", seed, {f"rec_{i}": 1.3 for i in (1, 2, 3)} | {"intra": 0.2, "r_intra": 0.2, "r_dual": 2.0 * way} | official)
        (brain / "maps.png").touch()
        aps = {"rec": 0.3, "inter": 0.5, "r_dual": 0.3} if up else {"rec": 0.3, "inter": 0.05, "r_dual": 0.3}
        make_pixels(make_run(folder, PHANTOM, seed, gaps), aps)
        make_pixels(make_run(folder, PHANTOM, seed, gaps, variant="stable"), aps | {"r_dual": 0.5 if up else 0.1})
        for method in ("nnPU", "nnPU, rate too low", "nnPU, rate too high", "PCA"): make_rival(folder, "NIH", method, seed, 0.0 if up else 5.0)
        for method in ("VAE", "PCA"): make_rival(folder, PHANTOM, method, seed, 2.0 * way)
        (folder / "crossover" / f"BrainTumor_AE_seed{seed}").mkdir(parents=True)
        sides = [{"half": half, "normal test images": 9, "trained on": 0.7, "not trained on": 0.7 - 0.3 * way, "difference": 0.3 * way, "low": 0.3 * way - 0.1, "high": 0.3 * way + 0.1} for half in "ab"]
        write_json(folder / "crossover" / f"BrainTumor_AE_seed{seed}" / "record.json", {"benchmark": "BrainTumor", "backbone": "AE", "k": 3, "seed": seed, "results": sides})
    (folder / "checks").mkdir()
    for benchmark in ("NIH", "BrainTumor"):
        splits = [{"split": split, "images": 10, "copies across train and test": 5 * up} for split in ("test.0", "test.1")]
        write_json(folder / "checks" / f"{benchmark}.json", {"benchmark": benchmark, "splits": splits, "images": 40, "groups": 20, "largest": 2, "bar": {"tells": True, "says": "", "value": 0.5, "by": "patients", "recall": {"mirrored": 1.0}}})
    return folder


@pytest.fixture(scope="module")
def worlds(tmp_path_factory): return {way: world(tmp_path_factory.mktemp("figures"), way, range(3)) for way in (UP, DOWN)}


def answer(page, figures, monkeypatch):
    "What the page writes, executed cell by cell without its pictures."
    monkeypatch.chdir(REPO)
    monkeypatch.setattr(plots, "save", lambda figure, path: None)
    monkeypatch.setattr(metrics.seed_bootstrap, "__defaults__", (150, 0.95, 0))  # few draws, for a test that takes seconds
    for interval in (metrics.bootstrap_interval, metrics.paired_bootstrap): monkeypatch.setattr(interval, "__defaults__", (None, 50, 0.95, 0))
    space = {"display": lambda *shown: None}
    for cell in json.loads((REPO / f"nbs/paper/{page}.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", ()): exec("".join(cell["source"]), space)
        else: space |= {"figures": figures}
        plt.close("all")
    return (figures / "answers" / f"{page}.md").read_text(encoding="utf-8")


def verdicts(text): return " ".join(re.findall(r"\*\*(.+?)\*\*", text))


TURNS = {  # what a page says of the first results, and of the others
    "anomaly_rate": (["A_inter is higher at the highest anomaly rate than at the lowest, and at every step between"], ["A_inter is lower at the highest anomaly rate than at the lowest, and at every step between"]),
    "backbones": (["A_inter beats A_rec in", "R_dual beats A_inter in"], ["A_rec beats A_inter in", "A_inter beats R_dual in all 3 places"]),
    "baselines": (["behind no other score"], ["behind at least one other score in 1 of 1"]),
    "comparison": (["On Brain Tumor MRI with AE, A_rec and A_inter agree"], ["A_rec and A_inter do not agree"]),
    "compute": (["networks of UDM and NDM cost more"], ["ASR-Net costs more than the networks of UDM and NDM in"]),
    "curves": (["A_inter finds more than A_rec"], ["A_inter finds less than A_rec in"]),
    "histograms": (["further apart than A_rec"], ["less far apart than A_rec in"]),
    "inputs": (["Discrepancies serve ASR-Net better"], ["The image serves ASR-Net better"]),
    "kinds": (["A_inter ranks abnormal images above normal ones in all"], ["A_inter ranks them below normal ones in"]),
    "latent": (["better with the largest code"], ["worse with the largest code"]),
    "leaks": (["2 of 2 benchmarks whose copies can be told leak", "It is memory"], ["None of 2 benchmarks", "It is not memory"]),
    "localisation": (["better than chance", "better than A_rec", "localises better"], ["away from lesions", "worse than A_rec", "localises worse"]),
    "maps": (["brighter than those of normal ones"], ["darker than those of normal ones"]),
    "members": (["better with the largest ensemble"], ["worse with the largest ensemble"]),
    "sanity": (["On the phantom each of 2 methods that learn tells the classes apart"], ["On the phantom none of 2 methods"]),
    "stability": (["moves less", "higher with the stable variant", "beats A_inter pooled the same way"], ["moves more", "lower with the stable variant", "A_inter pooled the same way beats"]),
    "training": (["higher loss than the NDM"], ["lower loss than the NDM"]),
    "unseen": (["On unseen kinds of disease A_inter beats A_rec", "On the kind that is among the unlabeled images A_inter beats A_rec"], ["On unseen kinds of disease A_inter is below A_rec", "On the kind that is among the unlabeled images A_inter is below A_rec"]),
}


@pytest.mark.parametrize("page", TURNS)
def test_an_answer_turns_with_the_results(page, worlds, monkeypatch):
    for way, expected in zip((UP, DOWN), TURNS[page]):
        text = answer(page, worlds[way], monkeypatch)
        assert text.startswith("**") and "So far" not in verdicts(text)
        for part in expected: assert part in verdicts(text), verdicts(text)


@pytest.mark.parametrize("page", TURNS)
def test_one_seed_decides_nothing(page, tmp_path, monkeypatch):
    first, *more = re.findall(r"\*\*(.+?)\*\*", answer(page, world(tmp_path, UP, [0]), monkeypatch))
    for said in more if page == "leaks" else [first, *more]: assert said.startswith("So far, by one seed: "), said


def test_a_page_without_results_concludes_nothing(tmp_path, monkeypatch):
    for page in ("backbones", "kinds", "localisation", "stability", "unseen"): assert answer(page, tmp_path, monkeypatch).startswith("**Not run yet.**"), page
