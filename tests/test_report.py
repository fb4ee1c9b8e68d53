"The reproduction report: its verdict, the stage that differs first, its tolerances, its exit status."
from dataclasses import asdict

import numpy as np
import pytest

from ddad.core.storage import write_csv, write_json
from ddad.method import metrics
from ddad.study.config import Config
from ddad.study.report import compare, headline, main
from ddad.study.results import read_runs

NAMES = ["rec_1", "rec_2", "rec_3", "rec", "intra", "inter", "r_intra", "r_dual"]


def toy(folder, seed=0, precision="auto", shift=(), loss=0.02, data_hash="a", prefix=""):
    config, rng, labels = Config.of(seed=seed, precision=precision), np.random.default_rng(0), np.repeat([0, 1], 30)
    other = np.random.default_rng([seed, len(precision)])
    scores = {n: rng.normal(size=60) + 0.2 * other.normal(size=60) + labels * (-2 if n in shift else 1) for n in NAMES}
    write_csv(folder / "runs" / config.name / "scores.csv", {"image": [f"{prefix}{i}" for i in range(60)], "label": labels.tolist()} | scores)
    write_csv(folder / "runs" / config.name / "curves.csv", {"network": ["ndm_1", "r_dual"], "epoch": [1, 1], "loss": [loss, 0.04]})
    write_json(folder / "runs" / config.name / "record.json", {"config": asdict(config), "data_hash": data_hash, "precision": "bfloat16",
                                                               "results": metrics.results_table(scores, labels, n=50)})


@pytest.mark.parametrize("change, stage", [({"prefix": "x"}, "names"), ({"data_hash": "b", "shift": ["r_dual"]}, "pixels"), ({"loss": 0.03, "shift": ["r_dual"]}, "losses"),
                                           ({"shift": ["inter", "r_dual"]}, "maps"), ({"shift": ["r_dual"]}, "scores")])
def test_the_first_stage_that_differs(tmp_path, change, stage):
    toy(tmp_path / "ours")
    toy(tmp_path / "yours", **change)
    found = compare(read_runs(tmp_path / "yours/runs"), read_runs(tmp_path / "ours/runs"))
    assert headline(found).startswith("differs") and found[0].first.name == stage


def test_identical_runs_and_strict(tmp_path, capsys):
    toy(tmp_path / "ours")
    toy(tmp_path / "yours")
    ask = ["--reproduced", str(tmp_path / "yours"), "--committed", str(tmp_path / "ours"), "--strict"]
    assert main(ask) == 0 and capsys.readouterr().out.startswith("reproduced")
    toy(tmp_path / "yours", shift=["r_dual"])
    assert main(ask) == 1 and main(ask[:-1]) == 0 and capsys.readouterr().out.startswith("differs: R_dual")


def compared(place): return compare(read_runs(place / "yours/runs"), read_runs(place / "ours/runs"))[0]


def test_five_trainings_give_three_deviations_and_four_the_interval(tmp_path):
    toy(tmp_path / "yours")
    trainings = [(0, "auto"), (1, "auto"), (2, "auto"), (0, "float32")]
    for seed, precision in trainings: toy(tmp_path / "ours", seed, precision)
    assert {r.tolerance.kind for r in compared(tmp_path).rows} == {"interval"}
    toy(tmp_path / "ours", 1, "float32")
    rows = compared(tmp_path).rows
    assert {r.tolerance.kind for r in rows} == {"seeds"}
    values = [run.value("inter") for run in read_runs(tmp_path / "ours/runs")]
    inter = next(r for r in rows if r.score == "inter").tolerance
    assert inter.center == pytest.approx(np.mean(values)) and inter.width == pytest.approx(3 * np.std(values, ddof=1))


def test_a_run_without_a_counterpart_is_listed_and_not_failed(tmp_path, capsys):
    toy(tmp_path / "ours")
    toy(tmp_path / "yours", seed=7)
    ask = ["--reproduced", str(tmp_path / "yours"), "--committed", str(tmp_path / "ours"), "--strict"]
    assert main(ask) == 0 and "othing committed to compare with: Phantom_AE_seed7" in capsys.readouterr().out


def test_pixels_by_another_route_are_named_and_not_failed(tmp_path, capsys):
    toy(tmp_path / "ours")
    toy(tmp_path / "yours", data_hash="b")
    assert main(["--reproduced", str(tmp_path / "yours"), "--committed", str(tmp_path / "ours"), "--strict"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("reproduced") and "come by another route" in said


def test_no_run_at_all_is_one_sentence(tmp_path):
    with pytest.raises(SystemExit) as stop: main(["--reproduced", str(tmp_path), "--committed", str(tmp_path)])
    assert str(stop.value.code).startswith("ddad-report: There is no finished run in") and "\n" not in str(stop.value.code)
