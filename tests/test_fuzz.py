"Whatever a file holds: what it should, or one sentence that names it. Nothing outside the root is opened, nothing gigantic is decoded, nothing is run."
import io
import json
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ddad import load_benchmark
from ddad.core import dicom
from ddad.core import formats as files
from ddad.core.images import read_image
from ddad.core.storage import read_json
from ddad.datasets.check import check_benchmark
from ddad.datasets.layout import as_repartition, read_repartition
from ddad.method.data import SPLITS

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
opened = set()
sys.addaudithook(lambda event, arguments: opened.add(str(arguments[0])) if event == "open"
                 and isinstance(arguments[0], (str, bytes, Path)) else None)


def refused(function, *arguments):
    "The sentence with which a function refuses, or None where it does not."
    try: function(*arguments)
    except (ValueError, OSError) as e:
        message = str(e)
        assert "\n" not in message and len(message) < 1500 and "Traceback" not in message
        return message


# data.json

@pytest.fixture
def brains(tmp_path):
    "A benchmark of two images a split; a secret lies beside its root."
    folder = tmp_path / "root/Brains"
    (folder / "images/sub").mkdir(parents=True)
    Image.new("L", (8, 8), 200).save(tmp_path / "secret.png")
    (folder / "images/link.png").symlink_to(tmp_path / "secret.png")
    (folder / "images/out").symlink_to(tmp_path)
    lists = {split: [f"{split}_{i}.png" for i in range(2)] for split in SPLITS}
    for i, n in enumerate(n for names in lists.values() for n in names):
        Image.new("L", (8, 8), i).save(folder / "images" / n)
    return folder, as_repartition(lists)


def names_of(tree): return [tree["train"]["0"], *tree["train"]["unlabeled"].values(), *tree["test"].values()]


anything = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                        lambda inner: st.lists(inner) | st.dictionaries(
                            st.sampled_from(
                                ["train", "test", "0", "1", "unlabeled"]) | st.text(), inner), max_leaves=12)
bad_name = st.text() | st.sampled_from(
    ["..", "", "/", "../../secret.png", "/etc/passwd", "sub/", "sub/../../../../secret.png", "link.png",
     "out/secret.png",
     "a\0b", "\ud800", "x" * 5000, "a\nb", "~"])


@QUICK
@given(tree=anything)
def test_any_json_is_refused_in_a_sentence(brains, tree):
    folder, _ = brains
    (folder / "data.json").write_text(json.dumps(tree))
    assert "data.json" in refused(read_repartition, folder.parent, "Brains")
    refused(check_benchmark, folder.parent, "Brains", False)


@QUICK
@given(where=st.integers(0, 4), name=bad_name)
def test_no_name_leads_outside(brains, where, name):
    folder, tree = brains
    tree = json.loads(json.dumps(tree))
    names_of(tree)[where].append(name)
    (folder / "data.json").write_text(json.dumps(tree))
    opened.clear()
    for read in (read_repartition, load_benchmark):
        message = refused(read, folder.parent, "Brains")
        assert message and ("outside" in message or "missing" in message)
    report = check_benchmark(folder.parent, "Brains", False)
    assert [w for _, _, w in report.wrong if w in ("missing", "named outside of images/")]
    assert not report.whole
    assert not [p for p in opened if "secret" in p or "passwd" in p]


@pytest.mark.parametrize("again, where", [("normal_0.png", 0), ("sub/../normal_0.png", 3)])
def test_one_image_in_two_places_is_refused(brains, again, where):
    folder, tree = brains
    names_of(tree)[where].append(again)
    (folder / "data.json").write_text(json.dumps(tree))
    assert "twice" in refused(read_repartition, folder.parent, "Brains")


@pytest.mark.parametrize("content, says", [
    (b"[" * 100_000, "recursion"), (b'{"train": 1, "train": 2}', "'train' appears twice"),
    (b"\xff\xfe{}", "utf-8"),
    (b'{"a": ' + b"9" * 5000 + b"}", "digits")])
def test_json_that_is_none(tmp_path, content, says):
    (tmp_path / "data.json").write_bytes(content)
    message = refused(read_json, tmp_path / "data.json")
    assert str(tmp_path / "data.json") in message and says in message


def test_text_of_any_language_and_a_byte_order_mark(brains):
    folder, tree = brains
    for name in ("мозг.png", "脳.png", "cerveau é.png", "🧠.png"):
        Image.new("L", (8, 8), 9).save(folder / "images" / name)
        tree["train"]["0"].append(name)
    (folder / "data.json").write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8-sig")
    assert "🧠.png" in read_repartition(folder.parent, "Brains")["normal"]


# images

def picture(kind="PNG", mode="L", size=(24, 20), **options):
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    im = Image.fromarray(values).convert("L").convert(mode) if mode != "I;16" else Image.fromarray(
        values[..., 0].astype(np.uint16) * 257)
    out = io.BytesIO()
    im.save(out, kind, **options)
    return out.getvalue()


PICTURES = {"palette": picture(mode="P", transparency=b"\0\x80"), "alpha": picture(mode="RGBA"),
            "16 bit": picture(mode="I;16"),
            "1 bit": picture(mode="1"), "cmyk": picture("JPEG", "CMYK"),
            "progressive": picture("JPEG", progressive=True), "float": picture("TIFF", "F"),
            "lzw": picture("TIFF", compression="tiff_lzw"), "bmp": picture("BMP"),
            "1 x 1": picture(size=(1, 1)), "webp": picture("WEBP", "RGB"),
            "animated gif": picture("GIF", save_all=True, append_images=[Image.new("L", (24, 20), 9)]),
            "pgm": picture("PPM")}


