"The scans in the package: the pixels that committed runs had, found by name alone, and one sentence for whatever is wrong with them."
import io
import os
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
from PIL import Image

import ddad
from ddad.datasets import commands, opening, sheets
from ddad.datasets.registry import card
from ddad.datasets.sheets import COLUMNS, TILE, sheet_path
from ddad.method.data import SPLITS

FOLDER = os.environ.get("DDAD_DATA", "")  # of the scans themselves, where they are at hand
HASHES = {  # `data_hash` of the committed runs
    "Kermany": "f57e7eb63a0cf032f1d132eb838ad0a38afff148432c9417238fbb24f92ccba0",
    "NIH": "0b8bdfe0e5ab369004fd475d8bdc4a9d3f33c6a2125817ed9009fc9bf0db92d3",
    "BrainTumor": "bbe5c44ecef667a65b0055bbee3206b35557ee9952e0dd47fdb18aaae0c6cb25",
    "BrainTumorLeakFree": "cac1070ac6cdfe6e8ee0a8a7619507dada28ae9e2d261ad00d14feb00ee07ccb",
}


@pytest.fixture(autouse=True)
def nothing_at_hand(tmp_path, monkeypatch):
    "No folder of data, neither by the variable nor in the user's home."
    monkeypatch.delenv("DDAD_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    opening._tell_embedded.cache_clear()


@pytest.mark.parametrize("name", HASHES)
def test_the_scans_are_those_of_the_committed_runs(name):
    data = ddad.load_benchmark(name)
    assert data.hash == HASHES[name]
    assert tuple(len(data.names[split]) for split in SPLITS) == card(name).counts
    assert data.test.shape == (len(data.test_names), 1, TILE, TILE)
    assert data.labels.sum() == card(name).counts[-1]
    assert set(data.test_names) <= set(data.labels_table["image"])
    assert {"kind", "group"} <= set(data.labels_table)


def test_unlabeled_images_are_the_first_of_each_pool():
    brains = ddad.load_benchmark("BrainTumor")
    unlabeled = brains.unlabeled(400, 0.25)
    assert torch.equal(unlabeled, torch.cat([brains.unlabeled_normal[:300], brains.unlabeled_abnormal[:100]]))
    with pytest.raises(ValueError, match="needs 200 normal and 800 abnormal"): brains.unlabeled(1000, 0.8)


@pytest.mark.parametrize("name", HASHES)
def test_the_folder_gives_the_same_scans(name):
    if not any((Path(FOLDER) / known / "data.json").is_file() for known in (name, card(name).of) if known
               and FOLDER):
        pytest.skip(f"DDAD_DATA has no {name}")
    assert ddad.load_benchmark(FOLDER, name, progress=False).hash == HASHES[name]


def test_an_explicit_root_is_believed(discs):
    with pytest.raises(ValueError, match="There is no benchmark 'NIH' in .*: it has Discs"):
        ddad.load_benchmark(discs, "NIH")
    with pytest.raises(FileNotFoundError, match="There is no folder .*nowhere"):
        ddad.load_benchmark(discs / "nowhere", "NIH")
    assert ddad.load_benchmark(discs, "Discs").name == "Discs"


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    "The root of a folder that the command wrote, for reading only, and what it printed."
    root, shown = tmp_path_factory.mktemp("exported") / "new", io.StringIO()
    with redirect_stdout(shown): assert commands.main(["export", "NIH", str(root)]) == 0
    return root, shown.getvalue()


def test_a_folder_of_data_with_the_benchmark_comes_first(exported, tmp_path, monkeypatch, capsys):
    shutil.copytree(exported[0], tmp_path / "Med-AD", copy_function=os.link)
    path = tmp_path / "Med-AD/NIH/images" / ddad.load_benchmark("NIH").test_names[0]
    path.unlink()
    Image.new("L", (TILE, TILE)).save(path, format="PNG")
    monkeypatch.setenv("DDAD_DATA", str(tmp_path / "Med-AD"))
    by_name = ddad.load_benchmark("NIH", progress=False)
    by_root = ddad.load_benchmark(tmp_path / "Med-AD", "NIH")
    assert by_name.hash == by_root.hash != HASHES["NIH"] and "package" not in capsys.readouterr().err


@pytest.mark.parametrize("place", ["DDAD_DATA", "home"])
def test_a_folder_of_data_without_the_benchmark_is_passed_over_and_said_once(
    place, discs, monkeypatch, capsys):
    root = discs if place == "DDAD_DATA" else Path("~/Med-AD").expanduser()
    if place == "DDAD_DATA": monkeypatch.setenv("DDAD_DATA", str(discs))
    else: root.mkdir()
    for _ in range(2): assert ddad.load_benchmark("NIH").hash == HASHES["NIH"]
    assert capsys.readouterr() == ("", f"{root} has no NIH: the scans in the package are used.\n")


def test_the_embedded_scans_have_one_size():
    with pytest.raises(ValueError) as error: ddad.load_benchmark("Kermany", image_size=128)
    assert str(error.value) == (
        "image_size is 128, but the scans of Kermany in the package are of 64 x 64: choose 64, "
                                "or name the Med-AD folder with larger ones.")
    with pytest.raises(ValueError, match="multiple of 16"): ddad.load_benchmark("Kermany", image_size=50)


def test_a_further_split_parts_the_same_scans():
    first, other = ddad.load_benchmark("Kermany"), ddad.load_benchmark("Kermany-split1")
    assert other.name == "Kermany-split1" and other.hash != first.hash and len(other.test) == len(first.test)
    shared = next(n for n in other.test_names if n in first.test_names)
    assert (other.test[other.test_names.index(shared)] == first.test[first.test_names.index(shared)]).all()


def harmed(name, path):
    "Writes what a sheet may be after a bad copy to `path`."
    whole = sheet_path("NIH").read_bytes()
    if name == "cut short": path.write_bytes(whole[:len(whole) // 2])
    elif name == "text": path.write_bytes(b"<html>not found</html>")
    elif name == "other pixels": Image.new("L", (COLUMNS * TILE, 30 * TILE)).save(path)
    elif name == "a huge one": path.write_bytes(whole[:16] + b"\x00\x00\xff\xff\x00\x00\xff\xff" + whole[24:])


@pytest.mark.parametrize("harm", ["missing", "text", "cut short", "a huge one", "other pixels"])
def test_a_damaged_sheet_is_named(harm, tmp_path, monkeypatch):
    path = tmp_path / "sheet.png"
    harmed(harm, path)
    monkeypatch.setattr(sheets, "sheet_path", lambda name: path)
    with pytest.raises(ValueError) as error: ddad.load_benchmark("NIH")
    sentence = str(error.value)
    assert sentence.startswith(f"{path} ")
    assert sentence.endswith(": install ddad again.")
    assert "\n" not in sentence
    assert commands.main(["export", "NIH", str(tmp_path / "new")]) == 2 and not (tmp_path / "new").exists()


def test_export_writes_a_folder_like_any_other(exported, capsys):
    root, shown = exported
    assert "1498 images of 64 x 64" in shown and "PNG" in shown and "Wang et al., CVPR 2017" in shown
    data = ddad.load_benchmark(root, "NIH", progress=False)
    assert data.hash == HASHES["NIH"] and data.labels_table == ddad.load_benchmark("NIH").labels_table
    assert [p.name for p in root.iterdir()] == ["NIH"]
    assert commands.main(["export", "NIH", str(root)]) == 2
    assert capsys.readouterr().err == f"ddad-data: {root / 'NIH'} is there already: choose another, or delete it.\n"


@pytest.mark.slow
def test_check_finds_the_embedded_scans_in_order(capsys):
    assert commands.main(["check", "NIH"]) == 0
    assert "| test.1 | 250 | 250 | 0 |" in capsys.readouterr().out
