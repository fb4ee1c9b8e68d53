"What ddad-data check finds: planted copies and faults, all of them and nothing else."
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from ddad.datasets import check, commands, copies
from ddad.datasets.check import check_benchmark, read_groups
from ddad.datasets.commands import main
from ddad.datasets.copies import PLANTED
from ddad.datasets.layout import as_repartition, list_names
from ddad.datasets.repartition import part_groups
from ddad.method.data import SPLITS


def face(seed):
    "A picture unlike any other: smooth noise, (96, 96) uint8."
    rng = np.random.default_rng(seed)
    return np.asarray(
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).resize(
            (96, 96), Image.Resampling.BICUBIC))


@pytest.fixture
def faces(tmp_path, monkeypatch):
    "The benchmark Faces, of 8 different pictures a split, free to be damaged; copies are planted from 8 of them."
    monkeypatch.setattr(check, "SAMPLE", 8)
    folder, lists = tmp_path / "Faces", {split: [f"{split}_{i}.png" for i in range(8)] for split in SPLITS}
    (folder / "images").mkdir(parents=True)
    for seed, n in enumerate(n for names in lists.values() for n in names):
        Image.fromarray(face(seed)).save(folder / "images" / n)
    (folder / "data.json").write_text(json.dumps(as_repartition(lists)))
    return folder


def copy(faces, old, new, change=lambda im: im):
    change(Image.open(faces / "images" / old)).save(faces / "images" / new)


def test_nothing_is_found_where_nothing_is(faces, monkeypatch, capsys):
    report = check_benchmark(faces.parent, "Faces", False)
    assert report.whole
    assert len(set(report.groups)) == 40
    assert not report.wrong
    assert report.unlisted == 0
    assert report.bar.tells
    monkeypatch.setattr(commands, "check_benchmark",
                        lambda root, name: report if (root / name).resolve() == faces
                        else pytest.fail(f"{root} {name}"))
    monkeypatch.chdir(faces)
    for asked in (["--root", str(faces)], ["Faces", "--root", str(faces.parent)], ["--root", "."],
                  ["Faces", "--root", "."]):
        assert main(["check", *asked]) == 0 and capsys.readouterr().out.startswith("Faces\n")


def compressed(im):
    buffer = io.BytesIO()
    im.save(buffer, "JPEG", quality=40)
    return Image.open(buffer)


WAYS = {"same": lambda im: im, "half": lambda im: im.resize((48, 48), Image.Resampling.BILINEAR),
        "dark": lambda im: im.point(lambda v: 20 + 0.6 * v),
        "mirrored": ImageOps.mirror, "upside down": ImageOps.flip,
        "turned over": lambda im: ImageOps.flip(ImageOps.mirror(im)),
        "gamma": lambda im: im.point(lambda v: 255 * (v / 255) ** 1.5),
        "cut": lambda im: im.crop((4, 4, 92, 92)),
        "turned": lambda im: im.rotate(3, Image.Resampling.BILINEAR), "jpeg": compressed}


def test_test_images_that_were_trained_on(faces):
    trained = [f"normal_{i}.png" for i in range(8)] + [f"unlabeled_abnormal_{i}.png" for i in range(2)]
    tested = [f"test_normal_{i}.png" for i in range(8)] + [f"test_abnormal_{i}.png" for i in range(2)]
    for old, new, change in zip(trained, tested, WAYS.values(), strict=True): copy(faces, old, new, change)
    report = check_benchmark(faces.parent, "Faces", False)
    assert {report.names[i] for i in np.flatnonzero(report.across)} == {*trained, *tested}
    assert not report.whole
    groups = dict(zip(report.names, report.groups))
    assert all(groups[a] == groups[b] for a, b in zip(trained, tested)) and len(set(report.groups)) == 30
    rows = {row["split"]: row for row in report.rows()}
    assert {split: row["copies across train and test"]
            for split, row in rows.items()} == {"train.0": 8, "train.unlabeled.0": 0, "train.unlabeled.1": 2,
                                                "test.0": 8, "test.1": 2}
    assert rows["test.0"]["identical across train and test"] == 1
    assert all(row["copies of the other label"] == 0 for row in rows.values())


