"On real scans, where DDAD_DATA points to a Med-AD folder that holds Brain Tumor MRI."
import os
from pathlib import Path

import numpy as np
import pytest

from ddad.core.storage import read_csv
from ddad.datasets.check import check_benchmark
from ddad.datasets.registry import shipped_labels

ROOT = Path(os.environ.get("DDAD_DATA") or "~/Med-AD").expanduser()
pytestmark = pytest.mark.skipif(not (ROOT / "BrainTumor/data.json").is_file(),
                                reason="needs Brain Tumor MRI: set DDAD_DATA to a Med-AD folder (README, Data)")


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
