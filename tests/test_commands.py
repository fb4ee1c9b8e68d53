"ddad-fit and ddad-score, as a user runs them."
import csv
import inspect
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import disc
from PIL import Image

from ddad.core import training
from ddad.detect import commands, files, scorer
from ddad.detect.commands import main_fit, main_score
from ddad.detect.estimator import DDAD
from ddad.detect.files import score_files

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
    assert [r["file"] for r in found] == [str(p) for p in sorted(place.glob("new/*/*.png"))] and list(found[0])[:5] == ["file", "slice", "score", "p_value", "abnormal"]
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
    assert {p.name for p in (tmp_path / "found").iterdir()} == {"scores.csv", "record.json", "overlays"}
    for r in found: assert not r["overlay"] or Image.open(tmp_path / "found" / r["overlay"]).width >= 256


def test_volumes_give_a_line_a_slice(place, tmp_path, capsys):
    import nibabel
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(20, 20, 150)).astype(np.float32), np.eye(4)), tmp_path / "a.nii")
    assert main_score([str(place / "model"), str(tmp_path / "a.nii"), str(place / "new/tuesday")]) == 0
    found = rows(capsys.readouterr().out)
    assert [r["slice"] for r in found] == [str(i) for i in range(150)] + [""] * 3


@pytest.mark.parametrize("arguments, message", [(["nowhere", "normals"], "model.json"), (["model", "nowhere"], "nowhere"), (["model", "model"], "no image"), (["model", "new", "--overlays", "all"], "--out"), (["model", "new", "--fpr", "0.001"], "fpr"),
                                                (["model", "new", "--device", "tpu"], "device is 'tpu', which this machine"),
                                                (["model", "new", "--out", "normals/000.png"], "000.png is a file: name a folder"), (["model", "new", "--out", "normals/000.png/deep"], "000.png"), (["model", "new", "--fpr", "2"], "fpr is 2.0")])
def test_what_cannot_work_is_said_at_once(place, arguments, message, capsys):
    assert main_score([str(place / a) if (place / a.removesuffix("/deep")).exists() or a == "nowhere" else a for a in arguments]) == 2
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
    read = []
    monkeypatch.setattr(files, "read_slices", lambda path, window: read.append(path) or iter([np.zeros((40, 40), np.uint8)]))
    some = [place / "normals/000.png"] * 5000
    scores = score_files(DDAD.load(place / "model"), some)
    next(scores)
    assert len(read) <= files.FILES * (2 * os.cpu_count() + 2)
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


# ---- broken off

TOOLS = Path(sys.executable).parent
ENV = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}


@pytest.fixture(scope="module")
def many(place, tmp_path_factory):
    "A folder with 2000 images."
    folder = tmp_path_factory.mktemp("many")
    sources = sorted((place / "new/monday").glob("*.png"))
    for i in range(2000): os.link(sources[i % len(sources)], folder / f"{i:04}.png")
    return folder


def interrupted(arguments, ready):
    "A command that gets Ctrl-C as soon as `ready()`: its exit status, output and errors."
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENV)
    while not ready() and process.poll() is None: time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def has_lines(path, n=5): return lambda: path.is_file() and path.read_bytes().count(b"\n") > n


def test_ctrl_c_keeps_what_is_scored_and_the_same_command_goes_on(place, many, tmp_path, capsys):
    part, final = tmp_path / "found/scores.csv.part", tmp_path / "found/scores.csv"
    arguments = [str(place / "model"), str(many), "--out", str(tmp_path / "found")]
    status, out, err = interrupted([TOOLS / "ddad-score", *arguments], has_lines(part))
    assert status == 130 and out == "" and len(err.splitlines()) == 1
    assert "interrupted after" in err and "of 2000 files" in err and str(part) in err and "the same command goes on" in err
    kept = part.read_text()
    n = len(rows(kept))
    assert 5 <= n < 2000 and kept.endswith("\n") and not final.exists()
    assert main_score(arguments) == 0
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and "of 2000 files had been scored before" in told[0]
    found = final.read_text()
    assert found.startswith(kept) and [r["file"] for r in rows(found)] == [str(p) for p in sorted(many.iterdir())]
    assert {p.name for p in (tmp_path / "found").iterdir()} == {"scores.csv", "record.json"}
    assert main_score([str(place / "model"), str(many)]) == 0
    again = rows(capsys.readouterr().out)
    assert np.allclose([float(r["score"]) for r in rows(found)], [float(r["score"]) for r in again], rtol=1e-5)


