"What can go wrong while files are written and read: every file that is there afterwards is whole, and the same command goes on to the same result."
import csv
import json
import os
import pickle
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from ddad import load_benchmark
from ddad.core.checkpoints import load_weights
from ddad.core.storage import write_json, written
from ddad.core.training import Schedule, fit
from ddad.detect.commands import main_score
from ddad.detect.estimator import DDAD
from ddad.study import opened, results
from ddad.study.command import main as main_run
from ddad.study.config import Config
from ddad.study.run import open_run

REPO, BIN = Path(__file__).parents[1], Path(sys.executable).parent
SETTINGS = dict(benchmark="Discs", k=2, epochs=4, refine_epochs=2, image_size=32, batch_size=16,
                n_unlabeled=24, anomaly_rate=0.5)
QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def command(root, out, **changes):
    return [str(BIN / "ddad-run"), "--data", str(root), "--out", str(out),
            *(f"--{k.replace('_', '-')}={v}" for k, v in (SETTINGS | changes).items())]


def run(root, out, **changes):
    "What ddad-run ends with: nothing, or the sentence of a failure."
    try: main_run(command(root, out, **changes)[1:])
    except SystemExit as stop:
        lines = str(stop.code).splitlines()
        assert lines[0].startswith("ddad-run: ") and len(lines) <= 2 and "Traceback" not in lines[0], lines
        return lines[0]


def check_file(path):
    "Raises where a file is cut off or otherwise not what its name says."
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as f: assert [f.get_tensor(k).numel() for k in f.keys()]
    elif path.suffix in (".json", ".ipynb"): json.loads(path.read_text())
    elif path.suffix == ".csv":
        names, *rows = csv.reader(path.read_text().splitlines())
        assert path.read_text().endswith("\n") and all(len(row) == len(names) for row in rows)
    elif path.suffix == ".png": Image.open(path).load()
    elif path.suffix == ".pdf": assert path.read_bytes().rstrip().endswith(b"%%EOF")
    elif path.suffix == ".md": assert path.read_text().endswith("\n")


def check_files(folder):
    "Checks every file that is not marked as unfinished; gives how many there were."
    whole = [p for p in Path(folder).rglob("*") if p.is_file() and p.suffix not in (".part", ".lock")
             and ".unfinished.ipynb" not in p.name]
    for path in whole: check_file(path)
    return len(whole)


@pytest.fixture(scope="module")
def two_at_once(root, tmp_path_factory):
    "A folder that two processes were told to fill at the same time, with their exit statuses and what they said."
    out = tmp_path_factory.mktemp("both") / "run"
    both = [
        subprocess.Popen(command(root, out), cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                         text=True) for _ in range(2)]
    errors = [p.communicate()[1] for p in both]
    return out, [p.returncode for p in both], errors


# training

def small(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3, padding=1))


BATCHES = torch.randn(3, 5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def train(path, epochs=4, loss=lambda net, x: (net(x) - x).square().mean(), lr=1e-3, batches=BATCHES):
    return fit(small(), lambda epoch: list(batches), loss, path, Schedule(epochs, lr), key="same")


def test_a_nan_loss_stops_the_run_at_once_and_keeps_the_last_good_epoch(tmp_path):
    steps = []
    def loss(net, x):
        steps.append(1)
        # in epoch 3 of 3 steps each
        return (net(x) - x).square().mean() * (float("nan") if len(steps) > 7 else 1)
    with pytest.raises(FloatingPointError, match="loss of net is nan in epoch 3"):
        train(tmp_path / "net.safetensors", loss=loss)
    assert len(steps) == 9 and [p.name for p in tmp_path.glob("[!.]*")] == ["net.unfinished.safetensors"]
    losses = train(tmp_path / "net.safetensors")
    assert len(losses) == 4 and losses == train(tmp_path / "unbroken.safetensors")


def test_weights_that_are_not_finite_stop_it_too(tmp_path):
    with pytest.raises(FloatingPointError, match=r"weights of net are not finite \(\S+\) in epoch 1"):
        train(tmp_path / "net.safetensors", epochs=1, lr=float("inf"), batches=BATCHES[:1])
    assert not list(tmp_path.glob("[!.]*"))


def test_the_first_failure_stops_the_other_networks(tmp_path):
    from ddad.core.machine import Stopped, run_jobs
    def fails(on_epoch, stop): raise FloatingPointError("the first")
    def waits(on_epoch, stop):
        if not stop.wait(20): pytest.fail("nobody told it to stop")
        raise Stopped("told")
    with pytest.raises(FloatingPointError, match="the first"):
        run_jobs({"a": waits, "b": fails}, {"a": 1, "b": 1}, workers=2, progress=False)


# damaged files

@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    train(path)
    return path.read_bytes()


@QUICK
@given(cut=st.floats(0, 1) | st.just(1.0),
       flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)),
                      max_size=8), unfinished=st.booleans())
