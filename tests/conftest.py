"A tiny benchmark in the Med-AD layout, and a cache folder that is not the user's."
import json
import multiprocessing
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from browsers import chromium, watched
from PIL import Image

SPLITS = {"normal": 48, "unlabeled_normal": 24, "unlabeled_abnormal": 24, "test_normal": 12,
          "test_abnormal": 12}


# a shell that puts the tests into the background has Ctrl-C ignored, in them and in all that they start: tests of Ctrl-C would wait for ever
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN: signal.signal(signal.SIGINT, signal.default_int_handler)

# the longest, so that no process is left with one of them at the end
FIRST = ("test_graph", "test_run", "test_faults", "test_explorer", "test_detector", "test_book")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: FIRST.index(item.path.stem) if item.path.stem in FIRST else len(FIRST))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def words(path):
    "The Markdown of a file; of a notebook, that of its Markdown cells."
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb": return text
    return "\n\n".join("".join(c["source"])
                       for c in json.loads(text)["cells"] if c["cell_type"] == "markdown")


def run_cells(notebook, **parameters):
    "Executes the code of a notebook in this process, and gives its names."
    space = {"display": lambda *_: None, "__name__": "notebook"}
    for cell in json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code": continue
        exec(compile("".join(cell["source"]), str(notebook), "exec"), space)
        if "parameters" in cell["metadata"].get("tags", ()): space |= parameters
    return space


def disc(rng, side, abnormal):
    "A disc of random size and brightness; abnormal: with a bright square in it. Image and mask, (side, side) uint8."
    grid = np.linspace(-1, 1, side)
    image = rng.uniform(60, 160) * (np.hypot(*np.meshgrid(grid, grid)) < rng.uniform(0.6, 0.9))
    image = image + rng.normal(0, 4, (side, side))
    mask = np.zeros((side, side), np.uint8)
    if abnormal:
        y, x = rng.integers(side // 3, side // 2, 2)
        mask[y:y + side // 5, x:x + side // 5] = 255
    return (image + 0.35 * mask).clip(0, 255).astype(np.uint8), mask


def make_discs(root, name="Discs", side=40, seed=0):
    "Writes the benchmark `name` and gives its folder."
    from ddad.datasets.layout import as_repartition
    rng, folder, names = np.random.default_rng(seed), root / name, {}
    for sub in ("images", "masks"): (folder / sub).mkdir(parents=True)
    for split, n in SPLITS.items():
        names[split] = [f"{split}_{i:02d}.png" for i in range(n)]
        for image_name in names[split]:
            image, mask = disc(rng, side, split.endswith("abnormal"))
            Image.fromarray(image).save(folder / "images" / image_name)
            if mask.any(): Image.fromarray(mask).save(folder / "masks" / image_name)
    (folder / "data.json").write_text(json.dumps(as_repartition(names)))
    return folder


@pytest.fixture(scope="module")
def browsers():
    with pytest.importorskip("playwright.sync_api").sync_playwright() as p: yield p


@pytest.fixture(scope="module")
def window(browsers): return watched(chromium(browsers))


@pytest.fixture
def browser(window):
    "A page that opens files alone; at the end nothing may have gone wrong on it."
    yield window
    assert window.wrong == []


@pytest.fixture
def forked(monkeypatch):
    "Images are prepared in processes that are there at once; elsewhere each imports what it needs anew."
    from ddad.datasets import prepare
    monkeypatch.setattr(prepare, "_pool",
                        lambda workers: ProcessPoolExecutor(workers, multiprocessing.get_context("fork")))


@pytest.fixture
def discs(tmp_path):
    "A root of its own that holds the benchmark Discs, free to be damaged."
    make_discs(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    "A root that holds the benchmark Discs, for reading only."
    path = tmp_path_factory.mktemp("Med-AD")
    make_discs(path)
    return path


REPO = Path(__file__).parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    "A wheel of this clone, built where no clone is, and what was printed meanwhile."
    place = tmp_path_factory.mktemp("built")
    shutil.copytree(REPO, place / "source",
                    ignore=shutil.ignore_patterns(".git", ".venv", "runs", "reproduced", "figures", "tests",
                                                  "build", "*.egg-info", "__pycache__"))
    done = subprocess.run(
        [*PIP, "wheel", "-v", "--no-deps", "--no-build-isolation", "-w", str(place),
         str(place / "source")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(place / "source")
    return next(place.glob("*.whl")), done.stdout + done.stderr


@pytest.fixture(scope="session")
def site(built, tmp_path_factory):
    "A folder that the wheel was installed into, without what it depends on."
    place = tmp_path_factory.mktemp("site")
    subprocess.run(
        [*PIP, "install", "--quiet", "--no-deps", "--no-index", "--target", str(place),
         str(built[0])], check=True, capture_output=True)
    return place
