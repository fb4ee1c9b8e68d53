"What must hold for any data: order does not matter, seeds do, intervals know of groups, resuming changes nothing."
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddad import load_benchmark
from ddad.core.machine import Machine
from ddad.core.training import generator
from ddad.method import metrics, refine, scores
from ddad.method.data import unlabeled_counts
from ddad.method.recipe import Recipe, train_modules, train_refiners

RECIPE, MACHINE = Recipe(k=2, batch_size=16, image_size=32, refine_epochs=3), Machine("cpu", progress=False)


@pytest.fixture(scope="module")
def benchmark(root):
    return load_benchmark(root, "Discs", 32, progress=False)


@pytest.fixture(scope="module")
def trained(benchmark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    sets = {"udm": torch.cat([benchmark.normal, benchmark.unlabeled(24, 0.5)]), "ndm": benchmark.normal}
    recipe = replace(RECIPE, epochs=10)
    modules, _ = train_modules(recipe, sets, folder, machine=MACHINE)
    nets, _ = train_refiners(recipe, sets, modules, folder, machine=MACHINE)
    return modules, nets


def all_maps(trained, images, **options):
    modules, nets = trained
    maps = scores.predict_maps(images, modules["udm"], modules["ndm"], **options)
    return maps | refine.refine_maps(nets, maps)


def test_order_and_company_do_not_matter(trained, benchmark):
    order = torch.randperm(len(benchmark.test), generator=generator(0))
    maps, permuted = all_maps(trained, benchmark.test), all_maps(trained, benchmark.test[order], batch_size=5)
    for name, m in maps.items(): torch.testing.assert_close(permuted[name], m[order], rtol=1e-3, atol=1e-5)


def test_scores_are_the_same_however_many_maps_are_in_memory(trained, benchmark):
    modules, nets = trained
    top = {"r_dual": 0.5}
    maps = all_maps(trained, benchmark.test)
    expected = {name: scores.image_scores(m, top.get(name, 1.0)) for name, m in maps.items()}
    expected["inter_top"] = scores.image_scores(maps["inter"], 0.5)
    for at_once in (1024, 7):
        found = refine.score_images(benchmark.test, modules["udm"], modules["ndm"], nets, top, at_once)
        assert found.keys() == expected.keys()
        for name, s in found.items():
            torch.testing.assert_close(s, expected[name], rtol=0 if at_once == 1024 else 1e-3,
                                       atol=0 if at_once == 1024 else 1e-5)


def test_a_planted_lesion_raises_the_scores(trained, benchmark):
    clean = benchmark.test[benchmark.labels == 0]
    planted = clean.clone()
    planted[..., 12:20, 12:20] = 255
    before, after = (scores.predict_maps(x, trained[0]["udm"], trained[0]["ndm"]) for x in (clean, planted))
    for name in ("rec", "rec_1", "rec_2"):
        assert (scores.image_scores(after[name]) > scores.image_scores(before[name])).all()
    assert after["rec"][..., 12:20, 12:20].mean() > 2 * before["rec"][..., 12:20, 12:20].mean()


@pytest.mark.parametrize("backbone", ["AE-U", "MemAE"])
def test_the_other_backbones_train_and_score(benchmark, tmp_path, backbone):
    modules, losses = train_modules(replace(RECIPE, backbone=backbone, epochs=8),
                                    {"udm": benchmark.normal,
                                     "ndm": benchmark.normal}, tmp_path, machine=MACHINE)
    assert losses["ndm_1"][-1] < losses["ndm_1"][0]
    maps = scores.predict_maps(benchmark.test, modules["udm"], modules["ndm"])
    assert all(torch.isfinite(m).all() and (m >= 0).all() for m in maps.values())


def test_a_checkpoint_of_other_settings_is_refused(benchmark, tmp_path):
    train = lambda lr: train_modules(replace(RECIPE, epochs=1, lr=lr), {"ndm": benchmark.normal}, tmp_path,
                                     machine=MACHINE)
    train(1e-3)
    with pytest.raises(ValueError, match="other settings or data"): train(2e-3)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([32, 64, 128]))
