"Verdicts, answers and coverage follow from the results: turned round, they turn."
import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from ddad.core.storage import write_csv, write_json, write_table
from ddad.method import metrics
from ddad.study import answers, claims, coverage, freshness, results
from ddad.study.claims import CLAIMS, Evidence, verdict
from ddad.study.config import Config
from ddad.study.graph import OF_RIVALS, PAGES, Request, rival_name

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
    worth = answers.where_worth_using(rows)
    assert ("AE-U: **not worth using.**" in worth) == (says == "fails") and "AE-U: **worth using.**" not in worth, "nothing else was run to beat"
    for seed in range(3): make_rival(tmp_path, "nnPU", seed, 0.0)
    assert ("AE-U: **worth using.**" in answers.where_worth_using(evidence(tmp_path).rows(["NIH"]))) == (says == "holds")


def test_two_seeds_decide_nothing(tmp_path):
    for seed in range(2): make_run(tmp_path, seed, 2.0)
    row = evidence(tmp_path).rows(["NIH"], [claims.UNLABELED])[0]
    assert row["low"] > 0 and row["verdict"] == "undecided" and "1 have too few seeds" in answers.about_claim([row])
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
    sham = next((tmp_path / "runs").glob("*_n0/record.json"))
    sham.write_text(json.dumps(json.loads(sham.read_text()) | {"precision": "bfloat16"}))
    again = {(r["against"], r["setting"]): r for r in evidence(tmp_path).rows(["NIH"], [claims.UNLABELED])}
    assert again["A_inter, sham UDM", ""]["seeds"] == 2, "runs of two precisions are no pair"
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
    assert "ahead of 1 of 2 other scores, behind nnPU." in answers.where_worth_using(evidence(tmp_path).rows(["NIH"]))


def test_a_win_over_a_score_below_chance_is_told_apart(tmp_path):
    for seed in range(3):
        make_run(tmp_path, seed, 1.0)
        make_rival(tmp_path, "nnPU", seed, -2.0)
    found = evidence(tmp_path)
    rows = found.rows(["NIH"], [claims.METHODS])
    assert found.weak == {("NIH", "nnPU")} and rows[0]["verdict"] == "holds" and claims.tally(rows, found.weak) == "1 over a score below chance"
    assert "holds in 0 of 1 comparisons; 1 more over a score below chance" in answers.about_claim(rows, found.weak)


def test_runs_of_older_arithmetic_decide_nothing(tmp_path):
    for seed in range(3): make_run(tmp_path, seed, 1.0)
    for path in tmp_path.glob("runs/*/record.json"): path.write_text(json.dumps(json.loads(path.read_text()) | {"numerics": 0}))
    assert not evidence(tmp_path).rows(["NIH"])


def test_a_further_split_takes_the_place_of_a_seed(tmp_path):
    for i in (1, 2, 3):
        make_run(tmp_path, 0, 1.0 + i / 9, benchmark=f"Kermany-split{i}")
        make_rival(tmp_path, "nnPU", 0, 3.0, benchmark=f"Kermany-split{i}")
    found = evidence(tmp_path)
    rows = {r["against"]: r for r in found.rows(["Kermany"])}
    assert set(rows) == {"A_rec", "nnPU"} and {r["setting"] for r in rows.values()} == {claims.SPLITS}
    assert [(rows[a]["verdict"], rows[a]["seeds"], rows[a]["benchmark"]) for a in rows] == [("holds", 3, "Kermany"), ("fails", 3, "Kermany")]
    assert "no benchmark has three seeds yet" in answers.where_worth_using(list(rows.values())), "the usual split decides that"
    make_rival(tmp_path, "PCA", 0, 3.0, benchmark="Kermany-split2")
    rows = {r["against"]: r for r in evidence(tmp_path).rows(["Kermany"])}
    assert (rows["PCA"]["seeds"], rows["PCA"]["verdict"]) == (1, "undecided"), "one split of another method goes with that split alone"


def asked_of(grid, **only):
    "A request of every experiment of a grid."
    usual = yaml.safe_load((REPO / "nbs/paper/config.yaml").read_text(encoding="utf-8"))
    return Request.of(usual | {"experiments": "all", "grid": grid, "only": only})


def cells_of(request, folder, *more):
    runs, rivals = results.read_runs(folder / "runs"), results.read_rivals(folder / "baselines")
    return {(r["experiment"], r["of"]): r for r in coverage.coverage(request, runs, rivals, *more)}


NIH = "NIH ChestX-ray14, a part"


