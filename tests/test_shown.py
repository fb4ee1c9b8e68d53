"What a viewer shows of a file. Each right value says where it comes from; PS3.3 is the part of the DICOM standard on what a file says of its image."
import struct
import warnings

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from ddad.core.formats import find_images, identifiers, read_slices, windows_of
from ddad.core.images import read_image, resize, to_gray

RNG = np.random.default_rng(0)
RAMP = np.arange(48 * 64, dtype=np.int32).reshape(48, 64)
WIDE = RNG.integers(0, 4096, (24, 32)).astype(np.uint16)


def item(**facts):
    ds = Dataset()
    for name, value in facts.items(): setattr(ds, name, value)
    return ds


def dicom(path, pixels, photometric="MONOCHROME2", bits=None, syntax=ExplicitVRLittleEndian, **facts):
    "Writes a DICOM file; `bits` are those stored, in a container as wide as the array's."
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    if pixels.ndim == 3: ds.NumberOfFrames = len(pixels)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, photometric
    ds.Rows, ds.Columns = pixels.shape[-2:]
    if pixels.dtype.kind == "f":
        ds.BitsAllocated = 8 * pixels.itemsize
        setattr(ds, "FloatPixelData" if pixels.itemsize == 4 else "DoubleFloatPixelData", pixels.tobytes())
    else:
        ds.BitsAllocated, ds.PixelRepresentation = 8 * pixels.itemsize, int(pixels.dtype.kind == "i")
        ds.BitsStored = bits or ds.BitsAllocated
        ds.HighBit = ds.BitsStored - 1
        ds.PixelData = pixels.tobytes()
        ds["PixelData"].VR = "OW"
    for name, value in facts.items(): setattr(ds, name, value)
    ds.save_as(path, enforce_file_format=True)
    return path