def test_ctrl_c_in_the_middle_of_a_line_waits_until_it_is_written(place, tmp_path, monkeypatch, capsys):
    "The library that writes holds a lock of its own there, which an interruption would leave in disorder."
    written, whole = [], files.tqdm.write
    def write(text, *a, **k):
        written.append(text)
        if len(written) == 3: signal.raise_signal(signal.SIGINT)
        return whole(text, *a, **k)
    monkeypatch.setattr(files.tqdm, "write", write)
    assert main_score([str(place / "model"), str(place / "new"), "--out", str(tmp_path / "found")]) == 130
    assert "after 3 of" in capsys.readouterr().err and (tmp_path / "found/scores.csv.part").read_text() == "".join(written[:3])


def test_ctrl_c_while_an_image_is_handed_out_waits_too(monkeypatch):
    "Threads have locks of their own, which an interruption would leave taken: the command would never end."
    given, whole = [], scorer.ThreadPoolExecutor.submit
    def submit(pool, *a):
        if len(given) == 2: signal.raise_signal(signal.SIGINT)
        given.append(whole(pool, *a))
        return given[-1]
    monkeypatch.setattr(scorer.ThreadPoolExecutor, "submit", submit)
    with pytest.raises(KeyboardInterrupt): list(scorer.side_by_side(abs, range(9)))
    assert len(given) == 3 and all(future.done() for future in given)


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


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_run_taken_up_gives_what_an_unbroken_one_gives(place, tmp_path, monkeypatch, capsys, form):
    import nibabel
    images = tmp_path / "images"
    images.mkdir()
    for i in range(4): (images / f"{i}.png").write_bytes((place / f"normals/00{i}.png").read_bytes() if i != 1 else b"broken")
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(20, 20, 9)).astype(np.float32), np.eye(4)), images / "2a.nii")
    options = ["--overlays", "all", "--format", form]
    def score(out): return [str(place / "model"), str(images), str(images / "0.png"), "--out", str(tmp_path / out), *options]
    assert main_score(score("whole")) == 1
    for after in (1, 2, 3, 4):
        broken_off(score(f"broken{after}"), monkeypatch, after)
        assert main_score(score(f"broken{after}")) == 1
        names = sorted(p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*"))
        assert sorted(p.relative_to(tmp_path / f"broken{after}") for p in (tmp_path / f"broken{after}").rglob("*")) == names
        whole, found = ((tmp_path / name / f"scores.{form}").read_text() for name in ("whole", f"broken{after}"))
        if form == "csv":
            assert [(r["file"], r["slice"], r["overlay"]) for r in rows(found)] == [(r["file"], r["slice"], r["overlay"]) for r in rows(whole)]
            assert np.allclose([float(r["score"]) for r in rows(found)], [float(r["score"]) for r in rows(whole)], rtol=1e-4)
        else: assert [json.loads(line)["overlay"] for line in found.splitlines()] == [json.loads(line)["overlay"] for line in whole.splitlines()]


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
    images = tmp_path / "images"
    images.mkdir()
    sources = sorted((place / "new/monday").glob("*.png"))[:4]
    for i, source in enumerate(sources[:3]): (images / f"{i}.png").write_bytes(source.read_bytes())
    arguments = [str(place / "model"), str(images), "--out", str(tmp_path / "found"), "--overlays", "all"]
    assert main_score(arguments) == 0 and capsys.readouterr().err == ""
    before = rows((tmp_path / "found/scores.csv").read_text())
    (images / "0.png").rename(images / "renamed.png")
    (images / "1.png").write_bytes(sources[3].read_bytes())
    read = []
    monkeypatch.setattr(files, "read_slices", lambda path, window, whole=files.read_slices: read.append(path.name) or whole(path, window))
    assert main_score(arguments) == 0
    after = rows((tmp_path / "found/scores.csv").read_text())
    assert read == ["1.png"] and "2 of 3 files had been scored before" in capsys.readouterr().err
    assert [Path(r["file"]).name for r in after] == ["1.png", "2.png", "renamed.png"]
    for name in ("score", "content", "overlay"): assert [after[2][name], after[1][name]] == [before[0][name], before[2][name]] and after[0][name] != before[1][name]
    assert {f"overlays/{p.name}" for p in (tmp_path / "found/overlays").iterdir()} == {r["overlay"] for r in after}
    (tmp_path / "found" / after[2]["overlay"]).unlink()
    read.clear()
    assert main_score(arguments) == 0 and read == ["renamed.png"]  # its overlay was missing


def test_ctrl_c_without_out_and_before_the_first_score(place, many, tmp_path):
    seen = tmp_path / "lines"
    with seen.open("w") as out:
        process = subprocess.Popen([TOOLS / "ddad-score", str(place / "model"), str(many)], stdout=out, stderr=subprocess.PIPE, text=True, env=ENV)
        while not has_lines(seen)(): time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=120)[1]
    assert process.returncode == 130 and "interrupted after" in err and len(err.splitlines()) == 1 and seen.read_text().endswith("\n")