def test_an_image_with_both_labels_and_copies_within_a_split_are_no_leak(faces):
    copy(faces, "unlabeled_normal_0.png", "unlabeled_abnormal_1.png")
    copy(faces, "normal_0.png", "normal_1.png")
    report = check_benchmark(faces.parent, "Faces", False)
    rows = {row["split"]: row for row in report.rows()}
    assert rows["train.unlabeled.0"]["copies of the other label"] == rows["train.unlabeled.1"]["copies of the other label"] == 1
    assert all(row["copies across train and test"] == 0 for row in rows.values())
    assert report.groups[0] == report.groups[1] and rows["train.0"]["groups"] == 7


def test_patients_of_a_table_set_the_bar(faces):
    names = [n for split in SPLITS for n in (f"{split}_{i}.png" for i in range(8))]
    (faces / "labels.csv").write_text("image,patient\n" + "".join(f"{n},{i}\n" for i, n in enumerate(names)))
    assert check_benchmark(faces.parent, "Faces", False).bar.by == "planted copies"  # 40 images are too few
    for seed, n in enumerate(names): Image.fromarray(face(seed)).save(faces / "images" / f"b{n}")
    lists = {split: names[8 * i:8 * i + 8] for i, split in enumerate(SPLITS)}
    lists["normal"] += [f"b{n}" for n in names]
    (faces / "data.json").write_text(json.dumps(as_repartition(lists)))
    (faces / "labels.csv").write_text("image,patient\n"
                                      + "".join(f"{n},{i}\nb{n},{i}\n" for i, n in enumerate(names)))
    report = check_benchmark(faces.parent, "Faces", False)
    assert report.bar.by == "patients"
    assert "set by images of different patients" in str(report.bar)
    assert len(set(report.groups)) == 40


def test_the_report_says_what_was_seen_and_in_what(faces, tmp_path):
    copy(faces, "normal_3.png", "test_normal_5.png")
    assert main(["check", "--root", str(faces), "--out", str(tmp_path / "first")]) == 1
    report = json.loads((tmp_path / "first/Faces.json").read_text())
    assert report["splits"][3]["copies across train and test"] == 1 and len(report["data_hash"]) == 64
    assert set(report["bar"]["recall"]) == {*PLANTED, *copies.BEYOND}
    assert "planted copies" in report["bar"]["says"]
    groups = read_groups(tmp_path / "first/Faces_groups.csv")
    assert len(groups) == 40
    assert len(set(groups.values())) == 39
    assert groups["normal_3.png"] == groups["test_normal_5.png"]
    assert (tmp_path / "first/Faces.png").stat().st_size > 1000


@pytest.mark.parametrize("arguments, says",
                         [(["--root", "nowhere"], "nowhere"),
                          (["Nobody", "--root", "."], "There is no benchmark 'Nobody'")])