def shown(path, window="auto"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.stack(list(read_slices(path, window))).squeeze().astype(int)


def linear(x, center, width):
    "PS3.3 C.11.2.1.2.1, as it stands there, from 0 to 255."
    low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    with np.errstate(all="ignore"): y = ((x - (center - 0.5)) / (width - 1) + 0.5) * 255
    return np.where(x <= low, 0, np.where(x > high, 255, y))


# ---- A. DICOM: the modality transform

def test_functional_groups_say_what_the_file_does_not(tmp_path):
    "PS3.3 C.7.6.16.2: a frame's own group counts most, then the shared one, then the file's top level."
    hu = RNG.integers(-1000, 1000, (3, 16, 16))
    rescale = dict(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")
    window = dict(WindowCenter=40, WindowWidth=400)
    each = [item(FrameVOILUTSequence=[item(WindowCenter=40 + 100 * i, WindowWidth=400)]) for i in range(3)]
    whole = item(PixelValueTransformationSequence=[item(**rescale)], FrameVOILUTSequence=[item(**window)])
    stored = (hu + 1024).astype(np.uint16)
    shared = shown(
        dicom(tmp_path / "shared.dcm", stored, SharedFunctionalGroupsSequence=[whole], RescaleSlope=7,
              RescaleIntercept=0, WindowCenter=1, WindowWidth=9))
    assert np.abs(shared - linear(hu, 40, 400)).max() <= 1
    framed = shown(
        dicom(tmp_path / "framed.dcm", stored, SharedFunctionalGroupsSequence=[whole],
              PerFrameFunctionalGroupsSequence=each))
    assert np.abs(framed - np.stack([linear(hu[i], 40 + 100 * i, 400) for i in range(3)])).max() <= 1
    assert np.abs(
        shown(tmp_path / "framed.dcm", (-160, 240)) - np.clip((hu + 160) / 400, 0, 1) * 255).max() <= 1
    slopes = [item(PixelValueTransformationSequence=[item(RescaleSlope=i + 1, RescaleIntercept=0)])
              for i in range(3)]
    scaled = shown(dicom(tmp_path / "slopes.dcm", stored, PerFrameFunctionalGroupsSequence=slopes), (0, 4096))
    assert np.abs(
        scaled - np.stack([np.clip(stored[i] * (i + 1.0) / 4096, 0, 1) * 255 for i in range(3)])).max() <= 1


@pytest.mark.parametrize("packed", [False, True], ids=["entries of 16 bits", "entries of 8 bits"])
def test_a_modality_table_maps_stored_values(tmp_path, packed):
    "PS3.3 C.11.1.1: below the first mapped value and above the last the table's first and last entry hold; entries have 8 or 16 bits."
    entries = np.arange(200)[::-1].astype(np.uint8 if packed else "<u2")
    table = item(LUTDescriptor=[200, 1000, 8 if packed else 16], ModalityLUTType="US",
                 LUTData=entries.tobytes())
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "OW"
    got = shown(dicom(tmp_path / "a.dcm", WIDE, ModalityLUTSequence=[table]), (0, 199))
    assert np.array_equal(got, to_gray(entries[np.clip(WIDE.astype(int) - 1000, 0, 199)], 0, 199))


# ---- A. DICOM: values of interest

@pytest.mark.parametrize("center, width",
                         [(2000, 1000), (2048.5, 1), (2000, 2), (1e300, 1e300), (2000, 1e-3)])
def test_windows_of_every_width(tmp_path, center, width):
    "PS3.3 C.11.2.1.2.1; a positive width below 1, which the standard leaves to LINEAR_EXACT (C.11.2.1.2.3.2), is taken as that."
    got = shown(
        dicom(tmp_path / "a.dcm", WIDE, WindowCenter=f"{center:g}"[:16], WindowWidth=f"{width:g}"[:16]))
    x = WIDE.astype(float)
    want = linear(x, center, width) if width >= 1 else np.clip((x - center) / width + 0.5, 0, 1) * 255
    assert np.abs(got - want).max() <= 1


def test_a_window_of_no_width_and_a_slope_that_makes_no_sense_are_none(tmp_path):
    "PS3.3 C.11.2.1.2: Window Width shall always be greater than or equal to 1 (or positive)."
    plain = shown(dicom(tmp_path / "a.dcm", WIDE))
    for width in (0, -400, None):
        assert np.array_equal(shown(dicom(tmp_path / "b.dcm", WIDE, WindowCenter=2000, WindowWidth=width)),
                              plain)
    moved = shown(dicom(tmp_path / "c.dcm", WIDE, RescaleIntercept=-5), (0, 4000))
    for slope in (0, None):
        assert np.array_equal(
            shown(dicom(tmp_path / "d.dcm", WIDE, RescaleSlope=slope, RescaleIntercept=-5), (0, 4000)), moved)


FUNCTIONS = {"LINEAR_EXACT": lambda x: np.clip((x - 2000) / 1000 + 0.5, 0, 1),
             "SIGMOID": lambda x: 1 / (1 + np.exp(-4 * (x - 2000) / 1000))}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_functions_of_a_window(tmp_path, function):
    "PS3.3 C.11.2.1.2.3 and C.11.2.1.3."
    got = shown(
        dicom(tmp_path / "a.dcm", WIDE, WindowCenter=[2000, 1], WindowWidth=[1000, 1],
              VOILUTFunction=function))
    assert np.abs(got - FUNCTIONS[function](WIDE.astype(float)) * 255).max() <= 1


@pytest.mark.parametrize("data", ["words", "list"])
def test_a_table_of_interest_runs_over_the_range_of_its_bits(tmp_path, data):
    "PS3.3 C.11.2.1.1: the output range is 0 to 2^n - 1, n the third number of the descriptor."
    entries = (np.arange(100) * 2).astype(np.uint8)
    value = {"words": entries.astype("<u2").tobytes(), "list": entries.tolist()}[data]
    table = item(LUTDescriptor=[100, 500, 8], LUTData=value)
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "US" if data == "list" else "OW"
    got = shown(dicom(tmp_path / "a.dcm", WIDE, VOILUTSequence=[table], WindowCenter=3, WindowWidth=3))
    assert np.array_equal(got, entries[np.clip(WIDE.astype(int) - 500, 0, 99)])


# ---- A. DICOM: bits, padding, photometric interpretation

@pytest.mark.parametrize("bits, container", [(1, np.uint8), (7, np.uint16), (8, np.uint8), (8, np.uint32)])
def test_up_to_8_bits_are_gray_levels_whatever_the_container(tmp_path, container, bits):
    "PS3.5 8.1.1: Bits Stored, not Bits Allocated, says what the values reach; MONOCHROME1 has white at zero (PS3.3 C.7.6.3.1.2)."
    values, top = RNG.integers(0, 2 ** bits, (12, 16)), 2 ** bits - 1
    for photometric, gray in (("MONOCHROME2", values), ("MONOCHROME1", top - values)):
        got = shown(dicom(tmp_path / "a.dcm", values.astype(container), photometric, bits))
        assert np.abs(got - gray * 255 / top).max() <= 1


def test_monochrome1_turns_over_what_monochrome2_shows(tmp_path):
    "PS3.3 C.7.6.3.1.2: the minimum sample value is intended to be displayed as white; the complement about 2^BitsStored - 1 is the same picture."
    for facts in ({}, dict(WindowCenter=2047.5, WindowWidth=1000, VOILUTFunction="LINEAR_EXACT")):
        one = shown(dicom(tmp_path / "1.dcm", 4095 - WIDE, "MONOCHROME1", 12, **facts))
        assert np.abs(one - shown(dicom(tmp_path / "2.dcm", WIDE, "MONOCHROME2", 12, **facts))).max() <= 1
        for window in ("minmax", (200, 2000)):
            assert np.array_equal(shown(tmp_path / "1.dcm", window),
                                  255 - shown(
                                      dicom(tmp_path / "3.dcm", 4095 - WIDE, "MONOCHROME2", 12,
                                            **facts), window))


def test_what_other_bits_of_the_container_hold_is_no_value(tmp_path):
    "PS3.5 8.1.1: bits above the high bit, and below the lowest one, may hold anything, such as old overlays."
    noise = RNG.integers(0, 16, WIDE.shape).astype(np.uint16)
    plain = shown(dicom(tmp_path / "b.dcm", WIDE, bits=12))
    assert np.array_equal(shown(dicom(tmp_path / "a.dcm", WIDE | noise << 12, bits=12)), plain)
    assert np.array_equal(shown(dicom(tmp_path / "c.dcm", WIDE << 4 | noise, bits=12, HighBit=15)), plain)
    signed = WIDE.astype(np.int16) - 2048
    assert np.array_equal(shown(dicom(tmp_path / "d.dcm", signed & 0xFFF, bits=12), (-2048, 2047)),
                          shown(dicom(tmp_path / "e.dcm", signed, bits=12), (-2048, 2047)))
    padded = signed.copy()
    padded[:3] = -30000  # padding may lie outside of the bits
    got = shown(dicom(tmp_path / "f.dcm", padded, bits=12, PixelPaddingValue=-30000), (-2048, 2047))
    assert not got[:3].any() and np.array_equal(got[3:], shown(tmp_path / "e.dcm", (-2048, 2047))[3:])


WINDOW = dict(WindowCenter=1500, WindowWidth=3000)


@pytest.mark.parametrize("photometric, facts, value, limit, padding", [
    ("MONOCHROME2", {}, -32768, None, [-32768]),
    ("MONOCHROME1", {}, -32768, -30000, [-32768, -31000, -30000]),
    ("MONOCHROME1", WINDOW, -32768, None, [-32768]),
    ("MONOCHROME2", WINDOW, -30000, -32768, [-32768, -31000, -30000])])
def test_padding_is_no_part_of_the_image(tmp_path, photometric, facts, value, limit, padding):
    "PS3.3 C.7.5.1.1.2: padding is excluded from the dynamic range, and is shown as background."
    plain = RNG.integers(0, 3000, (20, 20)).astype(np.int16)
    padded = plain.copy()
    padded[:, :3] = np.resize(padding, 3)
    more = {"PixelPaddingRangeLimit": limit} if limit is not None else {}
    got = shown(dicom(tmp_path / "a.dcm", padded, photometric, PixelPaddingValue=value, **more, **facts))
    want = shown(dicom(tmp_path / "b.dcm", np.ascontiguousarray(plain[:, 3:]), photometric, **facts))
    assert (got[:, :3] == 0).all() and np.array_equal(got[:, 3:], want)
    header = pydicom.dcmread(tmp_path / "a.dcm")
    header["PixelPaddingValue"].VR = "US"
    header.PixelPaddingValue = value % 65536  # without its sign, as some programs write it
    if limit is None:
        header.save_as(tmp_path / "c.dcm")
        assert np.array_equal(shown(tmp_path / "c.dcm"), got)


def test_padding_of_the_enhanced_kinds_and_of_nothing_but_padding(tmp_path):
    stack = np.stack([WIDE, WIDE])
    stack[1, :, :9] = 65535
    groups = [item(), item(PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=0)])]
    got = shown(
        dicom(tmp_path / "a.dcm", stack, PerFrameFunctionalGroupsSequence=groups, PixelPaddingValue=65535))
    assert (got[1, :, :9] == 0).all()
    assert np.array_equal(got[0][:, 9:], got[1][:, 9:])
    assert np.ptp(got[0]) == 255
    assert not shown(dicom(tmp_path / "b.dcm", np.full((8, 8), 7, np.uint16), PixelPaddingValue=7)).any()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_float_pixels_are_decoded(tmp_path, kind):
    "PS3.3 C.7.6.24 and C.7.6.25: Float and Double Float Pixel Data have no Bits Stored, and padding values of their own."
    values = RNG.normal(size=(10, 12)).astype(kind)
    values[0, 0] = np.nan
    assert np.array_equal(shown(dicom(tmp_path / "a.dcm", values)), to_gray(values))
    values[1, :] = -1000
    name = "FloatPixelPaddingValue" if kind == np.float32 else "DoubleFloatPixelPaddingValue"
    got = shown(dicom(tmp_path / "b.dcm", values, **{name: -1000.0}))
    rest = np.delete(values, 1, 0)
    assert not got[1].any()
    assert np.array_equal(np.delete(got, 1, 0), to_gray(rest, np.nanmin(rest), np.nanmax(rest)))


