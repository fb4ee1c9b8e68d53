"ddad-fit and ddad-score, as a user runs them."
import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import disc
from PIL import Image

from ddad.detect import files, scorer
from ddad.detect.commands import main_fit, main_score
from ddad.detect.estimator import DDAD
from ddad.detect.files import score_files

TOOLS = Path(sys.executable).parent
ENV = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
QUICK = "--k 2 --epochs 2 --refine-epochs 1 --image-size 32 --batch-size 16".split()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A folder with images and a model that ddad-fit made of them."
    folder = tmp_path_factory.mktemp("hospital")
    for part, n, abnormal, seed in (("normals", 110, False, 0), ("ward", 32, True, 1),
                                    ("new/monday", 70, False, 2), ("new/tuesday", 3, True, 3)):
        (folder / part).mkdir(parents=True)
        for i, rng in enumerate(np.random.default_rng(seed).spawn(n)):
            Image.fromarray(disc(rng, 40, abnormal)[0]).save(folder / part / f"{i:03}.png")
    assert main_fit(
        [str(folder / "normals"), "--unlabeled", str(folder / "ward"), "-o", str(folder / "model"),
         *QUICK]) == 0
    return folder


def rows(text): return list(csv.DictReader(text.splitlines()))


def test_fit_leaves_a_model_and_nothing_else(place, capsys):
    assert sorted(p.name for p in place.iterdir()) == ["model", "new", "normals", "ward"]
    assert DDAD.load(place / "model").about_["images"] == {"normal": 88, "held_out": 22, "unlabeled": 32}
    assert main_fit([str(place / "normals"), "-o", str(place / "model")]) == 2
    assert "already" in capsys.readouterr().err


def test_every_image_gets_its_line_on_stdout(place, capsys):
    assert main_score([str(place / "model"), str(place / "new")]) == 0
    found, detector = rows(capsys.readouterr().out), DDAD.load(place / "model")
    assert [r["file"] for r in found] == [str(p) for p in sorted(place.glob("new/*/*.png"))]
    assert list(found[0])[:5] == ["file", "slice", "score", "p_value", "abnormal"]
    assert np.allclose([float(r["score"]) for r in found], detector.anomaly_score(place / "new"), rtol=1e-5)
    assert [int(r["abnormal"]) for r in found] == (detector.predict(place / "new") == -1).astype(int).tolist()
    assert np.allclose([float(r["p_value"]) for r in found], detector.p_values(place / "new"))


