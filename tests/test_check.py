"What ddad-data check finds: planted copies and faults, all of them and nothing else."
import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import disc
from ddad.datasets.check import check_benchmark, find_copies, look_at, read_leaks, write_report
from ddad.method.data import SPLITS
from ddad.datasets.commands import main


def face(seed):
    "A picture unlike any other: smooth noise, (96, 96) uint8."
    rng = np.random.default_rng(seed)
    return np.asarray(Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).resize((96, 96), Image.Resampling.BICUBIC))


@pytest.fixture
def faces(tmp_path):
    "The benchmark Faces, of 8 different pictures a split, free to be damaged."
    folder, lists = tmp_path / "Faces", {split: [f"{split}_{i}.png" for i in range(8)] for split in SPLITS}
    (folder / "images").mkdir(parents=True)
    for seed, n in enumerate(n for names in lists.values() for n in names): Image.fromarray(face(seed)).save(folder / "images" / n)
    (folder / "data.json").write_text(json.dumps({"train": {"0": lists["normal"], "unlabeled": {"0": lists["unlabeled_normal"], "1": lists["unlabeled_abnormal"]}}, "test": {"0": lists["test_normal"], "1": lists["test_abnormal"]}}))
    return folder


def copy(faces, old, new, change=lambda im: im):
    change(Image.open(faces / "images" / old)).save(faces / "images" / new)


def test_nothing_is_found_where_nothing_is(faces, capsys):
    report = check_benchmark(faces.parent, "Faces", False)
    assert report.whole and not report.copies and not report.wrong and report.unlisted == 0
    assert main(["check", "--root", str(faces)]) == 0 and main(["check", "Faces", "--root", str(faces.parent)]) == 0


@pytest.mark.parametrize("change, identical", [(lambda im: im, True), (lambda im: im.resize((48, 48), Image.Resampling.BILINEAR), False), (lambda im: im.point(lambda v: 20 + 0.8 * v), False)])
def test_a_test_image_that_was_trained_on(faces, change, identical):
    copy(faces, "normal_3.png", "test_normal_5.png", change)
    report = check_benchmark(faces.parent, "Faces", False)
    assert [(report.names[c.first], report.names[c.second], c.identical) for c in report.leaks] == [("normal_3.png", "test_normal_5.png", identical)]
    rows = {row["split"]: row for row in report.rows()}
    assert rows["test.0"]["copies across train and test"] == rows["train.0"]["copies across train and test"] == 1
    assert rows["test.0"]["identical across train and test"] == int(identical) and rows["test.1"]["copies across train and test"] == 0
    assert all(row["copies of the other label"] == 0 for row in rows.values()) and not report.whole


def test_an_image_with_both_labels(faces):
    copy(faces, "unlabeled_normal_0.png", "unlabeled_abnormal_1.png")
    rows = {row["split"]: row for row in check_benchmark(faces.parent, "Faces", False).rows()}
    assert rows["train.unlabeled.0"]["copies of the other label"] == rows["train.unlabeled.1"]["copies of the other label"] == 1
    assert all(row["copies across train and test"] == 0 for row in rows.values())


def test_copies_within_a_split_are_no_leak(faces):
    copy(faces, "normal_0.png", "normal_1.png")
    report = check_benchmark(faces.parent, "Faces", False)
    assert len(report.copies) == 1 and not report.leaks and report.whole


def test_damaged_images_are_listed(faces, capsys):
    images = faces / "images"
    (images / "normal_0.png").unlink()
    (images / "normal_1.png").write_bytes((images / "normal_1.png").read_bytes()[:300])
    Image.new("L", (96, 96), 50).save(images / "normal_2.png")
    Image.fromarray(face(99)[:30]).save(images / "test_normal_0.png")
    Image.fromarray(face(98)).save(images / "nobody.png")
    assert main(["check", "--root", str(faces)]) == 1
    shown = capsys.readouterr().out
    for line in ("normal_0.png (train.0): missing", "normal_1.png (train.0): unreadable", "normal_2.png (train.0): constant", "test_normal_0.png (test.0): oddly shaped, 96 x 30 pixels", "1 files in images/ are in no list"): assert line in shown


