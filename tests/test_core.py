"The ground floor: tables whatever the files are called, whose commit it is, what is installed, bars, and weights that are looked at before they are used."
import importlib.util
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddad.core import machine, record, storage
from ddad.core.checkpoints import about_checkpoint
from ddad.core.machine import Machine, run_jobs
from ddad.core.storage import cached, markdown, read_csv, read_json, write_csv, write_json
from ddad.core.training import Schedule, fit

QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


# tables

ODD = ["a\nb.png", 'a "b".png', "a,b.png", "a\rb.png", "a\r\nb.png", "'", '"', "", " a ", "#", "脳.png", "\udcff.png"]


def test_a_name_may_hold_what_it_likes(tmp_path):
    columns = {"image": ODD, "label": list(range(len(ODD))), "inter": [1 / 3] * len(ODD)}
    write_csv(tmp_path / "scores.csv", columns)
    assert read_csv(tmp_path / "scores.csv") == columns


@QUICK
@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1))
def test_any_name_comes_back_as_it_was(tmp_path, names):
    write_csv(tmp_path / "scores.csv", {"image": names, "rec": [0.1] * len(names)})
    assert read_csv(tmp_path / "scores.csv")["image"] == names


def test_a_plain_table_is_written_as_ever(tmp_path):
    write_csv(tmp_path / "scores.csv", {"image": ["a.png", "b, c.png"], "label": [0, 1], "rec": [0.1, float("nan")]})
    written = b'image,label,rec\na.png,0,0.1\n"b, c.png",1,nan\n'
    assert (tmp_path / "scores.csv").read_bytes() == written
    with pytest.raises(ValueError): write_csv(tmp_path / "scores.csv", {"image": ["a.png"], "label": []})
    assert (tmp_path / "scores.csv").read_bytes() == written


def test_a_markdown_row_is_one_line_with_as_many_cells(tmp_path):
    rows = [{"name": "|x - mean|", "AUC": 0.5}, {"name": "two\nlines", "AUC": None}]
    assert markdown(rows).splitlines()[2:] == [r"| \|x - mean\| | 0.500 |", "| two lines |  |"]


def test_a_key_that_stands_there_twice_is_named(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    assert read_json(tmp_path / "a.json") == {"a": 1}
    (tmp_path / "a.json").write_text('{"b": {"a": 1, "c": 2, "a": 3}}')
    with pytest.raises(ValueError, match="a.json is not JSON .*the key 'a' stands there twice.*do this"): read_json(tmp_path / "a.json", "do this")


# the cache

def test_the_cache_is_made_once_and_again_where_it_is_damaged(tmp_path):
    made = []
    def make():
        made.append(1)
        return {"x": torch.arange(3)}, f"hash {len(made)}"
    path = tmp_path / "folder/x.safetensors"
    for _ in range(2): tensors, content = cached(path, make)
    assert content == "hash 1" and tensors["x"].tolist() == [0, 1, 2] and len(made) == 1
    path.write_bytes(path.read_bytes()[:-1])
    assert cached(path, make)[1] == "hash 2" and cached(path, make)[1] == "hash 2" and len(made) == 2


def test_what_is_in_the_cache_needs_no_lock(tmp_path, monkeypatch):
    cached(tmp_path / "x.safetensors", lambda: ({"x": torch.ones(1)}, "hash"))
    monkeypatch.setattr(storage, "alone", lambda path: pytest.fail("it asked for the lock"))
    assert cached(tmp_path / "x.safetensors", lambda: pytest.fail("it was made again"))[1] == "hash"


# whose commit

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder, *args):
    own = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *own, *args], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def repository(folder, *files):
    "A repository that has committed `files`; gives its commit."
    folder.mkdir(exist_ok=True)
    git(folder, "init", "-q")
    git(folder, "add", "-f", *files)
    git(folder, "commit", "-q", "-m", "all")
    return git(folder, "rev-parse", "HEAD")