def test_a_damaged_checkpoint_is_named(checkpoint, tmp_path, cut, flips, unfinished):
    content = bytearray(checkpoint[:int(len(checkpoint) * cut)])
    for at, value in flips:
        if content: content[int(at * len(content))] = value
    path = tmp_path / ("net.unfinished.safetensors" if unfinished else "net.safetensors")
    for old in tmp_path.glob("*.safetensors"): old.unlink()
    path.write_bytes(content)
    for read in (lambda: train(tmp_path / "net.safetensors"), lambda: load_weights(small(), path)):
        try: read()
        except ValueError as e: assert str(path) in str(e) and "\n" not in str(e)


@pytest.mark.parametrize("change, says", [
    (lambda t: t.pop("0.weight"), "does not hold the weights"),
    (lambda t: t.update({"0.bias": torch.full((4,), torch.nan)}), "not finite"),
])
def test_weights_that_do_not_fit(tmp_path, change, says):
    tensors = dict(small().state_dict())
    change(tensors)
    save_file(tensors, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=says) as stop: load_weights(small(), tmp_path / "net.safetensors")
    assert str(tmp_path / "net.safetensors") in str(stop.value)


anything = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                            st.text(), inner, max_size=3), max_leaves=6)


def mutated(tree, where, value):
    "A copy of nested dicts and lists with one entry, chosen by a number, replaced by `value`."
    tree = json.loads(json.dumps(tree))
    places = [(tree, k) for k in tree]
    for holder, k in places:
        inner = holder[k]
        places += [
            (inner, i) for i in (inner if isinstance(inner, dict) else range(len(inner))
                                 if isinstance(inner, list) else ())]
    holder, k = places[where % len(places)]
    holder[k] = value
    return tree


@QUICK
@given(value=anything, where=st.integers(0, 1000), whole=st.booleans())
def test_any_config_and_record_is_read_or_named(tmp_path, value, where, whole):
    config = Config.of("Discs", epochs=1)
    ours = {**vars(config), "data_hash": "hash"}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(value if whole else mutated(ours, where, value)))
    try: open_run(tmp_path, config, "hash")
    except ValueError as e: assert str(tmp_path) in str(e) and "\n" not in str(e)
    record = {"config": ours, "results": [], "images": {"normal": 3}, "training": {}}
    (tmp_path / "runs/x").mkdir(parents=True, exist_ok=True)
    (tmp_path / "runs/x/record.json").write_text(
        json.dumps(value if whole else mutated(record, where, value)))
    for read in (lambda: results.add([tmp_path / "runs/x"], tmp_path / "figures"),
                 lambda: opened.read_run(tmp_path / "runs/x")):
        try: read()
        except ValueError as e: assert "runs/x" in str(e) and "\n" not in str(e)


def test_a_run_of_another_machine_can_be_looked_at(tmp_path):
    (tmp_path / "x").mkdir()
    config = {**vars(Config.of("Discs")), "device": "cuda:7", "compile": True, "a setting of tomorrow": 1}
    write_json(tmp_path / "x/record.json", {"config": config})
    assert opened.read_run(tmp_path / "x").config == config and Config.recorded(config) == Config.of("Discs")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16), dtype=np.uint8)
    return DDAD(k=2, epochs=1, refine_epochs=1, image_size=16, batch_size=16, holdout=0.5, fpr=0.2,
                random_state=0).fit(images).save(tmp_path_factory.mktemp("model") / "model")


@settings(QUICK, max_examples=15)
@given(value=anything | st.just(10**9), where=st.integers(0, 1000), whole=st.booleans())
def test_any_saved_detector_is_loaded_or_named(model, tmp_path, value, where, whole):
    about = json.loads((model / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(value if whole else mutated(about, where, value)))
    (tmp_path / "weights.safetensors").write_bytes((model / "weights.safetensors").read_bytes())
    try: DDAD.load(tmp_path)
    except ValueError as e: assert str(tmp_path) in str(e) and "\n" not in str(e)


# nothing is run

class Evil:
    def __reduce__(self): return os.system, (f"touch {os.environ['EVIL']}",)


def test_untrusted_weights_run_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("EVIL", str(tmp_path / "ran"))
    for where in ("b/0.pth", "b/1.pth"):
        (tmp_path / where).parent.mkdir(exist_ok=True)
        torch.save({"weight": Evil()}, tmp_path / where)
    with pytest.raises(ValueError, match="is no checkpoint of the official code"):
        DDAD.from_official(tmp_path)
    for name in ("net.safetensors", "model.json"): (tmp_path / name).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError): load_weights(small(), tmp_path / "net.safetensors")
    assert not (tmp_path / "ran").exists()


# the disk

