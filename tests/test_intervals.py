"Intervals that know of groups."
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddad.method import metrics


def data(seed, n=80, groups=15):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.4
    y[:2] = [False, True]
    return np.round(rng.normal(y * 1.0), 2), y.astype(int), rng.integers(0, groups, n)


def plainly(metric, s, y, groups, n, seed):
    "The cluster bootstrap in a few plain lines: draws of groups until both classes are there."
    names, rng, found = np.unique(groups), np.random.default_rng(seed), []
    while len(found) < n:
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), min(100, n) if not found else n - len(found))
        for c in counts:
            taken = np.concatenate([np.repeat(np.flatnonzero(groups == g), k) for g, k in zip(names, c)])
            if len(set(y[taken])) == 2: found.append(metric(s[taken], y[taken]))
    return np.array(found)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([metrics.auc, metrics.average_precision]))
def test_the_fast_way_is_the_plain_one_and_every_image_its_own_group_is_no_group(seed, metric):
    s, y, groups = data(seed)
    own = np.arange(len(s))
    for asked, plain in ((groups, groups), (None, own)):
        assert metrics._draws(metric, [s], y.astype(bool), asked, 40, seed)[0] == pytest.approx(plainly(metric, s, y, plain, 40, seed))
    low, high = metrics.bootstrap_interval(metric, s, y, n=60, seed=seed)
    assert metrics.bootstrap_interval(metric, s, y, own, n=60, seed=seed) == (low, high) and 0 <= low <= high <= 1


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_copies_do_not_make_an_interval_narrower(seed, m):
    s, y, _ = data(seed)
    originals = np.arange(len(s))
    copied = np.tile(originals, m)
    once = metrics.bootstrap_interval(metrics.auc, s, y, n=200, seed=seed)
    grouped = metrics.bootstrap_interval(metrics.auc, s[copied], y[copied], originals[copied], n=200, seed=seed)
    assert grouped == pytest.approx(once), "the same draws of the same groups"
    assert np.ptp(metrics.bootstrap_interval(metrics.auc, s[copied], y[copied], n=200, seed=seed)) < np.ptp(once)


def test_a_difference_shares_its_draws():
    s, y, groups = data(1)
    d = metrics.paired_bootstrap(metrics.auc, s, 2 * s + 1, y, groups, n=100)
    assert d == {"difference": 0, "low": 0, "high": 0, "p": 1}
    d = metrics.paired_bootstrap(metrics.auc, -s, s, y, groups, n=500)
    assert d["low"] > 0 and d["p"] < 0.05 and d["difference"] == pytest.approx(metrics.auc(s, y) - metrics.auc(-s, y))


@pytest.mark.parametrize("groups, says", [([1] * 80, "All images are of one group"), ([1, 2], "Groups of shape")])
def test_groups_that_do_not_fit_are_refused(groups, says):
    s, y, _ = data(0)
    for call in (lambda: metrics.bootstrap_interval(metrics.auc, s, y, groups), lambda: metrics.paired_bootstrap(metrics.auc, s, s, y, groups), lambda: metrics.mean_interval(s, groups)):
        with pytest.raises(ValueError, match=says): call()


def test_one_vote_a_group():
    s, y, _ = data(2)
    copied = np.r_[np.arange(80), np.zeros(30, int)]  # the first image thirty times more
    weights = metrics.vote_weights(y[copied], copied)
    for metric in (metrics.auc, metrics.average_precision):
        assert metric(s[copied], y[copied], weights) == pytest.approx(metric(s, y))
    assert metrics.vote_weights([0, 0, 1], ["a", "a", "a"]).tolist() == [0.5, 0.5, 1]


def test_an_interval_of_a_mean_is_wider_over_groups():
    rng, groups = np.random.default_rng(0), np.repeat(np.arange(20), 10)
    values = rng.normal(size=20)[groups]
    assert np.ptp(metrics.mean_interval(values, groups)) > 2.5 * np.ptp(metrics.mean_interval(values))
