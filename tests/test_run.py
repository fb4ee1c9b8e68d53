"End to end: the command, through papermill, to a folder that explains itself; killed and taken up again."
import json
import math
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import psutil
import pytest
from conftest import run_cells

from ddad.core.storage import read_csv
from ddad.method import metrics
from ddad.study.command import run as execute
from ddad.study.config import Config
from ddad.study.notebooks import NotebookFailed

REPO = Path(__file__).parents[1]
DDAD_RUN = str(Path(sys.executable).parent / "ddad-run")
SETTINGS = dict(benchmark="Discs", k=2, epochs=40, refine_epochs=2, image_size=32, batch_size=16,
                n_unlabeled=24, anomaly_rate=0.5, seed=3)
COLUMNS = ["image", "label", "rec_1", "rec_2", "rec", "intra", "inter", "inter_top", "r_intra", "r_dual"]


def command(root, out, **changes):
    options = [f"--{k.replace('_', '-')}={v}" for k, v in (SETTINGS | changes).items()]
    return [DDAD_RUN, "--data", str(root), "--out", str(out), *options]


def run(root, out, **changes):
    return subprocess.run(command(root, out, **changes), cwd=REPO, capture_output=True, text=True)


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    done = run(root, out)
    assert done.returncode == 0, done.stderr
    return out, done


def test_the_folder_explains_itself(finished):
    out, done = finished
    scores = read_csv(out / "scores.csv")
    assert list(scores) == COLUMNS and len(scores["image"]) == 24 and sum(scores["label"]) == 12
    record = json.loads((out / "record.json").read_text())
    assert SETTINGS.items() <= record["config"].items()
    assert record["config"].items() <= json.loads((out / "config.json").read_text()).items()
    assert {"versions", "commit", "data_hash", "stages", "results", "pixels"} <= set(record)
    assert all(s["seconds"] >= 0 and s["peak_memory_mb"] > 0 for s in record["stages"].values())
    by_score = {r["score"]: r for r in record["results"]}
    for name in COLUMNS[2:]:
        assert by_score[name]["auc"] == pytest.approx(metrics.auc(scores[name], scores["label"]))
    pixels = read_csv(out / "pixels.csv")
    assert pixels["image"] == scores["image"]
    assert all(math.isnan(v) == (label == 0) for v, label in zip(pixels["inter_ap"], pixels["label"]))
    assert set(record["pixels"]) == {"rec", "intra", "inter", "r_intra", "r_dual"}
    for picture in ("training", "histograms", "roc"):
        for kind in ("png", "pdf"): assert (out / f"{picture}.{kind}").stat().st_size > 1000
    assert (out / "maps.png").stat().st_size > 1000 and (out / "maps.pdf").read_bytes()[:4] == b"%PDF"
    networks = ("udm_1", "udm_2", "ndm_1", "ndm_2", "r_dual", "r_intra")
    assert {p.stem for p in (out / "weights").glob("*.safetensors")} == {
        *networks, "r_dual_averaged", "r_intra_averaged"}
    assert set(record["training"]) == set(networks)
    assert all(t["seconds"] > 0 and t["peak_memory_mb"] > 0 for t in record["training"].values())


def test_the_command_prints_the_table_and_where_the_pictures_are(finished):
    out, done = finished
    assert "R_dual" in done.stdout and "A_inter" in done.stdout and str(out) in done.stdout
    assert "epoch" in done.stderr


def test_a_killed_run_goes_on_to_the_same_scores(finished, root, tmp_path):
    out, _ = finished
    process = subprocess.Popen(command(root, tmp_path / "killed"), cwd=REPO, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    deadline = time.time() + 120
    while not list(tmp_path.glob("killed/weights/ndm_*")) and time.time() < deadline: time.sleep(0.02)
    family = [*psutil.Process(process.pid).children(recursive=True), process]
    for p in family: p.kill()
    process.wait()
    assert list(tmp_path.glob("killed/weights/*.safetensors"))
    assert not (tmp_path / "killed/record.json").exists()
    again = run(root, tmp_path / "killed")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "killed/scores.csv").read_bytes() == (out / "scores.csv").read_bytes()


def test_another_seed_gives_other_scores(finished, root, tmp_path, monkeypatch):
    monkeypatch.chdir(REPO)
    run_cells(REPO / "nbs/paper/run.ipynb",
              **SETTINGS | dict(seed=4, epochs=2, refine_epochs=1, data_root=str(root),
                                out=str(tmp_path / "other")))
    assert (tmp_path / "other/scores.csv").read_bytes() != (finished[0] / "scores.csv").read_bytes()


def test_the_page_is_clean(finished):
    out, _ = finished
    page = (out / "run.ipynb").read_text()
    assert "image/png" in page and str(REPO) not in page and "epoch/s]" not in page


@pytest.mark.slow
def test_the_stable_variant_and_fewer_networks_train_nothing_anew(root, tmp_path):
    options = dict(epochs=2, refine_epochs=2, store=tmp_path / "store")
    for out, changes in {"three": dict(k=3), "two": dict(k=2, refined=""),
                         "stable": dict(k=3, variant="stable")}.items():
        assert run(root, tmp_path / out, **options | changes).returncode == 0
    records = {out: json.loads((tmp_path / out / "record.json").read_text())
               for out in ("three", "two", "stable")}
    scores = {out: read_csv(tmp_path / out / "scores.csv") for out in records}
    assert scores["two"]["rec_2"] == scores["three"]["rec_2"] and "r_dual" not in scores["two"]
    assert records["stable"]["training"] == records["three"]["training"]
    assert scores["stable"]["inter"] == scores["three"]["inter"]
    assert scores["stable"]["r_dual"] != scores["three"]["r_dual"]


def test_a_failing_notebook_names_the_cell_and_is_kept(root, tmp_path):
    notebook = tmp_path / "broken.ipynb"
    source = json.loads((REPO / "nbs/paper/run.ipynb").read_text())
    source["cells"].insert(
        3, {"cell_type": "code", "id": "broken", "metadata": {}, "source": "1 / 0", "outputs": [],
            "execution_count": None})
    notebook.write_text(json.dumps(source))
    with pytest.raises(NotebookFailed, match="(?s)cell.*ZeroDivisionError") as failed:
        execute(notebook, str(root), tmp_path / "out", Config.of(**SETTINGS), progress=False)
    assert "Traceback" not in str(failed.value)
    assert (tmp_path / "out/run.ipynb").is_file() and not (tmp_path / "out/record.json").exists()


def test_help_tells_every_setting():
    done = subprocess.run([DDAD_RUN, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(f"--{f.name.replace('_', '-')}" in done.stdout for f in fields(Config))