@pytest.mark.parametrize("nominal, kind, scale",
                         [(8, np.uint8, 1), (8, np.dtype("<u2"), 1), (16, np.dtype("<u2"), 257)])
def test_palettes_of_either_entry_width(tmp_path, nominal, kind, scale):
    "PS3.3 C.7.6.3.1.5: entries of 8 or 16 bits; some programs write 8 bits in words, or call words 8 bits."
    index, level = RNG.integers(0, 256, (9, 11)).astype(np.uint8), np.arange(256)[::-1]
    names = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
    facts = {f"{name}Descriptor": [256, 0, nominal]
             for name in names} | {f"{name}Data": (level * scale).astype(kind).tobytes() for name in names}
    assert np.abs(shown(dicom(tmp_path / "a.dcm", index, "PALETTE COLOR", **facts)) - level[index]).max() <= 1


@pytest.mark.parametrize("syntax, cut",
                         [(ImplicitVRLittleEndian, "meta"), (ExplicitVRLittleEndian, "preamble")])
def test_without_preamble_or_meta_header_the_encoding_is_guessed(tmp_path, syntax, cut):
    "PS3.5 10.1: Implicit VR Little Endian is the default; a data set in explicit form tells so itself. PS3.10 7.1: the preamble."
    path = dicom(tmp_path / "whole.dcm", WIDE, syntax=syntax, PatientID="P7")
    content = path.read_bytes()
    length = 144 + pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength
    bare = tmp_path / "bare"
    bare.write_bytes(content[132:] if cut == "preamble" else content[length:])
    assert np.array_equal(shown(bare), shown(path))
    assert identifiers(bare)[0] == "P7"
    assert bare in find_images(tmp_path)
    assert np.array_equal(shown(bare, (0, 4095)), to_gray(WIDE, 0, 4095))


