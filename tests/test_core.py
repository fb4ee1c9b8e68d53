"The ground floor: tables whatever the files are called, whose commit it is, what is installed, bars, and weights that are looked at before they are used."
import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ddad.core import record
from ddad.core.machine import run_jobs
from ddad.core.storage import cached, read_csv, write_csv

QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


# tables


@QUICK
@example(names=["a\nb.png", 'a "b".png', "a,b.png", "a\r\nb.png", "", " a ", "#", "\udcff.png"])
@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1))
def test_any_name_comes_back_as_it_was(tmp_path, names):
    write_csv(tmp_path / "scores.csv", {"image": names, "rec": [0.1] * len(names)})
    assert read_csv(tmp_path / "scores.csv")["image"] == names


def test_a_plain_table_is_written_as_ever(tmp_path):
    write_csv(tmp_path / "scores.csv",
              {"image": ["a.png", "b, c.png"], "label": [0, 1], "rec": [0.1, float("nan")]})
    written = b'image,label,rec\na.png,0,0.1\n"b, c.png",1,nan\n'
    assert (tmp_path / "scores.csv").read_bytes() == written
    with pytest.raises(ValueError): write_csv(tmp_path / "scores.csv", {"image": ["a.png"], "label": []})
    assert (tmp_path / "scores.csv").read_bytes() == written


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


# whose commit

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder, *args):
    own = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *own, *args], cwd=folder, check=True, capture_output=True,
                          text=True).stdout.strip()


def repository(folder, *files):
    "A repository that has committed `files`; gives its commit."
    folder.mkdir(exist_ok=True)
    git(folder, "init", "-q")
    git(folder, "add", "-f", *files)
    git(folder, "commit", "-q", "-m", "all")
    return git(folder, "rev-parse", "HEAD")


def copy(package):
    "Puts the core into a folder called ddad and gives its module `record`."
    shutil.copytree(Path(record.__file__).parent, package / "core",
                    ignore=shutil.ignore_patterns("__pycache__"))
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


# side by side

def jobs(names="abc", epochs=3):
    def run(on_epoch, stop):
        for epoch in range(1, epochs + 1): on_epoch(epoch, 1 / epoch)
        return "done"
    return dict.fromkeys(names, run), dict.fromkeys(names, epochs)


def test_workers_and_threads():
    with pytest.raises(ValueError, match="workers is -3"): run_jobs(*jobs(), workers=-3)
    assert run_jobs({}, {}) == {}
    before = torch.get_num_threads()
    def fails(on_epoch, stop): raise FloatingPointError("the loss is nan")
    with pytest.raises(FloatingPointError): run_jobs({"a": fails}, {"a": 1})
    assert torch.get_num_threads() == before