def test_coverage_counts_seeds_and_says_what_is_missing(tmp_path):
    request = asked_of({"seeds": {"backbone": "AE-U", "seed": [0, 1, 2], "refined": "none"}, "sham": {"backbone": "AE-U", "n_unlabeled": 0, "refined": "none"}}, sham=["NIH"])
    for seed in range(2): make_run(tmp_path, seed, 1.0)
    make_rival(tmp_path, "nnPU", 0, 1.0)
    make_rival(tmp_path, "PII", 0, 1.0)
    found = evidence(tmp_path)
    cells = cells_of(request, tmp_path, {"nnPU": 3, "PII": 1, "VAE": 1, "AnatPaste": 1, "Mean intensity": 1})
    assert cells["seeds", "AE-U"][NIH] == "2 of 3 seeds" and cells["seeds", "AE-U"]["ODIR-5K"] == "not run" and cells["seeds", "AE-U"]["LAG"] == "needs data"
    assert cells["sham", "AE-U"][NIH] == "not run" and cells["sham", "AE-U"]["ODIR-5K"] == ""
    assert [cells["other methods", m][NIH] for m in ("nnPU", "PII", "VAE")] == ["1 of 3 seeds", "an older version", "not run"]
    paste = cells["other methods", "AnatPaste"]
    assert (paste[NIH], paste["RSNA Pneumonia"], paste["LGG Segmentation"], paste["LAG"]) == ("not run", "needs data", "", ""), "it cannot be run on what is no chest X-ray"
    n = coverage.counted(cells.values())
    assert n["DDAD's runs"]["in part"] == 1 and n["other methods"]["in part"] == 2 and set(cells) >= {("trivial scores", "Mean intensity")} and n["trivial scores"] == {"whole": 0, "in part": 0, "not run": 7, "need data": 4}
    record = tmp_path / "runs" / found.runs[0].name / "record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"numerics": 0}))
    again = coverage.coverage(request, evidence(tmp_path).runs, [], {})
    assert again[0][NIH] == "1 of 3 seeds", "a run of older arithmetic does not count"


def test_coverage_tells_a_part_from_nothing(tmp_path):
    request = asked_of({"main": {"backbone": "AE-U"}, "members": {"backbone": "AE-U", "k": [2, 3, 4], "refined": "none"}, "latent": {"backbone": "AE-U", "latent": [8, 16], "refined": "none"}, "stable": {"backbone": "AE-U", "variant": ["paper", "stable"], "refined": "r_dual"}})
    def row(): return {e: cells[NIH] for (e, of), cells in cells_of(request, tmp_path, {}).items() if of == "AE-U"}
    usual = make_run(tmp_path, 0, 1.0)
    make_run(tmp_path, 0, 1.0, k=2)
    assert row() == {"main": "without ASR-Net", "members": "2 of 3 runs", "latent": "not run", "stable": "not run"}, "the usual run begins no sweep"
    scores = tmp_path / "runs" / usual.name / "scores.csv"
    lines = scores.read_text().splitlines()
    scores.write_text("\n".join([f"{lines[0]},r_dual", *(f"{line},0" for line in lines[1:])]) + "\n")
    make_run(tmp_path, 0, 1.0, k=4)
    assert row() == {"main": "without R_intra", "members": "1 seed", "latent": "not run", "stable": "not run"}


def test_coverage_of_another_methods_draws_and_of_the_crossover(tmp_path):
    drawn = {"n_unlabeled": "smaller pool", "draw": "stratified"}
    request = asked_of({"rates": drawn | {"anomaly_rate": [0.2, 0.6], "seed": [0, 1]}, "unseen": drawn | {"match": ["", "*-gl*", "*-me*"]}, "splits": {}}, rates=["NIH"], unseen=["BrainTumor"], splits=["BrainTumorLeakFree-split1", "BrainTumorLeakFree-split2"])
    also, crossed = {e: ["nnPU"] for e in ("rates", "unseen", "splits")}, {"benchmark": "BrainTumor", "backbone": "AE"}
    def cells(*records): return cells_of(request, tmp_path, {}, also, records)
    make_rival(tmp_path, "nnPU", 0, 1.0)
    assert cells()["rates", "nnPU"][NIH] == "not run", "the usual draw is none of them"
    make_rival(tmp_path, "nnPU", 1, 1.0, draw={"n_unlabeled": 200, "draw": "stratified", "anomaly_rate": 0.2})
    assert cells()["rates", "nnPU"][NIH] == "1 of 4 runs"
    make_rival(tmp_path, "nnPU", 1, 1.0, draw={"n_unlabeled": 200, "draw": "stratified"})
    for match in ("*-gl*", "*-me*"): make_rival(tmp_path, "nnPU", 0, 1.0, "BrainTumor", draw={"n_unlabeled": 400, "draw": "stratified", "match": match})
    make_rival(tmp_path, "nnPU", 0, 1.0, "BrainTumorLeakFree-split2")
    found = cells(crossed)
    assert found["rates", "nnPU"][NIH] == "1 of 2 seeds" and found["rates", "nnPU"]["ODIR-5K"] == ""
    assert found["unseen", "nnPU"]["Brain Tumor MRI"] == "1 seed" and found["splits", "nnPU"]["Brain Tumor MRI, leak-free"] == "1 of 2 splits"
    assert found["crossover", "AE"]["Brain Tumor MRI"] == "1 seed" and cells()["crossover", "AE"]["Brain Tumor MRI"] == "not run"
    assert {cell for cell in found["crossover", "AE"].values()} == {"crossover", "AE", "1 seed", ""}, "no copy of a test image was trained on elsewhere"


