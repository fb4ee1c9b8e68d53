"Images of one's own: every kind of file becomes the gray levels that it means."
import warnings

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import apply_color_lut
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from ddad.core.images import read_image
from ddad.core.images import resize, to_gray
from ddad.core.formats import find_images, read_slices

RAMP = np.arange(48 * 64, dtype=np.int32).reshape(48, 64)


def write_dicom(path, pixels, **tags):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = CTImageStorage, generate_uid(), ExplicitVRLittleEndian
    ds = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    bits = 8 * pixels.dtype.itemsize
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel, ds.PhotometricInterpretation = bits - 1, int(pixels.dtype.kind == "i"), 1, "MONOCHROME2"
    if pixels.ndim == 3: ds.NumberOfFrames = len(pixels)
    ds.Rows, ds.Columns = pixels.shape[-2:]
    ds.PixelData = pixels.tobytes()
    for name, value in tags.items(): setattr(ds, name, value)
    ds.save_as(path, enforce_file_format=True)
    return path


def one(path, window="auto"):
    (gray,) = read_slices(path, window)
    assert gray.dtype == np.uint8 and gray.ndim == 2
    return gray


# ---- pictures

@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "CMYK", "1"])
def test_an_8_bit_picture_is_read_as_the_benchmarks_are(mode, tmp_path):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)).convert(mode).save(path)
    assert np.array_equal(resize(one(path), 64), read_image(path, 64))


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_a_16_bit_picture_keeps_its_range(name, tmp_path):
    Image.fromarray((RAMP * 20).astype(np.uint16)).save(tmp_path / name)
    assert np.array_equal(one(tmp_path / name), to_gray(RAMP))
    assert np.array_equal(one(tmp_path / name, (0, 30000)), to_gray(RAMP * 20, 0, 30000))


