"From DICOM files and folders of one's own to benchmarks: as the paper does, whole, and no patient on both sides."
import csv
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from conftest import disc
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_shown import dicom as radiograph

from ddad import load_benchmark
from ddad.core.storage import write_json
from ddad.datasets import prepare as preparing
from ddad.datasets.commands import main
from ddad.datasets.layout import as_repartition, read_repartition
from ddad.datasets.prepare import in_processes, prepare, prepare_radiograph
from ddad.datasets.split import Item, assign, split
from ddad.method.data import SPLITS

DICOM = Path(pydicom.data.get_testdata_file("CT_small.dcm", download=False)).parent
DAMAGED = {"JPEG-lossy.dcm", "JPEG2000-embedded-sequence-delimiter.dcm", "MR_truncated.dcm", "badVR.dcm"}
# pydicom has much to say about its own samples
pytestmark = [pytest.mark.usefixtures("forked"), pytest.mark.filterwarnings("ignore")]


def headers():
    "Each of pydicom's files that has pixels."
    every = {path: pydicom.dcmread(path, force=True) for path in sorted(DICOM.glob("*.dcm"))}
    return {path: h for path, h in every.items() if "PixelData" in h and "Rows" in h
            and hasattr(h.file_meta, "TransferSyntaxUID")}


REAL = headers()


def as_the_paper(values, size=64):
    values = values.astype(float)
    levels = ((values - values.min()) / (values.max() - values.min()) * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(levels).resize((size, size), Image.Resampling.BILINEAR))


VALUES = np.random.default_rng(0).integers(-900, 3000, (50, 40))


# DICOM to PNG

@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_intensities_run_from_black_to_white_whatever_the_window(tmp_path, dtype):
    values = (VALUES if dtype == np.int16 else VALUES + 900).astype(dtype)
    window = dict(RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=50, WindowWidth=10)
    plain = prepare_radiograph(radiograph(tmp_path / "x.dcm", values, **window), 64)
    inverted = prepare_radiograph(radiograph(tmp_path / "y.dcm", values, "MONOCHROME1"), 64)
    assert (plain == as_the_paper(values)).all() and (inverted == as_the_paper(-values.astype(int))).all()


def test_8_bits_are_left_as_they_are(tmp_path):
    values = (VALUES % 100 + 50).astype(np.uint8)
    smaller = lambda v: np.asarray(Image.fromarray(v).resize((64, 64), Image.Resampling.BILINEAR))
    assert (prepare_radiograph(radiograph(tmp_path / "x.dcm", values), 64) == smaller(values)).all()
    assert (prepare_radiograph(radiograph(tmp_path / "y.dcm", values, "MONOCHROME1"), 64)
            == smaller(values.max() - values)).all()


