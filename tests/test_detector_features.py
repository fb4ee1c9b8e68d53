"The detector on frozen features: what the estimator promises, and what only this backbone has."
import copy
import csv
import json
import pickle
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone

from ddad import load_benchmark
from ddad.detect import features
from ddad.detect.commands import main_fit, main_score
from ddad.detect.estimator import DDAD
from ddad.features import frozen, recipe
from ddad.features.recipe import INTER, ONE_CLASS, FeatureRecipe

pytest.importorskip("efficientnet_lite_pytorch")
SHORT = dict(epochs=2, local_epochs=1, folds=2, patches=2000)
ASKED = dict(backbone="features", fpr=0.1, random_state=0)


@pytest.fixture(autouse=True, scope="module")
def short():
    "A recipe that takes a second."
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "FeatureRecipe", partial(FeatureRecipe, **SHORT))
        yield


@pytest.fixture(scope="module")
def scans():
    b = load_benchmark("Kermany")
    return b.normal[:40], b.unlabeled(24, 0.5), torch.cat([b.test[:6], b.test[-6:]])


@pytest.fixture(scope="module")
def detector(scans): return DDAD(**ASKED).fit(scans[0], unlabeled=scans[1])


@pytest.fixture(scope="module")
def one_class(scans):
    with pytest.warns(
        UserWarning,
        match="Without unlabeled images there is no A_inter: what is left is A_rec, A_intra and the Mahalanobis distance"):
        return DDAD(**ASKED).fit(scans[0])


def test_scores_and_maps_are_those_of_the_recipe(detector, one_class, scans):
    X = scans[2]
    for d, score, names, shown in ((detector, "combined", INTER, "inter_local"),
                                   (one_class, "mahalanobis", ONE_CLASS, "rec_local")):
        maps, scores = recipe.score_features(d._networks.model, frozen.extract(X, "cpu"))
        assert set(scores) == set(names) and (d.score_, d.map_) == (score, shown)
        assert np.allclose(d.anomaly_score(X), scores[score], rtol=1e-5)
        shown_maps = d.anomaly_maps(X)
        assert set(shown_maps) == set(maps)
        assert all(m.shape == (12, 64, 64) and np.isfinite(m).all() for m in shown_maps.values())
        large = torch.nn.functional.interpolate(maps[shown], (64, 64), mode="bilinear")[:, 0]
        assert np.allclose(shown_maps[shown], large, rtol=1e-4, atol=1e-6)
    assert len(detector.udm_) == len(detector.ndm_) == 2
    assert one_class.udm_ == []
    assert set(detector.losses_) == {f"{level}_{m}" for level in ("pooled", "local") for m in ("udm", "ndm")}


def test_it_has_scikit_learns_conventions(detector, scans):
    X = scans[2]
    scores = detector.anomaly_score(X)
    assert np.array_equal(detector.predict(X), np.where(scores <= detector.threshold_, 1, -1))
    assert np.array_equal(detector.p_values(X) <= detector.fpr, scores > detector.threshold_)
    assert np.array_equal(detector.score_samples(X), -scores)
    assert clone(detector).get_params() == detector.get_params() and not hasattr(clone(detector), "score_")
    assert np.array_equal(pickle.loads(pickle.dumps(detector)).anomaly_score(X), scores)
    assert np.allclose(detector.anomaly_score(X.flip(0))[::-1], scores, atol=1e-5)
    assert detector.anomaly_score(X[:0]).shape == (0,)
    assert detector.about_["images"] == {"normal": 31, "held_out": 9, "unlabeled": 24}


def test_a_saved_detector_is_the_same_again(detector, one_class, scans, tmp_path):
    for d, name in ((detector, "both"), (one_class, "one")):
        again = DDAD.load(d.save(tmp_path / name))
        assert np.array_equal(again.anomaly_score(scans[2]), d.anomaly_score(scans[2]))
        assert (again.score_, again.map_, again.threshold_) == (d.score_, d.map_, d.threshold_)
        ours, theirs = d.anomaly_maps(scans[2]), again.anomaly_maps(scans[2])
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
        assert again.get_params() == d.get_params()
        assert again.about_ == d.about_
    card = (tmp_path / "both/README.md").read_text()
    assert "(features, two ensembles, one with unlabeled images)" in card
    assert "latent" not in card
    assert "one known-normal ensemble" in (tmp_path / "one/README.md").read_text()
    content = json.loads((tmp_path / "both/model.json").read_text())
    (tmp_path / "both/model.json").write_text(
        json.dumps(content | {"modules": content["modules"] | {"known": 30}}))
    with pytest.raises(ValueError, match="weights.safetensors does not hold the weights"):
        DDAD.load(tmp_path / "both")


@pytest.mark.parametrize("params, message", [
    (dict(score="mahalanobis"), "with unlabeled images choose auto, rec, intra, inter"),
    (dict(score="r_dual"), "combined"), (dict(k=1), "k is 1"),
    (dict(image_size=225), "16 to 224"), (dict(image_size=64.0), "16 to 224"),
    (dict(score_precision="bfloat16"), "float32 alone"), (dict(device="tpu"), "device")])
