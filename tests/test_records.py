"Every committed run: its record and its scores belong together."
import json
from pathlib import Path

import pytest

from ddad.datasets.registry import CARDS

from ddad.core.storage import read_csv
from ddad.method import metrics
from ddad.study.config import Config

RUNS = sorted(Path(__file__).parents[1].glob("figures/runs/*/record.json"))


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.parent.name)
def test_results_come_from_the_scores(path):
    record, columns = json.loads(path.read_text()), read_csv(path.parent / "scores.csv")
    scores = {name: column for name, column in columns.items() if name not in ("kind", "group")}
    assert list(scores) == ["image", "label", *(f"rec_{i + 1}" for i in range(record["config"]["k"])), "rec", "intra", "inter", *(["inter_top"] if "inter_top" in scores else []), *Config.of(**record["config"]).refiners]
    assert scores["label"].count(0) == record["images"]["test_normal"] and scores["label"].count(1) == record["images"]["test_abnormal"]
    by_score = {r["score"]: r for r in record["results"]}
    for name in list(scores)[2:]:
        assert by_score[name]["auc"] == pytest.approx(metrics.auc(scores[name], scores["label"]))
        assert by_score[name]["ap"] == pytest.approx(metrics.average_precision(scores[name], scores["label"]))
    assert Config.of(**record["config"])
    assert len(record["commit"]) == 40, "a committed run comes from committed code"


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[1].glob("figures/baselines/*/record.json")), ids=lambda p: p.parent.name)
def test_results_of_other_methods_come_from_their_scores(path):
    record, scores = json.loads(path.read_text()), read_csv(path.parent / "scores.csv")
    assert [c for c in scores if c not in ("kind", "group")] == ["image", "label", "score"] and scores["label"].count(1) == record["images"]["test_abnormal"] and scores["label"].count(0) == record["images"]["test_normal"]
    assert record["results"]["auc"] == pytest.approx(metrics.auc(scores["score"], scores["label"])) and record["results"]["ap"] == pytest.approx(metrics.average_precision(scores["score"], scores["label"]))
    assert len(record["commit"]) == 40 and record["seconds"]["train"] >= 0 and (record["parameters"] > 0 or record["group"] == "trivial")


def test_there_are_committed_runs():
    assert RUNS


def test_the_readme_shows_the_committed_claims_and_findings():
    root = Path(__file__).parents[1]
    readme, findings = (root / "README.md").read_text(), (root / "figures/findings.md").read_text()
    assert (root / "figures/claims_small.md").read_text() in readme and findings.replace("](", "](figures/") in readme


def shown(notebook):
    "The Markdown that the cells of a notebook have put out."
    cells = json.loads((Path(__file__).parents[1] / "nbs/guides" / notebook).read_text(encoding="utf-8"))["cells"]
    outputs = (o for c in cells if c["cell_type"] == "code" for o in c["outputs"])
    return "\n".join("".join(o["data"]["text/markdown"]) for o in outputs if "text/markdown" in o.get("data", {}))


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[1].glob("benchmarks/*.md")), ids=lambda p: p.stem)
def test_the_guide_on_speed_shows_what_was_measured(path): assert path.read_text().replace("# ", "### ") in shown("speed.ipynb")


def test_the_guide_on_data_lists_the_benchmarks_of_the_registry():
    text = shown("data.ipynb")
    for name, c in CARDS.items():
        if c.counts: assert f"| {c.title} | {c.modality} | {name} | {c.counts[0]} | {c.n_unlabeled} | {c.counts[3]} / {c.counts[4]} | {c.licence} |" in text


def test_a_missing_value_leaves_nothing_in_a_table():
    root = Path(__file__).parents[1]
    for table in [root / "README.md", *root.glob("figures/*.md")]: assert "+nan" not in table.read_text(), table
