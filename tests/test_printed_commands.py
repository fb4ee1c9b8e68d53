"""Every command that the README and the guides print is executed as it stands there, in a folder of its own, with images of a few pixels.

Epochs come from the variable DDAD_EPOCHS. What needs a network, a cluster, a GPU or hours is planned, or named below with what is executed in its
stead. A command that is printed anew is executed, too: it fails here unless it works in such a folder or is excepted.
"""
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import disc, words
from PIL import Image

from ddad.datasets.registry import shipped_labels

REPO, BIN = Path(__file__).parents[1], Path(sys.executable).parent
PAGES = [REPO / "README.md", *sorted((REPO / "nbs/guides").glob("*.ipynb"))]
BEGINS = re.compile(r"(ddad-[a-z]+|make|pip install|python|snakemake|papermill)( |$)")
FENCED = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def commands_of(text):
    "The commands that a text prints, in its order, without their comments; each once."
    printed = []
    for part in re.split(r"(^```.*?^```)", text, flags=re.DOTALL | re.MULTILINE):
        if block := FENCED.match(part): printed += block[1].splitlines()
        elif not part.startswith("```"): printed += filter(BEGINS.match, INLINE.findall(part))
    return list(dict.fromkeys(filter(None, (re.sub(r"(^|\s+)#.*", "", line).strip() for line in printed))))


# what is executed in the stead of commands that need hours, a network, a GPU or a cluster, or that run this test
EXCEPTED = {
    "pip install .": "ddad-fit --help",
    "make results ADD=\"reproduced/runs/NAME\"": "make -n results ADD=reproduced/runs/NAME",
    "python benchmarks/gpu.py": "python benchmarks/gpu.py --help",
    "papermill nbs/paper/run.ipynb out.ipynb -p benchmark BrainTumor -p backbone AE":
        "papermill nbs/paper/run.ipynb out.ipynb -p benchmark BrainTumor -p backbone AE -p epochs 1 -p refine_epochs 1",
    "ddad-data prepare RSNA --source stage_2_train_images/ --root ~/Med-AD": "ddad-data prepare --help",
    "ddad-data download RSNA --root ~/Med-AD":
        "DDAD_ZENODO=http://127.0.0.1:9 ddad-data download RSNA --root ~/Med-AD",  # nothing answers there
}
DRY = re.compile(r"make (test|test-slow|book|benchmark|install|explore|figures)")
HOURS = re.compile(r"make (reproduce|results) (?!.*--plan)")
SLOW = re.compile(
    r"make reproduce|papermill|snakemake|ddad-(run|compare)(?!.*--(help|scores))|ddad-data (check|repartition|prepare LGG)")
# others: 0; check gives 1 where it finds something
STATUS = {"ddad-data check": (0, 1), "ddad-data download": (2,)}


def executed(command):
    "What is executed for a printed command."
    tool = re.fullmatch(r"(ddad-[a-z]+)( --[a-z-]+)?", command)
    if command in EXCEPTED: return EXCEPTED[command]
    if DRY.fullmatch(command): return command.replace("make ", "make -n ")
    if HOURS.match(command):
        command = command.replace("make results", "make reproduce")
        return command.replace("ARGS='", "ARGS='--plan ") if "ARGS='" in command else f"{command} ARGS=--plan"
    return f"{tool[1]} --help | grep -e '{(tool[2] or ' --help').strip()}'" if tool else command


# what the commands name

