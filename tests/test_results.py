"The two tables of results, what is added and refused; the reproduction report, its verdict and its tolerances."
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invented import make_rival, make_run, tables

from ddad.datasets.registry import card, split_of
from ddad.features.recipe import INTER
from ddad.method import metrics
from ddad.study.config import FEATURES, Config
from ddad.study.opened import list_results, read_run
from ddad.study.report import compare_scores, headline, report, stages
from ddad.study.results import LONG, SETTINGS, Results, add, current, over_seeds, read_table, write_frame
from ddad.study.run import SWEPT

FIGURES = Path(__file__).parents[1] / "figures"


def test_a_run_is_named_by_its_configuration_and_two_machines_merge(tmp_path):
    first = make_run(tmp_path / "here", seed=0)
    second = make_run(tmp_path / "there", seed=1, anomaly_rate=0.4, losses={"udm_1": 0.2})
    second.rename(second.with_name("whatever"))
    assert add([first], tmp_path / "figures") == ["NIH_AE-U_seed0"]
    assert add([second.with_name("whatever"), make_rival(tmp_path, "nnPU")],
               tmp_path / "figures") == ["NIH_AE-U_seed1_ar0.4", "NIH_nnPU_seed0"]
    results = Results(tmp_path / "figures")
    assert list(results.select("NIH", backbone="AE-U").seed) == [0], "the other rate is not usual"
    assert list(results.select("NIH", backbone="AE-U", anomaly_rate=None).seed) == [0, 1]
    assert list(results.select("NIH", "nnPU").seed) == [0]
    row = results.runs.loc["NIH_AE-U_seed0"]
    assert (row.method, row.k, row.training_seconds, row.peak_memory_mb,
            row.data_hash) == ("DDAD", 3, 50.0, 10.0, "a1")
    assert list(results.long("losses").run) == ["NIH_AE-U_seed1_ar0.4"] and len(results.long("networks")) == 2
    assert list(results.images("NIH"))[:3] == ["label", "kind", "group"]
    assert len(results.scores("NIH_AE-U_seed0", "rec_single")) == 3


@pytest.mark.parametrize("change, says", [
    ({}, "have already"), ({"seed": 1, "changed": {"data_hash": "b2"}}, "other images of NIH"),
    ({"seed": 1, "changed": {"numerics": 0}}, "older version")])
def test_what_does_not_belong_is_refused_and_nothing_is_added(tmp_path, change, says):
    tables(tmp_path, make_run(tmp_path / "a"))
    before = (tmp_path / "figures/runs.csv").read_bytes()
    with pytest.raises(ValueError, match=says):
        add([make_run(tmp_path / "b", seed=5), make_run(tmp_path / "c", **change)], tmp_path / "figures")
    assert (tmp_path / "figures/runs.csv").read_bytes() == before


def test_other_test_images_are_refused_and_a_replaced_run_leaves_no_column(tmp_path):
    run = make_run(tmp_path / "a")
    results = tables(tmp_path, run)
    before = results.value("NIH_AE-U_seed0", "inter")
    text = (run / "scores.csv").read_text()
    (run / "scores.csv").write_text(text.replace("0.png,0", "zero.png,0", 1))
    with pytest.raises(ValueError, match="other test images"): add([run], tmp_path / "figures", replace=True)
    (run / "scores.csv").write_text(text)
    add([make_run(tmp_path / "a", gain=-1.0)], tmp_path / "figures", replace=True)
    again = Results(tmp_path / "figures")
    assert list(again.images("NIH")) == list(results.images("NIH"))
    assert again.value("NIH_AE-U_seed0", "inter") < before


def test_a_table_keeps_scores_apart_and_text_as_it_is(tmp_path):
    near = np.float64(0.1) + np.array([0, 1e-13, 2e-13])
    write_frame(tmp_path / "t.csv",
                pd.DataFrame(
                    {"kind": ["NA", "", "b"], "near": near,
                     "short": np.float32([0.1, 0.2, 0.3]).astype(float)}), index=False)
    table = read_table(tmp_path / "t.csv")
    assert table.near.nunique() == 3
    assert list(np.float32(table.short)) == list(np.float32([0.1, 0.2, 0.3]))
    assert table.kind[0] == "NA"
    assert pd.isna(table.kind[1])


