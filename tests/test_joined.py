"What a folder holds, tables joined to files, the kind of an array: nothing is dropped and nothing changes its meaning in silence."
import io
import json
import os
import random
import sys
import warnings
from functools import partial
from pathlib import Path

import invented
import numpy as np
import pydicom
import pytest
import torch
from invented import keep
from PIL import Image
from test_shown import dicom

from ddad.core.formats import find_images, owners, search_images
from ddad.core.tables import read_patients
from ddad.datasets.commands import main as data_main
from ddad.datasets.split import split
from ddad.detect.commands import main_score
from ddad.detect.estimator import DDAD
from ddad.detect.evaluate import read_labels
from ddad.detect.inputs import as_images

TINY = dict(k=2, epochs=1, refine_epochs=0, image_size=16, batch_size=8, precision="float32", random_state=0,
            fpr=0.2, device="cpu")
discs = partial(invented.discs, side=24)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    "A detector that was fitted on files, and saved."
    folder = tmp_path_factory.mktemp("joined")
    return DDAD(**TINY).fit(keep(folder / "normals", discs(40))).save(folder / "model")


@pytest.fixture(scope="module")
def fitted(model): return DDAD.load(model, "cpu")


# ---- D. the convention of arrays: whole numbers of 0 to 255 are gray levels, whatever their type

FORMS = {"int64": lambda x: x.astype(np.int64), "list": lambda x: x.tolist(),
         "float64": lambda x: x.astype(float),
         "tensor": lambda x: torch.from_numpy(x)[:, None].long(),
         "one at a time": lambda x: [row for row in x.astype(int)]}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_values_mean_the_same_whatever_their_type(fitted, form, tmp_path):
    X = discs(6, seed=1) // 2 + 40
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(fitted.anomaly_score(FORMS[form](X)), fitted.anomaly_score(X))
    assert torch.equal(as_images(FORMS[form](X), 24, (50, 150)), as_images(keep(tmp_path, X), 24, (50, 150)))


def test_what_may_be_gray_levels_on_another_scale_is_refused(fitted):
    X = discs(20, seed=1)
    for scaled in (X / 255, torch.from_numpy(X).float() / 255, X * 0.9 + 0.3):
        for use in (fitted.anomaly_score, fitted.calibrate):
            with pytest.raises(
                ValueError, match="fitted on gray levels: give whole numbers of 0 to 255") as e:
                use(scaled)
            assert "\n" not in str(e.value)