# ---- B. pictures

GRAY = np.kron(RNG.integers(0, 256, (5, 7)), np.ones((8, 8))).astype(np.uint8)


def tiff(path, values, photometric=1, orientation=1, order="<"):
    "An uncompressed gray TIFF of one strip."
    height, width = values.shape
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    sample = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags = {256: width, 257: height, 258: 8 * values.itemsize, 259: 1, 262: photometric, 273: 8,
            274: orientation, 277: 1, 278: height, 279: len(data), 339: sample}
    long = (256, 257, 273, 278, 279)
    entries = b"".join(struct.pack(f"{order}HHI", tag, 4 if tag in long else 3, 1)
                       + (struct.pack(f"{order}I", v) if tag in long
                          else struct.pack(f"{order}HH", v, 0)) for tag, v in tags.items())
    mark = b"II*\0" if order == "<" else b"MM\0*"
    path.write_bytes(mark + struct.pack(f"{order}I", 8 + len(data)) + data
                     + struct.pack(f"{order}H", len(tags)) + entries + bytes(4))
    return path


TURNS = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose,
         6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).T, 8: np.rot90}


@pytest.mark.parametrize("orientation", TURNS)
def test_pictures_are_turned_as_their_facts_say_and_benchmarks_are_not(tmp_path, orientation):
    "TIFF 6.0 and EXIF 2.3, tag 274: where the stored first row and column are, seen by the viewer; the paper reads images as they are stored."
    turned = TURNS[orientation](GRAY)
    assert np.array_equal(shown(tiff(tmp_path / "plain.tif", GRAY, orientation=orientation)), turned)
    deep = shown(tiff(tmp_path / "deep.tif", GRAY.astype(np.uint16) * 257, orientation=orientation),
                 (0, 65535))
    assert np.abs(deep - turned).max() <= 1
    image = Image.fromarray(GRAY)
    exif = image.getexif()
    exif[274] = orientation
    for name, options in (("a.png", {}), ("a.webp", dict(lossless=True)),
                          ("packed.tif", dict(compression="tiff_lzw"))):
        image.save(tmp_path / name, exif=exif, **options)
        assert np.array_equal(shown(tmp_path / name), turned), name
    assert np.array_equal(read_image(tmp_path / "a.png", None), GRAY)
    image.save(tmp_path / "a.jpg", exif=exif)
    assert np.array_equal(shown(tmp_path / "a.jpg"), TURNS[orientation](read_image(tmp_path / "a.jpg", None)))