@pytest.mark.parametrize("content", PICTURES.values(), ids=PICTURES.keys())
def test_every_kind_of_picture_is_read_whatever_its_suffix(tmp_path, content):
    for suffix in ("png", "tif"):
        path = tmp_path / f"x.{suffix}"
        path.write_bytes(content)
        assert read_image(path, 16).shape == (16, 16) and next(files.read_slices(path)).dtype == np.uint8
    if content == PICTURES["16 bit"]:
        assert len(np.unique(read_image(path, None))) > 100  # it keeps its contrast


damage = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12)


def damaged(content, cut, flips, spare=0):
    content = bytearray(content[:max(int(len(content) * cut), 1)])
    for at, value in flips:
        if len(content) > spare: content[spare + int(at * (len(content) - spare))] = value
    return bytes(content)


@settings(QUICK, max_examples=60)
@given(kind=st.sampled_from(sorted(PICTURES)), cut=st.floats(0, 1) | st.just(1.0), flips=damage)
def test_a_damaged_picture_is_read_or_refused(tmp_path, kind, cut, flips):
    path = tmp_path / "x.png"
    path.write_bytes(damaged(PICTURES[kind], cut, flips))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for message in (refused(read_image, path), refused(lambda: list(files.read_slices(path)))):
            assert message is None or str(path) in message


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bomb(side=20_000):
    "A white picture of side x side pixels in a few hundred kilobytes."
    rows = zlib.compressobj(9)
    packed = b"".join(
        [rows.compress((b"\0" + b"\xff" * (side // 8)) * 100) for _ in range(side // 100)]) + rows.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)) + chunk(
        b"IDAT", packed) + chunk(b"IEND", b"")


# beyond what Pillow refuses, and beyond what it only warns of
@pytest.mark.parametrize("side", [20_000, 11_000])
def test_a_decompression_bomb_is_not_decoded(tmp_path, monkeypatch, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bomb(side))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was decoded"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "pixels" in refused(read_image, path)
        assert "pixels" in refused(lambda: list(files.read_slices(path)))


def test_nothing_is_run_to_read_a_picture(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n("
                     + str(tmp_path / "ran").encode() + b") (w) file closefile\nshowpage\n%%EOF\n")
    assert "no image of a known kind" in refused(read_image, path)
    assert refused(lambda: list(files.read_slices(path)))
    assert not (tmp_path / "ran").exists()


# DICOM

DICOM = Path(pydicom.data.get_testdata_file("CT_small.dcm", download=False)).parent
KINDS = ("CT_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "SC_rgb_jpeg_dcmtk.dcm",
         "MR_small_jpeg_ls_lossless.dcm", "JPGExtended.dcm", "image_dfl.dcm", "examples_palette.dcm")


@pytest.fixture(autouse=True)
def quiet_pydicom():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@settings(QUICK, max_examples=40)
@given(kind=st.sampled_from(KINDS), cut=st.floats(0, 1) | st.just(1.0), flips=damage)
def test_a_damaged_dicom_file_is_read_or_refused(tmp_path, kind, cut, flips):
    path = tmp_path / "x.dcm"
    path.write_bytes(damaged((DICOM / kind).read_bytes(), cut, flips, spare=132))
    message = refused(lambda: list(files.read_slices(path)))
    assert message is None or str(path) in message


def test_a_dicom_file_without_a_tag(tmp_path):
    needed = ("Rows", "Columns", "PixelData", "BitsAllocated", "BitsStored", "PixelRepresentation",
              "SamplesPerPixel", "PhotometricInterpretation")
    for tag in (*needed, "PatientID", "SOPInstanceUID", "RescaleSlope", "HighBit"):
        header = pydicom.dcmread(DICOM / "CT_small.dcm")
        del header[tag]
        header.save_as(tmp_path / "x.dcm")
        message = refused(lambda: list(files.read_slices(tmp_path / "x.dcm")))
        assert bool(message) == (tag in needed), (tag, message)


def test_dicom_files_that_claim_too_much(tmp_path):
    header = pydicom.dcmread(DICOM / "MR_small_jp2klossless.dcm")
    for claims in ({"Rows": 60_000, "Columns": 60_000}, {"NumberOfFrames": 10**9}):
        for keyword, value in claims.items(): setattr(header, keyword, value)
        header.save_as(tmp_path / "x.dcm")
        assert "more than a scan has" in refused(lambda: list(files.read_slices(tmp_path / "x.dcm")))
    stream = (DICOM / "MR_small_jp2klossless.dcm").read_bytes()
    at = stream.index(b"\xff\x4f\xff\x51")
    (tmp_path / "y.dcm").write_bytes(stream[:at + 8] + struct.pack(">II", 30_000, 30_000) + stream[at + 16:])
    assert "its compressed data 30000 x 30000" in refused(lambda: list(files.read_slices(tmp_path / "y.dcm")))


def test_a_deflated_dicom_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom, "MAX_VALUES", 1 << 20)
    header = pydicom.dcmread(DICOM / "CT_small.dcm")
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    header.PixelData = bytes(1 << 24)
    header.save_as(tmp_path / "x.dcm")
    assert (tmp_path / "x.dcm").stat().st_size < 1 << 16
    assert "unpacks to more" in refused(lambda: list(files.read_slices(tmp_path / "x.dcm")))


def test_a_nifti_file_that_claims_too_much(tmp_path):
    import nibabel
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), tmp_path / "x.nii")
    content = bytearray((tmp_path / "x.nii").read_bytes())
    content[42:48] = struct.pack("<3h", 32_000, 32_000, 32_000)
    (tmp_path / "x.nii").write_bytes(content)
    assert "more than a scan has" in refused(lambda: list(files.read_slices(tmp_path / "x.nii")))
