"The reproduction report: its verdict, the stage that differs first, its tolerances."
import numpy as np
import pytest
from invented import make_run, tables

from ddad.study.report import compare_scores, headline, report, stages


def ours_of(folder, n=5, **more): return tables(folder / "ours", *(make_run(folder / "runs", seed, losses={"udm_1": 0.02 + seed / 1e3}, noise=0.1, **more) for seed in range(n)))


def yours_of(folder, **more): return tables(folder / "yours", make_run(folder / "mine", **{"seed": 1, "losses": {"udm_1": 0.02}, "noise": 0.1} | more))


def told(yours, ours):
    run = yours.runs.iloc[0]
    scores = compare_scores(yours, ours, run)
    way = stages(yours, ours, run, scores)
    return scores.set_index("score"), way.set_index("stage").verdict, headline({run.run: (scores, way)})


def test_what_lies_among_the_trainings_is_reproduced(tmp_path):
    ours = ours_of(tmp_path)
    scores, way, line = told(yours_of(tmp_path), ours)
    assert line.startswith("reproduced: ") and set(way) <= {"same", "agrees", "not compared"}
    inter = scores.loc["A_inter"]
    values = [ours.value(run, "inter") for run in ours.runs.index]
    assert inter.verdict == "reproduced" and inter.tolerance == pytest.approx(3 * np.std(values, ddof=1)) and inter.yours - inter.difference == pytest.approx(np.mean(values))


@pytest.mark.parametrize("change, stage", [
    ({"gain": -3.0}, "discrepancies"), ({"gain": -3.0, "losses": {"udm_1": 0.5}}, "losses"), ({"gain": -3.0, "changed": {"data_hash": "b2"}}, "pixels")])
def test_the_first_stage_that_differs(tmp_path, change, stage):
    _, way, line = told(yours_of(tmp_path, **change), ours_of(tmp_path))
    assert line.startswith("differs: ") and f"the first stage that differs: {stage}" in line and way[stage] == "differs"


def test_four_trainings_give_the_interval_and_none_gives_no_verdict(tmp_path):
    yours, four = yours_of(tmp_path), ours_of(tmp_path, n=4)
    assert set(told(yours, four)[0]["of"]) == {"half of the 95 % interval"}
    scores, _, line = told(yours, tables(tmp_path / "else", make_run(tmp_path / "e", benchmark="LGG")))
    assert set(scores.verdict) == {"not compared"} and line == "nothing is committed to compare with."


def test_a_tolerance_that_says_reproduced_to_anything_says_so(tmp_path):
    wild = tables(tmp_path / "ours", *(make_run(tmp_path / "runs", seed, gain=seed - 2.0, noise=0.1) for seed in range(5)))
    scores = told(yours_of(tmp_path), wild)[0]
    assert scores.verdict["A_inter"] == "too variable to say" and scores.verdict["A_rec"] == "reproduced"


def test_the_report_is_printed_and_written_as_a_page(tmp_path, capsys):
    ours_of(tmp_path), yours_of(tmp_path)
    assert report(tmp_path / "yours/figures", tmp_path / "ours/figures")
    page = (tmp_path / "yours/figures/report.html").read_text()
    assert capsys.readouterr().out.startswith("reproduced") and page.count("<img") == 3 and "NIH_AE-U_seed1" in page and "<table" in page
