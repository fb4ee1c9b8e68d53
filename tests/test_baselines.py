"Every method learns something on discs, gives the same twice, and goes on after a break."
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from ddad import load_benchmark
from ddad.method import metrics
from ddad.rivals import reconstruction, selfsupervised
from ddad.rivals.interface import Baseline
from ddad.rivals.methods import METHODS, method_named, methods_for
from ddad.rivals.selfsupervised import CHANGED, FPI, NSA, PII, AnatPaste, anat_paste, find_lungs

REPO = Path(__file__).parents[1]
QUICK = dict.fromkeys(("AE", "AE, L1", "VAE", "Context-encoding AE", "Constrained AE", "AE-Grad"), 6) | {
    "AE, SSIM": 3, "Denoising AE": 2, "Deep SVDD": 10, "GANomaly": 20, "FPI": 3, "PII": 3, "NSA": 2,
    "CutPaste": 1, "f-AnoGAN": 2, "D2UE": 2} | dict.fromkeys(
    ("D_n against D_u", "nnPU", "nnPU, rate too low", "nnPU, rate too high"), 15)
# too few epochs here to be held to a planted square
UNSURE = {"FPI", "PII", "NSA", "CutPaste", "f-AnoGAN", "D2UE"}


@pytest.fixture(scope="module")
def discs(root): return load_benchmark(root, "Discs", 32, progress=False)


def fitted(name, discs, seed=0, **options):
    method = METHODS[name](seed=seed, epochs=QUICK.get(name), device="cpu", progress=False, **options)
    method.batch_size = 16
    return method.fit(discs.normal, torch.cat([discs.unlabeled_normal, discs.unlabeled_abnormal]))


@pytest.mark.parametrize(
    "name", [n for n, cls in METHODS.items() if not cls.benchmarks and cls.group != "trivial"])
def test_a_method_learns_and_says_where(name, discs):
    method = fitted(name, discs)
    scores = method.score(discs.test)
    assert scores.shape == (24,) and np.isfinite(scores).all() and method.parameters > 0
    clean = discs.test[discs.labels == 0]
    planted = clean.clone()
    planted[..., 10:20, 10:20] = 255
    if name not in UNSURE: assert (method.score(planted) > method.score(clean)).mean() > 0.7
    assert np.allclose(scores[[5, 3]], method.score(discs.test[[5, 3]]), rtol=1e-3, atol=1e-5)
    maps = method.maps(discs.test)
    assert maps is None or maps.shape == discs.test.shape and maps.isfinite().all()
    assert method.paper and method.settings and method.group


def test_trivial_scores_are_what_they_say(discs):
    images = discs.test.double() / 255
    everything = torch.cat([discs.unlabeled_normal, discs.unlabeled_abnormal])
    expected = {"Mean intensity": images.mean((1, 2, 3)), "Minus mean intensity": -images.mean((1, 2, 3)),
                "99th percentile": images.flatten(1).quantile(0.99, 1),
                "Minus 99th percentile": -images.flatten(1).quantile(0.99, 1)}
    for name, cls in METHODS.items():
        if cls.group != "trivial": continue
        assert cls.deterministic
        first, again = (cls(seed=seed).fit(discs.normal, everything) for seed in (0, 1))
        scores = first.score(discs.test)
        assert scores.shape == (24,)
        assert np.isfinite(scores).all()
        assert (scores == again.score(discs.test)).all()
        assert first.maps(discs.test) is None
        if name in expected: assert first.parameters == 0 and np.allclose(scores, expected.pop(name))
        else:
            taught = np.repeat([0, 1], [len(discs.normal), len(everything)])
            auc = metrics.auc(first.score(torch.cat([discs.normal, everything])), taught)
            assert auc > 0.6, "it knows what it was taught"
    assert not expected
    for name in ("Thumbnail, D_n against D_u", "Features, D_n against D_u", "D_n against D_u", "nnPU"):
        with pytest.raises(ValueError, match="learns from unlabeled images too"):
            METHODS[name](device="cpu").fit(discs.normal)


