"Verdicts follow from the results: turned round, they turn."
import numpy as np
import pytest
from invented import make_rival, make_run, tables

from ddad.features.recipe import VERSION
from ddad.method import metrics
from ddad.study import claims
from ddad.study.claims import COLUMNS, all_effects
from ddad.study.config import FEATURES, sweep_size


def seeds(folder, *gains, **settings):
    return [make_run(folder, seed, gain, **settings) for seed, gain in enumerate(gains)]


def effects_of(results, *claimed, benchmark="NIH"): return all_effects(results, [benchmark], claimed or None)


@pytest.mark.parametrize("gain, says", [(1.5, "holds"), (-1.5, "fails"), (0.0, "undecided")])
def test_a_verdict_turns_with_the_results(gain, says, tmp_path):
    effects = effects_of(tables(tmp_path, *seeds(tmp_path, gain, gain, gain)))
    row = effects[(effects.score == "A_inter") & (effects.against == "A_rec")].iloc[0]
    assert list(effects) == list(COLUMNS) and (row.verdict, row.seeds, row.groups) == (says, 3, 60)


def test_two_seeds_decide_nothing(tmp_path):
    row = effects_of(tables(tmp_path, *seeds(tmp_path, 2.0, 2.0)), claims.UNLABELED).iloc[0]
    assert row.low > 0 and row.verdict == "undecided"


def test_the_interval_is_that_of_seeds_and_groups(tmp_path):
    results = tables(tmp_path, *seeds(tmp_path, 0.5, 0.5, 0.5))
    row = effects_of(results, claims.UNLABELED).iloc[0]
    labels, _, groups = results.truth("NIH")
    alone = [
        metrics.seed_bootstrap(
            metrics.auc, [(*(results.scores(run, s)[0] for s in ("rec", "inter")), labels, groups)])
        for run in results.runs.index]
    assert row.effect == pytest.approx(np.mean([t["difference"] for t in alone]))
    assert row.low < max(t["low"] for t in alone) and row.high > min(t["high"] for t in alone)


def test_a_sham_udm_a_sweep_and_unseen_kinds_find_their_pairs(tmp_path):
    drawn, folders = dict(n_unlabeled=sweep_size("NIH"), draw="stratified"), []
    folders += seeds(tmp_path, 1.0, 1.0, 1.0) + seeds(tmp_path, -1.0, -1.0, n_unlabeled=0)
    folders += [make_run(tmp_path, 2, -1.0, n_unlabeled=0, changed={"precision": "bfloat16"})]
    for rate in (0.0, 0.6): folders += seeds(tmp_path, rate, rate, rate, **drawn, anomaly_rate=rate)
    folders += seeds(tmp_path, 1.0, 1.0, 1.0, **drawn, match="a")
    effects = effects_of(tables(tmp_path, *folders))
    rows = effects.set_index(["claim", "against", "setting"])
    sham = rows.loc[(claims.UNLABELED.name, "A_inter, sham UDM", "")]
    assert sham.seeds == 3 and sham.low > 0, "precision is a property of a run, as its seed is"
    assert rows.loc[(claims.UNLABELED.name, "A_inter, anomaly rate 0", "200 unlabeled images")].seeds == 3
    assert set(effects[effects.claim == claims.RATES.name].setting) == {
        f"anomaly rate {rate}, 200 unlabeled images" for rate in (0.0, 0.6)}
    unseen = effects[effects.claim == claims.UNSEEN.name]
    assert set(unseen.against) == {"A_rec"} and unseen.setting.str.contains("b tested").all()


def test_a_method_that_was_run_once_stands_beside_every_seed(tmp_path):
    folders = seeds(tmp_path, 1.0, 1.0, 1.0) + [make_rival(tmp_path, "nnPU", seed, 3.0) for seed in range(3)]
    folders += [make_rival(tmp_path, name) for name in ("VAE", "Mahalanobis")]
    results = tables(tmp_path, *folders)
    rows = effects_of(results, claims.METHODS).set_index("against")
    assert set(rows.index) == {"nnPU", "VAE"}
    assert (rows.verdict["nnPU"], rows.verdict["VAE"]) == ("fails", "holds")
    assert rows.setting["nnPU"] == "" and rows.setting["VAE"] == claims.ONE_SEED and rows.seeds["VAE"] == 3
    frozen = effects_of(results, claims.FROZEN)
    assert list(frozen.against) == ["Mahalanobis"]
    assert list(frozen.setting) == [""], "another seed would give the same"


def test_runs_of_older_arithmetic_decide_nothing(tmp_path):
    results = tables(tmp_path, *seeds(tmp_path, 1.0, 1.0, 1.0))
    results.runs["version"] = 0
    assert not len(effects_of(results))


def test_a_further_split_takes_the_place_of_a_seed(tmp_path):
    on_features = {"backbone": FEATURES, "refined": "r_intra,r_dual", "changed": {"numerics": VERSION}}
    folders = [make_run(tmp_path, 0, 1.0 + i / 9, f"NIH-split{i}", **on_features) for i in (1, 2, 3)]
    rows = effects_of(tables(tmp_path, *folders), benchmark="NIH")
    assert [*rows.setting] == [claims.SPLITS] and [*rows.benchmark] == ["NIH"]
    assert [*rows.verdict] == ["holds"] and [*rows.seeds] == [3]