def copy(package):
    "Puts the core into a folder called ddad and gives its module `record`."
    shutil.copytree(Path(record.__file__).parent, package / "core", ignore=shutil.ignore_patterns("__pycache__"))
    spec = importlib.util.spec_from_file_location("a_copy_of_record", package / "core/record.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_git
def test_the_commit_is_ddads_own(tmp_path):
    ours = copy(tmp_path / "ddad")
    assert ours.commit() == "unknown"
    for name in ("ddad/method/scores.py", "nbs/method/04_scores.ipynb", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    head = repository(tmp_path, "ddad", "nbs", "README.md")
    assert ours.commit() == head
    (tmp_path / "README.md").write_text("2")
    (tmp_path / "ddad/notes.txt").write_text("not tracked")
    assert ours.commit() == head
    for name in ("ddad/method/scores.py", "nbs/method/04_scores.ipynb"):
        (tmp_path / name).write_text("2")
        assert ours.commit() == f"{head}+changes"
        (tmp_path / name).write_text("1")
    assert ours.commit() == head


@needs_git
@pytest.mark.parametrize("tracked", [False, True], ids=["ignored", "tracked"])
def test_the_commit_of_another_repository_is_none_of_ours(tmp_path, tracked):
    (tmp_path / "thesis.tex").write_text("1")
    theirs = copy(tmp_path / ".venv/lib/python3/site-packages/ddad")
    repository(tmp_path, "thesis.tex", *([".venv"] if tracked else []))
    assert theirs.commit() == "unknown"


def test_the_commit_is_unknown_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert record.commit() == "unknown"


# what is installed

def test_a_package_that_is_missing_is_left_out_of_the_versions(monkeypatch):
    def version(package):
        if package in ("nilearn", "papermill", "ddad"): raise record.PackageNotFoundError(package)
        return "1.0"
    monkeypatch.setattr(record, "version", version)
    found = record.environment(torch.device("cpu"))
    assert list(found) == ["versions", "system", "processor", "cores", "device"] and found["device"] == "cpu"
    assert list(found["versions"]) == ["python", "torch", "numpy", "pillow", "scikit-learn", "scipy", "safetensors"]


def test_a_stage_is_measured_and_a_failed_one_is_not():
    stages = record.Stages()
    with stages("train"): kept = torch.ones(10_000_000)
    with pytest.raises(RuntimeError), stages("score"): raise RuntimeError
    assert list(stages.record) == ["train"] and kept.sum() == 10_000_000
    assert stages.record["train"]["seconds"] >= 0 and stages.record["train"]["peak_memory_mb"] > 0


# side by side

def jobs(names="abc", epochs=3):
    def run(on_epoch, stop):
        for epoch in range(1, epochs + 1): on_epoch(epoch, 1 / epoch)
        return "done"
    return dict.fromkeys(names, run), dict.fromkeys(names, epochs)


class Terminal(io.StringIO):
    def isatty(self): return True


@pytest.mark.parametrize("kind, progress, shown", [(io.StringIO, None, False), (io.StringIO, True, True), (io.StringIO, False, False), (Terminal, None, True), (Terminal, True, True), (Terminal, False, False)])
def test_a_bar_is_drawn_on_a_terminal_and_elsewhere_where_it_is_asked_for(monkeypatch, kind, progress, shown):
    stderr = kind()
    monkeypatch.setattr(sys, "stderr", stderr)
    assert run_jobs(*jobs(), progress=progress) == dict.fromkeys("abc", "done")
    said = stderr.getvalue()
    assert ("9/9" in said and "epoch" in said) == shown and bool(said) == shown


def test_a_machine_shows_its_bar_as_its_jobs_do(capsys):
    Machine("cpu").run(jobs()[0], 3)
    assert capsys.readouterr().err == ""
    Machine("cpu", progress=True).run(jobs()[0], 3, desc="refining")
    assert "refining" in capsys.readouterr().err


def test_the_bar_counts_what_was_loaded_and_names_what_runs(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = machine._Bar({"a": 4, "b": 4}, "training", True)
    bar.tell("a", 1, 0.5)
    bar.tell("b", 4)  # it was there already
    assert bar.bar.n == 5 and bar.bar.postfix == "a 0.5000"
    bar.tell("a", 4, 0.25)
    assert bar.bar.n == 8 and not bar.bar.postfix
    bar.bar.close()


def test_workers_and_threads():
    with pytest.raises(ValueError, match="workers is -3"): run_jobs(*jobs(), workers=-3)
    assert run_jobs({}, {}) == {}
    before = torch.get_num_threads()
    def fails(on_epoch, stop): raise FloatingPointError("the loss is nan")
    with pytest.raises(FloatingPointError): run_jobs({"a": fails}, {"a": 1})
    assert torch.get_num_threads() == before


# a training is taken up

def test_the_header_adds_up_over_sessions_and_asks_what_else_there_is_to_say_once(tmp_path):
    batches, asked = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0)), []
    def about():
        asked.append(1)
        return {"commit": "abc"}
    def train(epochs, until=None):
        torch.manual_seed(0)
        stop = machine.threading.Event()
        def on_epoch(epoch, loss, net):
            assert not net.training
            if epoch == until: stop.set()
        return fit(torch.nn.Linear(2, 2), lambda epoch: list(batches), lambda net, x: (net(x) - x).square().mean(), tmp_path / "net.safetensors", Schedule(epochs, 1e-2), key="k", about=about, on_epoch=on_epoch, stop=stop)
    with pytest.raises(machine.Stopped): train(4, until=2)
    broken_off = about_checkpoint(tmp_path / "net.unfinished.safetensors")
    assert len(broken_off["losses"]) == 2 and set(broken_off) == {"losses", "seconds"} and not asked
    losses = train(4)
    header = about_checkpoint(tmp_path / "net.safetensors")
    assert header == {"losses": losses, "seconds": header["seconds"], "commit": "abc"} and losses[:2] == broken_off["losses"]
    assert train(4) == losses and len(asked) == 1 and not (tmp_path / "net.unfinished.safetensors").exists()
