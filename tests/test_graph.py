"The graph behind every table and figure: it plans without data, survives a kill, computes nothing twice, and its pages follow from the committed scores."
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from ddad.study import graph, notebooks, results
from ddad.study.config import Config
from ddad.study.graph import Request, make_plan
from ddad.study.notebooks import claim_gpu
from ddad.study.reproduce import _WAYS_TO_STOP, SEEN, Progress, Step, _arguments, _config, _stop, gpu_places, main, read_events, snakemake_command, what_one_sees

REPO = Path(__file__).parents[1]
SETTINGS = dict(k=2, epochs=30, refine_epochs=3, image_size=32, batch_size=16, n_unlabeled=24, anomaly_rate=0.5)


def command(target, place, *more, settings=SETTINGS, benchmarks="Discs"):
    text = "{" + ", ".join(f"{k}: {v}" for k, v in settings.items()) + "}"
    return [str(Path(sys.executable).parent / "snakemake"), "-s", "nbs/paper/Snakefile", "--profile", "nbs/paper/profiles/local", "--cores", "2", *target.split(),
            "--config", f"benchmarks={benchmarks}", "experiments=main", f"store={place}/store", f"figures={place}/figures", f"settings={text}", *more]


def snakemake(*args, env=None, **options):
    return subprocess.run(command(*args, **options), cwd=REPO, env={**os.environ, **(env or {})}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def place(root, tmp_path_factory):
    place = tmp_path_factory.mktemp("graph")
    done = snakemake("runs", place, env={"DDAD_DATA": str(root)})
    assert done.returncode == 0, done.stderr
    assert "R_dual" in done.stdout
    return place


def scores(place): return next(place.glob("figures/runs/*/scores.csv"))


def test_it_plans_everything_without_data(tmp_path):
    done = snakemake("runs -n", tmp_path, "experiments=all", settings={}, benchmarks="RSNA,VinCXR,LAG,BrainTumor,Phantom", env={"DDAD_DATA": str(tmp_path / "nowhere")})
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout and not (tmp_path / "store").exists()


def test_committed_results_are_no_outputs_of_training(tmp_path):
    for part in ("runs", "checks", "baselines", "crossover"): shutil.copytree(REPO / "figures" / part, tmp_path / "figures" / part)
    done = snakemake("all -n", tmp_path, settings={}, benchmarks="")
    assert done.returncode == 0 and "page_backbones" in done.stdout
    assert not any(f"rule {name}:" in done.stdout for name in ("train", "refine", "score"))


def test_an_ndm_serves_every_anomaly_rate_and_a_large_ensemble_every_smaller_one():
    grid = {"rates": {"anomaly_rate": [0.0, 0.4, 1.0]}, "members": {"k": [2, 5]}}
    runs = results.expand(grid, grid, "BrainTumor")
    assert len(runs) == 5 and len({c.module_name("ndm") for c in runs.values()}) == 1
    assert len({c.module_name("udm") for c in runs.values()}) == 4
    assert runs["BrainTumor_AE_seed0_k2"].module_name("udm") == runs["BrainTumor_AE_seed0_k5"].module_name("udm")


def test_a_second_run_does_nothing_and_says_so(place, root):
    before = scores(place).stat().st_mtime_ns
    done = snakemake("runs", place, env={"DDAD_DATA": str(root)})
    assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr
    assert scores(place).stat().st_mtime_ns == before


def test_a_changed_parameter_runs_only_what_depends_on_it(place, root):
    done = snakemake("runs -n", place, settings=SETTINGS | {"refine_epochs": 4}, env={"DDAD_DATA": str(root)})
    assert "rule refine:" in done.stdout and "rule score:" in done.stdout and "rule train:" not in done.stdout


@pytest.mark.slow  # tests/test_run.py kills a run in each fast round
def test_killed_at_any_moment_it_goes_on_to_the_same_scores(place, root, tmp_path):
    for wait_for in ("store/modules/*/*unfinished*", "store/refiners/*/*unfinished*"):
        process = subprocess.Popen(command("runs", tmp_path), cwd=REPO, env={**os.environ, "DDAD_DATA": str(root)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.time() + 120
        while not list(tmp_path.glob(wait_for)) and time.time() < deadline and process.poll() is None: time.sleep(0.02)
        for p in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]: p.kill()
        process.wait()
        assert not list(tmp_path.glob("figures/runs/*/record.json"))
    done = snakemake("runs", tmp_path, env={"DDAD_DATA": str(root)})
    assert done.returncode == 0, done.stderr
    assert scores(tmp_path).read_bytes() == scores(place).read_bytes()


def test_a_failing_notebook_names_the_cell_and_is_kept(tmp_path):
    done = snakemake("runs", tmp_path, env={"DDAD_DATA": str(tmp_path / "nowhere")})
    text = done.stdout + done.stderr
    assert done.returncode != 0 and "cell" in text and "nbs/paper/train.ipynb failed with ValueError" in text and "The scans of Discs are not in the package" in text
    assert list(tmp_path.glob("store/modules/*/train.ipynb"))


@pytest.mark.slow  # tests/test_fresh.py tells in a second whether a page is stale
def test_the_pages_follow_from_the_committed_scores(tmp_path):
    for part in ("runs", "checks", "baselines", "crossover"): shutil.copytree(REPO / "figures" / part, tmp_path / "figures" / part)
    done = snakemake("all", tmp_path, settings={}, benchmarks="")
    assert done.returncode == 0, done.stderr
    committed = sorted(p.name for p in (REPO / "figures").glob("*.md"))
    assert committed == sorted(p.name for p in (tmp_path / "figures").glob("*.md"))
    for name in committed: assert (tmp_path / "figures" / name).read_text() == (REPO / "figures" / name).read_text(), f"{name}: run `make figures` and commit what it changes"
    index = (tmp_path / "figures/index.html").read_text()
    assert "needs data" in index and index.index('id="answers"') < index.index('id="claims"') and all(f"runs/{p.name}/" in index for p in (REPO / "figures/runs").iterdir())
    links = {link for link in re.findall(r'(?:href|src)="([^"#]+)"', index) if "://" not in link}
    assert links and [link for link in links if not (tmp_path / "figures" / link).exists()] == []
    assert "flex-wrap" in index, "the navigation stays on the page"


def test_an_estimate_comes_from_records():
    runs = results.read_runs(REPO / "figures/runs")
    assert all(rate > 0 for rate in results.training_rates(runs).values())
    assert results.estimate(Config.of("RSNA"), "udm", {("network", "AE"): 1e-3}, images=3851) == pytest.approx(1e-3 * (3851 + 4000) * 250 * 3)


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
    for lock in locks: lock.release()
    assert gpu_places(3) == 6 and "gpu=6" in snakemake_command({"jobs_per_gpu": 3}) and "--resources" not in snakemake_command({})


def test_each_job_claims_a_gpu_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(notebooks.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    locks = []
    for expected in ("0", "1"):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        locks.append(claim_gpu())
        assert os.environ["CUDA_VISIBLE_DEVICES"] == expected
    locks[0].release()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    locks.append(claim_gpu())
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    for lock in locks: lock.release()


# the plan, in Python

CONFIG = {"benchmarks": "Phantom", "experiments": "main", "methods": "", "method_seeds": 1, "method_draw": {}, "crossover": "", "keep": "false", "pages": "asked", "settings": {}, "only": {"unseen": ["BrainTumor"]},
          "grid": {"main": {}, "backbones": {"backbone": ["AE", "MemAE"]}, "seeds": {"seed": [0, 1]}, "stable": {"variant": ["paper", "stable"]}, "unseen": {"match": ["", "*-gl*"]}},
          "store": "runs", "committed": "nowhere"}


def plan_of(tmp_path, **changes): return make_plan(Request.of(CONFIG | {"figures": str(tmp_path)} | changes))


def test_only_pages_that_were_asked_for_and_show_something(tmp_path):
    assert plan_of(tmp_path).pages == ["benchmarks", "histograms", "maps", "training", "curves"]
    assert plan_of(tmp_path, experiments="seeds").pages == ["comparison"]
    assert plan_of(tmp_path, benchmarks="Mine").pages == []
    assert plan_of(tmp_path, settings={"epochs": 2}).pages == [], "pages look for runs of the usual settings"
    every = plan_of(tmp_path, experiments="all", grid={name: {} for name in ("main", "members", "stable")}).pages
    assert {"compute", "localisation", "members", "stability"} <= set(every) and not {"sanity", "baselines"} & set(every)
    assert {"sanity"} <= set(plan_of(tmp_path, methods="VAE").pages)
    assert plan_of(tmp_path, pages="all").pages == list(graph.PAGES)
    only = {"unseen": ["BrainTumor"], "unseen_kermany": ["Kermany"], "unseen_odir": ["ODIR"]}
    grid = {name: {"match": ["", "a*"]} for name in only}
    assert "unseen" in plan_of(tmp_path, benchmarks="Kermany", experiments="unseen_kermany", only=only, grid=grid).pages


def test_the_crosswalk_is_drawn_after_every_page_that_it_reads(tmp_path):
    (tmp_path / "crossover/BrainTumor_AE_seed0").mkdir(parents=True)
    (tmp_path / "crossover/BrainTumor_AE_seed0/record.json").write_text("{}")
    every = plan_of(tmp_path, pages="all")
    assert every.page_inputs("crosswalk") == sorted(str(tmp_path / f"{page}.md") for page in graph.PAGES if page != "crosswalk")
    assert all(any("crossover" in path for path in every.page_inputs(page)) for page in ("coverage", "leaks"))


def test_what_is_kept_and_what_a_benchmark_lacks(tmp_path):
    assert list(plan_of(tmp_path, experiments="unseen").runs) == []
    shutil.copytree(REPO / "figures/runs/Phantom_AE_seed0", tmp_path / "runs/Phantom_AE_seed0")
    assert list(plan_of(tmp_path, experiments="seeds").runs) == ["Phantom_AE_seed0", "Phantom_AE_seed1"]
    kept = plan_of(tmp_path, experiments="seeds", keep="true")
    assert list(kept.runs) == ["Phantom_AE_seed1"] and list(kept.modules) == ["Phantom_AE_seed1_udm", "Phantom_AE_seed1_ndm"]
    assert [Path(f).parent.name for f in kept.page_inputs("comparison")] == ["Phantom_AE_seed0", "Phantom_AE_seed1"]
    assert 0 < kept.seconds("train", "Phantom_AE_seed1_udm") < 3600 and kept.minutes("train", "Phantom_AE_seed1_udm") >= 1
    assert plan_of(tmp_path / "empty", committed="nowhere").minutes("train", "Phantom_AE_seed0_udm") == 60, "no record helps"


def test_runs_of_the_stable_variant_are_watched(tmp_path):
    assert [p.parent.name for p in plan_of(tmp_path, experiments="stable").watched] == ["Phantom_AE_seed0_stable"]


def test_a_single_run_trains_its_own_networks(tmp_path):
    alone = plan_of(tmp_path, experiments="quick", grid={"quick": {"refined": "none"}})
    assert alone.alone and graph.trained_before(alone, "score", "Phantom_AE_seed0") == []
    for more in ({}, {"grid": {"main": {"refined": "none", "seed": [0, 1]}}}):
        plan = plan_of(tmp_path, **more)
        assert not plan.alone and len(graph.trained_before(plan, "score", "Phantom_AE_seed0")) >= 2


# the command

@pytest.mark.parametrize("words, asks", [
    ([], {}), (["--epochs", "paper"], {"experiments": "paper"}), (["--epochs", "paper", "--experiments", "main"], {"experiments": "main"}), (["--epochs", "5"], {"settings": "{epochs: 5, refine_epochs: 5}"})])
def test_epochs_and_what_they_stand_for(words, asks, monkeypatch):
    monkeypatch.delenv("DDAD_EPOCHS", raising=False)
    config = _config(_arguments().parse_args(words))
    assert {name: config[name] for name in config if name not in ("figures", "pages")} == asks
    with pytest.raises(ValueError, match="EPOCHS is 'many': give a number, or paper"): _config(_arguments().parse_args(["--epochs", "many"]))


def test_the_sentence_of_the_main_job_is_taken_back_where_it_does_not_hold():
    def rows(**auc): return [{"score": name, "auc": value} for name, value in auc.items()]
    assert what_one_sees(rows(inter=0.9, rec=0.67, thumbnail=0.95)) == SEEN
    assert what_one_sees(rows(inter=0.7, rec=0.67, thumbnail=0.95)).startswith("We saw something else") and what_one_sees(rows(inter=0.9, rec=0.67)) != SEEN


def reproduce(*words, env=None):
    command = [sys.executable, "-c", "from ddad.study.reproduce import main; main()", *map(str, words)]
    return subprocess.run(command, cwd=REPO, env={**os.environ, **(env or {})}, capture_output=True, text=True)


def asked(root, place, **changes):
    text = "{" + ", ".join(f"{k}: {v}" for k, v in (SETTINGS | dict(epochs=2, refine_epochs=1) | changes).items()) + "}"
    return ["--benchmark", "Discs", "--experiments", "main", "--data", root, "--settings", text, "--into", place / "reproduced", "--store", place / "store"]


def git_status():
    done = subprocess.run(["git", "status", "--porcelain"], cwd=REPO, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else "no checkout"


@pytest.mark.parametrize("words, says", [
    (["--benchmark", "Foo"], ["'Foo'", "BrainTumor"]), (["--data", "/nope"], ["/nope", "no folder"]), (["--experiments", "mian"], ["'mian'", "main"]),
    (["--methods", "Guess"], ["'Guess'", "VAE"]), (["--settings", "{epoch: 3}"], ["epoch", "epochs"]), (["--settings", "[1]"], ["{epochs: 2}"])])
@pytest.mark.parametrize("only", [["--plan"], []])
def test_an_unknown_name_is_one_sentence_before_anything_is_planned(words, says, only, monkeypatch, capsys):
    monkeypatch.chdir(REPO)
    monkeypatch.setattr("ddad.study.reproduce.make_plan", lambda request: pytest.fail("it was planned"))
    with pytest.raises(SystemExit) as stop: main([*words, *only])
    assert all(s in stop.value.code for s in says) and "\n" not in stop.value.code and capsys.readouterr().out == ""


def test_the_plan_is_a_table(tmp_path):
    done = reproduce("--plan", "--benchmark", "RSNA,BrainTumor", "--experiments", "all", "--into", tmp_path / "r", "--store", tmp_path / "s", env={"DDAD_DATA": str(tmp_path / "nowhere")})
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) < 15 and any("train networks" in line for line in lines) and "in all" in lines[-1]
    assert not list(tmp_path.iterdir())


def test_a_reproduction_is_quiet_and_leaves_the_tree_alone(root, tmp_path):
    before = git_status()
    done = reproduce(*asked(root, tmp_path))
    assert done.returncode == 0, done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    assert len(lines) < 60 and len(set(filter(None, lines))) == len(list(filter(None, lines))), "no line comes twice"
    assert sum(bool(re.search(r"^ *\d+/\d+  .+: \d+ s, (about .+ left|the last one)$", line)) for line in lines) == 6, "one line a step"
    assert "R_dual" in done.stdout and str(tmp_path / "reproduced/index.html") in done.stdout
    log = (tmp_path / "reproduced/graph.log").read_text()
    assert "Finished jobid" in log and "TCP" not in log
    assert git_status() == before
    again = reproduce(*asked(root, tmp_path))
    assert again.returncode == 0 and "Nothing to be done" in again.stdout


def test_a_step_that_fails_has_the_last_word(discs, tmp_path):
    done = reproduce(*asked(discs, tmp_path, lr=1e12))
    *_, sentence, where = (done.stdout + done.stderr).splitlines()
    assert done.returncode == 1 and "lower the learning rate" in sentence and "Traceback" not in done.stderr
    assert Path(where.partition(": ")[2]).is_file()


def test_a_damaged_image_is_named_before_a_step_runs(discs, tmp_path):
    (discs / "Discs/images/test_normal_03.png").write_text("no image")
    done = reproduce(*asked(discs, tmp_path))
    assert done.returncode == 1 and "test_normal_03.png cannot be read as an image" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "reproduced").exists()


def test_ctrl_c_is_one_sentence_and_leaves_nothing_running(root, tmp_path):
    command = [sys.executable, "-c", "from ddad.study.reproduce import main; main()", *map(str, asked(root, tmp_path, epochs=4000))]
    process = subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 120
    while not list(tmp_path.glob("store/modules/*/*unfinished*")) and time.time() < deadline and process.poll() is None: time.sleep(0.02)
    jobs = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1 and err.strip() == "Broken off: the same command goes on where it stopped." and "Traceback" not in out
    assert jobs and not psutil.wait_procs(jobs, timeout=60)[1]


def test_a_job_that_outlives_snakemake_is_ended_too(monkeypatch):
    "The first process ends on Ctrl-C; its child heeds neither Ctrl-C nor SIGTERM."
    monkeypatch.setattr("ddad.study.reproduce._WAYS_TO_STOP", [(how, 0.5) for how, _ in _WAYS_TO_STOP])
    deaf = "import signal, time; [signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM)]; print('ready', flush=True); time.sleep(600)"
    first = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {deaf!r}]); print(child.pid, flush=True); child.wait()"
    process = subprocess.Popen([sys.executable, "-c", first], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
    said = [process.stdout.readline().strip() for _ in range(2)]
    child = psutil.Process(int(min(said)))  # digits come before letters
    _stop(process)
    assert process.returncode is not None and (not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_what_is_left_follows_from_what_is_expected():
    steps = [Step("train", "udm", "", 300), Step("score", "run", "", 100)]
    progress = Progress(steps)
    assert progress.done == 0 and progress.left > 100
    progress.starts(3, steps[0])
    assert progress.ends(3)[0] == steps[0] and progress.ends(7) is None and progress.done == pytest.approx(300)


def test_progress_bars_in_the_log_hide_no_step():
    lines = ["training:  50%|#####     | 1/2 [Wed Nov 25 02:15:18 2026]", "localrule page_maps:", "    output: figures/maps.md", "    log: figures/maps.ipynb", "    jobid: 9", "    resources: tmpdir=/tmp, runtime=5",
             "rule all:", "    input: figures/index.html", "    jobid: 0", "    resources: tmpdir=/tmp", "Finished jobid: 9 (Rule: page_maps)"]
    assert list(read_events(lines)) == [("starts", 9, Step("page_maps", "maps", "figures/maps.ipynb")), ("ends", 9, None)]