@pytest.mark.parametrize("rows, about, says", [
    ([{"benchmark": "Brain Tumor MRI, leak-free, AE"}, {"benchmark": "RSNA, published"}], "", ["BrainTumorLeakFree"]),
    ([{"benchmark": "NIH"}, {"benchmark": "Brain Tumor MRI, leak-free, split 2"}], "", ["BrainTumorLeakFree", "NIH"]),
    ([{"benchmark": "LAG", "runs": "0"}, {"benchmark": "ODIR-5K", "runs": "1"}], "", ["ODIR"]),
    ([{"benchmark": "Kermany Pneumonia", "run": "no panel drawn"}, {"benchmark": "Phantom", "run": "Phantom_AE_seed0"}], "", ["Phantom"]),
    ([{"run": "LGG_AE-U_seed0_stable"}, {"run": "2 runs, mean"}, {"run": "[record](baselines/BrainTumorLeakFree-split1_PCA_seed0/record.json)"}], "", ["BrainTumorLeakFree", "LGG"]),
    ([{"score": "A_rec"}], "BrainTumor", ["BrainTumor"]), ([{"score": "not run yet"}], "BrainTumor", []), ([{"run": "", "AUC": "not run"}], "Phantom", []), ([], "", []),
])
def test_a_pages_tables_tell_what_it_shows(rows, about, says, tmp_path):
    write_table(tmp_path / "page_more", rows)
    assert coverage.shown_on(tmp_path, "page", about=about) == says


def crosswalk(figures):
    "The statuses that the page of the crosswalk writes, by what is shown."
    first, *cells = freshness.code_cells(REPO / "nbs/paper/crosswalk.ipynb")
    exec("\n".join([first, f"figures = {str(figures)!r}", *cells]), {})
    return {r["shows"]: r["status"] for r in csv.DictReader((figures / "crosswalk.csv").open(encoding="utf-8"))}


def test_the_crosswalk_turns_with_the_pages_tables(tmp_path, monkeypatch):
    monkeypatch.chdir(REPO)
    write_table(tmp_path / "inputs", [{"benchmark": "not run yet"}])
    write_table(tmp_path / "localisation", [{"benchmark": "LGG Segmentation", "score": "A_rec"}])
    write_table(tmp_path / "claims", [{"benchmark": "NIH", "against": "A_inter, sham UDM"}, {"benchmark": "ODIR", "against": "A_rec"}])
    found = crosswalk(tmp_path)
    ran = {"localisation, where there are masks": "run on 1: LGG Segmentation", "the claims one by one": "run on 2: NIH ChestX-ray14, a part; ODIR-5K", "a sham UDM": "run on 1: NIH ChestX-ray14, a part"}
    assert found == dict.fromkeys(found, "not run") | ran
    assert (tmp_path / "answers/crosswalk.md").read_text(encoding="utf-8").startswith("**0 of the 9 things")
    write_table(tmp_path / "inputs", [{"benchmark": "Phantom"}])
    assert crosswalk(tmp_path)["what ASR-Net is given"] == "run on 1: Phantom"


def test_the_crosswalk_reads_every_committed_table():
    for item in csv.DictReader((REPO / "nbs/paper/data/crosswalk.csv").open(encoding="utf-8")):
        empty = "not run yet" in (REPO / f"figures/{item['page']}.csv").read_text(encoding="utf-8")
        shown = coverage.shown_on(REPO / "figures", item["page"], about=item["benchmark"])
        assert shown or empty, f"{item['page']} names no benchmark as the crosswalk expects it"


def test_a_command_of_the_crosswalk_draws_its_page():
    items = list(csv.DictReader((REPO / "nbs/paper/data/crosswalk.csv").open(encoding="utf-8")))
    grid = yaml.safe_load((REPO / "nbs/paper/config.yaml").read_text(encoding="utf-8"))["grid"]
    for item in items:
        experiments = set(filter(None, item["experiments"].split(",")))
        assert experiments <= {*grid, "all"}, item["shows"]
        assert experiments == {"all"} if PAGES[item["page"]] == "all" else experiments >= set(PAGES[item["page"]]), item["shows"]
        assert item["page"] not in OF_RIVALS or item["methods"], item["shows"]


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