@pytest.mark.parametrize("interpretation", ["RGB", "YBR_FULL"])
def test_colours_become_gray(tmp_path, interpretation):
    colours = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    stored = colours
    if interpretation == "YBR_FULL": stored = np.asarray(Image.fromarray(colours).convert("YCbCr"))
    path = radiograph(tmp_path / "x.dcm", stored, interpretation, SamplesPerPixel=3, PlanarConfiguration=0,
                      NumberOfFrames=1, Rows=50, Columns=40)
    expected = np.asarray(
        Image.fromarray(colours).convert("L").resize((64, 64), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(prepare_radiograph(path, 64) - expected).max() <= 2


def test_every_transfer_syntax_and_interpretation_that_pydicom_ships():
    covered = Counter()
    for path, header in REAL.items():
        frames = int(header.get("NumberOfFrames") or 1) if path.name not in DAMAGED else 1
        try: assert prepare_radiograph(path).shape == (512, 512)
        except ValueError as e:
            assert path.name in str(e) and (path.name in DAMAGED or frames > 1
                                            or "one intensity" in str(e)), e
            continue
        covered[header.file_meta.TransferSyntaxUID.name] += 1
        covered[header.PhotometricInterpretation] += 1
        if header.PhotometricInterpretation == "MONOCHROME2" and header.pixel_array.dtype != np.uint8:
            assert (prepare_radiograph(path, 64) == as_the_paper(header.pixel_array)).all(), path.name
    syntaxes = {h.file_meta.TransferSyntaxUID.name for p, h in REAL.items() if p.name not in DAMAGED}
    assert syntaxes <= set(covered) and len(syntaxes) >= 11
    assert {"MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR", "YBR_RCT"} <= set(covered)


def parted(names):
    "A repartition of these images: all known normal but for the last two, which are the test set."
    return dict.fromkeys(SPLITS, []) | {"normal": names[:-2], "test_normal": names[-2:-1],
                                        "test_abnormal": names[-1:]}


def test_a_folder_is_prepared_once_and_what_cannot_be_read_is_listed(tmp_path, monkeypatch, capsys):
    source = tmp_path / "source/deep"
    source.mkdir(parents=True)
    lists = parted([*(f"brain.{i}.png" for i in range(5)), "broken.png", "1.2.840.1.png", "blank.png"])
    monkeypatch.setattr(preparing, "shipped_repartition", lambda name: lists)
    for i in range(5): radiograph(source / f"brain.{i}.dicom", (VALUES + 900 + i).astype(np.uint16))
    radiograph(source / "1.2.840.1", (VALUES + 900).astype(np.uint16))  # a UID for a name
    radiograph(source / "not listed.dcm", (VALUES + 900).astype(np.uint16))
    radiograph(source / "blank.dcm", np.full((8, 8), 7, np.uint16))
    radiograph(source.parent / "brain.0.dcm", (VALUES + 900).astype(np.uint16))
    (source / "broken.dcm").write_bytes((DICOM / "MR_truncated.dcm").read_bytes())
    command = ["prepare", "RSNA", "--source", str(source.parent), "--root", str(tmp_path / "root"), "--size",
               "32", "--workers", "2"]
    assert main(command) == 1
    shown = capsys.readouterr()
    images = tmp_path / "root/RSNA/images"
    assert sorted(p.name for p in images.iterdir()) == ["1.2.840.1.png",
                                                        *(f"brain.{i}.png" for i in range(5))]
    assert "6 images made, 0 there already, 3 failed" in shown.out
    assert "Licence of the data: RSNA's terms of use" in shown.out
    assert not (tmp_path / "root/RSNA/data.json").exists()
    assert all(word in shown.err for word in ("one intensity everywhere", "broken.dcm", "has the name of"))
    assert "Traceback" not in shown.err
    before = {p.name: p.stat().st_mtime_ns for p in images.iterdir()}
    (images / "brain.2.png").unlink()
    for name in ("blank", "broken"): radiograph(source / f"{name}.dcm", (VALUES + 900).astype(np.uint16))
    (source.parent / "brain.0.dcm").unlink()
    assert main(command) == 0
    assert "3 images made, 5 there already" in (said := capsys.readouterr().out)
    assert "Next: ddad-run --benchmark RSNA" in said
    assert {p.name for p in images.iterdir()
            if p.stat().st_mtime_ns != before.get(p.name)} == {"brain.2.png", "blank.png", "broken.png"}
    # the list comes from the package, once all images are there
    assert read_repartition(tmp_path / "root", "RSNA") == lists


def test_only_what_the_repartition_lists_is_prepared_and_what_is_missing_is_one_sentence(tmp_path):
    (tmp_path / "source").mkdir()
    for i in range(4): radiograph(tmp_path / f"source/{i}.dcm", (VALUES + 900 + i).astype(np.uint16))
    with pytest.raises(
        ValueError,
        match="source has none of the 14863 images of RSNA: it should have the original DICOM files.$"):
        prepare("RSNA", tmp_path / "source", tmp_path, 16, workers=1, progress=False)
    write_json(tmp_path / "RSNA/data.json",
               as_repartition(parted(["0.png", "1.png", *(f"more{i}.png" for i in range(22))])))
    outcome = prepare("RSNA", tmp_path / "source", tmp_path, 16, workers=1, progress=False)
    assert outcome.done == 2
    assert outcome.failed == [
        f"22 images of RSNA are missing in {tmp_path / 'source'}: {', '.join(f'more{i}.png' for i in range(20))} and 2 more."]
    assert sorted(p.name for p in (tmp_path / "RSNA/images").iterdir()) == ["0.png", "1.png"]


def _dies(path):
    if path.name == "3": os._exit(139)
    if path.name == "5": raise ValueError("five")
    return path.name


def test_a_decoder_that_crashes_costs_its_file_alone():
    results = {path.name: result
               for path, result in in_processes(_dies, [Path(str(i)) for i in range(9)], workers=2)}
    assert "decoder crashed" in str(results.pop("3")) and str(results.pop("5")) == "five"
    assert results == {str(i): str(i) for i in (0, 1, 2, 4, 6, 7, 8)}


# a benchmark of one's own

@pytest.fixture
def hospital(tmp_path):
    "Folders of normal and abnormal images, and a table that says whose they are."
    rng, rows = np.random.default_rng(0), []
    for kind, n in (("normal", 40), ("abnormal/glioma", 20), ("abnormal/other", 15), ("ward", 20)):
        (tmp_path / kind).mkdir(parents=True)
        for i in range(n):
            name = f"{kind.split('/')[-1]}{i}.png"
            Image.fromarray(disc(rng, 40, kind != "normal")[0]).save(tmp_path / kind / name)
            rows.append((name, f"patient {rng.integers(25)}"))
    with (tmp_path / "patients.csv").open("w", newline="") as f:
        csv.writer(f).writerows([("image", "patient"), *rows])
    return tmp_path


def given_folders(hospital, *more):
    return ["split", "--normal", str(hospital / "normal"), "--abnormal", str(hospital / "abnormal"), "--root",
            str(hospital / "root/Mine"), *more]


def test_a_split_can_be_loaded_and_says_how_to_go_on(hospital, capsys):
    assert main(given_folders(hospital)) == 0
    shown, benchmark = capsys.readouterr().out, load_benchmark(hospital / "root", "Mine", 32, progress=False)
    assert {k: len(v) for k, v in benchmark.names.items()} == {
        "normal": 20, "unlabeled_normal": 8, "unlabeled_abnormal": 25, "test_normal": 12, "test_abnormal": 10}
    assert sum("glioma" in n for n in benchmark.names["test_abnormal"]) == 6
    n, rate = shown.split("--n-unlabeled ")[1].split(" --anomaly-rate ")
    assert len(benchmark.unlabeled(int(n), float(rate))) == 33
    original = np.asarray(Image.open(hospital / "normal/normal7.png"))
    assert (np.asarray(Image.open(hospital / "root/Mine/images/normal_normal7.png")) == original).all()


@pytest.mark.parametrize("ward", [False, True])
def test_no_patient_is_on_both_sides(hospital, ward):
    more = ["--unlabeled", str(hospital / "ward")] if ward else []
    assert main(given_folders(hospital, "--patients", str(hospital / "patients.csv"), *more)) == int(ward)
    with (hospital / "patients.csv").open() as f:
        patient = {r["image"].removesuffix(".png"): r["patient"] for r in csv.DictReader(f)}
    names = read_repartition(hospital / "root", "Mine")
    tested, trained = (
        {patient[n.removesuffix(".png").split("_")[-1]]
         for s, v in names.items() if s.startswith("test") == side for n in v} for side in (True, False))
    assert tested and trained and not tested & trained
    if ward:
        assert len(names["test_abnormal"]) == 35
        assert all(n.startswith("unlabeled_ward") for n in names["unlabeled_abnormal"])
        assert names["unlabeled_normal"] == []


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), patients=st.integers(12, 60), n=st.integers(60, 200),
       test=st.sampled_from([0.1, 0.3, 0.5]), ward=st.booleans())