def test_what_cannot_be_checked(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert main(["check", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.startswith("ddad-data: ") and error.count("\n") == 1


@pytest.mark.parametrize("table, says",
                         [("", "is no table"), ("a,b\n1,2\n", "lacks the columns image and group")])
def test_a_table_that_is_no_grouping_is_named(tmp_path, table, says):
    (tmp_path / "Faces_groups.csv").write_text(table)
    with pytest.raises(ValueError, match=f"Faces_groups.csv {says}"):
        read_groups(tmp_path / "Faces_groups.csv")


def test_the_bar_is_no_higher_than_copies_where_both_lie_apart_and_says_where_they_do_not():
    planted = {way: np.full(100, 0.9) for way in {**PLANTED, **copies.BEYOND}}
    apart, mingled = np.linspace(0.2, 0.6, 100), np.linspace(0.7, 0.97, 100)
    bars = [copies.set_bar(copies.Compared(*[np.empty(0)] * 3, unlike), planted, "classes")
            for unlike in (apart, mingled)]
    assert bars[0].value <= 0.9 and bars[0].tells and not bars[1].tells and "cannot be told" in str(bars[1])
    alone = copies.set_bar(copies.Compared(*[np.empty(0)] * 3, np.full(100, np.nan)), planted, "classes")
    assert alone.by == "planted copies" and alone.value == pytest.approx(0.9) and "not known" in str(alone)


def test_equal_images_are_joined_even_where_copies_cannot_be_told(faces, monkeypatch):
    monkeypatch.setattr(check, "set_bar", lambda *_: copies.Bar(1.1, "classes", dict.fromkeys(PLANTED, 0.0)))
    copy(faces, "normal_0.png", "normal_1.png")
    copy(faces, "normal_2.png", "normal_3.png", ImageOps.mirror)
    report = check_benchmark(faces.parent, "Faces", False)
    assert report.groups[0] == report.groups[1] and report.groups[2] != report.groups[3]


SIZES = (6, 6, 4, 6, 6)


def test_a_repartition_keeps_groups_on_one_side(faces, capsys):
    for i in range(6): copy(faces, f"normal_{i}.png", f"test_normal_{i}.png", ImageOps.mirror)
    out = faces.parent / "out"
    assert main(["check", "Faces", "--root", str(faces.parent), "--out", str(out)]) == 1
    command = ["repartition", "Faces", "--root", str(faces.parent), "--groups", str(out / "Faces_groups.csv"),
               "--sizes", *map(str, SIZES), "--name"]
    assert main([*command, "Free"]) == 0 and "ddad-run --benchmark Free" in capsys.readouterr().out
    report = check_benchmark(faces.parent, "Free", False)
    assert [row["images"] for row in report.rows()] == list(SIZES) and not report.across.any()
    old = {n: s for s, names in list_names(faces).items() for n in names}
    assert all(old[n].endswith("abnormal") == s.endswith("abnormal")
               for n, s in zip(report.names, report.splits))
    assert main([*command, "Free"]) == 2 and "is there already" in capsys.readouterr().err


@pytest.mark.parametrize("arguments, says",
                         [(["--name", "../x"], "no name for a benchmark"),
                          (["--name", "New", "--sizes", "90", "1", "1", "1", "1"],
                           "92 normal images are asked for"),
                          (["--name", "New", "--groups", "few.csv"], "39 of 40 images have no group")])
def test_an_impossible_repartition_is_refused_and_leaves_nothing(
    faces, tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    Path("few.csv").write_text("image,group\nnormal_0.png,1\n")
    before = sorted(p.name for p in faces.parent.iterdir())
    assert main(["repartition", "Faces", "--root", str(faces.parent), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert sorted(p.name for p in faces.parent.iterdir()) == before


@given(st.integers(0, 10**6))
@settings(max_examples=8, deadline=None)
def test_parts_of_a_repartition_keep_groups_sizes_and_the_mix(seed):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(150), rng.integers(1, 7, 150))
    abnormal = (rng.random(150) < 0.5)[groups] ^ (rng.random(len(groups)) < 0.02)
    kinds = np.where(abnormal, np.where(groups % 4 == 0, "rare", "common"), "normal")
    share = lambda bad, part: int((abnormal == bad).sum() * part)
    sizes = dict(
        zip(SPLITS,
            (share(False, 0.4), share(False, 0.15), share(True, 0.4), share(False, 0.3), share(True, 0.4))))
    parted = np.array(part_groups(groups, kinds, abnormal, sizes, seed))
    assert {s: int((parted == s).sum()) for s in SPLITS} == sizes
    for g in range(150): assert len({str(p).startswith("test") for p in parted[groups == g] if p}) <= 1
    rare = [np.mean(kinds[parted == s] == "rare") for s in ("unlabeled_abnormal", "test_abnormal")]
    assert abs(rare[0] - rare[1]) < 0.1