def test_damaged_files_cost_a_line_and_not_the_batch(place, tmp_path, capsys):
    for i in range(5):
        (tmp_path / f"{i}.png").write_bytes((place / f"normals/00{i}.png").read_bytes() if i != 2
                                            else b"broken")
    assert main_score([str(place / "model"), str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert [Path(row["file"]).name for row in rows(out)] == ["0.png", "1.png", "3.png", "4.png"]
    assert err.count("2.png") == 2 and "1 of 5 files could not be scored" in err and "Traceback" not in err


def test_out_holds_the_scores_and_the_overlays_asked_for(place, tmp_path):
    assert main_score(
        [str(place / "model"), str(place / "new"), "--out", str(tmp_path / "found"), "--overlays", "abnormal",
         "--fpr", "0.3"]) == 0
    found = rows((tmp_path / "found/scores.csv").read_text())
    assert {bool(r["overlay"]) == (r["abnormal"] == "1") for r in found} == {True}
    assert {p.name for p in (tmp_path / "found").iterdir()} == {"scores.csv", "record.json", "overlays"}
    for r in found: assert not r["overlay"] or Image.open(tmp_path / "found" / r["overlay"]).width >= 256


@pytest.mark.parametrize("arguments, message", [
    (["nowhere", "normals"], "model.json"), (["model", "nowhere"], "nowhere"),
    (["model", "model"], "no image"),
    (["model", "new", "--device", "tpu"], "device is 'tpu', which this machine"),
    (["model", "new", "--fpr", "0.001"], "fpr"),
    (["model", "new", "--fpr", "2"], "fpr is 2.0"),
    (["model", "new", "--out", "normals/000.png"], "000.png is a file: name a folder"),
    (["model", "new", "--overlays", "all"], "--out"),
    (["model", "new", "--maps", "npy"], "--maps needs --out"),
    (["model", "new", "--labels", "x.csv"], "--labels needs --out"),
    (["model", "new", "--card"], "--card needs --labels")])
def test_what_cannot_work_is_said_at_once(place, arguments, message, capsys):
    assert main_score(
        [str(place / a) if (place / a).exists() or a == "nowhere" else a for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err and out == "" and len(err.splitlines()) == 1


def test_memory_does_not_grow_with_the_number_of_files(place, monkeypatch):
    "However many files follow, only a few are read before the first score is there."
    read = []
    monkeypatch.setattr(files, "read_slices",
                        lambda path, window: read.append(path) or iter([np.zeros((40, 40), np.uint8)]))
    some = [place / "normals/000.png"] * 5000
    scores = score_files(DDAD.load(place / "model"), some)
    next(scores)
    assert len(read) <= files.FILES * (2 * os.cpu_count() + 2)
    scores.close()


@pytest.mark.slow
def test_a_closed_pipe_is_no_error(place):
    done = subprocess.run(f"{TOOLS}/ddad-score {place}/model {place}/new | head -n 2", shell=True,
                          capture_output=True, text=True, env=ENV)
    assert len(done.stdout.splitlines()) == 2 and "Traceback" not in done.stderr


# ---- interrupted

@pytest.fixture(scope="module")
def many(place, tmp_path_factory):
    "A folder with 1000 images."
    folder = tmp_path_factory.mktemp("many")
    sources = sorted((place / "new/monday").glob("*.png"))
    for i in range(1000): os.link(sources[i % len(sources)], folder / f"{i:04}.png")
    return folder


def interrupted(arguments, ready):
    "A command that gets Ctrl-C as soon as `ready()`: its exit status, output and errors."
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV)
    while not ready() and process.poll() is None: time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_ctrl_c_keeps_what_is_scored_and_the_same_command_goes_on(place, many, tmp_path, capsys):
    part, final = tmp_path / "found/scores.csv.part", tmp_path / "found/scores.csv"
    arguments = [str(place / "model"), str(many), "--out", str(tmp_path / "found")]
    status, out, err = interrupted([TOOLS / "ddad-score", *arguments],
                                   lambda: part.is_file() and part.read_bytes().count(b"\n") > 5)
    assert status == 130 and out == "" and len(err.splitlines()) == 1
    assert "interrupted after" in err
    assert "of 1000 files" in err
    assert str(part) in err
    assert "the same command goes on" in err
    kept = part.read_text()
    assert 5 <= len(rows(kept)) < 1000 and kept.endswith("\n") and not final.exists()
    assert main_score(arguments) == 0
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and "of 1000 files had been scored before" in told[0]
    found = final.read_text()
    assert found.startswith(kept)
    assert [r["file"] for r in rows(found)] == [str(p) for p in sorted(many.iterdir())]
    assert {p.name for p in (tmp_path / "found").iterdir()} == {"scores.csv", "record.json"}


@pytest.mark.parametrize("owner, name", [(files.tqdm, "write"), (scorer.ThreadPoolExecutor, "submit")])
def test_ctrl_c_waits_while_a_line_is_written_and_while_an_image_is_handed_out(
    place, tmp_path, monkeypatch, capsys, owner, name):
    "The bar and the threads hold locks of their own there, which an interruption would leave taken: the command would never end."
    calls, whole = [], getattr(owner, name)
    def call(*a, **k):
        calls.append(a)
        if len(calls) == 3: signal.raise_signal(signal.SIGINT)
        return whole(*a, **k)
    monkeypatch.setattr(owner, name, call)
    assert main_score([str(place / "model"), str(place / "new"), "--out", str(tmp_path / "found")]) == 130
    assert "interrupted" in capsys.readouterr().err and len(calls) == 3
    assert name == "submit" or (tmp_path / "found/scores.csv.part").read_text() == "".join(
        text for text, *_ in calls)


def broken_off(arguments, monkeypatch, after):
    "Runs ddad-score until `after` files are scored, as if Ctrl-C came then."
    whole = files.score_files
    def some(*a, **k):
        for n, found in enumerate(whole(*a, **k)):
            if n == after: raise KeyboardInterrupt
            yield found
    with monkeypatch.context() as patch:
        patch.setattr(files, "score_files", some)
        assert main_score(arguments) == 130


def test_other_options_or_another_detector_start_anew(place, tmp_path, monkeypatch, capsys):
    arguments = [str(place / "model"), str(place / "new"), "--out", str(tmp_path / "found")]
    broken_off(arguments, monkeypatch, 20)
    assert len(rows((tmp_path / "found/scores.csv.part").read_text())) == 20
    capsys.readouterr()
    broken_off([*arguments, "--fpr", "0.3"], monkeypatch, 10)
    assert "other options: every file is scored anew" in capsys.readouterr().err
    assert main_score([*arguments[:1], str(place / "new/tuesday"), *arguments[2:], "--fpr", "0.3"]) == 0
    assert len(rows((tmp_path / "found/scores.csv").read_text())) == 3


def test_what_was_scored_is_known_by_its_content(place, tmp_path, monkeypatch, capsys):
    "New images beside old ones cost the new ones alone; an image that was renamed is known, one that was changed is not."
    images, found = tmp_path / "images", tmp_path / "found"
    images.mkdir()
    sources = sorted((place / "new/monday").glob("*.png"))[:4]
    for i, source in enumerate(sources[:3]): shutil.copy(source, images / f"{i}.png")
    read = []
    monkeypatch.setattr(files, "read_slices",
                        lambda path, window, whole=files.read_slices: read.append(path.name) or whole(
                            path, window))
    def score():
        read.clear()
        assert main_score([str(place / "model"), str(images), "--out", str(found), "--overlays", "all"]) == 0
        return rows((found / "scores.csv").read_text())
    before = score()
    (images / "0.png").rename(images / "renamed.png")
    shutil.copy(sources[3], images / "1.png")
    after = score()
    assert read == ["1.png"] and "2 of 3 files had been scored before" in capsys.readouterr().err
    assert [Path(r["file"]).name for r in after] == ["1.png", "2.png", "renamed.png"]
    for name in ("score", "content", "overlay"):
        assert [after[2][name], after[1][name]] == [before[0][name], before[2][name]]
        assert after[0][name] != before[1][name]
    assert {f"overlays/{p.name}" for p in (found / "overlays").iterdir()} == {r["overlay"] for r in after}
    (found / after[2]["overlay"]).unlink()
    score()
    assert read == ["renamed.png"]  # its overlay was missing


@pytest.mark.slow
def test_ctrl_c_in_training_keeps_its_epochs(place, tmp_path):
    unfinished = tmp_path / "model.unfinished"
    arguments = [TOOLS / "ddad-fit", str(place / "normals"), "-o", str(tmp_path / "model"), "--k", "2",
                 "--epochs", "100000", "--image-size", "32"]
    status, out, err = interrupted(arguments, lambda: any(unfinished.glob("*.unfinished.safetensors")))
    assert status == 130 and out == "" and "Traceback" not in err
    assert err.splitlines()[-1] == f"ddad-fit: interrupted: the epochs so far are kept in {unfinished}, and the same command goes on from there."
    assert any(unfinished.glob("*.unfinished.safetensors")) and not (tmp_path / "model").exists()


# ---- where a result goes

TINY = "--k 2 --epochs 1 --refine-epochs 0 --image-size 16 --batch-size 4 --holdout 0 --precision float32".split()


@pytest.fixture
def here(tmp_path, monkeypatch):
    "A working folder with a few small images in `normals`, which is a home folder as well."
    folder = tmp_path / "here"
    (folder / "normals").mkdir(parents=True)
    for i, rng in enumerate(np.random.default_rng(0).spawn(6)):
        Image.fromarray(disc(rng, 16, False)[0]).save(folder / f"normals/{i}.png")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    return folder


def link(name, to): Path(name).symlink_to(to)
def folder(name): Path(name).mkdir(parents=True)
SPELLINGS = {"./model/.": lambda: None, "new/deep/../model/": lambda: folder("new/deep"),
             "~/model/": lambda: None,
             "empty/": lambda: folder("empty"), "link": lambda: link("link", "to")}


@pytest.mark.parametrize("out", SPELLINGS)
def test_a_model_is_saved_wherever_its_place_is_spelled(here, out, capsys):
    SPELLINGS[out]()
    place, was_link = Path(os.path.expanduser(out)), Path(out).is_symlink()
    assert main_fit(["normals/", "-o", out, *TINY]) == 0, capsys.readouterr().err
    assert DDAD.load(place).about_["images"]["normal"] == 6 and Path(out).is_symlink() == was_link
    assert sorted(p.name for p in place.iterdir()) == ["README.md", "model.json", "weights.safetensors"]
    assert not [p for p in here.rglob("*") if "unfinished" in p.name or p.name.startswith(".ddad-")]
    assert main_fit(["normals/", "-o", out, *TINY]) == 2 and "already" in capsys.readouterr().err


def test_a_model_goes_into_the_folder_one_stands_in(here, monkeypatch):
    folder("empty")
    monkeypatch.chdir("empty")
    before = Path.cwd().stat().st_ino
    assert main_fit(["../normals", "-o", ".", *TINY]) == 0
    assert DDAD.load(here / "empty").k == 2
    assert Path.cwd().stat().st_ino == before  # the shell's folder is still there


@pytest.mark.parametrize("make, message", [
    (lambda: folder("model/mine"), "already"), (lambda: Path("model").write_text(""), "cannot be a folder"),
    (lambda: link("model", "model"), "cannot be a folder"),
    (lambda: Path("model.unfinished").write_text(""), "is a file")])
def test_a_place_that_cannot_be_used_is_said_before_training(here, make, message, capsys, monkeypatch):
    make()
    monkeypatch.setattr(DDAD, "fit", lambda *_, **__: pytest.fail("it reads images first"))
    assert main_fit(["normals", "-o", "model", *TINY]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1


def test_calibration_knows_its_place_before_it_scores(place, here, capsys, monkeypatch):
    shutil.copytree(place / "model", "model")
    Path("model/notes.txt").write_text("mine")
    normals = str(place / "normals")
    assert main_fit(["--calibrate", "model/model.json", normals]) == 0
    assert Path("model/notes.txt").read_text() == "mine"  # a file of it stands for it
    monkeypatch.setattr(DDAD, "calibrate", lambda *_: pytest.fail("it scores first"))
    for out, message in (("normals", "already"), ("model/notes.txt/model", "cannot be a folder")):
        assert main_fit(["--calibrate", "model", normals, "-o", out]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["scores.csv", "report.html"])
def test_an_out_that_cannot_be_used_is_said_before_scoring(place, here, name, capsys, monkeypatch):
    folder(f"found/{name}")
    monkeypatch.setattr(DDAD, "load", lambda *_: pytest.fail("it loads the model first"))
    assert main_score([str(place / "model"), "normals", "--out", "found/"]) == 2
    err = capsys.readouterr().err
    assert "is a folder" in err and len(err.splitlines()) == 1


def test_scores_go_to_a_home_folder_and_through_a_link(place, here):
    Path("far").mkdir()
    link("near", "far")
    for out in ("~/found/", "near"): assert main_score([str(place / "model"), "normals", "--out", out]) == 0
    assert (here / "found/scores.csv").is_file()
    assert (here / "far/scores.csv").is_file()
    assert not Path("~").exists()


# ---- names, overlays, help

def test_new_scores_take_the_overlays_of_old_ones_away_and_nothing_else(place, tmp_path):
    found, start, end = tmp_path / "found", [str(place / "model")], ["--out", str(tmp_path / "found")]
    assert main_score([*start, str(place / "normals/000.png"), *end, "--overlays", "all"]) == 0
    for name in ("overlays/mine.png", "notes.txt"): (found / name).write_text("")
    assert main_score([*start, str(place / "new/tuesday"), *end, "--overlays", "all"]) == 0
    listed = {r["overlay"] for r in rows((found / "scores.csv").read_text())}
    assert {f"overlays/{p.name}" for p in (found / "overlays").iterdir()} == {*listed, "overlays/mine.png"}
    assert len(listed) == 3
    assert main_score([*start, str(place / "new/tuesday"), *end]) == 0
    left = ["notes.txt", "overlays", "overlays/mine.png", "record.json", "scores.csv"]
    assert sorted(str(p.relative_to(found)) for p in found.rglob("*")) == left


def test_the_help_says_what_each_option_does_and_its_default(capsys):
    with pytest.raises(SystemExit): main_fit(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name, value in DDAD().get_params().items():
        if name in ("verbose", "checkpoints"): continue
        assert f"--{name.replace('_', '-')} " in text
        if name not in ("random_state", "workers"): assert f"(default: {value}" in text, name


@pytest.mark.parametrize("arguments, message", [
    (["--backbone", "none such"], "AE, AE-U, MemAE"),
    (["--score", "none such"], "auto, rec, intra, inter, r_dual"),
    (["--holdout", "none such"], "auto"), (["--workers", "-3"], "workers is -3"),
    (["--window", "3"], "window is '3'")])
def test_a_wrong_option_of_fit_is_one_sentence(place, tmp_path, arguments, message, capsys):
    assert main_fit([str(place / "normals"), "-o", str(tmp_path / "model"), *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert arguments[1] in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_commands_answer_before_they_load_anything_heavy():
    code = "import sys, ddad.detect.commands as c\ntry: c.main_fit(['--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, env=ENV).returncode == 0
