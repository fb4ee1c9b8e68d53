"The graph behind every table and figure: it plans without data, survives a kill, and computes nothing twice."
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from invented import make_run, tables

from ddad.study import notebooks
from ddad.study.config import Config
from ddad.study.graph import PAGES, Plan, Request, crossed, make_plan, training_rates
from ddad.study.notebooks import claim_gpu
from ddad.study.reproduce import (
    _WAYS_TO_STOP,
    _arguments,
    _stop,
    changed_config,
    main,
    snakemake_command,
)
from ddad.study.results import Results

REPO = Path(__file__).parents[1]
SETTINGS = dict(k=2, epochs=30, refine_epochs=3, image_size=32, batch_size=16, n_unlabeled=24,
                anomaly_rate=0.5, refined="r_dual")


def words(root, place, *more, benchmark="Discs", **changes):
    text = "{" + ", ".join(f"{k}: {v}" for k, v in (SETTINGS | changes).items()) + "}"
    data = ["--data", str(root)] if root else []
    return ["--benchmark", benchmark, "--experiments", "main", "--pages", "", *data, "--settings", text,
            "--into", f"{place}/reproduced", "--store", f"{place}/store", *more]


def reproduce(*asked, **env):
    command = [sys.executable, "-c", "from ddad.study.reproduce import main; main()", *map(str, asked)]
    return subprocess.run(command, cwd=REPO, env={**os.environ, **env}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def done(root, tmp_path_factory):
    "A finished reproduction: its place, and what the command said."
    place = tmp_path_factory.mktemp("graph")
    return place, reproduce(*words(root, place))


def scores(place): return next(place.glob("reproduced/runs/*/scores.csv"))


def git_status():
    return subprocess.run(["git", "status", "--porcelain"], cwd=REPO, capture_output=True, text=True).stdout


def test_a_reproduction_computes_adds_and_tells(done):
    place, said = done
    assert said.returncode == 0, said.stderr
    assert "R_dual" in said.stdout
    assert "nothing is committed to compare with" in said.stdout
    assert len((said.stdout + said.stderr).splitlines()) < 90
    results = Results(place / "reproduced")
    run, = results.runs.index
    assert set(results.scores_of(run)) == {"rec_1", "rec_2", "rec", "intra", "inter", "inter_top", "r_dual"}
    assert len(results.long("losses"))
    assert len(results.long("pixels"))
    assert len(list(place.glob("store/modules/*/*_1.safetensors"))) == 2
    assert not list(place.glob("store/*/*unfinished*"))
    assert (place / "reproduced/report.html").is_file()
    record = json.loads((scores(place).parent / "record.json").read_text())
    assert set(record["training"]) == {"udm_1", "udm_2", "ndm_1", "ndm_2", "r_dual"}


def test_a_second_time_nothing_is_computed_and_the_tree_is_left_alone(done, root):
    place, _ = done
    before, status = scores(place).stat().st_mtime_ns, git_status()
    again = reproduce(*words(root, place))
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr
    assert scores(place).stat().st_mtime_ns == before and git_status() == status


def test_a_changed_parameter_runs_only_what_depends_on_it(done, root):
    plan = reproduce(*words(root, done[0], "--plan", "--", "--quiet", "host", refine_epochs=4))
    text = plan.stdout + plan.stderr
    assert "rule refine:" in text and "rule score:" in text and "rule train:" not in text


def test_it_plans_everything_without_data(tmp_path):
    asked = ["--plan", "--benchmark", "RSNA,VinCXR,LAG,BrainTumor,Phantom", "--experiments", "all", "--into",
             tmp_path / "r", "--store", tmp_path / "s"]
    done = reproduce(*asked, DDAD_DATA=str(tmp_path / "nowhere"))
    assert done.returncode == 0, done.stderr
    assert "runs, about" in done.stdout
    assert "train" in done.stdout + done.stderr
    assert not list(tmp_path.glob("s/modules/*"))


@pytest.mark.slow  # tests/test_run.py kills a run in each fast round
def test_killed_at_any_moment_it_goes_on_to_the_same_scores(done, root, tmp_path):
    for wait_for in ("store/modules/*unfinished/*", "store/refiners/*unfinished/*"):
        command = [sys.executable, "-c", "from ddad.study.reproduce import main; main()",
                   *words(root, tmp_path)]
        process = subprocess.Popen(command, cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.time() + 120
        while not list(tmp_path.glob(wait_for)) and time.time() < deadline and process.poll() is None:
            time.sleep(0.02)
        for p in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            p.kill()
        process.wait()
        assert not list(tmp_path.glob("reproduced/runs/*/record.json"))
    said = reproduce(*words(root, tmp_path))
    assert said.returncode == 0, said.stderr
    assert scores(tmp_path).read_bytes() == scores(done[0]).read_bytes()


def test_a_step_that_fails_says_why_in_a_sentence(discs, tmp_path):
    done = reproduce(*words(discs, tmp_path, lr=1e12, refined="none", backbone="AE"), "--", "--notemp")
    text = done.stdout + done.stderr
    assert done.returncode == 1
    assert "lower the learning rate" in text
    assert done.stderr.splitlines()[-1] == "A step failed, and what it said stands above: the same command goes on."


def test_a_damaged_image_is_named_before_a_step_runs(discs, tmp_path):
    (discs / "Discs/images/test_normal_03.png").write_text("no image")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.chdir(REPO)
        main(words(discs, tmp_path))
    assert "test_normal_03.png cannot be read as an image" in stop.value.code
    assert "\n" not in stop.value.code
    assert not (tmp_path / "reproduced").exists()


def test_ctrl_c_is_one_sentence_and_leaves_nothing_running(root, tmp_path):
    command = [sys.executable, "-c", "from ddad.study.reproduce import main; main()",
               *words(root, tmp_path, epochs=4000)]
    process = subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 120
    while not list(
        tmp_path.glob("store/modules/*unfinished/*")) and time.time() < deadline and process.poll() is None:
        time.sleep(0.02)
    jobs = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert err.splitlines()[-1] == "Interrupted: the same command goes on where it stopped."
    assert jobs and not psutil.wait_procs(jobs, timeout=60)[1]


def test_several_jobs_share_a_gpu_where_that_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(notebooks.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("DDAD_JOBS_PER_GPU", "2")
    locks, seen = [], []
    for _ in range(4):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        locks.append(claim_gpu())
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["0", "1", "0", "1"], "one job on each GPU, then a second"
    locks[1].release()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    locks.append(claim_gpu())
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1", "a place that became free"
    for lock in locks: lock.release()
    assert "gpu=6" in snakemake_command({"jobs_per_gpu": 3}) and "gpu=2" in snakemake_command({})


# the plan, in Python

CONFIG = yaml.safe_load((REPO / "nbs/paper/config.yaml").read_text(encoding="utf-8")) | {
    "benchmarks": "Phantom", "experiments": "main", "only": {"unseen": ["BrainTumor"]},
    "committed": "nowhere",
    "grid": {"main": {}, "seeds": {"seed": [0, 1]}, "stable": {"variant": ["paper", "stable"]},
             "unseen": {"match": ["", "*-gl*"]}}}


def plan_of(tmp_path, **changes): return make_plan(Request.of(CONFIG | {"figures": str(tmp_path)} | changes))


def test_into_the_committed_results_only_what_they_lack_is_computed(tmp_path):
    tables(tmp_path, make_run(tmp_path / "runs", 0, benchmark="NIH", backbone="AE"))
    figures = str(tmp_path / "figures")
    asked = dict(benchmarks="NIH", experiments="seeds", figures=figures)
    assert list(plan_of(tmp_path, **asked, committed=figures).runs) == ["NIH_AE_seed1"]
    assert list(plan_of(tmp_path, **asked).runs) == ["NIH_AE_seed0", "NIH_AE_seed1"]
    assert list(plan_of(tmp_path, experiments="unseen").runs) == [], "a benchmark lacks it"


def test_the_jobs_work_by_the_plan_that_was_made(tmp_path):
    plan = plan_of(tmp_path, experiments="stable", methods="VAE;nnPU")
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan and plan.watched == ["Phantom_AE_seed0_stable"]
    assert set(plan.rivals) == {"Phantom_VAE_seed0", "Phantom_nnPU_seed0"}
    assert json.loads(plan.settings("rival", "Phantom_VAE_seed0"))["method"] == "VAE"
    assert [str(p) for p in plan.weights("refine", "Phantom_AE_seed0_r_intra")] == [
        "modules/Phantom_AE_seed0_ndm"]


def test_a_method_without_chance_has_one_seed(tmp_path):
    rivals = plan_of(tmp_path, methods="PatchCore;Mahalanobis", method_seeds=2).rivals
    assert list(rivals) == ["Phantom_PatchCore_seed0", "Phantom_PatchCore_seed1", "Phantom_Mahalanobis_seed0"]


def test_a_single_run_trains_its_own_networks(tmp_path):
    alone = plan_of(tmp_path, grid={"main": {"refined": "none"}})
    assert alone.alone and alone.weights("score", "Phantom_AE_seed0") == []
    for grid in ({"main": {}}, {"main": {"refined": "none", "seed": [0, 1]}}):
        plan = plan_of(tmp_path, grid=grid)
        assert not plan.alone and len(plan.weights("score", "Phantom_AE_seed0")) >= 2


def test_every_committed_training_fits_its_time_limit():
    results = Results(REPO / "figures")
    rates, networks = training_rates(results), results.long("networks")
    for run, rows in networks[~networks.network.str.startswith("r_")].groupby("run"):
        row = results.runs.loc[run]
        config = Config.of(row.benchmark, backbone=row.backbone, k=int(row.k), epochs=int(row.epochs),
                           n_unlabeled=int(row.n_unlabeled))
        plan = Plan({config.name: config}, {}, rates)
        longest = rows.groupby(rows.network.str[:3]).seconds.sum()
        for module, seconds in longest.items():
            assert seconds / 60 <= 3 * plan.minutes("train", config.module_name(module)), (run, module)


# the command

@pytest.mark.parametrize("asked, asks", [
    ([], {"pages": ""}), (["--epochs", "paper"], {"experiments": "paper", "pages": ""}),
    (["--epochs", "paper", "--experiments", "main"], {"experiments": "main"}),
    (["--epochs", "5"], {"settings": "{epochs: 5, refine_epochs: 5}", "pages": ""}),
    (["--benchmark", ""], {"benchmarks": ""})])
def test_epochs_and_what_they_stand_for(asked, asks, monkeypatch):
    monkeypatch.delenv("DDAD_EPOCHS", raising=False)
    config = changed_config(_arguments().parse_args(asked))
    assert {name: value for name, value in config.items() if name != "figures"} == asks
    with pytest.raises(ValueError, match="EPOCHS is 'many': give a number, or paper"):
        changed_config(_arguments().parse_args(["--epochs", "many"]))


@pytest.mark.parametrize("asked, says", [
    (["--benchmark", "Foo"], ["'Foo'", "BrainTumor"]), (["--data", "/nope"], ["/nope", "no folder"]),
    (["--experiments", "mian"], ["'mian'", "main"]), (["--pages", "tables"], ["'tables'", PAGES[0]]),
    (["--methods", "Guess"], ["'Guess'", "VAE"]), (["--settings", "{epoch: 3}"], ["epoch", "epochs"]),
    (["--settings", "[1]"], ["{epochs: 2}"]), (["--add", "/nope"], ["/nope/record.json"]),
    (["--report", "--into", "/nope"], ["/nope/runs.csv"])])
def test_an_unknown_name_is_one_sentence_before_anything_is_planned(asked, says, monkeypatch, capsys):
    monkeypatch.chdir(REPO)
    monkeypatch.setattr("ddad.study.reproduce.make_plan", lambda request: pytest.fail("it was planned"))
    with pytest.raises(SystemExit) as stop: main(asked)
    assert all(s in stop.value.code for s in says)
    assert "\n" not in stop.value.code
    assert capsys.readouterr().out == ""


def test_finished_runs_are_added_by_the_command(tmp_path, capsys):
    folders = [str(make_run(tmp_path / "runs", seed)) for seed in (0, 1)]
    with pytest.raises(SystemExit): main(["--add", *folders, "--into", str(tmp_path / "figures")])
    assert capsys.readouterr().out.splitlines() == ["Added NIH_AE-U_seed0.", "Added NIH_AE-U_seed1."]
    assert len(Results(tmp_path / "figures").runs) == 2


def test_a_crossover_is_named_like_a_run():
    assert crossed("BrainTumor_AE-U_seed2") == {"benchmark": "BrainTumor", "backbone": "AE-U", "seed": 2,
                                                "n_unlabeled": 0}
    with pytest.raises(ValueError, match="BrainTumor_AE_seed0"): crossed("BrainTumor_VAE_seed0")


def test_a_job_that_outlives_snakemake_is_ended_too(monkeypatch):
    "The first process ends on Ctrl-C; its child heeds neither Ctrl-C nor SIGTERM."
    monkeypatch.setattr("ddad.study.reproduce._WAYS_TO_STOP", [(how, 0.5) for how, _ in _WAYS_TO_STOP])
    deaf = "import signal, time; [signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM)]; print('ready', flush=True); time.sleep(600)"
    first = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {deaf!r}]); print(child.pid, flush=True); child.wait()"
    process = subprocess.Popen([sys.executable, "-c", first], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, start_new_session=True)
    said = [process.stdout.readline().strip() for _ in range(2)]
    child = psutil.Process(int(min(said)))  # digits come before letters
    _stop(process)
    assert process.returncode is not None
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