def picture(path, rng, abnormal=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(disc(rng, 32, abnormal)[0]).save(path)


METHOD = """
import torch

class {name}:
    def fit(self, normal, unlabeled): self.mean = normal.float().mean(0)
    def score(self, images): return (images.float() - self.mean).abs().flatten(1).mean(1).numpy()
"""


def make_named(place):
    "The folders and files of a user."
    rng = np.random.default_rng(0)
    for folder, count in {"normals": 96, "healthy": 96, "ward": 24, "new": 4, "sick": 40,
                          "scanner_b_normals": 24}.items():
        for i in range(count):
            picture(place / folder / f"{folder}_{i}.png", rng,
                    folder == "sick" or (folder in ("ward", "new") and i % 2 == 1))
    images = [p.name for folder in ("normals", "healthy", "sick") for p in (place / folder).iterdir()]
    (place / "patients.csv").write_text("image,patient\n"
                                        + "".join(f"{name},{name.split('.')[0]}\n" for name in images))
    (place / "my_module.py").write_text(
        "".join(METHOD.format(name=name) for name in ("MyMethod", "NearestNormal")))
    table = shipped_labels("NIH")
    test = [image for image, split in zip(table["image"], table["split"]) if split.startswith("test")]
    (place / "mine.csv").write_text("image,score\n"
                                    + "".join(f"{image},{i % 97}\n" for i, image in enumerate(test)))


def make_lgg(source):
    "Files named as LGG's owners name them."
    rng = np.random.default_rng(0)
    source.mkdir()
    for name in shipped_labels("LGG")["image"]:
        shades = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(shades).save(source / f"{Path(name).stem}.tif")
        Image.fromarray(shades[..., 0] // 128 * 255).save(source / f"{Path(name).stem}_mask.tif")


def make_clone(place):
    "What a clone has, with the environment of these tests in the place of one that `make` would set up."
    for path in REPO.iterdir():
        if path.name not in (".git", ".venv", "runs", "reproduced", "pages", "_book", "figures"):
            (place / path.name).symlink_to(path)
    shutil.copytree(REPO / "figures", place / "figures")
    (place / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        if (BIN.parent / name).exists(): (place / ".venv" / name).symlink_to(BIN.parent / name)
    (place / ".venv/.installed").touch()


def environment(home, **more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DDAD_")
            and k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return kept | {"HOME": str(home), "DDAD_CACHE": str(home / "cache"), "DDAD_EPOCHS": "1"} | more


@pytest.fixture(scope="module")
def home(tmp_path_factory): return tmp_path_factory.mktemp("home")


def execute(commands, place, env):
    "Gives them to the shell in turn; the first that fails is told with all that it said."
    for printed in commands:
        command = executed(printed)
        done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=place, env=env,
                              capture_output=True, text=True)
        may = next((status for begin, status in STATUS.items() if f" {command}".find(f" {begin}") >= 0), (0,))
        assert done.returncode in may and "Traceback" not in done.stderr, f"{printed}\nexecuted as: {command}\nstatus {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


def needs_a_clone(command): return re.match(r"make |python |snakemake |papermill |pip |ddad-compare ", command)


@cache
def pages():
    "The commands of each page. What needs a clone and no files of a user's is executed for the first page that prints it."
    known, printed = set(), {}
    for path in PAGES:
        commands = commands_of(words(path))
        printed[path.name] = [c for c in commands if c not in known or not needs_a_clone(c)]
        known |= set(commands)
    return printed


def prepare(place, home, commands):
    make_named(place)
    if any("kaggle_3m" in c for c in commands): make_lgg(place / "kaggle_3m")


def test_quick_commands_of_the_readme_work_in_a_clone(home, tmp_path):
    commands = [c for c in pages()["README.md"] if not SLOW.match(executed(c))]
    make_clone(tmp_path)
    prepare(tmp_path, home, commands)
    execute(commands, tmp_path,
            environment(home, PYTHONPATH=str(REPO), PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}"))


@pytest.mark.slow
@pytest.mark.parametrize("page", [p.name for p in PAGES])
@pytest.mark.parametrize("installed", ["clone", "wheel"])
def test_all_commands_work(installed, page, tmp_path, request):
    commands, home = pages()[page], tmp_path / "home"
    place = tmp_path / "place"
    for folder in (home, place): folder.mkdir()
    if installed == "wheel": commands = [c for c in commands if not needs_a_clone(c)]
    if not commands: pytest.skip("it prints none")
    if installed == "clone": make_clone(place)
    site = request.getfixturevalue("site") if installed == "wheel" else REPO
    prepare(place, home, commands)
    if page == "reproduce.ipynb": make_med_ad(home, site)
    execute(commands, place,
            environment(home, PYTHONPATH=str(site),
                        PATH=os.pathsep.join([str(site / "bin"), str(BIN), os.environ["PATH"]])))


def make_med_ad(home, site):
    "A Med-AD folder with LGG in it, as the page on data makes one."
    make_lgg(home / "kaggle_3m")
    execute([f"ddad-data prepare LGG --source {home}/kaggle_3m --root {home}/Med-AD"], home,
            environment(home, PYTHONPATH=str(site), PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}"))


def test_every_command_is_met_and_every_exception_is_printed():
    printed = {c for commands in pages().values() for c in commands}
    assert len(printed) > 30
    assert {"make reproduce", "ddad-fit normals/ --unlabeled ward/ -o model/"} <= printed
    assert all(BEGINS.match(c) for c in printed), "a block of another kind of command"
    assert set(EXCEPTED) <= printed, "nobody prints these any more"