@pytest.mark.parametrize("kind, top, order",
                         [(np.uint8, 255, "<"), (np.uint16, 65535, ">"), (np.int16, None, "<"),
                          (np.float32, None, ">"), (np.uint32, None, "<")])
def test_white_is_zero_at_every_depth(tmp_path, kind, top, order):
    "TIFF 6.0, tag 262: 0 is white, the largest value black."
    values = (GRAY.astype(np.float64) * (257 if kind == np.uint16 else 1)).astype(kind)
    tiff(tmp_path / "a.tif", values, 1, order=order)
    black, white = shown(tmp_path / "a.tif"), shown(tiff(tmp_path / "b.tif", values, 0, order=order))
    assert np.abs(white - (255 - black)).max() <= 1 and np.ptp(black) > 200
    if top:
        assert np.abs(
            shown(tmp_path / "b.tif", (0, top)) - (255 - shown(tmp_path / "a.tif", (0, top)))).max() <= 1


def test_what_is_transparent_is_black(tmp_path):
    "Composed over black, the background of scans (PNG, section 12: alpha compositing)."
    alpha = np.zeros_like(GRAY)
    alpha[:, 10:] = 255
    alpha[:, 20:24] = 128
    for mode in ("LA", "RGBA"):
        Image.merge("LA", [Image.fromarray(GRAY), Image.fromarray(alpha)]).convert(mode).save(
            tmp_path / "a.png")
        assert np.abs(shown(tmp_path / "a.png") - np.round(GRAY * (alpha / 255.0))).max() <= 1
    for mode in ("P", "L"):
        Image.fromarray(GRAY).convert(mode).save(tmp_path / "a.png", transparency=int(GRAY[0, 0]))
        assert np.abs(shown(tmp_path / "a.png") - np.where(GRAY == GRAY[0, 0], 0, GRAY)).max() <= 1
    deep = GRAY.astype(np.uint16) * 100 + 5
    deep[:, :4] = 60000
    Image.fromarray(deep).save(tmp_path / "a.png", transparency=60000)
    want = np.where(deep == 60000, 0, to_gray(deep, deep[:, 4:].min(), deep[:, 4:].max()))
    assert np.abs(shown(tmp_path / "a.png") - want).max() <= 1


# ---- C. a degenerate range

def nifti(path, values, affine=np.eye(4)):
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