def test_no_draw_shares_a_patient(seed, patients, n, test, ward):
    rng = np.random.default_rng(seed)
    kinds = ["normal", "abnormal", "unlabeled"] if ward else ["normal", "abnormal"]
    items = [Item(Path(f"{kind}/{i}"), Path(kind), kind, str(rng.integers(patients))) for i in range(n)
             for kind in [kinds[rng.integers(len(kinds))]]]
    if any(len({i.group for i in items if i.kind == kind}) < 10 for kind in ("normal", "abnormal")): return
    splits = assign(items, test, 0.2, seed)
    assert splits == assign(items, test, 0.2, seed)
    tested, trained = ({i.group for i, s in zip(items, splits) if s and s.startswith("test") == side}
                       for side in (True, False))
    assert not tested & trained
    assert all(s != "test_normal" or i.kind == "normal" for i, s in zip(items, splits))
    assert all((i.kind == "abnormal") == (s == "test_abnormal") or s == "unlabeled_abnormal"
               for i, s in zip(items, splits) if i.kind == "abnormal")


def test_slices_of_a_volume_stay_together_and_names_do_not_clash(hospital):
    import nibabel
    for i in range(12):
        nibabel.save(
            nibabel.Nifti1Image(np.random.default_rng(i).random((20, 20, 3)).astype(np.float32),
                                np.eye(4)), hospital / f"normal/normal{i}.nii")
    outcome = split(hospital / "root/Mine", hospital / "normal", hospital / "abnormal", progress=False)
    names = read_repartition(hospital / "root", "Mine")
    assert outcome.done == 75 + 36 == len({n for v in names.values() for n in v}) and not outcome.failed
    for i in range(12):
        assert sum(any(n.startswith(f"normal_normal{i}_") for n in v) for v in names.values()) == 1


def lose_a_row(h):
    (h / "patients.csv").write_text("\n".join((h / "patients.csv").read_text().splitlines()[:-60]))
def no_columns(h): (h / "patients.csv").write_text("a,b\n1,2\n")
def exists(h): (h / "root/Mine").mkdir(parents=True)
def few(h): [p.unlink() for p in list((h / "normal").iterdir())[:35]]


@pytest.mark.parametrize("harm, more, says", [
    (lose_a_row, ["--patients", "patients.csv"], "patients.csv names no patient of"),
    (no_columns, ["--patients", "patients.csv"], "needs the columns file (or image) and patient"),
    (exists, [], "is there already"),
    (few, [], "normal images of 5 patients or files"),
    (lambda h: None, ["--test", "0.95"], "test is 0.95"),
])
def test_what_cannot_be_split_leaves_nothing(hospital, capsys, monkeypatch, harm, more, says):
    harm(hospital)
    monkeypatch.chdir(hospital)
    before = sorted(hospital.rglob("*"))
    assert main(given_folders(hospital, *more)) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and sorted(hospital.rglob("*")) == before
