"The detector: scikit-learn's conventions, the threshold's guarantee, saving, the official checkpoints, ONNX."
import copy
import json
import shutil

import numpy as np
import pytest
import torch
from invented import discs, keep
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from ddad.core.images import to_gray
from ddad.detect import scorer
from ddad.detect.estimator import DDAD, _assemble
from ddad.detect.inputs import as_images
from ddad.detect.parameters import split
from ddad.detect.scorer import Networks
from ddad.method import recipe
from ddad.method.networks import ASRNet, make_network

QUICK = dict(k=2, epochs=2, refine_epochs=1, image_size=32, batch_size=16, random_state=0)


@pytest.fixture(scope="module")
def detector():
    return DDAD(**QUICK).fit(discs(96), unlabeled=np.concatenate([discs(16, seed=1), discs(24, True, 2)]))


def untrained(backbone, refiners=("r_dual", "r_intra"), udm=True, **params):
    "A detector whose networks have random weights and batch statistics."
    torch.manual_seed(0)
    d = DDAD(backbone, k=2, device="cpu", **params)
    nets = [make_network(backbone, d.latent, d.width, d.image_size) for _ in range(4)]
    for net in nets: net.train()(torch.randn(8, 1, d.image_size, d.image_size))
    asr = {s: ASRNet(2 if s == "r_dual" else 1) for s in refiners}
    for net in (*nets, *asr.values()): net.eval()
    return _assemble(d, Networks(nets[:2] if udm else [], nets[2:], asr),
                     refiners[0] if refiners else "inter" if udm else "rec")


def test_it_has_scikit_learns_conventions(detector):
    X = discs(10, seed=3)
    assert np.array_equal(detector.score_samples(X), -detector.anomaly_score(X))
    assert np.allclose(detector.decision_function(X), detector.score_samples(X) - detector.offset_, atol=1e-6)
    assert np.array_equal(detector.predict(X),
                          np.where(detector.anomaly_score(X) <= detector.threshold_, 1, -1))
    assert clone(detector).get_params() == detector.get_params()
    assert not hasattr(clone(detector), "threshold_")
    assert detector.score_ == "r_dual"
    assert set(detector.anomaly_maps(X)) == {"rec", "intra", "inter", "r_dual"}
    assert detector.anomaly_maps(X)["rec"].shape == (10, 32, 32)
    with pytest.raises(NotFittedError): DDAD().predict(X)


def test_arrays_tensors_and_files_score_alike(detector, root):
    files = sorted((root / "Discs/images").glob("test_*.png"))
    X = np.stack([np.asarray(Image.open(f)) for f in files])
    scores = detector.anomaly_score(X)
    for other in (torch.from_numpy(X)[:, None], files, [str(f) for f in files],
                  np.array([str(f) for f in files])):
        assert np.array_equal(detector.anomaly_score(other), scores)
    assert len(detector.anomaly_score(root / "Discs/images")) == 48 + 24 + 24 + 12 + 12
    assert detector.anomaly_score(X[:0]).shape == (0,)


def test_the_same_random_state_gives_the_same_detector(detector):
    X = discs(5, seed=6)
    def fit(**params):
        d = clone(detector).set_params(refine_epochs=0, **params)
        return d.fit(discs(40), unlabeled=discs(16, True, 2)).anomaly_score(X)
    first = fit(random_state=np.random.RandomState(3))
    assert np.array_equal(first, fit(random_state=np.random.RandomState(3)))
    assert not np.array_equal(first, fit(random_state=None))


def test_it_goes_into_a_pipeline_and_cross_validation():
    X, y = np.stack([discs(40), discs(40, True, 1)], 1).reshape(80, 40, 40), np.tile([1, -1], 40)
    without = DDAD(**QUICK | {"epochs": 1}, holdout=0)
    pipeline = make_pipeline(FunctionTransformer(lambda x: 255 - x), without)
    assert pipeline.fit(X, ddad__unlabeled=discs(16, True, 2)).score_samples(X).shape == (80,)
    values = cross_val_score(without, X, y, scoring="roc_auc", cv=2, error_score="raise")
    assert values.shape == (2,) and np.isfinite(values).all()