def test_scores_are_kept_with_five_digits_and_pages_see_the_same_auc(tmp_path):
    run = make_run(tmp_path / "a")
    kept, computed = tables(tmp_path, run), read_table(run / "scores.csv")
    name, labels = kept.runs.index[0], computed.label.to_numpy()
    for score in ("rec", "inter"):
        assert np.allclose(kept.scores(name, score)[0], computed[score], rtol=5e-5)
        assert kept.value(name, score) == pytest.approx(metrics.auc(computed[score].to_numpy(), labels),
                                                        abs=1e-4)


def test_what_two_runs_share_is_written_once(tmp_path):
    usual, sweep = make_run(tmp_path / "a"), make_run(tmp_path / "a", anomaly_rate=0.2)
    read_table(sweep / "scores.csv").assign(inter=lambda scores: scores.inter
                                            + 1).to_csv(sweep / "scores.csv", index=False)
    kept = tables(tmp_path, usual, sweep)
    first, second = kept.runs.index
    file = pd.read_csv(kept.folder / "results/NIH.csv")
    assert file[f"{second}:rec"].isna().all() and file[f"{second}:inter"].notna().all()
    assert np.array_equal(kept.scores(second, "rec"), kept.scores(first, "rec"))
    assert kept.scores_of(second) == kept.scores_of(first)


def test_over_seeds_is_the_mean_of_what_each_seed_has(tmp_path):
    results = tables(tmp_path, *(make_run(tmp_path / "a", seed) for seed in range(3)))
    runs = results.select("NIH", backbone="AE-U")
    summary = over_seeds(results, runs, "inter")
    aucs = [metrics.auc(results.scores(run, "inter")[0], results.truth("NIH")[0]) for run in runs.index]
    assert summary["mean"] == pytest.approx(np.mean(aucs))
    assert summary["std"] == pytest.approx(np.std(aucs, ddof=1))
    assert summary["n"] == 3
    assert over_seeds(results, runs, "r_dual") is None


def test_a_run_is_looked_at_in_its_folder_or_in_the_tables(tmp_path):
    run = make_run(tmp_path / "runs")
    tables(tmp_path, run, make_rival(tmp_path / "other", "nnPU"))
    own, kept = read_run(run), read_run(tmp_path / "figures/runs/NIH_AE-U_seed0")
    assert own.scores["image"] == kept.scores["image"]
    assert np.allclose(own.scores["inter"], kept.scores["inter"], rtol=5e-5)
    assert list(kept.known("kind")) == list(own.known("kind"))
    assert Config.recorded(kept.config) == Config.recorded(own.config)
    assert [p.name for p in list_results(tmp_path / "figures/runs")] == ["NIH_AE-U_seed0", "NIH_nnPU_seed0"]
    with pytest.raises(ValueError, match="no configuration of DDAD"):
        read_run(tmp_path / "figures/runs/NIH_nnPU_seed0")
    with pytest.raises(ValueError, match="holds no finished run"): read_run(tmp_path / "figures/runs/nobody")


def test_the_committed_tables_are_whole():
    results = Results(FIGURES)
    assert len(results.runs) > 200
    assert results.runs.index.is_unique
    assert set(SETTINGS) <= set(results.runs)
    assert current(results.runs).all()
    assert (results.runs.commit.str.len() == 40).all(), "a committed run comes from committed code"
    assert {path.stem for path in FIGURES.glob("results/*.csv")} == set(results.runs.benchmark)
    for benchmark, runs in results.runs.groupby("benchmark"):
        table = results.images(benchmark)
        assert table.index.is_unique
        assert runs.data_hash.nunique() == 1
        assert {c.rpartition(":")[0] for c in table.columns[3:]} == set(runs.index)
        counts = card(benchmark).counts
        if counts: assert (table.label == 0).sum() == counts[3] and (table.label == 1).sum() == counts[4]
        assert np.isfinite(table.iloc[:, 3:].to_numpy(dtype=float)).all()
    for name in LONG: assert set(results.long(name).run) <= set(results.runs.index)