@pytest.mark.parametrize("window, odd, share",
                         [("auto", np.inf, 0.3), ("minmax", -np.inf, 0.3), ("minmax", np.nan, 0.3),
                          ("auto", 1e300, 0)])
def test_what_is_not_finite_does_not_count(tmp_path, odd, share, window):
    values = RNG.normal(100, 20, (16, 20, 4))
    values.ravel()[RNG.permutation(values.size)[:max(1, int(share * values.size))]] = odd
    got, finite = shown(nifti(tmp_path / "a.nii", values), window), values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if window == "minmax" else np.percentile(finite, (0.5, 99.5))
    assert np.array_equal(got, [to_gray(values[::-1, ::-1, i].T, low, high) for i in range(4)])
    assert np.ptp(got) == 255


def test_the_whole_range_of_float64_has_gray_levels():
    assert to_gray(np.array([-1.7e308, 0, 1.7e308])).tolist() == [0, 127, 255]
    assert to_gray(np.array([[np.nan, np.inf, -np.inf]])).max() == 0
    assert to_gray(np.array([1.0, np.nan, 3.0])).tolist() == [0, 0, 255]


def test_a_few_voxels_in_nothing_are_seen(tmp_path):
    "Percentiles that coincide fall back to the finite range."
    values = np.zeros((30, 30, 4), np.float32)
    values[3, 4, 1], values[5, 6, 2] = 7, 14
    got = shown(nifti(tmp_path / "a.nii.gz", values))
    assert sorted(np.unique(got)) == [0, 127, 255]


def stack_of(kind, path, slices):
    if kind == "nifti":
        return nifti(path.with_suffix(".nii"),
                     np.stack([s[::-1, ::-1].T for s in slices], -1).astype(np.float32))
    if kind == "dicom": return dicom(path.with_suffix(".dcm"), np.stack(slices).astype(np.uint16))
    pages = [Image.fromarray(s.astype(np.uint16)) for s in slices]
    pages[0].save(path.with_suffix(".tif"), save_all=True, append_images=pages[1:])
    return path.with_suffix(".tif")


def test_a_dim_slice_stays_dim_beside_a_bright_one_in_every_kind_of_file(tmp_path):
    slices = [RNG.integers(0, 100 * (i + 1) ** 2, (20, 24)) for i in range(5)]
    read = {kind: shown(stack_of(kind, tmp_path / "a", slices)) for kind in ("nifti", "dicom", "tiff")}
    assert np.array_equal(read["nifti"], read["dicom"]) and np.array_equal(read["nifti"], read["tiff"])
    assert read["tiff"][0].max() <= 255 * 100 / 2000 and read["tiff"][4].max() == 255


def test_the_files_of_a_series_share_one_range_where_no_window_decides(tmp_path):
    slices = [RNG.integers(0, 100 * (i + 1) ** 2, (20, 24)).astype(np.uint16) for i in range(5)]
    files = [dicom(tmp_path / f"{i}.dcm", s, SeriesInstanceUID="1.2") for i, s in enumerate(slices)]
    read = np.stack([shown(*file) for file in zip(files, windows_of(files))])
    assert np.abs(read - shown(dicom(tmp_path / "all.dcm", np.stack(slices)))).max() <= 1
    windowed = dicom(tmp_path / "windowed.dcm", slices[0], SeriesInstanceUID="1.2", WindowCenter=50,
                     WindowWidth=100)
    alone = dicom(tmp_path / "alone.dcm", slices[0], SeriesInstanceUID="1.3")
    assert windows_of([windowed, *files, alone])[::6] == ["auto", "auto"]
    assert windows_of(files, (0, 9)) == [(0, 9)] * 5


@pytest.mark.parametrize("kind", ["nifti", "tiff"])
def test_a_file_that_comes_out_black_says_so(tmp_path, kind):
    path = stack_of(kind, tmp_path / "a", [RNG.integers(0, 100, (8, 8)) for _ in range(3)])
    with pytest.warns(UserWarning, match=f"{path.name} comes out black, although its values differ"):
        assert not np.any(list(read_slices(path, (1000, 2000))))
    flat = stack_of(kind, tmp_path / "flat", [np.full((8, 8), 7)] * 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not np.any(list(read_slices(flat, (1000, 2000)))) and np.any(list(read_slices(path)))


# ---- what is read of whole files

@pytest.mark.parametrize("mode", ["L", "RGB", "P", "CMYK", "1"])
def test_an_8_bit_picture_is_read_as_the_benchmarks_are(mode, tmp_path):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)).convert(
        mode).save(path)
    assert np.array_equal(resize(shown(path).astype(np.uint8), 64), read_image(path, 64))


