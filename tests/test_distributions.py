"From small distributions, drawn with the names and the layout that the owners give, to a benchmark's folder."
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddad import load_benchmark
from ddad.datasets import distributions
from ddad.datasets.commands import main
from ddad.datasets.layout import list_names
from ddad.datasets.registry import CARDS, shipped_labels, shipped_repartition
from ddad.method.data import SPLITS

pytestmark = pytest.mark.usefixtures("forked")


def few(name):
    "The first two images of each part of a shipped repartition, and their rows."
    lists = {split: names[:2] for split, names in shipped_repartition(name).items()}
    table, kept = shipped_labels(name), {n for names in lists.values() for n in names}
    rows = [i for i, n in enumerate(table["image"]) if n in kept]
    return lists, {column: [values[i] for i in rows] for column, values in table.items()}


def picture(seed, side, channels=0):
    shape = (side, side, channels) if channels else (side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def place(source, name, image, split):
    "Where the owner keeps an image."
    stem, ill = Path(image).stem, split.endswith("abnormal")
    return {"NIH": source / "images_001/images" / image,
            "Kermany": source / "chest_xray/train" / ("PNEUMONIA" if ill else "NORMAL") / f"{stem}.jpeg",
            "LGG": source / "kaggle_3m" / stem.rsplit("_", 1)[0] / f"{stem}.tif",
            "ODIR": source / "preprocessed_images" / image,
            "BrainTumor": source / "Brain Tumor MRI Dataset/Training" / (
                "glioma" if ill else "notumor") / image}[name]


@pytest.fixture
def owners(tmp_path, monkeypatch):
    "Draws a benchmark's small distribution; the package's repartition is cut down to it."
    def draw(name):
        lists, rows = few(name)
        monkeypatch.setattr(distributions, "shipped_repartition", lambda _: lists)
        monkeypatch.setattr(distributions, "shipped_labels", lambda _: rows)
        for i, (image, split) in enumerate(zip(rows["image"], rows["split"])):
            path = place(tmp_path / "source", name, image, split)
            path.parent.mkdir(parents=True, exist_ok=True)
            if name == "NIH": Image.fromarray(np.kron(picture(i, 64), np.ones((16, 16), np.uint8))).convert(
                "RGBA" if i % 2 else "L").save(path)
            elif name == "LGG":
                Image.fromarray(np.kron(picture(i, 128, 3), np.ones((2, 2, 1), np.uint8))).save(path)
                mask = np.zeros((256, 256), np.uint8)
                if split.endswith("abnormal"): mask[60:100, 80:120] = 255
                Image.fromarray(mask).save(path.with_name(f"{path.stem}_mask.tif"))
            else: Image.fromarray(picture(i, 300, 3)).save(path)
        if name == "ODIR":
            (tmp_path / "source/full_df.csv").write_text(
                "ID,Patient Age,Patient Sex,Left-Diagnostic Keywords,Right-Diagnostic Keywords,filename\n" + "".join(f"0,60,Female,left words,right words,{n}\n" for n in rows["image"]))
        return tmp_path / "source", lists, rows
    return draw


def prepare(name, tmp_path, source="source"):
    return main(
        ["prepare", name, "--source", str(tmp_path / source), "--root", str(tmp_path / "Med-AD"), "--workers",
         "1"])


@pytest.mark.parametrize("name", distributions.DISTRIBUTIONS)
def test_a_distribution_becomes_the_benchmark(owners, name, tmp_path, capsys):
    _, lists, rows = owners(name)
    assert prepare(name, tmp_path) == 0
    said = capsys.readouterr().out
    assert "10 images made, 0 there already, 0 failed" in said
    assert CARDS[name].citation in said
    assert f"Next: ddad-run --benchmark {name}" in said
    assert ("differ" in said) == (name in ("Kermany", "BrainTumor"))
    made = load_benchmark(tmp_path / "Med-AD", name, progress=False)
    assert made.names == lists
    assert made.labels_table["image"] == rows["image"]
    assert made.labels_table["kind"] == rows["kind"]
    patients = made.labels_table.get("patient")
    if patients: assert len(set(zip(patients, rows["group"]))) == len(set(rows["group"])) or name == "ODIR"
    if name == "ODIR":
        assert made.labels_table["age"] == ["60"] * 10
        assert set(made.labels_table["keywords"]) <= {"left words", "right words"}
        assert made.labels_table["group"] == rows["group"]
    if name == "LGG":
        assert made.masks.any((1, 2, 3)).tolist() == [False] * 2 + [True] * 2
        assert (tmp_path / "Med-AD/LGG/masks").is_dir()
    assert prepare(name, tmp_path) == 0 and "0 images made, 10 there already" in capsys.readouterr().out


@pytest.mark.parametrize("name, side", [("NIH", 64), ("LGG", 128)])
def test_area_averages_are_exact(owners, name, side, tmp_path):
    "Pixels that were repeated come back as they were."
    _, _, rows = owners(name)
    prepare(name, tmp_path)
    for i, image in enumerate(rows["image"]):
        with Image.open(tmp_path / "Med-AD" / name / "images" / image) as im: found = np.asarray(im)
        assert (found == (picture(i, 64) if name == "NIH" else picture(i, 128, 3)[..., 1])).all()


def test_what_is_missing_is_listed_and_the_rest_goes_on_later(owners, tmp_path, capsys):
    source, lists, _ = owners("NIH")
    lost = [source / "images_001/images" / n for n in lists["normal"]]
    for path in lost: shutil.move(path, tmp_path / path.name)
    (source / "images_001/images" / lists["test_normal"][0]).write_bytes(b"no image")
    assert prepare("NIH", tmp_path) == 1
    error = capsys.readouterr().err
    assert f"2 images of NIH are missing in {source}: {', '.join(lists['normal'])}." in error
    assert "cannot be prepared" in error
    assert error.count("\n") == 2
    assert not (tmp_path / "Med-AD/NIH/data.json").exists()
    assert len(list((tmp_path / "Med-AD/NIH/images").iterdir())) == 7
    for path in lost: shutil.move(tmp_path / path.name, path)
    Image.fromarray(picture(1, 128)).save(source / "images_001/images" / lists["test_normal"][0])
    assert prepare("NIH", tmp_path) == 0 and "3 images made, 7 there already" in capsys.readouterr().out
    assert list_names(tmp_path / "Med-AD/NIH") == lists


def test_other_folders_of_the_owner_do_not_count_nor_does_the_benchmark_itself(owners, tmp_path, capsys):
    source, _, rows = owners("ODIR")
    (source / "ODIR-5K/Training Images").mkdir(parents=True)
    for n in rows["image"]: Image.fromarray(picture(7, 500, 3)).save(source / "ODIR-5K/Training Images" / n)
    command = ["prepare", "ODIR", "--source", str(source), "--root", str(source), "--workers", "1"]
    assert main(command) == 0
    assert main(command) == 0
    assert "0 images made, 10 there already" in capsys.readouterr().out
    with Image.open(source / "ODIR/images" / rows["image"][0]) as im:
        made = np.asarray(im.convert("L"), float)
    wanted = np.asarray(
        Image.fromarray(picture(0, 300, 3)).convert("L").resize((128, 128), Image.Resampling.BILINEAR), float)
    assert abs(made - wanted).mean() < 6


def test_the_same_file_twice_does_no_harm_but_two_of_a_name_do(owners, tmp_path, capsys):
    source, lists, rows = owners("Kermany")
    shutil.copytree(source / "chest_xray", source / "chest_xray_again")
    shutil.copytree(source / "chest_xray", source / "__MACOSX")
    assert prepare("Kermany", tmp_path) == 0
    other = place(source, "Kermany", rows["image"][0], rows["split"][0]).relative_to(source / "chest_xray")
    Image.fromarray(picture(99, 64)).save(source / "chest_xray_again" / other)
    shutil.rmtree(tmp_path / "Med-AD")
    assert prepare("Kermany", tmp_path) == 2
    assert "have the same name but differ" in capsys.readouterr().err
    assert not (tmp_path / "Med-AD").exists()


@pytest.mark.parametrize("source, says",
                         [("nowhere", "There is no folder"),
                          (".", "has none of the 10 images of ODIR: it should have preprocessed_images/")])
def test_a_wrong_source_is_named_with_the_tree(owners, tmp_path, capsys, source, says):
    folder, _, _ = owners("ODIR")
    shutil.rmtree(folder)
    assert prepare("ODIR", tmp_path, source) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and not (tmp_path / "Med-AD").exists()


def test_another_repartition_is_not_overwritten(owners, tmp_path, capsys):
    owners("NIH")
    assert prepare("NIH", tmp_path) == 0
    path = tmp_path / "Med-AD/NIH/data.json"
    path.write_text(
        path.read_text().replace("test", "test", 1).replace(shipped_repartition("NIH")["normal"][0],
                                                            "mine.png"))
    before = path.read_bytes()
    assert prepare("NIH", tmp_path) == 2
    assert "another repartition" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_mask_that_is_missing_and_a_slice_without_channels_are_named(owners, tmp_path, capsys):
    source, _, rows = owners("LGG")
    first, second = (place(source, "LGG", n, "") for n in rows["image"][:2])
    first.with_name(f"{first.stem}_mask.tif").unlink()
    Image.fromarray(picture(0, 256)).save(second)
    assert prepare("LGG", tmp_path) == 1
    error = capsys.readouterr().err
    assert f"{first} cannot be prepared (ValueError: its mask {first.stem}_mask.tif is missing)" in error.replace("(its", "(ValueError: its")
    assert "lacks the three channels" in error


def test_every_shipped_name_tells_its_patient():
    for name in distributions.DISTRIBUTIONS:
        table = distributions._labels(name, Path("nowhere"))
        assert {"image", "kind"} <= set(table)
        assert all(len(column) == len(table["image"]) for column in table.values())
        if CARDS[name].group == "patient":
            pairs = set(zip(table["patient"], shipped_labels(name)["group"]))
            assert len(pairs) == len({p for p, _ in pairs}) == len(
                {g for _, g in pairs}), "the name's patient and the shipped group are the same"
        assert set(shipped_labels(name)["split"]) == set(SPLITS)