def test_blank_images_are_not_copies_of_each_other():
    assert find_copies([look_at(np.full((64, 64), v, np.uint8)) for v in (0, 0, 7)]) == []


def test_blocks_of_rows_find_what_one_block_finds():
    rng = np.random.default_rng(0)
    looks = [look_at(disc(rng, 48, i % 3 == 0)[0]) for i in range(40)]
    looks += looks[::3]
    whole = find_copies(looks, 40, 0.9)
    assert whole and [(c.first, c.second, c.distance) for c in find_copies(looks, 40, 0.9, block=7)] == [(c.first, c.second, c.distance) for c in whole]


def test_the_report_says_what_was_found_and_in_what(faces, tmp_path):
    copy(faces, "normal_3.png", "test_normal_5.png")
    reports = []
    for out in ("first", "second"):
        assert main(["check", "--root", str(faces), "--out", str(tmp_path / out)]) == 1
        reports.append(json.loads((tmp_path / out / "Faces.json").read_text()))
    assert reports[0]["leaks"] == 1 and len(reports[0]["data_hash"]) == 64 and reports[0]["data_hash"] == reports[1]["data_hash"]
    with (tmp_path / "first/Faces.csv").open() as f: assert [(r["image"], r["copy"], r["identical"]) for r in csv.DictReader(f)] == [("normal_3.png", "test_normal_5.png", "1")]
    assert (tmp_path / "first/Faces.png").stat().st_size > 1000
    copy(faces, "normal_3.png", "test_normal_6.png")
    write_report(check_benchmark(faces.parent, "Faces", False), faces / "images", tmp_path / "third")
    assert json.loads((tmp_path / "third/Faces.json").read_text())["data_hash"] != reports[0]["data_hash"]


@pytest.mark.parametrize("arguments, says", [(["--root", "nowhere"], "nowhere"), (["Nobody", "--root", "."], "There is no benchmark 'Nobody'"), (["--root", "."], "There is no benchmark")])
def test_what_cannot_be_checked(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert main(["check", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.startswith("ddad-data: ") and error.count("\n") == 1


@pytest.mark.parametrize("name", [None, "Faces"])
def test_the_folder_one_is_in_can_be_checked(faces, monkeypatch, capsys, name):
    monkeypatch.chdir(faces)
    assert main(["check", *filter(None, [name]), "--root", "."]) == 0
    assert capsys.readouterr().out.startswith("Faces\n")


def test_without_imagehash_the_extra_is_named(faces, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "imagehash", None)
    assert main(["check", "--root", str(faces)]) == 2
    shown = capsys.readouterr()
    assert shown.err == "ddad-data: imagehash is not installed: pip install 'ddad[data]'.\n" and shown.out == ""


HIDDEN = """
import sys
sys.modules.update(dict.fromkeys(("pooch", "requests", "urllib3", "imagehash", "nilearn")))
from ddad.datasets import archive, check, commands, download, phantom, prepare, split
sys.exit(commands.main(sys.argv[1:]))
"""


def test_every_chapter_can_be_imported_and_a_split_made_without_the_extras(tmp_path):
    for kind in ("normal", "abnormal"):
        (tmp_path / kind).mkdir()
        for i in range(12): Image.fromarray(face(i)).save(tmp_path / kind / f"{i}.png")
    folders = ["--normal", tmp_path / "normal", "--abnormal", tmp_path / "abnormal", "--root", tmp_path / "Mine"]
    command = [sys.executable, "-c", HIDDEN, "split", *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0 and "24 images" in done.stdout, done.stderr


@pytest.mark.parametrize("table", ["", "a,b\n1,2\n", "image,split,copy,copy_split,identical,distance\nx.png\n", "image,split,copy,copy_split,identical,distance\na,normal,b,test_normal,x,1\n"])
def test_a_table_that_is_no_report_is_named(tmp_path, table):
    (tmp_path / "Faces.csv").write_text(table)
    if not table: assert read_leaks(tmp_path, "Faces") == {}
    else:
        with pytest.raises(ValueError, match="Faces.csv is no report of leaks"): read_leaks(tmp_path, "Faces")