def test_a_wrong_parameter_is_refused_at_once(params, message, scans, monkeypatch):
    monkeypatch.setattr(features, "features_of", lambda *a: pytest.fail("training began"))
    with pytest.raises(ValueError, match=message): DDAD(**ASKED | params).fit(scans[0], unlabeled=scans[1])
    with pytest.raises(ValueError, match="without unlabeled images choose auto, rec, intra, mahalanobis"):
        DDAD(**ASKED, score="inter").fit(scans[0])


def test_parameters_of_pixels_alone_are_named(scans):
    with pytest.warns(UserWarning, match="without epochs, latent"):
        DDAD(**ASKED | dict(epochs=7, latent=8)).fit(scans[0], unlabeled=scans[1])


def test_what_the_networks_follow_cannot_change_without_them(detector, scans):
    again = copy.deepcopy(detector)
    for name, value in dict(image_size=32, backbone="AE", score="rec", k=2,
                            score_precision="bfloat16").items():
        before = getattr(again, name)
        with pytest.raises(ValueError, match=f"{name} was set to {value!r}.*call fit again"):
            again.set_params(**{name: value}).predict(scans[2])
        again.set_params(**{name: before})
    assert np.array_equal(again.set_params(fpr=0.3, latent=8).anomaly_score(scans[2]),
                          detector.anomaly_score(scans[2]))


def test_a_broken_off_fit_goes_on_from_its_checkpoints(detector, scans, tmp_path, monkeypatch):
    def stop(*_): raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(recipe.FeatureDDAD, "learn_unlabeled", stop)
        with pytest.raises(KeyboardInterrupt):
            DDAD(**ASKED, checkpoints=str(tmp_path)).fit(scans[0], unlabeled=scans[1])
    assert len(list(tmp_path.glob("*_?dm.safetensors"))) == 4
    assert len(list(tmp_path.glob("features-*.safetensors"))) == 2
    with monkeypatch.context() as patch:  # the held-out images alone are looked at anew
        patch.setattr(frozen, "extract", stop)
        again = DDAD(**ASKED, checkpoints=str(tmp_path)).fit(scans[0], unlabeled=scans[1])
    assert np.array_equal(again.anomaly_score(scans[2]), detector.anomaly_score(scans[2]))


def test_one_onnx_file_goes_from_image_to_score_and_maps(detector, scans, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    X, session = scans[2], onnxruntime.InferenceSession(detector.to_onnx(tmp_path / "d.onnx"))
    for n in (1, 12):
        outputs = dict(
            zip([o.name for o in session.get_outputs()], session.run(None, {"images": X[:n].numpy()})))
        assert np.allclose(outputs.pop("score"), detector.anomaly_score(X[:n]), atol=1e-3)
        maps = detector.anomaly_maps(X[:n])
        assert set(outputs) == set(maps)
        assert all(np.linalg.norm(outputs[name][:, 0] - maps[name]) / np.linalg.norm(maps[name]) < 1e-3
                   for name in maps)
    assert session.get_modelmeta().custom_metadata_map == {"score": "combined", "map": "inter_local",
                                                           "image_size": "64",
                                                           "threshold": repr(detector.threshold_)}


def test_pytorch_gives_the_features_that_onnx_runtime_gives(scans):
    "On a GPU the features are PyTorch's."
    ours = frozen._on_gpu(torch.device("cpu"))(scans[2][:3])
    theirs = frozen.extract(scans[2][:3], "cpu").float()
    assert (ours - theirs).norm() / ours.norm() < 1e-3


def test_without_its_packages_their_extra_is_named(scans, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    sentence = r"efficientnet_lite_pytorch is not installed: run pip install '.[features]' in a clone of ddad."
    Image.fromarray(scans[0][0, 0].numpy()).save(tmp_path / "0.png")
    assert main_fit([str(tmp_path), "-o", str(tmp_path / "model"), "--backbone", "features"]) == 2
    assert capsys.readouterr().err == f"ddad-fit: {sentence}\n"


def test_the_commands_take_it_as_any_other(scans, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder, images in dict(normals=scans[0], new=scans[2]).items():
        (tmp_path / folder).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image[0].numpy()).resize((80, 70)).save(tmp_path / folder / f"{i:02}.png")
    assert main_fit("normals -o model --backbone features --fpr 0.1 --image-size 48".split()) == 0
    told = capsys.readouterr()
    assert "model: features, mahalanobis, trained on 31 normal and 0 unlabeled images" in told.out
    assert "ddad-fit: Without unlabeled images there is no A_inter" in told.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "new", "normals"]
    assert main_score("model new --out found --overlays all --maps npy --report".split()) == 0
    rows = list(csv.DictReader(open("found/scores.csv")))
    d = DDAD.load("model")
    assert np.allclose([float(row["score"]) for row in rows], d.anomaly_score("new"), rtol=1e-4)
    assert all(np.load(f"found/{row['map']}").shape == (70, 80)
               and (tmp_path / "found" / row["overlay"]).is_file() for row in rows)
    assert "rec_local" in (tmp_path / "found/report.html").read_text()
    assert main_score("model new --precision bfloat16".split()) == 2
    assert "score_precision was set to 'bfloat16'" in capsys.readouterr().err