def test_a_detector_of_intensities_stretches_gray_levels_as_it_was_fitted(tmp_path):
    X = discs(40)
    d = DDAD.load(DDAD(**TINY).fit(X / 255).save(tmp_path / "model"), "cpu")
    assert d.about_["values"] == "intensities"
    unit, deep = d.anomaly_score(X / 255), d.anomaly_score(X.astype(np.uint16) * 200 + 9)
    with pytest.warns(UserWarning, match="holds gray levels, but this detector was fitted on intensities"):
        levels = d.anomaly_score(X)
    assert np.allclose(unit, deep, rtol=0.02) and np.allclose(unit, levels, rtol=0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # a dark 16-bit image is one of intensities
        assert np.allclose(d.anomaly_score(X.astype(np.uint16)), levels)


# ---- E. what a folder holds

def test_hidden_at_any_depth_is_left_out_and_links_are_followed_once(tmp_path):
    root = tmp_path / ".cache/study"  # the folder that is named may be hidden itself
    keep(root / "site_a", discs(2))
    for place in (".ipynb_checkpoints", "site_a/.snapshot/daily", "site_a/.git"):
        keep(root / place, discs(1), "copy{}.png")
    keep(tmp_path / "elsewhere", discs(3))
    (root / "site_b").symlink_to(tmp_path / "elsewhere")
    (root / "again").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    (root / "site_a/up").symlink_to("..")
    (root / "gone").symlink_to("nowhere")
    (root / "one.png").symlink_to(root / "site_a/00.png")
    files, passed = search_images(root)
    assert [str(p.relative_to(root)) for p in files] == ["again/00.png", "again/01.png", "again/02.png",
                                                         "site_a/00.png", "site_a/01.png"]
    assert str(
        passed) == "5 files were passed over: 3 hidden, 1 behind links that lead nowhere, 1 linked twice."
    assert find_images(root) == files


def test_all_kinds_that_are_read_are_found_by_content(tmp_path):
    image = Image.fromarray(discs(1)[0])
    kinds = {"a.webp": "WEBP", "b.gif": "GIF", "c.jfif": "JPEG", "d.pgm": "PPM", "e": "PNG", "f.scan": "TIFF",
             "g.PNG": "PNG", "i.txt": "BMP"}
    for name, kind in kinds.items(): image.save(tmp_path / name, format=kind)
    dicom(tmp_path / "h", discs(1)[0])
    (tmp_path / "notes.txt").write_text("P5 is no picture here")
    (tmp_path / "labels.csv").write_text("file,label\n")
    files, passed = search_images(tmp_path)
    assert [p.name for p in files] == sorted([*kinds, "h"])
    assert str(passed) == "2 files were passed over: 2 of no kind that is read."


def test_dicom_objects_without_a_picture_are_passed_over(tmp_path, model, capsys):
    "PS3.10 8.6: a DICOMDIR lists files; PS3.3 A.35: structured reports have no Image Pixel module."
    (tmp_path / "cd").mkdir()
    for i, image in enumerate(discs(3)): dicom(tmp_path / f"cd/IM{i}", image)
    for name, uid in (("DICOMDIR", pydicom.uid.MediaStorageDirectoryStorage),
                      ("SR001.dcm", pydicom.uid.BasicTextSRStorage),
                      ("PR", pydicom.uid.GrayscaleSoftcopyPresentationStateStorage)):
        header = pydicom.dcmread(dicom(tmp_path / "x", discs(1)[0]))
        for element in [e for e in header if e.tag.group in (0x28, 0x7FE0)]: del header[element.tag]
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = uid
        header.save_as(tmp_path / "cd" / name)
    (tmp_path / "cd/README").write_text("viewer inside")
    assert [p.name for p in find_images(tmp_path / "cd")] == ["IM0", "IM1", "IM2"]
    assert main_score([str(model), str(tmp_path / "cd")]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 4
    assert err.splitlines()[-1] == "ddad-score: 4 files were passed over: 3 DICOM without a picture (a directory, a report), 1 of no kind that is read."
    for path in tmp_path.glob("cd/IM*"): path.unlink()
    with pytest.raises(ValueError, match="no image in .*4 files were passed over"):
        find_images(tmp_path / "cd")


# ---- F. tables joined to files

def test_what_is_left_over_is_counted_and_named_everywhere(tmp_path, model, capsys):
    folder, out = keep(tmp_path / "new", discs(6, seed=4)), tmp_path / "o"
    (folder / "broken.png").write_text("x")
    (tmp_path / "labels.csv").write_text(
        "File , Label\n00.png,0\n01.png , 1\n02.png,0\nnew\\03.png,1\nrenamed.png,1\nlost.png,1\n03.png,1\nbroken.png,1\n")
    DDAD.load(model, "cpu").save(tmp_path / "model")
    assert main_score(
        [str(tmp_path / "model"), str(folder), "--out", str(out), "--labels", str(tmp_path / "labels.csv"),
         "--card"]) == 1
    printed, found = capsys.readouterr().out, json.loads((out / "evaluation.json").read_text())
    names = {key: [Path(f).name for f in found[key]]
             for key in ("rows_without_file", "files_without_label", "unread_files")}
    assert found["images"] == 4 and names["rows_without_file"] == ["03.png", "lost.png", "renamed.png"]
    assert names["files_without_label"] == ["04.png", "05.png"] and names["unread_files"] == ["broken.png"]
    sentence = "3 rows of the labels without a file (03.png, lost.png, renamed.png); 2 files with no label ("
    assert f"Left out: {sentence}" in printed and sentence in (tmp_path / "model/README.md").read_text()
    assert "1 labelled file that could not be read (" in printed


def test_rows_that_contradict_each_other_are_an_error(tmp_path):
    table, files = tmp_path / "p.csv", [tmp_path / "a.png", tmp_path / "b.png"]
    for rows in ("a.png,P1\n a.png ,P2\n", "a.png,P1\na.png,\n"):
        table.write_text("file,patient\n" + rows + "b.png,P2\n")
        with pytest.raises(ValueError, match=r"two rows for a\.png that differ \(P1 and .*\): leave one"):
            read_patients(table, files)
    # the same twice is no contradiction
    table.write_text("image,patient\na.png,P1\na.png,P1\nb.png,P2\nc.png,P3\n")
    with pytest.warns(UserWarning, match=r"1 row without a file \(c\.png\)"):
        assert read_patients(table, files) == ["P1", "P2"]
    table.write_text("label,file\n1\n0,a.png\n,\n")  # a row that breaks off, and an empty one
    labels = read_labels([table], files[:1])
    assert labels.rows_left == ["(line 2, without a name)"] and len(labels) == 1


# ---- G. patients

def clinic(tmp_path, **facts):
    for kind, low in (("normal", 0), ("abnormal", 60)):
        (tmp_path / kind).mkdir()
        for p in range(12):
            for i in range(4):
                dicom(tmp_path / f"{kind}/P{p:02}_{i}.dcm",
                      np.random.default_rng(100 * p + i).integers(low, 255, (16, 16)).astype(np.uint8), **{
                          name: value.format(kind=kind, p=p) for name, value in facts.items()})


def sides(folder):
    tree = json.loads((folder / "data.json").read_text())
    def names(part):
        return [part] if isinstance(part, str) else [
            n for p in (part.values() if isinstance(part, dict) else part) for n in names(p)]
    return [{tuple(n.split("_")[:2]) for n in names(tree[side])} for side in ("train", "test")]


@pytest.mark.parametrize(
    "facts", [{"PatientID": "{kind}{p}"}, {"PatientID": "ANON", "SeriesInstanceUID": "1.2.{p}"}], ids=str)
def test_split_groups_as_fit_does(tmp_path, facts):
    "scikit-learn's convention for groups: no group in both training and test (GroupKFold)."
    clinic(tmp_path, **facts)
    split(tmp_path / "root/Mine", tmp_path / "normal", tmp_path / "abnormal", progress=False)
    train, test = sides(tmp_path / "root/Mine")
    assert train and test
    if "{kind}" in str(facts): assert not train & test
    else: assert not {p for _, p in train} & {p for _, p in test}  # a patient has normal and abnormal images
    assert len(set(owners(find_images(tmp_path / "normal")))) == 12


def test_split_takes_a_window_and_says_what_it_passed_over(tmp_path, capsys):
    clinic(tmp_path, PatientID="{kind}{p}")
    (tmp_path / "normal/notes.txt").write_text("")
    split(tmp_path / "root/Mine", tmp_path / "normal", tmp_path / "abnormal", window=(100, 101),
          progress=False)
    assert capsys.readouterr().err == "Mine: 1 file was passed over: 1 of no kind that is read.\n"
    assert all(set(np.unique(np.asarray(Image.open(p)))) <= {0, 255}
               for p in (tmp_path / "root/Mine/images").iterdir())
    with pytest.raises(ValueError, match="window"):
        split(tmp_path / "root/Other", tmp_path / "normal", tmp_path / "abnormal", window="bone",
              progress=False)
    folders = ["--normal", str(tmp_path / "normal"), "--abnormal", str(tmp_path / "abnormal"), "--root",
               str(tmp_path / "root/Again")]
    assert data_main(["split", *folders, "--window", "100", "101"]) == 0
    def pictures(name):
        return {path.name: path.read_bytes() for path in (tmp_path / "root" / name / "images").iterdir()}
    assert pictures("Again") == pictures("Mine")


# ---- H. messages and manners

def test_blank_images_are_told_with_and_without_a_folder_for_results(tmp_path, model, capsys):
    keep(tmp_path / "new", [*discs(2), np.full((24, 24), 120, np.uint8)])
    # known from before, too
    for more in ([], ["--out", str(tmp_path / "o")], ["--out", str(tmp_path / "o")]):
        assert main_score([str(model), str(tmp_path / "new"), *more]) == 0
        assert "1 of 3 images has one gray level all over" in capsys.readouterr().err


def test_names_that_a_terminal_cannot_encode_are_escaped(tmp_path, model, monkeypatch):
    keep(tmp_path / "bilder", discs(1), "Röntgen {} \u65e5\u672c.png")
    keep(tmp_path / "bilder", discs(1), os.fsdecode(b"\xff\xfe.png"))  # no text at all
    (tmp_path / "bilder/bröken.png").write_text("x")
    out, err = (io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True) for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out), patch.setattr(sys, "stderr", err)
        assert main_score([str(model), str(tmp_path / "bilder")]) == 1
    assert rb"R\xf6ntgen 0 \u65e5\u672c.png" in out.buffer.getvalue()
    assert rb"br\xf6ken.png" in err.buffer.getvalue()
    assert rb"\udcff\udcfe.png" in out.buffer.getvalue()


def test_fitting_loading_and_scoring_leave_the_global_random_state(tmp_path, model):
    "scikit-learn's convention: with an int as `random_state` nothing of the global state is used, or moved."
    def state():
        of_numpy = np.random.get_state()[1].tolist()  # noqa: NPY002, what must not move
        return torch.get_rng_state().tolist(), of_numpy, random.getstate()
    before = state()
    d = DDAD(**TINY | {"refine_epochs": 1}).fit(discs(24), unlabeled=discs(8, seed=2))
    assert state() == before
    d.save(tmp_path / "model")
    DDAD.load(model, "cpu").anomaly_score(discs(2))
    assert state() == before