def test_ctrl_c_in_training_keeps_its_epochs(place, tmp_path):
    unfinished = tmp_path / "model.unfinished"
    arguments = [TOOLS / "ddad-fit", str(place / "normals"), "-o", str(tmp_path / "model"), "--k", "2", "--epochs", "100000", "--image-size", "32"]
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
    for i, rng in enumerate(np.random.default_rng(0).spawn(6)): Image.fromarray(disc(rng, 16, False)[0]).save(folder / f"normals/{i}.png")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    return folder


def link(name, to): Path(name).symlink_to(to)
def folder(name): Path(name).mkdir(parents=True)
def nothing(): pass


SPELLINGS = {"model": nothing, "model/": nothing, "model//": nothing, "./model/.": nothing, "new/deep/../model/": lambda: folder("new/deep"), "~/model": nothing, "~/model/": nothing,
             "empty": lambda: folder("empty"), "empty/": lambda: folder("empty"), "link": lambda: link("link", "to"), "link/": lambda: (folder("to"), link("link", "to"))}


@pytest.mark.parametrize("out", SPELLINGS)
def test_a_model_is_saved_wherever_its_place_is_spelled(here, out, capsys):
    SPELLINGS[out]()
    was_link = Path(out).is_symlink()
    assert main_fit(["normals/", "-o", out, *TINY]) == 0, capsys.readouterr().err
    assert DDAD.load(os.path.expanduser(out)).about_["images"]["normal"] == 6 and Path(out).is_symlink() == was_link
    assert sorted(p.name for p in Path(os.path.expanduser(out)).iterdir()) == ["README.md", "model.json", "weights.safetensors"]
    assert not [p for p in here.rglob("*") if "unfinished" in p.name or p.name.startswith(".ddad-")]
    assert main_fit(["normals/", "-o", out, *TINY]) == 2 and "already" in capsys.readouterr().err


@pytest.mark.parametrize("out", [".", "./", "../empty/"])
def test_a_model_goes_into_the_folder_one_stands_in(here, out, monkeypatch):
    folder("empty")
    monkeypatch.chdir("empty")
    before = Path.cwd().stat().st_ino
    assert main_fit(["../normals", "-o", out, *TINY]) == 0
    assert DDAD.load(here / "empty").k == 2 and Path.cwd().stat().st_ino == before  # the shell's folder is still there


def test_what_a_failed_command_of_before_left_is_taken_up(here, capsys, monkeypatch):
    "Versions of before trained `-o model/` inside of `model`, to the end, and failed then."
    settings = dict(k=2, epochs=1, refine_epochs=0, image_size=16, batch_size=4, holdout=0, precision="float32", random_state=0)
    before = DDAD(**settings, checkpoints="before/.unfinished").fit("normals")
    assert sorted(p.name for p in Path("before/.unfinished").glob("*.safetensors")) == ["ndm_1.safetensors", "ndm_2.safetensors"]
    monkeypatch.setattr(training._Training, "run_epoch", lambda *_: pytest.fail("it trains again"))
    for out in ("model", "./model/", "~/model"):
        shutil.copytree("before", "model")
        assert main_fit(["normals", "-o", out, *TINY]) == 0, capsys.readouterr().err
        assert np.array_equal(DDAD.load("model").anomaly_score("normals"), before.anomaly_score("normals"))
        assert sorted(p.name for p in Path("model").iterdir()) == ["README.md", "model.json", "weights.safetensors"]
        shutil.rmtree("model")


