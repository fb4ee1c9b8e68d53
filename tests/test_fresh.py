"No committed page is stale, and no change of arithmetic goes unnoticed."
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ddad.method.recipe import NUMERICS, Recipe, train_ddad
from ddad.method.scores import predict_maps, image_scores
from ddad.study import freshness
from ddad.study.graph import PAGES, Request, make_plan
from ddad.study.notebooks import execute

REPO = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "data/golden.json"


@pytest.fixture(scope="module")
def plan():
    config = yaml.safe_load((REPO / "nbs/paper/config.yaml").read_text(encoding="utf-8"))
    return make_plan(Request.of(config | {"benchmarks": ""}))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_made_from_what_is_here(page, plan, monkeypatch):
    monkeypatch.chdir(REPO)
    source, executed = REPO / f"nbs/paper/{page}.ipynb", REPO / f"figures/{page}.ipynb"
    again = "run `make figures` and commit what it changes"
    assert freshness.code_cells(source) == freshness.code_cells(executed), f"{page} was executed from other code: {again}"
    files = [*sorted(Path("nbs/paper/data").glob("*.csv")), *plan.page_inputs(page)]
    now, then = freshness.stamp(source, files), freshness.stamp_of(executed)
    assert now == then, f"{page} is stale, its {[k for k in now if now[k] != then.get(k)]} changed: {again}"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_ends_in_its_answer(page):
    *_, title, last = json.loads((REPO / f"figures/{page}.ipynb").read_text(encoding="utf-8"))["cells"]
    assert "".join(title["source"]).startswith("## Answer")
    said = "".join(last["outputs"][-1]["data"]["text/markdown"]).strip()
    assert said == (REPO / f"figures/answers/{page}.md").read_text(encoding="utf-8").strip() and said.startswith("**")


def test_a_stamp_tells_what_changed(tmp_path):
    notebook = {"cells": [{"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": ["x = 1"], "execution_count": None, "outputs": []}, {"cell_type": "code", "metadata": {}, "source": ["from ddad.core import images\nx"], "execution_count": None, "outputs": []}],
                "metadata": {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}, "nbformat": 4, "nbformat_minor": 5}
    source, record, page = tmp_path / "page.ipynb", tmp_path / "runs/one/record.json", tmp_path / "out.ipynb"
    source.write_text(json.dumps(notebook))
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    (record.parent / "scores.csv").write_text("image\n")
    execute(source, page, {"x": 2}, progress=False, results=[str(record)])
    assert freshness.code_cells(page) == freshness.code_cells(source) and freshness.stamp_of(page) == freshness.stamp(source, [record])
    (record.parent / "scores.csv").write_text("image\na.png\n")
    assert {k for k, v in freshness.stamp(source, [record]).items() if v != freshness.stamp_of(page)[k]} == {"results"}
    notebook["cells"][1]["source"] = ["from ddad.core import storage\nx"]
    source.write_text(json.dumps(notebook))
    assert {k for k, v in freshness.stamp(source, [record]).items() if v != freshness.stamp_of(page)[k]} == {"results", "notebook", "modules"}


def tiny(backbone, folder):
    "The scores of a training of seconds, in float32."
    rng = np.random.default_rng(0)
    normal, unlabeled, test = (torch.from_numpy(rng.integers(0, 256, (n, 1, 32, 32), dtype=np.uint8)) for n in (24, 16, 6))
    recipe = Recipe(backbone=backbone, k=2, epochs=2, refine_epochs=1, image_size=32, batch_size=8, precision="float32")
    trained = train_ddad(recipe, normal, unlabeled, folder, seed=5)
    maps = predict_maps(test, trained.udm, trained.ndm)
    found = {name: image_scores(maps[name]).tolist() for name in ("rec", "intra", "inter")}
    return found | {f"loss of {name}": losses for name, losses in trained.losses.items()}


@pytest.mark.parametrize("backbone", ["AE", "AE-U", "MemAE"])
def test_a_change_of_arithmetic_or_seeds_raises_the_version(backbone, tmp_path):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert golden["numerics"] == NUMERICS, "NUMERICS was raised: make tests/data/golden.json anew with `python tests/test_fresh.py`"
    found = tiny(backbone, tmp_path)
    assert list(found) == list(golden[backbone])
    for name, values in golden[backbone].items():
        assert found[name] == pytest.approx(values, rel=2e-3), f"{name} changed: raise NUMERICS in nbs/method/07_recipe.ipynb, so that older results are told apart"


if __name__ == "__main__":
    import tempfile
    made = {"numerics": NUMERICS}
    for backbone in ("AE", "AE-U", "MemAE"):
        with tempfile.TemporaryDirectory() as folder: made[backbone] = tiny(backbone, folder)
    GOLDEN.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
