"A user's own method beside ours: the command, its table, and what it says of bad input."
import importlib
import io
import json
import sys
import textwrap
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ddad.core.storage import read_csv
from ddad.method import metrics
from ddad.study.compare import benchmarks_at_hand, find_method, main, run_method
from ddad.study.results import Results

REPO = Path(__file__).parents[1]
TEN_LINES = """
    import torch

    class NearestNormal:
        def fit(self, normal, unlabeled):
            self.normal = normal.flatten(1).float()
            return self

        def score(self, images):
            return torch.cdist(images.flatten(1).float(), self.normal).min(1).values.numpy()

    class NoScore:
        def fit(self, normal, unlabeled): pass

    class TooFew(NearestNormal):
        def score(self, images): return super().score(images)[1:]

    class NotFinite(NearestNormal):
        def score(self, images): return super().score(images) * float("nan")

    class Breaks(NearestNormal):
        def fit(self, normal, unlabeled): raise RuntimeError("out of ideas")
"""


def compare(folder, *words):
    "The command in the user's folder: its status, and what it wrote."
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setenv("DDAD_DATA", str(folder / "nowhere"))
        patch.setattr(sys, "path", ["", *sys.path])
        patch.delitem(sys.modules, "mine", raising=False)
        importlib.invalidate_caches()
        try: main([*map(str, words), "--results", str(REPO / "figures")])
        except SystemExit as stop: status = stop.code
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())


def find_in(folder):
    "The user's class, imported anew."
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        patch.delitem(sys.modules, "mine", raising=False)
        importlib.invalidate_caches()
        return find_method("mine:NearestNormal")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(textwrap.dedent(TEN_LINES))
    return tmp_path


def test_ten_lines_are_compared_and_not_computed_twice(folder):
    asked = "mine:NearestNormal", "--benchmark", "Phantom"
    done = compare(folder, *asked)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2 and "Phantom: AUC 0." in done.stdout and not done.stderr
    table = pd.read_csv(folder / "compare/compare.csv").set_index("method")
    record = json.loads((folder / "compare/Phantom/record.json").read_text())
    assert {"NearestNormal", "DDAD, A_inter (AE)", "nnPU", "Mean intensity"} <= set(table.index)
    scores = read_csv(folder / "compare/Phantom/scores.csv")
    assert table.AUC["NearestNormal"] == pytest.approx(metrics.auc(scores["score"], scores["label"]))
    found = find_in(folder)
    again = run_method(found, "Phantom", folder / "compare/Phantom")
    assert list(again) == scores["score"]
    assert json.loads((folder / "compare/Phantom/record.json").read_text()) == record
    (folder / "mine.py").write_text(textwrap.dedent(TEN_LINES) + "# changed\n")
    run_method(found, "Phantom", folder / "compare/Phantom")
    assert json.loads((folder / "compare/Phantom/record.json").read_text())["source"] != record["source"]


def test_our_own_scores_are_no_better_than_themselves(tmp_path, capsys):
    results, name = Results(REPO / "figures"), "NIH_AE-U_seed0"
    inter = results.images("NIH")[f"{name}:inter"][::-1]
    inter.rename("score").to_csv(tmp_path / "inter.csv")
    with pytest.raises(SystemExit) as stop:
        main(
            ["--scores", str(tmp_path / "inter.csv"), "--results", str(REPO / "figures"), "--out",
             str(tmp_path / "out")])
    assert stop.value.code == 0 and capsys.readouterr().out.startswith("NIH: AUC ")
    table = pd.read_csv(tmp_path / "out/compare.csv").set_index("method")
    assert set(table.benchmark) == {"NIH"}
    assert list(table["rank"]) == list(range(1, len(table) + 1))
    assert len(table) > 10
    assert table.AUC.is_monotonic_decreasing
    assert table.AUC["inter"] == pytest.approx(results.value(name, "inter")) and table.yours.sum() == 1
    rec = results.select("NIH", backbone="AE-U")
    expected = results.value(name, "inter") - np.mean([results.value(run, "rec") for run in rec.index])
    assert table["yours minus it"]["DDAD, A_rec (AE-U)"] == pytest.approx(
        expected), "one run stands beside every seed"


@pytest.mark.parametrize("words, says", [
    (["mine"], "'mine' names no class: write it as my_module:MyMethod."),
    (["theirs:Method"], "There is no module 'theirs' here"),
    (["mine:Missing"], "mine has no class 'Missing'"),
    (["mine:NoScore"], "NoScore has no score"),
    (["mine:TooFew", "--benchmark", "Phantom"], "for 400 images: give one number per image"),
    (["mine:NotFinite", "--benchmark", "Phantom"], "400 of 400 scores are not finite"),
    (["mine:NearestNormal", "--benchmark", "LGG"], "DDAD_DATA"), (["--scores", "no.csv"], "no.csv"),
    (["--scores", "names.csv"], "names.csv has no column 'score'"),
    (["--scores", "few.csv", "--benchmark", "Phantom"], "of 400 test images of Phantom have no score"),
    (["--scores", "few.csv"], "No benchmark was compared"),
    (["--scores", "text.csv"], "text.csv has a score that is no number")])
def test_bad_input_is_one_sentence(words, says, folder):
    (folder / "names.csv").write_text("image\na.png\n")
    (folder / "few.csv").write_text("image,score\na.png,1\n")
    (folder / "text.csv").write_text("image,score\na.png,high\n")
    done = compare(folder, *words)
    code, error = done.returncode, done.stderr
    if isinstance(code, str): code, error = 1, error + code  # as Python itself does with a sentence
    assert code == 1 and says in error and "Traceback" not in error and len(error.splitlines()) == 1
    assert not list(folder.glob("compare/*/record.json")) and not (folder / "compare/compare.csv").exists()


def test_what_breaks_in_the_users_code_is_shown_and_the_rest_goes_on(folder, root):
    done = compare(folder, "mine:Breaks")
    assert done.returncode == 1
    assert "mine.py" in done.stderr
    assert "Phantom: Breaks failed: out of ideas" in done.stderr
    nothing = compare(folder)
    assert nothing.returncode == 2 and "give a class, my_module:MyMethod, or --scores FILE" in nothing.stderr


def test_the_benchmarks_at_hand_are_those_with_images(tmp_path):
    assert benchmarks_at_hand(str(tmp_path)) == ["Phantom"]