def test_a_broken_off_fit_goes_on_from_its_checkpoints(detector, tmp_path, monkeypatch):
    unlabeled = np.concatenate([discs(16, seed=1), discs(24, True, 2)])
    with monkeypatch.context() as patch:
        patch.setattr(recipe, "train_refiners", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            DDAD(**QUICK, checkpoints=tmp_path).fit(discs(96), unlabeled=unlabeled)
    assert len(list(tmp_path.glob("*dm_?.safetensors"))) == 4
    again = DDAD(**QUICK, checkpoints=tmp_path).fit(discs(96), unlabeled=unlabeled)
    assert np.array_equal(again.anomaly_score(discs(5, seed=3)), detector.anomaly_score(discs(5, seed=3)))


# ---- the threshold

def test_the_threshold_follows_fpr_and_a_new_calibration(detector):
    X = discs(100, seed=7)
    calibrated = [copy.deepcopy(detector).set_params(fpr=fpr).calibrate(X) for fpr in (0.05, 0.3)]
    rates = [(d.predict(X) == -1).mean() for d in calibrated]  # of the images that it was calibrated on
    assert 0 < rates[0] <= 0.05 < rates[1] <= 0.3 and calibrated[0].threshold_ > calibrated[1].threshold_


def test_held_out_images_are_windowed_once(tmp_path):
    "The scores behind the threshold are those that the detector gives the same images."
    X = discs(40).astype(np.uint16) * 9
    for source in (X, keep(tmp_path, X)):
        d = DDAD(**QUICK | {"epochs": 1, "refine_epochs": 0}, fpr=0.1, window=(100, 2000)).fit(source)
        held_out = split(range(40), d.about_["images"]["held_out"], d.about_["seed"])[1]
        assert np.allclose(d.calibration_scores_, np.sort(d.anomaly_score(source)[held_out]), rtol=1e-4)
        assert np.array_equal(d.calibrate(source).calibration_scores_, np.sort(d.anomaly_score(source)))


def test_without_a_threshold_a_one_class_detector_ranks_and_does_not_decide():
    X = discs(60)
    d = DDAD(**QUICK | {"epochs": 1}, holdout=0).fit(discs(40))
    assert d.score_ == "rec" and set(d.anomaly_maps(X)) == {"rec", "intra"}
    assert np.array_equal(d.decision_function(X), d.score_samples(X)) and d.offset_ == 0
    for use in (lambda: d.predict(X), lambda: d.p_values(X), lambda: d.threshold_):
        with pytest.raises(NotFittedError, match="no threshold.*calibrate"): use()
    d.calibrate(X)
    assert np.array_equal(d.decision_function(X) >= 0, d.predict(X) == 1) and d.offset_ == -d.threshold_


def test_an_unfitted_detector_talks_of_fitting(tmp_path):
    for use in ("predict", "decision_function", "p_values", "anomaly_score", "calibrate", "save", "to_onnx",
                "threshold_", "offset_"):
        with pytest.raises(NotFittedError, match="not fitted: call fit"):
            getattr(DDAD(), use)(tmp_path / "model")
    with pytest.raises(NotFittedError): check_is_fitted(DDAD())


def test_a_parameter_that_the_networks_follow_cannot_change_without_them(detector, tmp_path):
    again, X = copy.deepcopy(detector), discs(3)
    for name, value in dict(image_size=64, backbone="AE-U", variant="stable").items():
        before = getattr(again, name)
        again.set_params(**{name: value})
        for use in (lambda: again.predict(X), lambda: again.save(tmp_path / "other"),
                    lambda: again.to_onnx(tmp_path / "d.onnx")):
            with pytest.raises(ValueError, match=f"{name} was set to {value!r}.*{before!r}.*call fit again"):
                use()
        again.set_params(**{name: before})
    assert np.array_equal(again.set_params(fpr=0.2).anomaly_score(X), detector.anomaly_score(X))
    assert not (tmp_path / "other").exists()
    again.set_params(image_size=16, fpr=0.1, refine_epochs=0, holdout=0).fit(discs(40))
    assert again.anomaly_maps(X)["rec"].shape == (3, 16, 16)


# ---- bad input, before any training

@pytest.mark.parametrize("params, message", [
    (dict(k=1), "k is 1"), (dict(backbone="UNet"), "AE-U"), (dict(epochs=2.5), "whole number"),
    (dict(image_size=50), "multiple of 16"),
    (dict(score="r_dual"), "unlabeled"), (dict(holdout=0.02), "held-out"), (dict(fpr="a"), "fpr is 'a'"),
    (dict(window="bone"), "window"),
    (dict(workers=-3), "workers is -3"), (dict(batch_size=1), "batch"), (dict(random_state="x"), "x")])
def test_a_wrong_parameter_is_refused_at_once(params, message, monkeypatch):
    monkeypatch.setattr(scorer, "train_ddad", lambda *a, **k: pytest.fail("training began"))
    with pytest.raises(ValueError, match=message): DDAD(**QUICK | params).fit(discs(60))


def test_too_few_images_for_a_threshold_still_train_with_a_warning():
    with pytest.warns(UserWarning, match="none is set"):
        d = DDAD(**QUICK | {"epochs": 1, "batch_size": 64}).fit(discs(20))
    with pytest.raises(NotFittedError, match="calibrate"): d.predict(discs(3))
    assert DDAD(**QUICK | {"epochs": 1}, fpr=0.1).fit(discs(20)).about_["images"]["held_out"] == 9
    with pytest.raises(ValueError, match="bring more"): d.fit(discs(1))


@pytest.mark.parametrize("X, message", [
    (np.zeros((64, 64, 3), np.uint8), r"\(64, 64, 3\) of uint8, .*colour image.*convert\('L'\)\)\[None\]"),
    (None, "X is None"),
    (np.zeros((300, 40, 40, 3)), r"\(300, 40, 40, 3\) of float64, .*np.stack"),
    (np.zeros((40, 40), np.uint8), r"X\[None\]"),
    (torch.zeros(300, 3, 40, 40), r"\(300, 3, 40, 40\) of float32"),
    (np.zeros((60, 40, 40), bool), "of bool"),
    (np.zeros((60, 40, 40), object), "object"), ([np.zeros((9, 9)), np.zeros((8, 8))], "one size")])
def test_what_is_no_stack_of_gray_images_is_refused_in_the_users_words(detector, X, message):
    for use in (detector.predict, detector.anomaly_maps, detector.calibrate, DDAD(**QUICK, holdout=0).fit):
        with pytest.raises(ValueError, match=message) as e: use(X)
        assert "\n" not in str(e.value)


def test_intensities_become_gray_levels_as_those_of_files_do(detector, tmp_path):
    deep = discs(6, seed=3).astype(np.uint16) * 100 + 1000
    scores = detector.anomaly_score(keep(tmp_path, deep))
    for kind in (np.uint16, np.int64, np.float32):
        with pytest.warns(
            UserWarning,
            match="X is .* from 1000 to .*, but this detector was fitted on gray levels: each image is stretched"):
            assert np.array_equal(detector.anomaly_score(deep.astype(kind)), scores)
    gray = np.stack([to_gray(x) for x in deep])
    assert np.array_equal(as_images(deep, 40)[:, 0], gray)
    assert np.array_equal(as_images(discs(6), 40)[:, 0], discs(6))
    unit = (gray / 255).astype(np.float32)
    assert np.abs(as_images(unit, 40)[:, 0].numpy().astype(int) - gray).max() <= 1
    unit[0, 0, 0], unit[1, 5, 5] = np.nan, np.inf
    assert as_images(unit, 40)[0, 0, 0, 0] == as_images(unit, 40)[1, 0, 5, 5] == 0
    assert as_images(torch.from_numpy(gray / 255).bfloat16(), 40).dtype == torch.uint8


# ---- saving

def test_a_saved_detector_is_the_same_again(detector, tmp_path):
    X = discs(8, seed=8)
    again = DDAD.load(detector.save(tmp_path / "deep/model"))
    assert np.array_equal(again.anomaly_score(X), detector.anomaly_score(X))
    assert again.threshold_ == detector.threshold_
    assert np.array_equal(again.p_values(X), detector.p_values(X))
    assert again.get_params() == detector.get_params() and again.about_ == detector.about_
    assert sorted(p.name for p in (tmp_path / "deep/model").iterdir()) == [
        "README.md", "model.json", "weights.safetensors"]
    again.save(tmp_path / "deep/model")  # replaces
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["model"]
    one_class = untrained("AE-U", refiners=(), udm=False, fpr=np.float64(0.1), window=(-160, 240),
                          random_state=np.random.RandomState(0))
    assert np.array_equal(DDAD.load(one_class.save(tmp_path / "one")).anomaly_score(X),
                          one_class.anomaly_score(X))


def test_save_touches_no_other_folder(detector, tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(FileExistsError, match="no saved detector"): detector.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("damage, message", [
    (lambda m: (m / "weights.safetensors").write_bytes(b"x" * 100), "weights.safetensors"),
    (lambda m: (m / "weights.safetensors").unlink(), "weights.safetensors"),
    (lambda m: change(m, format=99), "update ddad"),
    (lambda m: change(m, params={"backbone": "AE", "no_such": 1}), "model.json")])
def test_a_damaged_model_is_named(detector, tmp_path, damage, message):
    model = detector.save(tmp_path / "model")
    damage(model)
    with pytest.raises((ValueError, FileNotFoundError), match=message): DDAD.load(model)


def change(model, **values):
    about = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(about | values))


# ---- the official layout

@pytest.mark.parametrize("backbone, size",
                         [("AE-U", dict(latent=8, image_size=32)), ("MemAE", dict(width=2, image_size=32))])
def test_official_checkpoints_load_as_they_are(backbone, size, tmp_path):
    ours = untrained(backbone, **size)
    for part, nets in (("a", ours.udm_), ("b", ours.ndm_)):
        (tmp_path / part).mkdir()
        for i, net in enumerate(nets): torch.save(net.state_dict(), tmp_path / part / f"{i}.pth")
    (tmp_path / "refine").mkdir()
    for name, net in ours.refiners_.items():
        torch.save(net.state_dict(), tmp_path / f"refine/refine_{name[2:]}.pth")
    X = discs(6)
    theirs = DDAD.from_official(tmp_path, backbone, device="cpu")
    assert theirs.score_ == "r_dual" and np.array_equal(theirs.anomaly_score(X), ours.anomaly_score(X))
    assert (theirs.calibrate(discs(40)).predict(X) != 0).all()
    assert {k: theirs.get_params()[k] for k in size} == size
    assert np.allclose(DDAD.from_official(tmp_path, backbone, device="cpu", score="r_intra").anomaly_score(X),
                       ours.anomaly_maps(X)["r_intra"].mean((1, 2)))
    (tmp_path / "refine/refine_dual.pth").unlink()
    assert DDAD.from_official(tmp_path, backbone).score_ == "inter"
    assert DDAD.from_official(tmp_path, backbone, score="r_intra").score_ == "r_intra"
    with pytest.raises(ValueError, match="no ASR-Net"): DDAD.from_official(tmp_path, backbone, score="r_dual")
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "b/0.pth").rename(tmp_path / "b/7.pth")
    assert DDAD.from_official(tmp_path, backbone).score_ == "rec"