def test_a_part_never_takes_the_place_of_a_file_unless_it_is_whole(tmp_path):
    (tmp_path / "x").write_text("old")
    with pytest.raises(RuntimeError), written(tmp_path / "x") as part:
        part.write_text("half")
        raise RuntimeError
    assert (tmp_path / "x").read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["x"]
    with written(tmp_path / "new/x") as part: part.write_text("whole")
    assert (tmp_path / "new/x").read_text() == "whole"


@pytest.fixture
def disk(tmp_path):
    "A function that mounts a disk of so many bytes, or changes it; where that is not allowed, the test is skipped."
    place = tmp_path / "disk"
    place.mkdir()
    def mount(options):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"{'remount,' if place.is_mount() else ''}{options}", "tmpfs",
             str(place)], capture_output=True, text=True) if os.geteuid() == 0 else None
        if done is None or done.returncode: pytest.skip("this user cannot mount a disk")
        return place
    yield mount
    subprocess.run(["umount", "-l", str(place)], capture_output=True)


@pytest.mark.slow
def test_a_full_disk(disk, root, two_at_once):
    place = disk("size=2m")
    message = run(root, place / "run")
    assert "cannot be written (" in message and "space" in message and str(place) in message
    assert check_files(place) and not list(place.rglob("*.part"))
    disk("size=200m")
    assert run(root, place / "run") is None
    assert (place / "run/scores.csv").read_bytes() == (two_at_once[0] / "scores.csv").read_bytes()
    assert check_files(place) > 10


def test_a_full_disk_while_scores_are_written(disk, model, tmp_path, capsys):
    for i in range(40):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (64, 64), dtype=np.uint8)).save(
            tmp_path / f"{i}.png")
    place = disk("size=100k")
    score = lambda out: main_score(
        [str(model), *map(str, sorted(tmp_path.glob("*.png"))), "--out", str(out), "--overlays", "all"])
    assert score(place / "out") == 2 and "No space left" in capsys.readouterr().err
    assert not (place / "out/scores.csv").exists() and check_files(place)
    assert {p.name for p in place.rglob("*.part")} == {"scores.csv.part"}, "what is scored is kept"
    disk("size=20m")
    assert score(place / "out") == 0 and score(tmp_path / "unbroken") == 0
    assert (place / "out/scores.csv").read_bytes() == (tmp_path / "unbroken/scores.csv").read_bytes()
    assert not list(place.rglob("*.part")) and len(list((place / "out/overlays").iterdir())) == 40


def test_a_folder_that_cannot_be_written_to(disk, root, model, tmp_path, capsys):
    place = disk("size=20m")
    (place / "a").mkdir()
    disk("ro")
    message = run(root, place / "a/run")
    assert "cannot be written" in message or "Read-only" in message
    capsys.readouterr()
    assert main_score(
        [str(model), str(root / "Discs/images/normal_00.png"), "--out", str(place / "out")]) == 2
    assert "ead-only" in capsys.readouterr().err
    for write in (lambda: write_json(place / "a/x.json", {}), lambda: train(place / "a/net.safetensors")):
        with pytest.raises(OSError, match="cannot be written.*choose a folder"): write()


def test_a_cache_that_cannot_be_written_is_done_without(disk, root, monkeypatch, capsys):
    expected = load_benchmark(root, "Discs", 32, progress=False)
    for options in ("size=20k", "ro"):
        monkeypatch.setenv("DDAD_CACHE", str(disk(options) / options))
        found = load_benchmark(root, "Discs", 32, progress=False)
        assert found.hash == expected.hash and torch.equal(found.test, expected.test)
        assert "cannot be written" in (error := capsys.readouterr().err)
        assert "DDAD_CACHE" in error
        assert error.count("\n") == 1
    assert not [p for p in disk("ro").rglob("*") if p.suffix in (".safetensors", ".part")]


# two at once

@pytest.mark.slow
def test_two_runs_in_one_folder_wait_for_each_other(two_at_once):
    out, statuses, errors = two_at_once
    assert statuses == [0, 0], errors
    assert sum("by another process: waiting for it" in e for e in errors) == 1
    assert check_files(out) > 10 and not list(out.rglob("*.part"))


# kill -9

@pytest.mark.slow
def test_killed_at_random_moments(root, tmp_path):
    settings = dict(epochs=60, refine_epochs=12)
    out, start = tmp_path / "unbroken", time.time()
    assert run(root, out, **settings) is None
    duration, expected, draw = time.time() - start, (out / "scores.csv").read_bytes(), random.Random(0)
    out = tmp_path / "run"
    for _ in range(20):
        process = subprocess.Popen(command(root, out, **settings), cwd=REPO, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        while not (out / "config.json").exists() and process.poll() is None: time.sleep(0.01)
        try: process.wait(draw.uniform(0, 0.7 * duration))
        except subprocess.TimeoutExpired:
            family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
            for p in family:
                try: p.kill()
                except psutil.NoSuchProcess: pass
            psutil.wait_procs(family)
            process.wait()
        assert check_files(out)
    assert run(root, out, **settings) is None and (out / "scores.csv").read_bytes() == expected
