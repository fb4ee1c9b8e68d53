"The graph behind every table and figure: it plans without data, survives a kill, computes nothing twice, and its pages follow from the committed scores."
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ddad.study import notebooks, results
from ddad.study.config import Config
from ddad.study.notebooks import claim_gpu

REPO = Path(__file__).parents[1]
SETTINGS = dict(k=2, epochs=30, refine_epochs=3, image_size=32, batch_size=16, n_unlabeled=24, anomaly_rate=0.5)


def command(target, place, *more, settings=SETTINGS, benchmarks="Discs"):
    text = "{" + ", ".join(f"{k}: {v}" for k, v in settings.items()) + "}"
    return [str(Path(sys.executable).parent / "snakemake"), "-s", "nbs/paper/Snakefile", "--profile", "nbs/paper/profiles/local", "--cores", "2", *target.split(),
            "--config", f"benchmarks={benchmarks}", f"store={place}/store", f"figures={place}/figures", f"settings={text}", *more]


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
    for part in ("runs", "checks", "baselines"): shutil.copytree(REPO / "figures" / part, tmp_path / "figures" / part)
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
    assert done.returncode != 0 and "cell" in text and "nbs/paper/train.ipynb failed with FileNotFoundError" in text
    assert list(tmp_path.glob("store/modules/*/train.ipynb"))


def test_the_pages_follow_from_the_committed_scores(tmp_path):
    for part in ("runs", "checks", "baselines"): shutil.copytree(REPO / "figures" / part, tmp_path / "figures" / part)
    done = snakemake("all", tmp_path, settings={}, benchmarks="")
    assert done.returncode == 0, done.stderr
    committed = sorted(p.name for p in (REPO / "figures").glob("*.md"))
    assert committed == sorted(p.name for p in (tmp_path / "figures").glob("*.md"))
    for name in committed: assert (tmp_path / "figures" / name).read_text() == (REPO / "figures" / name).read_text(), f"{name}: run `make figures` and commit what it changes"
    index = (tmp_path / "figures/index.html").read_text()
    assert "needs RSNA; see Data" in index and all(f"runs/{p.name}/" in index for p in (REPO / "figures/runs").iterdir())


def test_an_estimate_comes_from_records():
    runs = results.read_runs(REPO / "figures/runs")
    assert all(rate > 0 for rate in results.training_rates(runs).values())
    assert results.estimate(Config.of("RSNA"), "udm", {("network", "AE"): 1e-3}, images=3851) == pytest.approx(1e-3 * (3851 + 4000) * 250 * 3)


def test_each_job_claims_a_gpu_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(notebooks.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(notebooks.torch.cuda, "device_count", lambda: 2)
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
