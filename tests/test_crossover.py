"The crossover, end to end: who is in which half, and that each half is scored by what it was trained on."
import json

import numpy as np
import pytest
from conftest import make_discs

from ddad.core.storage import read_csv
from ddad.method import metrics
from ddad.datasets.layout import list_names
from ddad.study.notebooks import execute


def test_each_half_is_scored_by_both_ensembles(tmp_path):
    make_discs(tmp_path, side=32)
    lists = list_names(tmp_path / "Discs")
    groups = {n: i % 7 for i, n in enumerate(lists["normal"])} | {n: i % 9 for i, n in enumerate(lists["test_normal"])} | {n: 50 + i for i, n in enumerate(lists["test_abnormal"])}
    rest = [n for split in ("unlabeled_normal", "unlabeled_abnormal") for n in lists[split]]
    (tmp_path / "Discs/labels.csv").write_text("image,group\n" + "".join(f"{n},{g}\n" for n, g in (groups | dict.fromkeys(rest, 99)).items()))
    out = tmp_path / "out"
    execute("nbs/paper/crossover.ipynb", tmp_path / "crossover.ipynb", {"benchmark": "Discs", "k": 2, "epochs": 2, "batch_size": 8, "data_root": str(tmp_path), "out": str(out), "store": str(tmp_path / "store")})
    record, scores = json.loads((out / "record.json").read_text()), read_csv(out / "scores.csv", text=True)
    assert sum(record["images"].values()) == len(lists["normal"]) and abs(record["images"]["a"] - record["images"]["b"]) <= 7
    halves = dict(zip(scores["image"], scores["half"]))
    by_group = {}
    for n in lists["test_normal"]: by_group.setdefault(groups[n], set()).add(halves[n])
    assert all(len(h) == 1 for h in by_group.values()) and {"a", "b"} <= {h for hs in by_group.values() for h in hs} and by_group[7] == by_group[8] == {"neither"}
    labels, half = np.array(scores["label"], int), np.array(scores["half"])
    for row in record["results"]:
        chosen = (labels == 1) | (half == row["half"])
        for column, key in (("rec_" + row["half"], "trained on"), ("rec_" + "ba"[row["half"] == "b"], "not trained on")):
            assert row[key] == pytest.approx(metrics.auc(np.array(scores[column], float)[chosen], labels[chosen]))
    assert sorted(p.name for p in (tmp_path / "store").iterdir()) == ["half_a", "half_b"]
