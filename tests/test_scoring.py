"What ddad-score and ddad-fit do beside one line per image: labels, maps for other tools, volumes, calibration, warnings, the model card."
import csv
import json
from pathlib import Path

import invented
import nibabel
import numpy as np
import pydicom
import pytest
from invented import discs
from PIL import Image
from sklearn.metrics import roc_auc_score

from ddad.core.formats import find_images, read_slices
from ddad.detect.commands import main_fit, main_score
from ddad.detect.estimator import DDAD
from ddad.detect.evaluate import evaluation, evaluation_table, read_labels
from ddad.detect.files import volumes

QUICK = "--k 2 --epochs 2 --refine-epochs 0 --image-size 32 --batch-size 16 --fpr 0.1".split()
DICOM = Path(pydicom.data.get_testdata_file("CT_small.dcm"))


def keep(folder, images): return invented.keep(folder, images, folder.name + "{:02}.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "Images in folders, and a model."
    folder = tmp_path_factory.mktemp("scoring")
    keep(folder / "normals", discs(60))
    keep(folder / "ward", discs(20, True, 1))
    keep(folder / "well", discs(12, False, 2))
    keep(folder / "ill", discs(12, True, 3))
    assert main_fit(
        [str(folder / "normals"), "--unlabeled", str(folder / "ward"), "-o", str(folder / "model"),
         *QUICK]) == 0
    return folder


def score(place, out, *arguments):
    return main_score([str(place / "model"), *map(str, arguments), "--out", str(out)])


def rows(path):
    with path.open(newline="") as f: return list(csv.DictReader(f))


# ---- labels

def test_two_folders_are_labels(place, tmp_path, capsys):
    assert score(place, tmp_path / "out", place / "well", place / "ill", "--labels", place / "well",
                 place / "ill") == 0
    measured, printed = json.loads((tmp_path / "out/evaluation.json").read_text()), capsys.readouterr().out
    lines = rows(tmp_path / "out/scores.csv")
    values, ill = [float(r["score"]) for r in lines], [Path(r["file"]).parent.name == "ill" for r in lines]
    assert measured["auc"][0] == pytest.approx(roc_auc_score(ill, values))
    assert measured["auc"][1] <= measured["auc"][0] <= measured["auc"][2]
    flagged = np.array([r["abnormal"] == "1" for r in lines])
    assert measured["sensitivity"][0] == flagged[np.array(ill)].mean()
    assert measured["specificity"][0] == 1 - flagged[~np.array(ill)].mean()
    assert (measured["normal"], measured["abnormal"]) == (12, 12)
    assert "AUC" in printed
    assert "12 normal and 12 abnormal" in printed


def test_a_table_of_labels_has_kinds_and_patients(place, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("image,label,kind,patient\n" + "".join(
        f"well{i:02}.png,normal,,p{i // 2}\n"
        f"ill{i:02}.png,1,{'bright' if i % 2 else 'dark'},q{i // 2}\n" for i in range(12)))
    assert score(place, tmp_path / "found", place / "well", place / "ill", "--labels", table) == 0
    found = json.loads((tmp_path / "found/evaluation.json").read_text())
    assert [k["kind"] for k in found["kinds"]] == ["bright", "dark"]
    assert sum(k["images"] for k in found["kinds"]) == 12
    assert found["intervals"] == "by patient (12)"
    assert sum(k["flagged"] for k in found["kinds"]) == round(12 * found["sensitivity"][0])


@pytest.mark.parametrize("text, message", [
    ("name,label\na.png,1\n", "columns file"), ("file,label\nwell00.png,maybe\n", "'maybe'"),
    ("file,label\nother.png,1\n", "None of the 12 files")])
def test_wrong_labels_are_said_before_anything_is_scored(place, tmp_path, capsys, text, message):
    (tmp_path / "labels.csv").write_text(text)
    assert score(place, tmp_path / "found", place / "well", "--labels", tmp_path / "labels.csv") == 2
    assert message in capsys.readouterr().err and not (tmp_path / "found").exists()


def test_a_volume_counts_once_by_its_highest_slice():
    files = [Path(name) for name in ("a", "a", "b", "c")]
    lines = [{"score": s, "abnormal": int(s > 0.5), "patient": ""} for s in (0.1, 0.9, 0.2, 0.3)]
    found = evaluation(lines, files,
                       {path: {"label": int(path.name == "a"), "kind": "", "patient": ""} for path in files})
    assert found["images"] == 3
    assert found["auc"][0] == 1
    assert found["sensitivity"][0] == 1
    assert found["specificity"][0] == 1


def test_a_label_goes_to_the_file_that_shares_most_of_its_name_and_only_where_it_is_alone(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("file,label\nx.png,1\ny.png,0\nd/z.png,1\n")
    labels = read_labels([table], [Path("a/x.png"), Path("b/x.png"), Path("a/y.png"), Path("d/z.png")])
    assert {str(path): label["label"] for path, label in labels.items()} == {"a/y.png": 0, "d/z.png": 1}
    table.write_text("file,label\n" + "".join(f"ill/{i}.png,1\nwell/{i}.png,0\n" for i in range(3)))
    named = read_labels([table], [Path(f"well/{i}.png") for i in range(3)])
    assert [label["label"] for label in named.values()] == [0, 0, 0]
    with pytest.raises(ValueError, match="None of the 3"):
        read_labels([table], [Path(f"other/{i}.png") for i in range(3)])


def labelled(*units):
    "Of (score, abnormal, label, patient) what `evaluation` takes."
    files = [Path(str(i)) for i in range(len(units))]
    lines = [{"score": s, "abnormal": a, "patient": ""} for s, a, _, _ in units]
    labels = {path: {"label": y, "kind": "", "patient": who} for path, (_, _, y, who) in zip(files, units)}
    return lines, files, labels


def test_few_patients_have_wide_intervals_or_none():
    units = [(0.1, 0, 0, "a"), (0.2, 0, 0, "a"), (0.3, 1, 0, "b"), (0.8, 1, 1, "z"), (0.9, 1, 1, "z")]
    found = evaluation(*labelled(*units))
    assert found["sensitivity"][0] == 1 and found["sensitivity"][1] < 0.25  # all images of one patient
    assert found["auc"] == (1, None, None) and found["specificity"][1] < found["specificity"][0]
    assert "| AUC | 1.000 |" in evaluation_table(found)
    assert evaluation(*labelled(*units[:3], (0.8, 0, 1, "z"), units[4]))["sensitivity"] == (0.5, None, None)


# ---- what is given, and what is kept

def test_a_volume_that_was_broken_off_is_scored_again(place, tmp_path):
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{name}.nii" for name in "abc"]
    out = tmp_path / "found"
    for path in paths:
        nibabel.save(nibabel.Nifti1Image(rng.integers(0, 99, (20, 20, 3)).astype(np.float32), np.eye(4)),
                     path)
    assert score(place, out, *paths) == 0
    whole = (out / "scores.csv").read_text()
    (out / "scores.csv").unlink(), (out / "record.json").rename(out / "scores.csv.part.json")
    (out / "scores.csv.part").write_text("".join(whole.splitlines(keepends=True)[:6]))  # two slices of b
    assert score(place, out, *paths) == 0 and (out / "scores.csv").read_text() == whole


def test_long_names_and_files_given_twice(place, tmp_path):
    image = tmp_path / f"{'ä' * 120}.png"
    image.write_bytes((place / "well/well00.png").read_bytes())
    assert score(place, tmp_path / "found", image, tmp_path, "--maps", "npy", "--overlays", "all",
                 "--report") == 0
    line, = rows(tmp_path / "found/scores.csv")
    assert (tmp_path / "found" / line["overlay"]).is_file()
    assert "DDAD: scores of 1 image<" in (tmp_path / "found/report.html").read_text()


# ---- maps

def enlarged(small, shape):
    "A map of the networks' size as one of an image's."
    return np.asarray(
        Image.fromarray(small.astype(np.float32)).resize(shape[::-1], Image.Resampling.BILINEAR))


def test_maps_as_arrays_have_the_size_of_the_image(place, tmp_path):
    assert score(place, tmp_path / "found", place / "well", "--maps", "npy") == 0
    lines, detector = rows(tmp_path / "found/scores.csv"), DDAD.load(place / "model")
    maps = [np.load(tmp_path / "found" / r["map"]) for r in lines]
    whole = detector.anomaly_maps(place / "well")[detector.score_]
    assert {m.shape for m in maps} == {(40, 40)} and {m.dtype for m in maps} == {np.dtype("float32")}
    for found, small in zip(maps, whole): assert np.allclose(found, enlarged(small, (40, 40)), rtol=1e-4)


AFFINE = np.array([[0, 0, 3.0, -9], [-2, 0, 0, 7], [0, 1.5, 0, 1], [0, 0, 0, 1]])


def test_a_nifti_map_lies_over_its_volume(place, tmp_path):
    volume = np.full((24, 30, 18), 10, np.float32)
    volume[4:9, 20:26, 3:6] = 200  # where it is bright
    nibabel.save(nibabel.Nifti1Image(volume, AFFINE), tmp_path / "brain.nii.gz")
    assert score(place, tmp_path / "found", tmp_path / "brain.nii.gz", "--maps", "nifti") == 0
    lines = rows(tmp_path / "found/scores.csv")
    depth = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume, AFFINE)).shape[2]
    assert len({r["map"] for r in lines}) == 1
    assert [r["slice"] for r in lines] == [str(i) for i in range(depth)]
    found = nibabel.load(tmp_path / "found" / lines[0]["map"])
    assert found.shape == volume.shape and np.array_equal(found.affine, AFFINE)
    canonical = nibabel.as_closest_canonical(found).get_fdata()
    detector = DDAD.load(place / "model")
    maps = detector.anomaly_maps([tmp_path / "brain.nii.gz"])[detector.score_]
    assert [float(r["score"]) for r in lines] == pytest.approx(maps.mean((1, 2)), rel=1e-4)
    shape = next(read_slices(tmp_path / "brain.nii.gz")).shape
    assert canonical.mean((0, 1)) == pytest.approx([enlarged(small, shape).mean() for small in maps],
                                                   rel=1e-4)
    several, = rows(tmp_path / "found/volumes.csv")
    assert int(several["slices"]) == depth
    assert float(several["score"]) == max(float(r["score"]) for r in lines)


def test_a_nifti_map_keeps_axes_of_length_one(place, tmp_path):
    shapes, rng = [(1, 20, 24), (20, 1, 24), (20, 24, 3, 1)], np.random.default_rng(0)
    for i, shape in enumerate(shapes):
        nibabel.save(nibabel.Nifti1Image(rng.random(shape, np.float32), AFFINE), tmp_path / f"{i}.nii")
    assert score(place, tmp_path / "found", *(tmp_path / f"{i}.nii" for i in range(3)), "--maps",
                 "nifti") == 0
    maps = {Path(row["file"]).name: row["map"] for row in rows(tmp_path / "found/scores.csv")}
    assert [nibabel.load(tmp_path / "found" / maps[f"{i}.nii"]).shape for i in range(3)] == shapes


def test_what_has_no_study_for_its_map_is_told_with_its_file(place, tmp_path, capsys):
    source = pydicom.dcmread(DICOM)
    source.PatientOrientation = ["PF", "L"]  # as the standard has it
    source.save_as(tmp_path / "oblique.dcm")
    del source.StudyInstanceUID
    source.save_as(tmp_path / "bare.dcm")
    assert score(place, tmp_path / "found", tmp_path / "bare.dcm", tmp_path / "oblique.dcm",
                 place / "well/well00.png", "--maps", "dicom") == 1
    err = capsys.readouterr().err
    assert f"{tmp_path / 'bare.dcm'} has a header" in err and "well00.png is no DICOM file" in err
    line, = rows(tmp_path / "found/scores.csv")
    assert pydicom.dcmread(tmp_path / "found" / line["map"]).PatientOrientation == ["PF", "L"]


def test_a_dicom_map_belongs_to_the_study_of_its_source(place, tmp_path):
    source = pydicom.dcmread(DICOM)
    assert score(place, tmp_path / "found", DICOM, "--maps", "dicom") == 0
    line, = rows(tmp_path / "found/scores.csv")
    found = pydicom.dcmread(tmp_path / "found" / line["map"])
    assert found.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage and found.Modality == "OT"
    for name in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate"):
        assert found.get(name) == source.get(name), name
    assert found.SeriesInstanceUID != source.SeriesInstanceUID
    assert found.SOPInstanceUID != source.SOPInstanceUID
    detector = DDAD.load(place / "model")
    values = pydicom.pixels.apply_modality_lut(found.pixel_array, found)
    small = detector.anomaly_maps([DICOM])[detector.score_][0]
    assert float(line["score"]) == pytest.approx(small.mean(), rel=1e-4)
    expected = enlarged(small, (source.Rows, source.Columns))
    assert values.shape == expected.shape
    assert np.abs(values - expected).max() <= expected.max() * 1e-4  # it holds whole numbers
    assert (line["patient"], line["series"]) == (source.PatientID, source.SeriesInstanceUID)
    assert len(list(read_slices(tmp_path / "found" / line["map"]))) == 1


def test_the_slices_of_a_series_are_scored_on_one_scale(place, tmp_path):
    whole, source = tmp_path / "whole.dcm", pydicom.dcmread(DICOM)
    slices = np.stack([disc * scale for disc, scale in zip(discs(4), (2, 8, 8, 8))]).astype(np.int16)
    def write(path, pixels):
        source.NumberOfFrames, source.PixelData = len(pixels), pixels.tobytes()
        source.Rows, source.Columns = pixels.shape[1:]
        source.save_as(path)
    write(whole, slices)
    (tmp_path / "series").mkdir()
    for i in range(4): write(tmp_path / f"series/{i}.dcm", slices[i:i + 1])
    assert score(place, tmp_path / "out", tmp_path / "series") == 0
    right = DDAD.load(place / "model", "cpu").anomaly_score(whole)
    assert np.allclose([float(row["score"]) for row in rows(tmp_path / "out/scores.csv")], right, rtol=0.02)
    assert np.allclose(DDAD.load(place / "model", "cpu").anomaly_score(tmp_path / "series"), right, rtol=0.02)


def test_a_volumes_p_value_counts_its_slices():
    lines = [
        {"file": f, "series": s, "content": f, "patient": "", "slice": None, "score": v, "p_value": p,
         "abnormal": 0} for f, s, v, p in (("a", "1", 0.2, 0.5), ("b", "1", 0.9, 0.1), ("c", "", 0.3, 0.4))]
    several, = volumes(lines)
    assert (several["file"], several["series"], several["slices"], several["score"],
            several["p_value"]) == ("b", "1", 2, 0.9, 0.2)
    # copies count once, and one picture is no volume
    assert volumes([*lines, lines[1] | {"file": "copy of b"}, lines[2], lines[2]]) == [several]


# ---- ddad-fit

def test_calibration_for_another_scanner(place, tmp_path, capsys):
    other = keep(tmp_path / "other",
                 [np.clip(image * 1.5, 0, 255).astype(np.uint8) for image in discs(30, seed=9)])
    def calibrate(*arguments): return main_fit(["--calibrate", *map(str, arguments)])
    model, before = tmp_path / "model", DDAD.load(place / "model")
    assert calibrate(place / "model", other, "-o", model, "--fpr", "0.1", "--licence", "CC BY 4.0") == 0
    after = DDAD.load(model)
    assert after.threshold_ != before.threshold_ and "30 held-out" in capsys.readouterr().out
    assert np.array_equal(after.calibration_scores_, np.sort(before.anomaly_score(other)))
    assert np.array_equal(after.anomaly_score(other), before.anomaly_score(other))
    assert "CC BY 4.0" in (model / "README.md").read_text()
    assert calibrate(place / "model", other, "-o", model) == 2 and "already" in capsys.readouterr().err
    assert calibrate(place / "model", other, "--epochs", "3") == 2
    assert capsys.readouterr().err == "ddad-fit: --calibrate trains nothing, so it takes no --epochs.\n"
    assert calibrate(model, keep(tmp_path / "few", discs(3, seed=8))) == 2
    assert "too few" in capsys.readouterr().err
    assert calibrate(model, other, "--fpr", "0.075") == 0 and "at most 7.5 %" in capsys.readouterr().out
    assert calibrate(model, other) == 0 and DDAD.load(model).fpr == 0.075  # its own
    assert "| known-normal, held out for the threshold | 30 |" in (model / "README.md").read_text()


def test_copies_are_told(place, tmp_path, capsys):
    images = discs(60)
    keep(tmp_path / "normals", [*images, *[image[:, ::-1] for image in images[:20]]])
    keep(tmp_path / "ward", [*images[:5], *discs(15, True, 1)])
    assert main_fit(
        [str(tmp_path / "normals"), "--unlabeled", str(tmp_path / "ward"), "-o", str(tmp_path / "model"),
         *QUICK]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ddad-fit: ")]
    assert any("held-out images have a copy among those trained on" in line for line in told)
    assert any("5 of 20 unlabeled images" in line for line in told)


# ---- the card

def test_the_card_says_what_the_record_says(place, tmp_path):
    card, detector = (place / "model/README.md").read_text(), DDAD.load(place / "model")
    for text in ("Not for clinical use", f"{detector.threshold_:.4g}",
                 f"{len(detector.calibration_scores_)} held-out", detector.about_["data_hash"],
                 "not measured", "| unlabeled, trained on | 20 |"):
        assert text in card, text
    detector.save(tmp_path / "model")
    arguments = [str(tmp_path / "model"), str(place / "well"), str(place / "ill"), "--out",
                 str(tmp_path / "found"), "--labels", str(place / "well"), str(place / "ill")]
    assert main_score([*arguments, "--card"]) == 0
    found = json.loads((tmp_path / "found/evaluation.json").read_text())
    card = (tmp_path / "model/README.md").read_text()
    assert "not measured" not in card and "{:.3f} [{:.3f}, {:.3f}]".format(*found["auc"]) in card
    assert np.array_equal(DDAD.load(tmp_path / "model").calibration_scores_, detector.calibration_scores_)
    assert main_score([*arguments, "--card"]) == 0
    assert (tmp_path / "model/README.md").read_text() == card  # once is enough
    assert main_score([*arguments, "--card", "--fpr", "0.3"]) == 0
    assert (tmp_path / "model/README.md").read_text().count("| 12 | 12 |") == 2


def test_without_a_threshold_card_and_report_say_nothing_of_one(place, tmp_path, capsys):
    saved = DDAD.load(place / "model")
    saved.calibration_scores_, saved.calibration_looks_ = saved.calibration_scores_[:0], {}
    saved.save(tmp_path / "model")
    card = (tmp_path / "model/README.md").read_text()
    assert "p-value" not in card and "The threshold holds" not in card
    classes = [str(place / "well"), str(place / "ill")]
    assert main_score(
        [str(tmp_path / "model"), *classes, "--out", str(tmp_path / "found"), "--report", "--labels",
         *classes]) == 0
    assert "no threshold" in capsys.readouterr().err
    assert {r["abnormal"] for r in rows(tmp_path / "found/scores.csv")} == {""}
    page = (tmp_path / "found/report.html").read_text()
    assert "without a threshold" in page and "12 normal and 12 abnormal images" in page
    assert "48 normal and 20 unlabeled" in page and "sensitivity at" not in page


def test_whole_patients_are_held_out(place, tmp_path, capsys):
    "Neither the slices of a volume nor the images of a patient are on both sides of training and the threshold."
    rng = np.random.default_rng(0)
    for i in range(8):
        nibabel.Nifti1Image(rng.normal(100, 20, (32, 32, 6)).astype(np.float32),
                            np.eye(4)).to_filename(tmp_path / f"{i}.nii")
    fitted = DDAD(k=2, epochs=1, refine_epochs=0, image_size=32, random_state=0, device="cpu")
    with pytest.warns(UserWarning, match="The 24 held-out images are of 4 patients or files"):
        fitted.fit(tmp_path)
    assert fitted.about_["images"] == {"normal": 24, "held_out": 24, "unlabeled": 0, "held_out_groups": 4}
    fitted.save(tmp_path / "model")
    assert "| patients or files of the held-out images | 4 |" in (tmp_path / "model/README.md").read_text()


def test_patients_of_a_table_are_held_out_whole(place, tmp_path, capsys):
    files, table = find_images(place / "normals"), tmp_path / "patients.csv"
    with pytest.raises(ValueError, match="3 groups for .* images or files"):
        DDAD().fit(files, groups=["a", "b", "c"])
    def fit():
        return main_fit(
            [str(place / "normals"), "-o", str(tmp_path / "other"), "--patients", str(table), *QUICK])
    table.write_text(f"file,patient\n{files[0].name},1\n")
    assert fit() == 2
    assert f"names no patient of {len(files) - 1} of {len(files)} files" in capsys.readouterr().err
    table.write_text("file,patient\n" + "".join(f"{path.name},{i % 5}\n" for i, path in enumerate(files)))
    assert fit() == 0 and "patients or files, so the threshold depends on few" in capsys.readouterr().err
