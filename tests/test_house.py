"Five floors: a module imports from floors below its own, and the three wings of floor 4 do not know each other."
import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
FLOOR = {"core": 1, "method": 2, "plots": 3, "features": 3, "datasets": 4, "detect": 4, "rivals": 4,
         "study": 5}
MODULES = sorted(p for p in REPO.glob("ddad/*/*.py") if p.stat().st_size)  # an empty __init__ is none


def imported(path: Path) -> set[str]:
    "The parts of ddad that a module imports, relative and absolute, inside of functions too."
    package, parts_of_ddad = path.relative_to(REPO).parts[:-1], set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import): names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[:len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            names = [f"{module}.{a.name}" for a in node.names]
        else: continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "ddad": parts_of_ddad.add(parts[1] if len(parts) > 1 else "")
    return parts_of_ddad


@pytest.mark.parametrize("path", MODULES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_arrows_point_down(path):
    own = path.parent.name
    for part in imported(path):
        assert part in FLOOR, f"{path} imports ddad.{part}, which is on no floor"
        assert part == own or FLOOR[part] < FLOOR[own], f"{path} of {own} imports {part}"


def test_every_module_has_its_notebook_and_nothing_else_is_exported():
    sources = {p: re.search(r'"#\| default_exp ([\w.]+)"', p.read_text(encoding="utf-8"))
               for p in REPO.glob("nbs/*/*.ipynb")}
    exported = {match[1] for match in sources.values() if match}
    modules = {".".join(p.relative_to(REPO / "ddad").with_suffix("").parts) for p in MODULES}
    assert exported == modules
    for path, match in sources.items():
        if match:
            assert match[1] in (f"{path.parent.name}.{path.stem.split('_', 1)[-1]}",
                                f"{path.parent.name}.__init__")
    assert sorted(p.name for p in REPO.glob("ddad/*.py")) == ["__init__.py", "_modidx.py"]


def test_ruff_finds_nothing():
    command = [sys.executable, "-m", "ruff", "check", "--quiet", "--output-format", "concise", "ddad", "nbs",
               "tests", "benchmarks", "book"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


READ_IN_A_COLUMN = ("method", "features", "guides", "paper")


@pytest.mark.parametrize("path", sorted(REPO.glob("nbs/*/*.ipynb")),
                         ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_lines_fit_the_page(path):
    limit = 88 if path.parent.name in READ_IN_A_COLUMN else 110
    cells = [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    assert [line for c in cells for line in "".join(c["source"]).splitlines() if len(line) > limit] == []


@pytest.mark.parametrize("path", sorted(REPO.glob("nbs/**/*.ipynb")),
                         ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_notebook_has_one_first_heading(path):
    cells = ["".join(c["source"])
             for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "markdown"]
    heads = [line for text in cells
             for line in re.sub(r"```.*?```", "", text, flags=re.S).splitlines() if line.startswith("# ")]
    assert len(heads) == 1 and cells[0].startswith("# "), heads
