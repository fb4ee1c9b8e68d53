"On real scans, where DDAD_DATA points to a Med-AD folder that holds Brain Tumor MRI."
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddad import load_benchmark
from ddad.core.storage import read_csv
from ddad.datasets.check import check_benchmark
from ddad.datasets.registry import shipped_labels

ROOT = Path(os.environ.get("DDAD_DATA") or "~/Med-AD").expanduser()
pytestmark = pytest.mark.skipif(not (ROOT / "BrainTumor/data.json").is_file(),
                                reason="needs Brain Tumor MRI: set DDAD_DATA to a Med-AD folder (README, Data)")


@pytest.fixture(scope="module")
def brains():
    return load_benchmark(ROOT, "BrainTumor", progress=False)


def test_the_repartition_is_the_papers(brains):
    counts = {k: len(v) for k, v in brains.names.items()}
    assert counts == {"normal": 1000, "unlabeled_normal": 400, "unlabeled_abnormal": 600, "test_normal": 600,
                      "test_abnormal": 600}
    assert brains.test.shape == (1200, 1, 64, 64)
    assert brains.test.dtype == torch.uint8
    assert brains.masks is None
    assert brains.labels.tolist() == [0] * 600 + [1] * 600


def test_images_are_read_as_the_paper_reads_them(brains):
    for i in (0, 599, 600, 1199):
        with Image.open(ROOT / "BrainTumor/images" / brains.test_names[i]) as im:
            assert (np.asarray(im.convert("L").resize((64, 64), Image.Resampling.BILINEAR))
                    == brains.test[i, 0].numpy()).all()


def test_unlabeled_images_are_the_first_of_each_pool(brains):
    unlabeled = brains.unlabeled(400, 0.25)
    assert torch.equal(unlabeled, torch.cat([brains.unlabeled_normal[:300], brains.unlabeled_abnormal[:100]]))
    with pytest.raises(ValueError, match="needs 200 normal and 800 abnormal"): brains.unlabeled(1000, 0.8)


def test_committed_scores_name_the_test_images(brains):
    for record in Path(__file__).parents[1].glob("figures/runs/BrainTumor*/record.json"):
        about = json.loads(record.read_text())
        if about["config"]["benchmark"] != "BrainTumor": continue
        assert read_csv(record.parent / "scores.csv")["image"] == brains.test_names
        assert about["data_hash"] == brains.hash


@pytest.mark.slow
def test_the_check_finds_the_copies_of_brain_tumor_mri():
    report = check_benchmark(ROOT, "BrainTumor", False)
    rows = {row["split"]: row for row in report.rows()}
    assert rows["test.0"]["copies across train and test"] >= 560 and not report.mixed.any()
    known = dict(zip(shipped_labels("BrainTumor")["image"], shipped_labels("BrainTumor")["group"]))
    expected = {frozenset(i for i, n in enumerate(report.names) if known[n] == g) for g in set(known.values())}
    assert {frozenset(np.flatnonzero(report.groups == g)) for g in set(report.groups)} == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LGG", "NIH"])
def test_the_check_joins_no_two_patients(name):
    if not (ROOT / name / "labels.csv").is_file(): pytest.skip(f"needs {name} with its labels.csv")
    report = check_benchmark(ROOT, name, False)
    patients = dict(zip(*(read_csv(ROOT / name / "labels.csv", text=True)[c] for c in ("image", "patient"))))
    owners = {}
    for n, g in zip(report.names, report.groups): owners.setdefault(g, set()).add(patients[n])
    assert max(map(len, owners.values())) == 1
    assert report.bar.by == "patients"
    assert report.bar.tells
    assert not report.across.any()