def test_every_run_has_the_scores_of_its_configuration():
    results = Results(FIGURES)
    for name, run in results.runs[results.runs.method == "DDAD"].iterrows():
        if run.backbone == FEATURES:
            swept = name != f"{run.benchmark}_features_seed{run.seed}" or split_of(run.benchmark)
            assert results.scores_of(name) == (list(SWEPT) if swept else list(INTER)), name
            continue
        refined = () if pd.isna(run.refined) else run.refined.split(",")
        assert set(results.scores_of(name)) - {"inter_top"} == {
            *(f"rec_{i + 1}" for i in range(int(run.k))), "rec", "intra", "inter", *refined} - {"none"}, name


def ours_of(folder, n=5, **more):
    return tables(folder / "ours",
                  *(make_run(folder / "runs", seed, losses={"udm_1": 0.02 + seed / 1e3}, noise=0.1, **more)
                    for seed in range(n)))


def yours_of(folder, **more):
    return tables(folder / "yours",
                  make_run(folder / "mine", **{"seed": 1, "losses": {"udm_1": 0.02}, "noise": 0.1} | more))


def told(yours, ours):
    run = yours.runs.iloc[0]
    scores = compare_scores(yours, ours, run)
    way = stages(yours, ours, run, scores)
    return scores.set_index("score"), way.set_index("stage").verdict, headline({run.run: (scores, way)})


def test_what_lies_among_the_trainings_is_reproduced(tmp_path):
    ours = ours_of(tmp_path)
    scores, way, line = told(yours_of(tmp_path), ours)
    assert line.startswith("reproduced: ") and set(way) <= {"same", "agrees", "not compared"}
    inter = scores.loc["A_inter"]
    values = [ours.value(run, "inter") for run in ours.runs.index]
    assert inter.verdict == "reproduced"
    assert inter.tolerance == pytest.approx(3 * np.std(values, ddof=1))
    assert inter.yours - inter.difference == pytest.approx(np.mean(values))


@pytest.mark.parametrize("change, stage", [
    ({"gain": -3.0}, "discrepancies"), ({"gain": -3.0, "losses": {"udm_1": 0.5}}, "losses"),
    ({"gain": -3.0, "changed": {"data_hash": "b2"}}, "pixels")])
def test_the_first_stage_that_differs(tmp_path, change, stage):
    _, way, line = told(yours_of(tmp_path, **change), ours_of(tmp_path))
    assert line.startswith("differs: ")
    assert f"the first stage that differs: {stage}" in line
    assert way[stage] == "differs"


def test_four_trainings_give_the_interval_and_none_gives_no_verdict(tmp_path):
    yours, four = yours_of(tmp_path), ours_of(tmp_path, n=4)
    assert set(told(yours, four)[0]["of"]) == {"half of the 95 % interval"}
    scores, _, line = told(yours, tables(tmp_path / "else", make_run(tmp_path / "e", benchmark="LGG")))
    assert set(scores.verdict) == {"not compared"} and line == "nothing is committed to compare with."


def test_a_tolerance_that_says_reproduced_to_anything_says_so(tmp_path):
    wild = tables(tmp_path / "ours",
                  *(make_run(tmp_path / "runs", seed, gain=seed - 2.0, noise=0.1) for seed in range(5)))
    scores = told(yours_of(tmp_path), wild)[0]
    assert scores.verdict["A_inter"] == "too variable to say" and scores.verdict["A_rec"] == "reproduced"


def test_the_report_is_printed_and_written_as_a_page(tmp_path, capsys):
    ours_of(tmp_path), yours_of(tmp_path)
    assert report(tmp_path / "yours/figures", tmp_path / "ours/figures")
    page = (tmp_path / "yours/figures/report.html").read_text()
    assert capsys.readouterr().out.startswith("reproduced")
    assert page.count("<img") == 3
    assert "NIH_AE-U_seed1" in page
    assert "<table" in page
