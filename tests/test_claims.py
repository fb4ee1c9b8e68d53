"Verdicts, answers and coverage follow from the results: turned round, they turn."
import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ddad.core.storage import write_csv, write_json
from ddad.method import metrics
from ddad.study import answers, claims, coverage, results
from ddad.study.claims import CLAIMS, Evidence, verdict
from ddad.study.config import Config
from ddad.study.graph import Request, rival_name

REPO = Path(__file__).parents[1]
COLUMNS = ["claim", "benchmark", "backbone", "score", "against", "setting", "effect", "low", "high", "seeds", "groups", "verdict"]


def make_run(folder, seed, gain, benchmark="NIH", **settings):
    "A run with invented scores: A_inter tells the classes apart by `gain` more than A_rec does."
    config = Config.of(benchmark, backbone="AE-U", seed=seed, refined="none", **settings)
    rng, labels = np.random.default_rng(seed), np.repeat([0, 1], 60)
    scores = {name: labels * g + rng.normal(size=120) for name, g in (("rec_1", 0.3), ("rec_2", 0.3), ("rec_3", 0.3), ("rec", 0.5), ("intra", 0.5), ("inter", 0.5 + gain))}
    path = folder / "runs" / config.name
    path.mkdir(parents=True)
    columns = {"image": [f"{i}.png" for i in range(120)], "label": labels.tolist(), "kind": ["a", "b"] * 60, "group": (np.arange(120) // 2).tolist()}
    write_csv(path / "scores.csv", columns | {k: v.tolist() for k, v in scores.items()})
    write_json(path / "record.json", {"config": vars(config), "images": {"normal": 1}})
    return config


def make_rival(folder, method, seed, gain, benchmark="NIH", **more):
    rng, labels = np.random.default_rng([seed, 7]), np.repeat([0, 1], 60)
    path = folder / "baselines" / rival_name(benchmark, method, seed, more.get("draw", {}))
    path.mkdir(parents=True)
    write_csv(path / "scores.csv", {"image": [f"{i}.png" for i in range(120)], "label": labels.tolist(), "score": (labels * gain + rng.normal(size=120)).tolist()})
    write_json(path / "record.json", {"benchmark": benchmark, "method": method, "seed": seed, "group": "semi-supervised", **more})


def evidence(folder): return Evidence(results.read_runs(folder / "runs"), results.read_rivals(folder / "baselines"))


@pytest.mark.parametrize("gain, says", [(1.5, "holds"), (-1.5, "fails"), (0.0, "undecided")])
def test_a_verdict_turns_with_the_results(gain, says, tmp_path):
    for seed in range(3): make_run(tmp_path, seed, gain)
    rows = evidence(tmp_path).rows(["NIH"])
    row = next(r for r in rows if (r["score"], r["against"]) == ("A_inter", "A_rec"))
    assert list(row) == COLUMNS and (row["verdict"], row["seeds"], row["groups"]) == (says, 3, 60)
    told = answers.about_claim([row])
    assert "**Of 7 claims" in answers.about_claims(rows) and told in answers.about_claims(rows)
    assert ("holds in 1 of 1" in told, "fails in 1" in told, "1 undecided" in told) == tuple(says == v for v in ("holds", "fails", "undecided"))
    page = answers.decide(answers.gains(evidence(tmp_path).runs, "inter", "rec"), yes="Better", no="Worse", unclear="Open")
    assert page.startswith({"holds": "**Better (", "fails": "**Worse (", "undecided": "**Open ("}[says])
    assert ("worth using.**" in answers.where_worth_using(rows)) and ("not worth" in answers.where_worth_using(rows)) == (says != "holds")


def test_two_seeds_decide_nothing(tmp_path):
    for seed in range(2): make_run(tmp_path, seed, 2.0)
    row = evidence(tmp_path).rows(["NIH"], [claims.UNLABELED])[0]
    assert row["low"] > 0 and row["verdict"] == "undecided" and "for want of seeds" in answers.about_claim([row])
    assert answers.decide({"a": answers.Effect(1, 0.5, 2, 1)}, yes="Better", no="", unclear="").startswith("**So far, by one seed: better (a).**")


def test_the_interval_is_that_of_seeds_and_groups(tmp_path):
    for seed in range(3): make_run(tmp_path, seed, 0.5)
    found = evidence(tmp_path)
    row = found.rows(["NIH"], [claims.UNLABELED])[0]
    labels, groups = found.runs[0].labels, found.runs[0].groups
    alone = [metrics.paired_bootstrap(metrics.auc, r.scores["rec"], r.scores["inter"], labels, groups) for r in found.runs]
    assert row["effect"] == pytest.approx(np.mean([t["difference"] for t in alone]))
    assert row["low"] < max(t["low"] for t in alone) and row["high"] > min(t["high"] for t in alone)


def test_a_sham_udm_a_sweep_and_unseen_kinds_find_their_pairs(tmp_path):
    drawn = dict(n_unlabeled=results.sweep_size("NIH"), draw="stratified")
    for seed in range(3):
        make_run(tmp_path, seed, 1.0)
        make_run(tmp_path, seed, -1.0, n_unlabeled=0)
        for rate in (0.0, 0.6): make_run(tmp_path, seed, rate, **drawn, anomaly_rate=rate)
        make_run(tmp_path, seed, 1.0, **drawn, match="a")
        make_rival(tmp_path, "nnPU", seed, 0.0, draw={"match": "a"})
    rows = evidence(tmp_path).rows(["NIH"])
    found = {(r["claim"], r["against"], r["setting"]): r for r in rows}
    assert found["unlabeled images help", "A_inter, sham UDM", ""]["verdict"] == "holds"
    assert found["unlabeled images help", "A_inter, anomaly rate 0", "200 unlabeled images"]["seeds"] == 3
    assert {s for c, _, s in found if c == claims.RATES.name} == {f"anomaly rate {r}, 200 unlabeled images" for r in (0.0, 0.6)}
    unseen = {a: r for (c, a, _), r in found.items() if c == claims.UNSEEN.name}
    assert set(unseen) == {"A_rec", "nnPU"} and all("b tested" in r["setting"] for r in unseen.values())
    assert not [r for r in rows if r["claim"] == claims.METHODS.name], "an nnPU with another draw is no row of the usual comparison"


def test_other_methods_one_seed_and_older_versions(tmp_path):
    for seed in range(3):
        make_run(tmp_path, seed, 1.0)
        make_rival(tmp_path, "nnPU", seed, 3.0)
    make_rival(tmp_path, "VAE", 0, 0.0)
    make_rival(tmp_path, "PII", 0, 0.0)  # a record without a version is of the first
    rows = {r["against"]: r for r in evidence(tmp_path).rows(["NIH"], [claims.METHODS])}
    assert set(rows) == {"nnPU", "VAE"} and (rows["nnPU"]["verdict"], rows["VAE"]["verdict"]) == ("fails", "holds")
    assert rows["nnPU"]["setting"] == "" and rows["VAE"]["setting"] == "one seed of the other method" and rows["VAE"]["seeds"] == 3
    assert "behind 1 of 2 other scores (nnPU)" in answers.where_worth_using(evidence(tmp_path).rows(["NIH"]))


def test_coverage_counts_seeds_and_says_what_is_missing(tmp_path):
    config = {"benchmarks": "", "experiments": "all", "methods": "", "method_seeds": 1, "method_draw": {}, "crossover": "", "keep": False, "pages": "all", "settings": {}, "only": {"sham": ["NIH"]},
              "grid": {"seeds": {"backbone": "AE-U", "seed": [0, 1, 2], "refined": "none"}, "sham": {"backbone": "AE-U", "n_unlabeled": 0, "refined": "none"}}, "store": "runs", "figures": "figures", "committed": "figures"}
    for seed in range(2): make_run(tmp_path, seed, 1.0)
    make_rival(tmp_path, "nnPU", 0, 1.0)
    make_rival(tmp_path, "PII", 0, 1.0)
    found = evidence(tmp_path)
    rows = coverage.coverage(Request.of(config), found.runs, found.rivals, {"nnPU": 3, "PII": 1, "VAE": 1})
    cells = {(r["experiment"], r["of"]): r for r in rows}
    nih = "NIH ChestX-ray14, a part"
    assert cells["seeds", "AE-U"][nih] == "2 of 3 seeds" and cells["seeds", "AE-U"]["ODIR-5K"] == "not run" and cells["seeds", "AE-U"]["LAG"] == "needs data"
    assert cells["sham", "AE-U"][nih] == "not run" and cells["sham", "AE-U"]["ODIR-5K"] == ""
    assert [cells["other methods", m][nih] for m in ("nnPU", "PII", "VAE")] == ["1 of 3 seeds", "an older version", "not run"]
    record = tmp_path / "runs" / found.runs[0].name / "record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"numerics": 0}))
    again = coverage.coverage(Request.of(config), evidence(tmp_path).runs, [], {})
    assert again[0][nih] == "1 of 3 seeds", "a run of older arithmetic does not count"


def committed(): return list(csv.DictReader((REPO / "figures/claims.csv").open(encoding="utf-8")))


def test_the_committed_claims_follow_their_own_rule():
    rows = committed()
    assert rows and list(rows[0]) == COLUMNS and {r["claim"] for r in rows} <= {c.name for c in CLAIMS}
    for r in rows:
        assert r["verdict"] == verdict(float(r["low"]), float(r["high"]), int(r["seeds"])) and float(r["low"]) <= float(r["effect"]) <= float(r["high"])
        assert int(r["groups"]) > 10


def test_the_index_opens_with_the_answers():
    index = (REPO / "figures/index.html").read_text(encoding="utf-8")
    places = [index.index(f'<section id="{name}"') for name in ("answers", "claims", "coverage", "backbones")]
    assert places == sorted(places)
    for path in (REPO / "figures/answers").glob("*.md"): assert f'href="#{path.stem}"' in index[places[0]:places[1]], path.stem