def test_synthetic_anomalies_stay_in_their_mask_and_range(seed, side):
    x = torch.rand(6, 1, side, side, generator=generator("x", seed)) * 2 - 1
    changed, masks = refine.synthetic_anomalies(x, generator(seed))
    assert torch.equal(changed[~masks], x[~masks]) and changed.abs().max() <= 1
    sides = masks.any(2).sum(-1).flatten(), masks.any(3).sum(-1).flatten()
    assert all((s <= 2 * int(0.2 * side)).all() for s in sides)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=60), st.floats(0.1, 10), st.floats(-5, 5))
def test_metrics_ignore_order_and_scale(values, factor, shift):
    s, labels = np.array(values), np.arange(len(values)) % 2
    order = np.random.default_rng(0).permutation(len(s))
    ranks = np.unique(s, return_inverse=True)[1].astype(float)
    assert metrics.auc(s, labels) == pytest.approx(metrics.auc(s[order], labels[order]))
    assert metrics.auc(ranks, labels) == pytest.approx(metrics.auc(ranks * factor + shift, labels))
    assert metrics.auc(s, labels) == pytest.approx(1 - metrics.auc(-s, labels))
    assert 0 <= metrics.chi2_distance(ranks, labels) <= 100.0001


@pytest.mark.parametrize("n, rate, expected",
                         [(1000, 0.6, (400, 600)), (10, 0.29, (8, 2)), (10, 0, (10, 0)), (10, 1, (0, 10)),
                          (0, 0.5, (0, 0))])
def test_the_number_of_abnormal_images_is_rounded_down(n, rate, expected):
    assert unlabeled_counts(n, rate, 1000, 1000) == expected


def data(seed, n=80, groups=15):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.4
    y[:2] = [False, True]
    return np.round(rng.normal(y * 1.0), 2), y.astype(int), rng.integers(0, groups, n)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_copies_do_not_make_an_interval_narrower(seed, m):
    s, y, _ = data(seed)
    originals = np.arange(len(s))
    copied = np.tile(originals, m)
    once = metrics.bootstrap_interval(metrics.auc, s, y, n=200, seed=seed)
    assert metrics.bootstrap_interval(metrics.auc, s, y, originals, n=200, seed=seed) == once
    grouped = metrics.bootstrap_interval(metrics.auc, s[copied], y[copied], originals[copied], n=200,
                                         seed=seed)
    assert grouped == pytest.approx(once), "the same draws of the same groups"
    assert np.ptp(metrics.bootstrap_interval(metrics.auc, s[copied], y[copied], n=200, seed=seed)) < np.ptp(
        once)


def test_a_difference_shares_its_draws():
    s, y, groups = data(1)
    d = metrics.seed_bootstrap(metrics.auc, [(s, 2 * s + 1, y, groups)], n=100)
    assert d == {"difference": 0, "low": 0, "high": 0}
    d = metrics.seed_bootstrap(metrics.auc, [(-s, s, y, groups)], n=500)
    assert d["low"] > 0
    assert d["difference"] == pytest.approx(metrics.auc(s, y) - metrics.auc(-s, y))


@pytest.mark.parametrize("groups, says",
                         [([1] * 80, "All images are of one group"), ([1, 2], "Groups of shape")])
def test_groups_that_do_not_fit_are_refused(groups, says):
    s, y, _ = data(0)
    for call in (lambda: metrics.bootstrap_interval(metrics.auc, s, y, groups),
                 lambda: metrics.seed_bootstrap(metrics.auc, [(s, s, y, groups)]),
                 lambda: metrics.mean_interval(s, groups)):
        with pytest.raises(ValueError, match=says): call()
