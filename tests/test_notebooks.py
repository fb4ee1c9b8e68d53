"The notebooks are the source: package and notebooks are in step, cleaned, and every relative link leads to a file."
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import words

REPO = Path(__file__).parents[1]
NOTEBOOKS = sorted(p for p in REPO.glob("nbs/**/*.ipynb") if p.parent.name != "paper")


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for d in ("ddad", "nbs")
            for p in sorted((folder / d).rglob("*")) if p.suffix in (
                ".py", ".ipynb") and ".ipynb_checkpoints" not in p.parts}


def test_exporting_and_cleaning_changes_nothing(tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(
        REPO, copy, ignore=shutil.ignore_patterns(".git", ".venv", "runs", "figures", "tests", "__pycache__"))
    for tool in ("nbdev_export", "nbdev_clean"):
        subprocess.run([str(Path(sys.executable).parent / tool)], cwd=copy, check=True, capture_output=True)
    ours, fresh = files(REPO), files(copy)
    assert [p for p in ours | fresh if ours.get(p) != fresh.get(p)] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_was_run_to_its_end_without_an_error(path):
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    outputs = [o for c in cells for o in c["outputs"]]
    assert outputs and not [o for o in outputs if o["output_type"] == "error"]


def test_the_run_notebook_takes_every_setting():
    from dataclasses import fields

    import papermill

    from ddad.study.config import Config
    taken = papermill.inspect_notebook(REPO / "nbs/paper/run.ipynb")
    assert {f.name for f in fields(Config)} | {"data_root", "out", "store", "weights"} == set(taken)


def test_a_step_of_the_method_is_ten_lines_and_shows_real_scans():
    cells = json.loads((REPO / "nbs/method/00_method.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    shown = [c for c in code if not c.startswith("#| hide")]
    assert len(shown) >= 6 and all(len([line for line in c.splitlines() if line]) <= 10 for c in shown)
    assert sum("assert" in c for c in code) >= 6, "each step is checked against the package"
    assert "800 known-normal and 800 unlabeled images" in json.dumps(
        cells), "committed outputs show real scans, all of them"


PAGES = sorted([*REPO.glob("nbs/**/*.ipynb"), *REPO.glob("figures/*.ipynb")])
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)[^)]*\)|^\s*\[[^\]]+\]:\s*(\S+)|\b(?:href|src)=[\"']([^\"']+)",
                  re.MULTILINE)
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def links(text):
    "The relative links in Markdown, without what stands behind # or ?."
    found = (urlsplit(next(filter(None, groups))) for groups in LINK.findall(CODE.sub("", text)))
    return [unquote(link.path) for link in found if not link.scheme and not link.netloc and link.path]


def broken(path): return [link for link in links(words(path)) if not (path.parent / link).exists()]


@pytest.mark.parametrize("path", [REPO / "README.md", *PAGES], ids=lambda p: str(p.relative_to(REPO)))
def test_links_lead_to_files(path): assert broken(path) == []
