"What ddad-score and ddad-fit do beside a line an image: labels, maps for other tools, volumes, calibration, warnings, the model card."
import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from conftest import disc
from ddad.core.formats import read_slices
from ddad.detect.commands import main_fit, main_score
from ddad.detect.copies import copied, copies_told
from ddad.detect.estimator import DDAD
from ddad.detect.evaluate import evaluation, read_labels
from ddad.detect.export import overlay
from ddad.detect.looks import usual_ranges, unlike
from ddad.detect.report import volumes

QUICK = "--k 2 --epochs 2 --refine-epochs 0 --image-size 32 --batch-size 16 --fpr 0.1".split()
DICOM = Path(pydicom.data.get_testdata_file("CT_small.dcm"))


def discs(n, abnormal=False, seed=0): return [disc(rng, 40, abnormal)[0] for rng in np.random.default_rng(seed).spawn(n)]


def keep(folder, images):
    folder.mkdir(parents=True)
    for i, image in enumerate(images): Image.fromarray(image).save(folder / f"{folder.name}{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "Images in folders, and a model."
    folder = tmp_path_factory.mktemp("scoring")
    keep(folder / "normals", discs(60)), keep(folder / "ward", discs(20, True, 1)), keep(folder / "well", discs(12, False, 2)), keep(folder / "ill", discs(12, True, 3))
    assert main_fit([str(folder / "normals"), "--unlabeled", str(folder / "ward"), "-o", str(folder / "model"), *QUICK]) == 0
    return folder


def score(place, out, *arguments): return main_score([str(place / "model"), *map(str, arguments), "--out", str(out)])


def rows(path):
    with path.open(newline="") as f: return list(csv.DictReader(f))


# ---- labels

def test_two_folders_are_labels(place, tmp_path, capsys):
    assert score(place, tmp_path / "found", place / "well", place / "ill", "--labels", place / "well", place / "ill") == 0
    found, told = json.loads((tmp_path / "found/evaluation.json").read_text()), capsys.readouterr().out
    lines = rows(tmp_path / "found/scores.csv")
    values, ill = [float(r["score"]) for r in lines], [Path(r["file"]).parent.name == "ill" for r in lines]
    assert found["auc"][0] == pytest.approx(roc_auc_score(ill, values)) and found["auc"][1] <= found["auc"][0] <= found["auc"][2]
    flagged = np.array([r["abnormal"] == "1" for r in lines])
    assert found["sensitivity"][0] == flagged[np.array(ill)].mean() and found["specificity"][0] == 1 - flagged[~np.array(ill)].mean()
    assert (found["normal"], found["abnormal"]) == (12, 12) and "AUC" in told and "12 normal and 12 abnormal" in told


def test_a_table_of_labels_has_kinds_and_patients(place, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("image,label,kind,patient\n" + "".join(f"well{i:02}.png,normal,,p{i // 2}\nill{i:02}.png,1,{'bright' if i % 2 else 'dark'},q{i // 2}\n" for i in range(12)))
    assert score(place, tmp_path / "found", place / "well", place / "ill", "--labels", table) == 0
    found = json.loads((tmp_path / "found/evaluation.json").read_text())
    assert [k["kind"] for k in found["kinds"]] == ["bright", "dark"] and sum(k["images"] for k in found["kinds"]) == 12
    assert found["intervals"] == "by patient (12)" and sum(k["flagged"] for k in found["kinds"]) == round(12 * found["sensitivity"][0])


@pytest.mark.parametrize("text, message", [("name,label\na.png,1\n", "columns file"), ("file,label\nwell00.png,maybe\n", "'maybe'"), ("file,label\nother.png,1\n", "None of the 12 files")])
def test_wrong_labels_are_said_before_anything_is_scored(place, tmp_path, capsys, text, message):
    (tmp_path / "labels.csv").write_text(text)
    assert score(place, tmp_path / "found", place / "well", "--labels", tmp_path / "labels.csv") == 2
    assert message in capsys.readouterr().err and not (tmp_path / "found").exists()


def test_a_volume_counts_once_by_its_highest_slice():
    files = [Path(name) for name in ("a", "a", "b", "c")]
    lines = [{"score": s, "abnormal": int(s > 0.5), "patient": ""} for s in (0.1, 0.9, 0.2, 0.3)]
    found = evaluation(lines, files, {path: {"label": int(path.name == "a"), "kind": "", "patient": ""} for path in files})
    assert found["images"] == 3 and found["auc"][0] == 1 and found["sensitivity"][0] == 1 and found["specificity"][0] == 1


def test_labels_by_the_end_of_a_name_only_where_it_is_alone(tmp_path):
    (tmp_path / "labels.csv").write_text("file,label\nx.png,1\ny.png,0\nd/z.png,1\n")
    found = read_labels([tmp_path / "labels.csv"], [Path("a/x.png"), Path("b/x.png"), Path("a/y.png"), Path("d/z.png")])
    assert {str(path): about["label"] for path, about in found.items()} == {"a/y.png": 0, "d/z.png": 1}


# ---- maps

def test_maps_as_arrays_have_the_size_of_the_image(place, tmp_path):
    assert score(place, tmp_path / "found", place / "well", "--maps", "npy") == 0
    lines, detector = rows(tmp_path / "found/scores.csv"), DDAD.load(place / "model")
    maps = [np.load(tmp_path / "found" / r["map"]) for r in lines]
    whole = detector.anomaly_maps(place / "well")[detector.score_]
    assert {m.shape for m in maps} == {(40, 40)} and {m.dtype for m in maps} == {np.dtype("float32")}
    assert [m.mean() for m in maps] == pytest.approx(whole.mean((1, 2)), rel=0.05)


@pytest.mark.parametrize("affine", [np.diag([2.0, 2, 3, 1]), np.array([[0, 0, 3.0, -9], [-2, 0, 0, 7], [0, 1.5, 0, 1], [0, 0, 0, 1]])])
def test_a_nifti_map_lies_over_its_volume(place, tmp_path, affine):
    volume = np.full((24, 30, 18), 10, np.float32)
    volume[4:9, 20:26, 3:6] = 200  # where it is bright
    nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / "brain.nii.gz")
    assert score(place, tmp_path / "found", tmp_path / "brain.nii.gz", "--maps", "nifti") == 0
    lines = rows(tmp_path / "found/scores.csv")
    assert len({r["map"] for r in lines}) == 1 and len(lines) == nibabel.as_closest_canonical(nibabel.Nifti1Image(volume, affine)).shape[2]
    found = nibabel.load(tmp_path / "found" / lines[0]["map"])
    assert found.shape == volume.shape and np.array_equal(found.affine, affine)
    canonical = nibabel.as_closest_canonical(found).get_fdata()
    means = [canonical[..., int(r["slice"])].mean() for r in lines]
    assert means == pytest.approx([float(r["score"]) for r in lines], rel=0.1)
    several, = rows(tmp_path / "found/volumes.csv")
    assert int(several["slices"]) == len(lines) and float(several["score"]) == max(float(r["score"]) for r in lines)


def test_a_dicom_map_belongs_to_the_study_of_its_source(place, tmp_path):
    source = pydicom.dcmread(DICOM)
    assert score(place, tmp_path / "found", DICOM, "--maps", "dicom") == 0
    line, = rows(tmp_path / "found/scores.csv")
    found = pydicom.dcmread(tmp_path / "found" / line["map"])
    assert found.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage and found.Modality == "OT"
    for name in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate"): assert found.get(name) == source.get(name), name
    assert found.SeriesInstanceUID != source.SeriesInstanceUID and found.SOPInstanceUID != source.SOPInstanceUID
    detector = DDAD.load(place / "model")
    values = pydicom.pixels.apply_modality_lut(found.pixel_array, found)
    small = detector.anomaly_maps([DICOM])[detector.score_][0]
    assert values.shape == (source.Rows, source.Columns) and values.max() == pytest.approx(small.max(), rel=0.05) and values.mean() == pytest.approx(float(line["score"]), rel=0.05)
    assert (line["patient"], line["series"]) == (source.PatientID, source.SeriesInstanceUID)
    assert len(list(read_slices(tmp_path / "found" / line["map"]))) == 1


def test_a_picture_has_no_study_for_its_map(place, tmp_path, capsys):
    assert score(place, tmp_path / "found", place / "well/well00.png", DICOM, "--maps", "dicom") == 1
    assert "is no DICOM file" in capsys.readouterr().err and len(rows(tmp_path / "found/scores.csv")) == 1


def test_a_volumes_p_value_counts_its_slices():
    lines = [{"file": f, "series": s, "patient": "", "slice": None, "score": v, "p_value": p, "abnormal": 0} for f, s, v, p in (("a", "1", 0.2, 0.5), ("b", "1", 0.9, 0.1), ("c", "", 0.3, 0.4))]
    several, = volumes(lines)
    assert (several["file"], several["series"], several["slices"], several["score"], several["p_value"]) == ("b", "1", 2, 0.9, 0.2)


# ---- overlays

def test_an_overlay_has_no_colour_where_normal_pixels_reach():
    gray, hot = np.full((64, 64), 90, np.uint8), np.zeros((64, 64), np.float32)
    hot[:32], hot[40:50, 40:50] = 0.5, 2.0
    drawn = np.asarray(overlay(gray, hot, reach=0.6))
    assert (drawn[:120] == 90).all() and drawn.shape[0] > 256  # a bar below
    assert len(np.unique(drawn[170:190, 170:190].reshape(-1, 3), axis=0)) == 1 and (drawn[175, 175] != 90).any()
    assert overlay(gray, hot, 0.6, "score 0.1").height > drawn.shape[0]


# ---- ddad-fit

def test_calibration_for_another_scanner(place, tmp_path, capsys):
    other = keep(tmp_path / "other", [np.clip(image * 1.5, 0, 255).astype(np.uint8) for image in discs(30, seed=9)])
    before = DDAD.load(place / "model")
    assert main_fit(["--calibrate", str(place / "model"), str(other), "-o", str(tmp_path / "model"), "--fpr", "0.1", "--licence", "CC BY 4.0"]) == 0
    after = DDAD.load(tmp_path / "model")
    assert len(after.calibration_scores_) == 30 and after.threshold_ != before.threshold_ and "30 held-out" in capsys.readouterr().out
    assert np.array_equal(after.calibration_scores_, np.sort(before.anomaly_score(other))) and np.array_equal(after.anomaly_score(other), before.anomaly_score(other))
    assert "CC BY 4.0" in (tmp_path / "model/README.md").read_text()
    assert main_fit(["--calibrate", str(place / "model"), str(other), "-o", str(tmp_path / "model")]) == 2 and "already" in capsys.readouterr().err
    assert main_fit(["--calibrate", str(tmp_path / "model"), str(keep(tmp_path / "few", discs(3, seed=8)))]) == 2 and "too few" in capsys.readouterr().err
    assert main_fit(["--calibrate", str(tmp_path / "model"), str(other), "--fpr", "0.2"]) == 0 and DDAD.load(tmp_path / "model").fpr == 0.2


def test_fit_needs_a_place(capsys):
    with pytest.raises(SystemExit): main_fit(["normals"])
    assert "-o MODEL is missing" in capsys.readouterr().err


def test_copies_are_told(place, tmp_path, capsys):
    images = discs(60)
    keep(tmp_path / "normals", [*images, *[image[:, ::-1] for image in images[:20]]])
    keep(tmp_path / "ward", [*images[:5], *discs(15, True, 1)])
    assert main_fit([str(tmp_path / "normals"), "--unlabeled", str(tmp_path / "ward"), "-o", str(tmp_path / "model"), *QUICK]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ddad-fit: ")]
    assert any("held-out images have a copy among the images trained on" in line for line in told) and any("5 of 20 unlabeled images" in line for line in told)


def test_what_is_a_copy():
    images = torch.randint(0, 160, (20, 1, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for change in (lambda x: x, lambda x: x.flip(3), lambda x: x.flip(2), lambda x: x.flip(2, 3), lambda x: x + 60, lambda x: (x * 1.4).to(torch.uint8)): assert copied(change(images), images).all()
    assert not copied(images).any() and not copied(images[:0], images).any() and not copied(images, images[:0]).any()
    assert not copied(torch.zeros(5, 1, 64, 64, dtype=torch.uint8)).any()  # constant images are alike, and no copies
    assert copies_told(images[:10], images[10:], images[:0]) == []


# ---- the batch beside the held-out images

def test_a_batch_that_looks_different_is_told():
    rng = np.random.default_rng(0)
    usual = usual_ranges({"mean": rng.normal(100, 5, 500), "score": rng.normal(1, 0.1, 500)})
    assert not unlike({"mean": rng.normal(100, 5, 40), "score": np.r_[rng.normal(1, 0.1, 30), rng.normal(3, 0.1, 10)]}, usual)
    said = unlike({"mean": rng.normal(140, 5, 40), "score": rng.normal(1, 0.1, 40)}, usual)
    assert len(said) == 2 and "mean gray level" in said[0] and "--calibrate" in said[1]
    assert "median score" in unlike({"mean": rng.normal(100, 5, 40), "score": rng.normal(3, 0.1, 40)}, usual)[0]


# ---- the card

def test_the_card_says_what_the_record_says(place, tmp_path):
    card, detector = (place / "model/README.md").read_text(), DDAD.load(place / "model")
    for text in ("Not for clinical use", f"{detector.threshold_:.4g}", f"{len(detector.calibration_scores_)} held-out", detector.about_["data_hash"], "not measured", "| unlabeled, trained on | 20 |"): assert text in card, text
    detector.save(tmp_path / "model")
    arguments = [str(tmp_path / "model"), str(place / "well"), str(place / "ill"), "--out", str(tmp_path / "found"), "--labels", str(place / "well"), str(place / "ill")]
    assert main_score([*arguments, "--card"]) == 0
    found = json.loads((tmp_path / "found/evaluation.json").read_text())
    card = (tmp_path / "model/README.md").read_text()
    assert "not measured" not in card and "{:.3f} [{:.3f}, {:.3f}]".format(*found["auc"]) in card
    assert np.array_equal(DDAD.load(tmp_path / "model").calibration_scores_, detector.calibration_scores_)


@pytest.mark.parametrize("arguments, message", [(["--maps", "npy"], "--maps needs --out"), (["--report"], "--report needs --out"), (["--labels", "x.csv"], "--labels needs --out"), (["--card"], "--card needs --labels")])
def test_options_that_need_others(place, arguments, message, capsys):
    assert main_score([str(place / "model"), str(place / "well"), *arguments]) == 2 and message in capsys.readouterr().err
