"ddad-fit and ddad-score, as a user runs them."
import csv
import json
import os
import select
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import disc
from ddad.detect.commands import main_fit, main_score, score_files
from ddad.detect.estimator import DDAD

QUICK = "--k 2 --epochs 2 --refine-epochs 1 --image-size 32 --batch-size 16".split()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A folder with images and a model that ddad-fit made of them."
    folder = tmp_path_factory.mktemp("hospital")
    for part, n, abnormal, seed in (("normals", 110, False, 0), ("ward", 32, True, 1), ("new/monday", 70, False, 2), ("new/tuesday", 3, True, 3)):
        (folder / part).mkdir(parents=True)
        for i, rng in enumerate(np.random.default_rng(seed).spawn(n)): Image.fromarray(disc(rng, 40, abnormal)[0]).save(folder / part / f"{i:03}.png")
    assert main_fit([str(folder / "normals"), "--unlabeled", str(folder / "ward"), "-o", str(folder / "model"), *QUICK]) == 0
    return folder


def rows(text): return list(csv.DictReader(text.splitlines()))


def test_fit_leaves_a_model_and_nothing_else(place, capsys):
    assert sorted(p.name for p in place.iterdir()) == ["model", "new", "normals", "ward"]
    assert DDAD.load(place / "model").about_["images"] == {"normal": 88, "held_out": 22, "unlabeled": 32}
    assert main_fit([str(place / "normals"), "-o", str(place / "model")]) == 2 and "already" in capsys.readouterr().err


def test_every_image_gets_its_line_on_stdout(place, capsys):
    assert main_score([str(place / "model"), str(place / "new")]) == 0
    found, detector = rows(capsys.readouterr().out), DDAD.load(place / "model")
    assert [r["file"] for r in found] == [str(p) for p in sorted(place.glob("new/*/*.png"))] and list(found[0]) == ["file", "slice", "score", "p_value", "abnormal"]
    assert np.allclose([float(r["score"]) for r in found], detector.anomaly_score(place / "new"), rtol=1e-5)
    assert [int(r["abnormal"]) for r in found] == (detector.predict(place / "new") == -1).astype(int).tolist()
    assert np.allclose([float(r["p_value"]) for r in found], detector.p_values(place / "new"))


def test_damaged_files_cost_a_line_and_not_the_batch(place, tmp_path, capsys):
    for i in range(5): (tmp_path / f"{i}.png").write_bytes((place / f"normals/00{i}.png").read_bytes() if i != 2 else b"broken")
    assert main_score([str(place / "model"), str(tmp_path), "--format", "jsonl"]) == 1
    out, err = capsys.readouterr()
    assert [Path(json.loads(line)["file"]).name for line in out.splitlines()] == ["0.png", "1.png", "3.png", "4.png"]
    assert err.count("2.png") == 2 and "1 of 5 files could not be scored" in err and "Traceback" not in err


def test_out_holds_the_scores_and_the_overlays_asked_for(place, tmp_path):
    assert main_score([str(place / "model"), str(place / "new"), "--out", str(tmp_path / "found"), "--overlays", "abnormal", "--fpr", "0.3"]) == 0
    found = rows((tmp_path / "found/scores.csv").read_text())
    assert {bool(r["overlay"]) == (r["abnormal"] == "1") for r in found} == {True}
    assert {p.name for p in (tmp_path / "found").iterdir()} == {"scores.csv", "overlays"}
    for r in found: assert not r["overlay"] or Image.open(tmp_path / "found" / r["overlay"]).size == (40, 40)


def test_volumes_give_a_line_a_slice(place, tmp_path, capsys):
    import nibabel
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(20, 20, 150)).astype(np.float32), np.eye(4)), tmp_path / "a.nii")
    assert main_score([str(place / "model"), str(tmp_path / "a.nii"), str(place / "new/tuesday")]) == 0
    found = rows(capsys.readouterr().out)
    assert [r["slice"] for r in found] == [str(i) for i in range(150)] + [""] * 3


@pytest.mark.parametrize("arguments, message", [(["nowhere", "normals"], "model.json"), (["model", "nowhere"], "nowhere"), (["model", "model"], "no image"), (["model", "new", "--overlays", "all"], "--out"), (["model", "new", "--fpr", "0.001"], "fpr"),
                                                (["model", "new", "--device", "tpu"], "device")])
def test_what_cannot_work_is_said_at_once(place, arguments, message, capsys):
    assert main_score([str(place / a) if (place / a).exists() or a == "nowhere" else a for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err and out == "" and len(err.splitlines()) == 1


def test_a_model_without_a_threshold_still_scores(place, tmp_path, capsys):
    main_fit([str(place / "normals"), "-o", str(tmp_path / "model"), "--holdout", "0", *QUICK])
    capsys.readouterr()
    assert main_score([str(tmp_path / "model"), str(place / "new/tuesday")]) == 0
    out, err = capsys.readouterr()
    assert "no threshold" in err and [r["abnormal"] for r in rows(out)] == [""] * 3


def test_memory_does_not_grow_with_the_number_of_files(place, monkeypatch):
    "However many files follow, only a few are read before the first score is there."
    from ddad.detect import commands
    read = []
    monkeypatch.setattr(commands, "read_slices", lambda path, window: read.append(path) or iter([np.zeros((40, 40), np.uint8)]))
    scores = score_files(DDAD.load(place / "model"), [Path(str(i)) for i in range(5000)], batch_size=16)
    next(scores)
    assert len(read) < 64
    scores.close()


@pytest.mark.parametrize("command", ["ddad-fit", "ddad-score"])
def test_help_and_a_closed_pipe(command, place):
    tool = Path(sys.executable).parent / command
    done = subprocess.run([tool, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "usage" in done.stdout
    if command == "ddad-score":
        done = subprocess.run(f"{tool} {place}/model {place}/new | head -n 2", shell=True, capture_output=True, text=True)
        assert len(done.stdout.splitlines()) == 2 and "Traceback" not in done.stderr


def test_a_file_name_that_is_no_text(place, tmp_path):
    strange = os.fsencode(tmp_path) + b"/\xff\xfe.png"
    with open(strange, "wb") as f: f.write((place / "new/tuesday").glob("*.png").__next__().read_bytes())
    done = subprocess.run([str(Path(sys.executable).parent / "ddad-score"), str(place / "model"), str(tmp_path)], capture_output=True)
    assert done.returncode == 0 and b"\\udcff\\udcfe.png" in done.stdout


def test_a_bar_is_drawn_on_a_terminal_and_nowhere_else(place, tmp_path, monkeypatch, capsys):
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    arguments = [str(place / "model"), str(place / "new/tuesday"), "--out", str(tmp_path / "found")]
    assert main_score(arguments) == 0 and capsys.readouterr().err == ""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with monkeypatch.context() as patch, open(slave, "w") as terminal:
        patch.setattr(sys, "stderr", terminal)
        assert main_score(arguments) == 0
        shown = b""
        while b"3/3" not in shown and select.select([master], [], [], 10)[0]:
            shown += os.read(master, 10000)
        assert b"3/3" in shown
    os.close(master)