def test_what_is_no_official_checkpoint_is_named(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(FileNotFoundError, match="0 checkpoints"): DDAD.from_official(tmp_path)
    for i in range(2): torch.save(make_network("AE").state_dict(), tmp_path / f"b/{i}.pth")
    with pytest.raises(ValueError, match="b/0.pth.*backbone"): DDAD.from_official(tmp_path, "MemAE")


# ---- ONNX

@pytest.mark.parametrize("backbone, options",
                         [("AE-U", dict(variant="stable")),
                          ("MemAE", dict(refiners=("r_intra",), udm=False))])
def test_the_onnx_graph_gives_the_same_maps_and_scores(backbone, options, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    d = untrained(backbone, image_size=32, **options)
    X = np.random.default_rng(0).integers(0, 256, (7, 32, 32), dtype=np.uint8)
    session = onnxruntime.InferenceSession(d.to_onnx(tmp_path / "d.onnx"))
    for n in (1, 7):
        outputs = dict(
            zip([o.name for o in session.get_outputs()], session.run(None, {"images": X[:n, None]})))
        assert np.allclose(outputs.pop("score"), d.anomaly_score(X[:n]), rtol=1e-4)
        maps = d.anomaly_maps(X[:n])
        assert set(outputs) == set(maps)
        for name in maps:
            assert np.linalg.norm(outputs[name][:, 0] - maps[name]) / np.linalg.norm(maps[name]) < 1e-4
    assert session.get_modelmeta().custom_metadata_map == {"score": d.score_, "image_size": "32"}


def test_bfloat16_scores_rank_as_float32_ones_do(detector):
    X = discs(60, seed=9)
    exact = detector.anomaly_score(X)
    fast = copy.deepcopy(detector).set_params(score_precision="bfloat16").anomaly_score(X)
    assert np.linalg.norm(exact - fast) / np.linalg.norm(exact) < 0.02