@pytest.mark.parametrize("name", ["VAE", "f-AnoGAN", "Isolation forest", "PatchCore"])
def test_the_same_seed_gives_the_same_scores(name, discs, monkeypatch):
    monkeypatch.setitem(QUICK, name, 1)
    first, again, other = (fitted(name, discs, seed).score(discs.test) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize(
    "name", [n for n, cls in METHODS.items() if cls.deterministic and cls.group != "trivial"])
def test_one_seed_is_enough_for_what_says_so(name, discs):
    assert np.array_equal(*(fitted(name, discs, seed).score(discs.test) for seed in (0, 1)))


def test_a_training_that_was_broken_off_goes_on(discs, tmp_path, monkeypatch):
    monkeypatch.setitem(QUICK, "VAE", 4)
    whole = fitted("VAE", discs, folder=tmp_path / "whole").score(discs.test)
    class Interrupted(Exception): pass
    steps = []
    def spoil(self, x, g):
        steps.append(1)
        if len(steps) == 8: raise Interrupted
        return original(self, x, g)
    original = reconstruction.VAE.spoil
    with monkeypatch.context() as patch:
        patch.setattr(reconstruction.VAE, "spoil", spoil)
        with pytest.raises(Interrupted): fitted("VAE", discs, folder=tmp_path / "broken")
    assert list((tmp_path / "broken").glob("*.unfinished.safetensors"))
    assert np.array_equal(fitted("VAE", discs, folder=tmp_path / "broken").score(discs.test), whole)


def laplacian(f): return f[:-2, 1:-1] + f[2:, 1:-1] + f[1:-1, :-2] + f[1:-1, 2:] - 4 * f[1:-1, 1:-1]


@pytest.mark.parametrize(
    "change", [selfsupervised.cut_paste, selfsupervised.cut_paste_scar,
               *(lambda x, rng, c=c: c(progress=False).paste(x, np.roll(x, 9), rng)[0]
                 for c in (FPI, PII, NSA))])
def test_synthetic_anomalies_are_local_and_in_range(change):
    rng, x = np.random.default_rng(0), np.random.default_rng(1).uniform(-1, 1, (64, 64))
    before = x.copy()
    shares = [(change(x, rng) != x).mean() for _ in range(50)]
    assert np.array_equal(x, before)
    assert 0 < np.mean(shares) < 0.5
    assert max(np.abs(change(x, rng)).max() for _ in range(20)) <= 1 + 1e-9


@pytest.mark.parametrize("cls", [FPI, PII, NSA])
def test_a_pixel_that_does_not_change_is_no_anomaly(cls):
    x, rng = np.random.default_rng(1).uniform(-1, 1, (64, 64)), np.random.default_rng(0)
    for _ in range(20):
        pasted, target = cls(progress=False).paste(x, x if cls is FPI else np.roll(x, 9), rng)
        assert not target[np.abs(pasted - x) / 2 <= CHANGED].any()
    half = x.copy()
    half[:, 32:] = np.roll(x, 9)[:, 32:]
    pairs = [cls(progress=False).paste(x, half, rng) for _ in range(20)]
    assert any(target.any() for _, target in pairs), "and what changes is one"


def test_pii_takes_the_stronger_gradient():
    flat, steep = np.zeros((32, 32)), np.tile(np.linspace(-1, 1, 32), (32, 1))
    method, box = PII(progress=False), (slice(4, 28), slice(4, 28))
    assert np.allclose(method.blend(flat, steep, box, 0.3),
                       method.blend(flat, 0.3 * steep, box, 1.0)), "of a flat image and a ramp, the ramp's"
    x, other = np.random.default_rng(0).uniform(-0.2, 0.2, (2, 32, 32))
    weighted = [[share * np.diff(image[box], axis=axis) for share, image in ((0.6, x), (0.4, other))]
                for axis in (0, 1)]
    down, across = (np.where(abs(a) > abs(b), a, b) for a, b in weighted)
    wanted = np.diff(down, axis=0)[:, 1:-1] + np.diff(across, axis=1)[1:-1]
    assert np.allclose(laplacian(method.blend(x, other, box, 0.4)[box]), wanted)


def test_nsa_leaves_the_background_alone():
    dark, rng = np.full((64, 64), -1.0), np.random.default_rng(0)
    brain = dark.copy()
    brain[16:48, 16:48] = np.random.default_rng(1).uniform(0, 1, (32, 32))
    def changed(x, other):
        return [(NSA(progress=False).paste(x, other, rng)[0] != x).any() for _ in range(10)]
    assert not any(changed(dark, brain)), "no patch onto background"
    assert not any(changed(brain, dark)), "no patch of background"
    assert np.mean(changed(brain, brain[::-1])) > 0.8


def test_structural_similarity_is_taken_of_gray_levels_from_0_to_1():
    rng = np.random.default_rng(0)
    a, b = (ndimage.gaussian_filter(rng.uniform(0, 1, (64, 64)), 1) for _ in range(2))
    blur = lambda f: ndimage.gaussian_filter(f, 1.5, radius=5)
    var_a = blur(a * a) - blur(a) ** 2
    var_b = blur(b * b) - blur(b) ** 2
    cov = blur(a * b) - blur(a) * blur(b)
    c1, c2 = 0.01 ** 2, 0.03 ** 2  # of a range of 1
    alike = (2 * blur(a) * blur(b) + c1) * (2 * cov + c2)
    expected = alike / ((blur(a) ** 2 + blur(b) ** 2 + c1) * (var_a + var_b + c2))
    ours = reconstruction._ssim_map(
        *(torch.from_numpy(2 * t - 1).float()[None, None] for t in (a, b)))[0, 0].numpy()
    assert np.allclose(ours[8:-8, 8:-8], expected[8:-8, 8:-8], atol=1e-3)


def test_nnpu_is_told_the_rate_of_the_run_or_a_wrong_one():
    normal, unlabeled = torch.randn(2, 64)
    risks = {}
    for rate in (0.1, 0.6):
        for name in ("nnPU", "nnPU, rate too low", "nnPU, rate too high"):
            method = METHODS[name](device="cpu", anomaly_rate=rate)
            prior = 1 - {"nnPU": rate, "nnPU, rate too low": rate / 2,
                         "nnPU, rate too high": (1 + rate) / 2}[name]
            negative = torch.sigmoid(-unlabeled).mean() - prior * torch.sigmoid(-normal).mean()
            expected = prior * torch.sigmoid(normal).mean() + negative if negative >= 0 else -negative
            assert method.knows_rate
            assert method.risk(normal, unlabeled) == pytest.approx(float(expected), rel=1e-6)
            risks[name, rate] = float(expected)
    assert len(set(risks.values())) == 6


def drawn_chest(seed, side=64):
    y, x = np.mgrid[-1:1:side * 1j, -1:1:side * 1j]
    image = np.where(abs(x) < 0.95, 0.5, -1.0)
    for centre in (-0.42, 0.42): image[((x - centre) / 0.3) ** 2 + (y / 0.6) ** 2 < 1] = -0.6
    return (image + np.random.default_rng(seed).normal(0, 0.05, image.shape)).clip(-1, 1).astype(np.float32)


def test_anatpaste_changes_lungs_alone_and_refuses_images_without():
    chests = np.stack([drawn_chest(i) for i in range(16)])
    lungs, rng = find_lungs(chests[0]), np.random.default_rng(0)
    assert np.array_equal(lungs[:, ::-1], find_lungs(chests[0][:, ::-1]))
    assert 0.15 < lungs.mean() < 0.4
    assert chests[0][lungs].mean() < -0.4
    changed = np.mean([anat_paste(chests[0], lungs, rng) != chests[0] for _ in range(30)], axis=0)
    assert not changed[~lungs].any() and changed[lungs].mean() > 0.05
    assert not find_lungs(np.zeros((64, 64), np.float32)).any() and not find_lungs(-chests[0]).any()
    images = torch.from_numpy(((chests + 1) * 127.5).astype(np.uint8))[:, None]
    method = AnatPaste(epochs=1, device="cpu", progress=False)
    method.batch_size = 8
    images[3] = 0
    assert np.isfinite(method.fit(images).score(images)).all()
    with pytest.raises(ValueError, match="needs chest X-rays: lungs were found in 0 of 16 images"):
        method.fit(255 - images)


def test_structural_similarity_is_a_number_for_flat_images_in_bfloat16():
    flat = torch.linspace(-1, 1, 9)[:, None, None, None].expand(9, 1, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        similar, far = (reconstruction._ssim_map(flat + shift, flat) for shift in (0.001, 0.5))
    assert similar.isfinite().all()
    assert similar.mean() > 0.99
    assert far.isfinite().all()
    assert far.mean() < similar.mean()


def test_the_code_of_a_constrained_ae_counts_as_often_as_it_has_numbers():
    method = METHODS["Constrained AE"](progress=False, device="cpu")
    net, x = method.make(32).eval(), torch.rand(4, 1, 32, 32)
    code = net.encode(x)
    recon = net.decode(code)
    # Chen and Konukoglu's, in sums
    expected = ((recon - x).square().flatten(1).sum(1) + (net.encode(recon) - code).square().sum(1)).mean()
    assert method.loss(net, x, x).item() * x[0].numel() == pytest.approx(expected.item(), rel=1e-4)


def test_every_method_with_a_name_is_in_the_table_under_it():
    def below(cls): return {cls}.union(*map(below, cls.__subclasses__()))
    ours = {cls for cls in below(Baseline) if cls.__module__.startswith("ddad.") and "name" in vars(cls)
            and cls is not Baseline}
    assert set(METHODS.values()) == ours and all(cls.name == name for name, cls in METHODS.items())
    assert set(METHODS) - set(methods_for("BrainTumor")) == {"AnatPaste"}
    assert list(methods_for("RSNA")) == list(METHODS)
    with pytest.raises(ValueError, match="There is no method 'PSA': choose among AE; AE, L1; "):
        method_named("PSA")
