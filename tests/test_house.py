"Four floors: a module imports from floors below its own, and the three wings of floor 3 do not know each other."
import ast
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
FLOOR = {"core": 1, "method": 2, "datasets": 3, "detect": 3, "rivals": 3, "study": 4}
MODULES = sorted(p for p in REPO.glob("ddad/*/*.py") if p.name != "__init__.py")


def imported(path: Path) -> set[str]:
    "The parts of ddad that a module imports, relative and absolute, inside of functions too."
    package, found = path.relative_to(REPO).parts[:-1], set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import): names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[:len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            names = [f"{module}.{a.name}" for a in node.names]
        else: continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "ddad": found.add(parts[1] if len(parts) > 1 else "")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_arrows_point_down(path):
    own = path.parent.name
    for part in imported(path):
        assert part in FLOOR, f"{path} imports ddad.{part}, which is on no floor"
        assert part == own or FLOOR[part] < FLOOR[own], f"{path} of {own} imports {part}"


def test_an_upward_import_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.REPO", tmp_path)
    path = tmp_path / "ddad/method/bad.py"
    path.parent.mkdir(parents=True)
    path.write_text("import ddad.study.run\nfrom ..core import images\ndef f():\n    from ..datasets.check import x\n    from ddad import rivals\n")
    assert imported(path) == {"study", "core", "datasets", "rivals"}


def test_every_module_has_its_notebook_and_nothing_else_is_exported():
    sources = {p.relative_to(REPO / "nbs").parent / p.stem.split("_", 1)[-1] for p in REPO.glob("nbs/*/*.ipynb") if "#| default_exp" in p.read_text(encoding="utf-8")}
    assert {p.relative_to(REPO / "ddad").with_suffix("") for p in MODULES} == sources
    assert sorted(p.name for p in REPO.glob("ddad/*.py")) == ["__init__.py", "_modidx.py"]