def test_pages_of_a_tiff_are_slices_and_an_animation_is_not(tmp_path):
    pages = [Image.fromarray(np.full((8, 9), v, np.uint8)) for v in (10, 20, 30)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    assert [int(p[0, 0]) for p in read_slices(tmp_path / "pages.tif")] == [10, 20, 30]
    pages[0].save(tmp_path / "moving.png", save_all=True, append_images=pages[1:])
    assert len(list(read_slices(tmp_path / "moving.png"))) == 1


# ---- DICOM

def test_dicom_rescale_and_window(tmp_path):
    path = write_dicom(tmp_path / "ct.dcm", RAMP.astype(np.int16), RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=500, WindowWidth=400)
    hu = RAMP * 2 - 1000
    gray = one(path)
    assert gray[hu < 299].max() == 0 and gray[hu > 700].min() == 255
    assert np.abs(gray.astype(float) - np.clip((hu - 300) / 400, 0, 1) * 255).max() <= 2
    assert np.array_equal(one(path, (300, 700)), to_gray(hu, 300, 700))
    assert np.array_equal(one(path, "minmax"), to_gray(RAMP))


@pytest.mark.parametrize("table", [np.arange(256), np.arange(256)[::-1]], ids=["rising", "falling"])
def test_a_lookup_table_is_followed_whichever_way_it_runs(table, tmp_path):
    item = Dataset()
    item.LUTDescriptor, item.LUTData = [256, 1000, 8], table.tolist()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "US"
    gray = one(write_dicom(tmp_path / "a.dcm", RAMP.astype(np.uint16), VOILUTSequence=Sequence([item])))
    assert np.array_equal(gray, table[np.clip(RAMP - 1000, 0, 255)])


def test_a_window_without_its_width_is_no_window(tmp_path):
    assert np.array_equal(one(write_dicom(tmp_path / "a.dcm", RAMP.astype(np.uint16), WindowCenter=500)), to_gray(RAMP))


def test_a_palette_becomes_the_gray_of_its_colours():
    path = get_testdata_file("examples_palette.dcm", download=False)
    if path is None: pytest.skip("this pydicom does not ship it")
    header = pydicom.dcmread(path)
    colours = apply_color_lut(header.pixel_array, header)
    expected = np.asarray(Image.fromarray((colours // (257 if colours.dtype == np.uint16 else 1)).astype(np.uint8)).convert("L"))
    assert np.abs(one(path).astype(int) - expected).max() <= 1


def test_monochrome1_is_inverted(tmp_path):
    for i, (pixels, tags) in enumerate([(RAMP.astype(np.uint16), {}), (RAMP.astype(np.uint16), dict(WindowCenter=1500, WindowWidth=1000))]):
        plain, inverted = write_dicom(tmp_path / f"{i}.dcm", pixels, **tags), write_dicom(tmp_path / f"{i}_inverted.dcm", pixels, PhotometricInterpretation="MONOCHROME1", **tags)
        for window in ("auto", "minmax", (200, 2000)): assert np.array_equal(one(inverted, window), 255 - one(plain, window))


def test_8_bit_dicom_is_not_stretched(tmp_path):
    pixels = (RAMP % 100 + 50).astype(np.uint8)
    assert np.array_equal(one(write_dicom(tmp_path / "a.dcm", pixels)), pixels)
    assert np.array_equal(one(write_dicom(tmp_path / "b.dcm", pixels, PhotometricInterpretation="MONOCHROME1")), 255 - pixels)  # PS3.3 C.7.6.3.1.2, about 2^BitsStored - 1


def test_frames_are_slices(tmp_path):
    path = write_dicom(tmp_path / "cine.dcm", np.stack([RAMP, RAMP + 5, RAMP * 2]).astype(np.uint16), WindowCenter=1500, WindowWidth=3000)
    assert len(list(read_slices(path))) == 3


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "examples_rgb_color.dcm", "examples_ybr_color.dcm", "examples_palette.dcm", "rtdose.dcm", "MR_small_RLE.dcm", "693_J2KI.dcm"])
def test_real_dicom_files(name):
    path = get_testdata_file(name, download=False)
    if path is None: pytest.skip(f"this pydicom does not ship {name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try: slices = list(read_slices(path))
        except ValueError as e:
            assert name in str(e)
            return pytest.skip(f"no decoder is installed: {str(e)[-120:]}")
        frames = int(pydicom.dcmread(path).get("NumberOfFrames", 1))
    assert len(slices) == frames and all(s.dtype == np.uint8 and s.ndim == 2 and np.ptp(s) > 0 for s in slices)


def test_dicom_without_a_suffix_is_known_by_its_content(tmp_path):
    write_dicom(tmp_path / "IM000001", RAMP.astype(np.uint16))
    (tmp_path / "README").write_text("no image")
    assert [p.name for p in find_images(tmp_path)] == ["IM000001"] and one(tmp_path / "IM000001").shape == (48, 64)


def test_a_missing_decoder_is_named_with_its_extra(tmp_path, monkeypatch):
    def pixel_array(*args, **kwargs): raise RuntimeError("Unable to decode as the plugins are all missing dependencies")
    path = write_dicom(tmp_path / "a.dcm", RAMP.astype(np.uint16))
    monkeypatch.setattr(pydicom.pixels, "pixel_array", pixel_array)
    with pytest.raises(ValueError, match=r"no decoder for Explicit VR Little Endian is installed: run pip install '.\[dicom\]' in a clone of ddad"): one(path)


# ---- NIfTI

def volume(path, values, affine=np.eye(4)):
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def test_a_volume_gives_axial_slices_as_radiologists_look_at_them(tmp_path):
    values = np.zeros((10, 12, 5), np.float32)  # x to the right, y to the front, z up
    values[9, 11, 2] = 1  # right, front, third slice
    slices = list(read_slices(volume(tmp_path / "a.nii.gz", values), "minmax"))
    assert len(slices) == 5 and slices[2].shape == (12, 10) and slices[2][0, 0] == 255 and np.sum(slices) == 255
    flipped = volume(tmp_path / "b.nii", np.ascontiguousarray(values[::-1]), np.diag([-1, 1, 1, 1]))
    assert all(np.array_equal(a, b) for a, b in zip(slices, read_slices(flipped, "minmax")))


def test_one_window_serves_the_whole_volume(tmp_path):
    values = np.random.default_rng(0).normal(100, 10, (16, 16, 6)).astype(np.float32)
    values[..., 3] += 50
    path = volume(tmp_path / "a.nii", values)
    means = [s.mean() for s in read_slices(path)]
    assert means[3] > 2 * means[0]
    low, high = np.percentile(values, (0.5, 99.5))
    assert np.array_equal(next(read_slices(path)), to_gray(values[::-1, ::-1, 0].T, low, high))


# ---- what cannot be read

@pytest.mark.parametrize("name, content", [("a.png", b""), ("b.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 40), ("c.dcm", b"\0" * 128 + b"DICM"), ("d.dcm", b"text"), ("e.nii", b"\0" * 400), ("f.nii.gz", b"\x1f\x8b"), ("g", b"\0" * 128 + b"DICM" + b"\xff" * 90)])
def test_a_damaged_file_is_one_clear_error(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=f"{name} cannot be read as an image") as e: list(read_slices(tmp_path / name))
    assert "\n" not in str(e.value) and "leave it out" in str(e.value)


def test_a_4_d_volume_and_a_wrong_window_are_refused(tmp_path):
    with pytest.raises(ValueError, match="4 dimensions"): list(read_slices(volume(tmp_path / "a.nii", np.zeros((4, 4, 4, 3), np.float32))))
    for window in ("bone", (5, 5), (1, 2, 3), None):
        with pytest.raises(ValueError, match="window"): list(read_slices(tmp_path / "a.nii", window))


def test_gray_levels_of_odd_values():
    assert to_gray(np.array([[np.nan, np.inf, -np.inf]])).max() == 0 and to_gray(np.array([1.0, np.nan, 3.0])).tolist() == [0, 0, 255]


def test_folders_are_searched_in_order_and_what_is_missing_is_named(tmp_path):
    for name in ("b/2.png", "b/1.JPG", "a/x.nii.gz", "a/notes.txt", "a/._hidden.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [str(p.relative_to(tmp_path)) for p in find_images(tmp_path)] == ["a/x.nii.gz", "b/1.JPG", "b/2.png"]
    assert [p.name for p in find_images([tmp_path / "b/2.png", tmp_path / "a"])] == ["2.png", "x.nii.gz"]
    with pytest.raises(FileNotFoundError, match="nowhere"): find_images(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no image in"): find_images(tmp_path / "empty")