def test_a_16_bit_picture_keeps_its_range(tmp_path):
    for name in ("deep.png", "deep.tif"):
        Image.fromarray((RAMP * 20).astype(np.uint16)).save(tmp_path / name)
        assert np.array_equal(shown(tmp_path / name), to_gray(RAMP))
        assert np.array_equal(shown(tmp_path / name, (0, 30000)), to_gray(RAMP * 20, 0, 30000))


def test_pages_of_a_tiff_are_slices_and_an_animation_is_not(tmp_path):
    pages = [Image.fromarray(np.full((8, 9), v, np.uint8)) for v in (10, 20, 30)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    assert [int(p[0, 0]) for p in read_slices(tmp_path / "pages.tif")] == [10, 20, 30]
    pages[0].save(tmp_path / "moving.png", save_all=True, append_images=pages[1:])
    assert len(list(read_slices(tmp_path / "moving.png"))) == 1


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "examples_ybr_color.dcm", "examples_palette.dcm", "rtdose.dcm", "693_J2KI.dcm"])
def test_real_dicom_files(name):
    path = pydicom.data.get_testdata_file(name, download=False)
    if path is None: pytest.skip(f"this pydicom does not ship {name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        slices, frames = list(read_slices(path)), int(pydicom.dcmread(path).get("NumberOfFrames", 1))
    assert len(slices) == frames
    assert all(s.dtype == np.uint8 and s.ndim == 2 and np.ptp(s) > 0 for s in slices)


def test_a_missing_decoder_is_named_with_its_extra(tmp_path, monkeypatch):
    def pixel_array(*args, **kwargs):
        raise RuntimeError("Unable to decode as the plugins are all missing dependencies")
    path = dicom(tmp_path / "a.dcm", RAMP.astype(np.uint16))
    monkeypatch.setattr(pydicom.pixels, "pixel_array", pixel_array)
    with pytest.raises(
        ValueError,
        match=r"no decoder for Explicit VR Little Endian is installed: run pip install '.\[dicom\]' in a clone of ddad"):
        shown(path)


def test_a_volume_gives_axial_slices_as_radiologists_look_at_them(tmp_path):
    values = np.zeros((10, 12, 5), np.float32)  # x to the right, y to the front, z up
    values[9, 11, 2] = 1  # right, front, third slice
    slices = list(read_slices(nifti(tmp_path / "a.nii.gz", values), "minmax"))
    assert len(slices) == 5
    assert slices[2].shape == (12, 10)
    assert slices[2][0, 0] == 255
    assert np.sum(slices) == 255
    flipped = nifti(tmp_path / "b.nii", np.ascontiguousarray(values[::-1]), np.diag([-1, 1, 1, 1]))
    assert all(np.array_equal(a, b) for a, b in zip(slices, read_slices(flipped, "minmax")))


@pytest.mark.parametrize("name, content",
                         [("a.png", b""), ("d.dcm", b"text"), ("e.nii", b"\0" * 400),
                          ("f.nii.gz", b"\x1f\x8b"), ("g", b"\0" * 128 + b"DICM" + b"\xff" * 90)])
def test_a_damaged_file_is_one_clear_error(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=f"{name} cannot be read as an image") as e:
            list(read_slices(tmp_path / name))
    assert "\n" not in str(e.value) and "leave it out" in str(e.value)


def test_a_4_d_volume_and_a_wrong_window_are_refused(tmp_path):
    with pytest.raises(ValueError, match="4 dimensions"):
        list(read_slices(nifti(tmp_path / "a.nii", np.zeros((4, 4, 4, 3), np.float32))))
    for window in ("bone", (5, 5), (1, 2, 3), None):
        with pytest.raises(ValueError, match="window"): list(read_slices(tmp_path / "a.nii", window))
