"A finding is true of the results, or struck through; the pages are what the committed results say."
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import run_cells
from invented import make_run, tables
from legible import faults
from matplotlib import pyplot as plt

from ddad.study.graph import PAGES
from ddad.study.pages import Page, findings, wrong_numbers

REPO = Path(__file__).parents[1]


@pytest.mark.parametrize("sentence, evidence, wrong", [
    ("A_inter is .13 above A_rec.", {"effect": 0.1282}, []),
    ("A_inter is .13 below A_rec.", {"effect": -0.1282}, []),
    ("It is .12 above.", {"effect": 0.1282}, [".12"]),
    ("On 94 % of 600 slices", {"share": 0.9444}, []), ("On 95 % of 600 slices", {"share": 0.9444}, ["95"]),
    ("0.926 against 0.85", pd.DataFrame({"a": [0.9261, 0.8549], "b": ["x", "y"]}), []),
    ("It is .08 above.", {"effect": 0.1282, "low": 0.08, "high": 0.2}, [".08"]),
    ("D_n and 8 x 8 pixels, in v1.2 of AE-U", {}, []),
    ("It is 1.0 of all.", pd.Series({"share": np.nan, "other": 0.98}), [])])
def test_the_numbers_of_a_sentence_are_those_of_the_evidence(sentence, evidence, wrong):
    assert wrong_numbers(sentence, evidence) == wrong


def test_a_finding_holds_fails_or_was_not_measured(tmp_path):
    page = Page("p", tmp_path)
    above = lambda e: e["low"] > 0
    shown = [page.finding("It is .50 above.", evidence, holds=above)
             for evidence in ({"effect": 0.5, "low": 0.1}, {"effect": 0.5, "low": -0.1},
                              {"effect": 0.6, "low": 0.1}, None, {"effect": None},
                              {"ours": {"effect": None}})]
    assert shown[0] == "**It is .50 above.**"
    assert all(text.startswith("~~It is .50 above.~~") and "effect 0." in text for text in shown[1:3])
    assert all(text.startswith("*Not measured") for text in shown[3:])
    kept = findings(tmp_path)
    assert kept.holds[0] and not kept.holds[1] and not kept.holds[2] and kept.holds[3:].isna().all()


def test_the_committed_findings_are_of_all_pages_and_hold():
    table = findings(REPO / "figures")
    assert set(table.page) == set(PAGES)
    assert (table.holds == True).all(), table[table.holds != True]  # noqa: E712
    for page in PAGES:
        cells = json.loads((REPO / f"nbs/paper/{page}.ipynb").read_text(encoding="utf-8"))["cells"]
        source = " ".join(part for c in cells if c["cell_type"] == "code"
                          for part in "".join(c["source"]).replace('"\n', '"').split())
        text = "".join(source.split('" "'))
        for sentence in table[table.page == page].finding:
            assert sentence in text, "a sentence that a person wrote, on the page"
        assert (REPO / f"figures/{page}.ipynb").is_file()


def test_the_numbers_of_the_readme_are_findings():
    quoted = (REPO / "README.md").read_text(encoding="utf-8")
    for sentence in sorted(findings(REPO / "figures").finding, key=len): quoted = quoted.replace(sentence, "")
    numbers = [line for line in quoted.splitlines() if not line.startswith(("```", "|"))
               and wrong_numbers(line.partition("](")[0], {})]
    assert [line for line in numbers if "doi.org" not in line and "Python 3." not in line] == []


def test_the_opening_of_the_book_quotes_a_finding():
    opening = (REPO / "book/index.md").read_text(encoding="utf-8").partition("**What we found.** ")[2]
    assert any(opening.startswith(sentence) for sentence in findings(REPO / "figures").finding)


def test_the_table_of_the_readme_is_that_of_the_claims():
    cells = json.loads((REPO / "figures/claims.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [o.get("data", {}).get("text/markdown", "") for c in cells for o in c.get("outputs", [])]
    table = next(text for text in map("".join, outputs) if text.startswith("| benchmark |"))
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    assert table in readme, f"put this table into the README:\n{table}"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_few_results_is_drawn_and_says_what_was_not_measured(page, tmp_path, monkeypatch):
    losses = {"udm_1": 0.1, "ndm_1": 0.1}
    tables(tmp_path, *(make_run(tmp_path / "runs", seed, benchmark="Kermany", losses=losses)
                       for seed in range(2)))
    monkeypatch.chdir(REPO)
    run_cells(REPO / f"nbs/paper/{page}.ipynb", figures=str(tmp_path / "figures"))
    assert findings(tmp_path / "figures").holds.isna().any()


@pytest.mark.slow  # `make figures` draws them all in two minutes
def test_the_pages_follow_from_the_committed_results_and_can_be_read(tmp_path, monkeypatch):
    skip = shutil.ignore_patterns("*.png", "*.ipynb", "findings")
    shutil.copytree(REPO / "figures", tmp_path / "figures", ignore=skip)
    monkeypatch.chdir(REPO)
    unreadable, whole = {}, Page.picture
    def picture(self, fig, name="", alt=""):
        unreadable[self.name, name] = faults(fig)
        return whole(self, fig, name, alt)
    monkeypatch.setattr(Page, "picture", picture)
    for page in PAGES: run_cells(REPO / f"nbs/paper/{page}.ipynb", figures=str(tmp_path / "figures"))
    plt.close("all")
    assert {place: wrong for place, wrong in unreadable.items() if wrong} == {}
    for path in sorted((REPO / "figures").glob("**/*.csv")):
        again = tmp_path / "figures" / path.relative_to(REPO / "figures")
        assert again.read_text() == path.read_text(), f"{path.name}: give make figures, and commit what it changes"