@pytest.mark.parametrize("make, message", [(lambda: folder("model/mine"), "already"), (lambda: folder("model/..data"), "already"), (lambda: Path("model").write_text(""), "cannot be a folder"), (lambda: link("model", "model"), "cannot be a folder"),
                                           (lambda: Path("model.unfinished").write_text(""), "is a file")])
def test_a_place_that_cannot_be_used_is_said_before_training(here, make, message, capsys, monkeypatch):
    make()
    monkeypatch.setattr(DDAD, "fit", lambda *_, **__: pytest.fail("it reads images first"))
    assert main_fit(["normals", "-o", "model", *TINY]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1


def test_calibration_and_card_know_their_place_before_they_score(place, here, capsys, monkeypatch):
    shutil.copytree(place / "model", "model")
    Path("model/notes.txt").write_text("mine")
    normals = str(place / "normals")
    assert main_fit(["--calibrate", "model/model.json", normals]) == 0 and Path("model/notes.txt").read_text() == "mine"  # a file of it stands for it
    assert main_fit(["--calibrate", "model/", normals, "-o", "~/other/"]) == 0 and DDAD.load(here / "other").fpr == 0.05
    monkeypatch.setattr(DDAD, "calibrate", lambda *_: pytest.fail("it scores first"))
    Path("file").write_text("")
    for out, message in (("normals", "already"), ("file", "cannot be a folder"), ("file/model", "cannot be a folder")):
        assert main_fit(["--calibrate", "model", normals, "-o", out]) == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("make, message", [(lambda: folder("found/scores.csv"), "is a folder"), (lambda: folder("found/report.html"), "is a folder"),
                                           (lambda: (folder("found"), Path("found/overlays").write_text("")), "is a file")])
def test_an_out_that_cannot_be_used_is_said_before_scoring(place, here, make, message, capsys, monkeypatch):
    make()
    monkeypatch.setattr(DDAD, "load", lambda *_: pytest.fail("it loads the model first"))
    assert main_score([str(place / "model"), "normals", "--out", "found/"]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1


def test_scores_go_to_a_home_folder_and_through_a_link(place, here):
    Path("far").mkdir()
    link("near", "far")
    for out in ("~/found/", "near"): assert main_score([str(place / "model"), "normals", "--out", out]) == 0
    assert (here / "found/scores.csv").is_file() and (here / "far/scores.csv").is_file() and not Path("~").exists()


# ---- names, overlays, help

@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_line_break_in_a_name_breaks_no_record(place, tmp_path, capsys, form):
    images = tmp_path / "images"
    images.mkdir()
    names = ["a\nb, c.png", "a\rb.png", "a\u2028b.png", "plain.png", "\u00fcml\u00e4ut \u202f.png"]
    for name in names: (images / name).write_bytes((place / "normals/000.png").read_bytes())
    (images / "bro\nken.png").write_bytes(b"x")
    assert main_score([str(place / "model"), str(images), "--out", str(tmp_path / "found"), "--overlays", "all", "--format", form]) == 1
    text = (tmp_path / f"found/scores.{form}").read_text(encoding="utf-8")
    assert all(len(line.split("cannot be read")) == 2 for line in capsys.readouterr().err.splitlines() if "bro" in line)
    if form == "csv":
        with (tmp_path / "found/scores.csv").open(newline="", encoding="utf-8") as f: records = list(csv.reader(f))
        assert len(records) == len(text.splitlines()) == 6 and len({len(r) for r in records}) == 1
        assert {Path(r[0]).name for r in records[1:]} == {"a\\nb, c.png", "a\\rb.png", "a\\u2028b.png", "plain.png", "\u00fcml\u00e4ut \u202f.png"}
    else: assert {Path(json.loads(line)["file"]).name for line in text.splitlines()} == set(names)
    overlays = {r["overlay"] for r in (rows(text) if form == "csv" else map(json.loads, text.splitlines()))}
    assert {f"overlays/{p.name}" for p in (tmp_path / "found/overlays").iterdir()} == overlays and len(overlays) == 1  # they are copies of each other


def test_new_scores_take_the_overlays_of_old_ones_away_and_nothing_else(place, tmp_path):
    found, arguments = tmp_path / "found", [str(place / "model"), str(place / "new/tuesday"), "--out", str(tmp_path / "found")]
    assert main_score([str(place / "model"), str(place / "new/monday"), "--out", str(found), "--overlays", "all"]) == 0
    (found / "overlays/mine.png").write_bytes(b"")
    (found / "notes.txt").write_text("")
    assert len(list((found / "overlays").iterdir())) == 71
    assert main_score([*arguments, "--overlays", "all"]) == 0
    listed = {r["overlay"] for r in rows((found / "scores.csv").read_text())}
    assert {f"overlays/{p.name}" for p in (found / "overlays").iterdir()} == {*listed, "overlays/mine.png"} and len(listed) == 3
    assert main_score(arguments) == 0
    assert sorted(str(p.relative_to(found)) for p in found.rglob("*")) == ["notes.txt", "overlays", "overlays/mine.png", "record.json", "scores.csv"]


def test_the_help_says_what_each_option_does_and_its_default(capsys):
    with pytest.raises(SystemExit): main_fit(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "see DDAD" not in text
    for name, value in DDAD().get_params().items():
        if name in ("verbose", "checkpoints"): continue
        assert f"--{name.replace('_', '-')} " in text
        if name not in ("random_state", "workers"): assert f"(default: {value}" in text, name
    assert set(commands._parameters()) == {(name, value, comment) for name, value, comment in commands._parameters() if DDAD().get_params()[name] == value and comment}
    assert [name for name, *_ in commands._parameters()] == list(inspect.signature(DDAD).parameters)
    parse = lambda *options: vars(commands._fit_arguments().parse_args(["normals", "-o", "model", *options]))
    assert parse() == {"normal": ["normals"], "out": "model"}  # what is not given is DDAD's
    assert parse("--k", "5", "--lr", "1e-3", "--holdout", "0.3", "--fpr", "0.1", "--window", "0", "9").items() >= {"k": 5, "lr": 1e-3, "holdout": 0.3, "fpr": 0.1, "window": ["0", "9"]}.items()


@pytest.mark.parametrize("option, message", [("--backbone", "AE, AE-U, MemAE"), ("--variant", "paper or stable"), ("--score", "auto, rec, intra, inter, r_dual"), ("--precision", "float32"), ("--score-precision", "float32"), ("--holdout", "auto")])
def test_what_is_no_choice_is_refused_with_those_that_there_are(place, tmp_path, option, message, capsys):
    assert main_fit([str(place / "normals"), "-o", str(tmp_path / "model"), option, "none such"]) == 2
    err = capsys.readouterr().err
    assert message in err and "'none such'" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("arguments, message", [(["--workers", "-3"], "workers is -3"), (["--fpr", "1.5"], "fpr is 1.5"), (["--device", "tpu"], "device is 'tpu'"), (["--window", "3"], "window is '3'")])
def test_a_wrong_option_of_fit_is_one_sentence(place, tmp_path, arguments, message, capsys):
    assert main_fit([str(place / "normals"), "-o", str(tmp_path / "model"), *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_an_out_that_is_a_file_is_refused(place, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for out in ("file", "file/model"):
        assert main_fit([str(place / "normals"), "-o", str(tmp_path / out)]) == 2
        err = capsys.readouterr().err
        assert str(tmp_path / "file") in err and len(err.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_the_commands_answer_before_they_load_anything_heavy():
    code = "import sys, ddad.detect.commands as c\ntry: c.main_fit(['--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, env=ENV).returncode == 0


def test_a_second_run_into_the_same_folder_waits_for_the_first(place, many, tmp_path):
    arguments = [TOOLS / "ddad-score", str(place / "model"), str(many), "--out", str(tmp_path / "found")]
    first = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=ENV)
    while not has_lines(tmp_path / "found/scores.csv.part")() and first.poll() is None: time.sleep(0.01)
    second = subprocess.run([*arguments[:2], str(place / "new/tuesday"), *arguments[3:]], capture_output=True, text=True, env=ENV)
    assert first.wait() == second.returncode == 0 and first.communicate()[1] == ""
    assert {p.name for p in (tmp_path / "found").iterdir()} == {"scores.csv", "record.json"} and len(rows((tmp_path / "found/scores.csv").read_text())) == 3
