"The notebooks for readers run from top to bottom, here with few images and epochs."
from pathlib import Path

import pytest

from ddad.study.notebooks import execute

GUIDES = Path(__file__).parents[1] / "nbs/guides"


FEW = {"start": dict(n=100, epochs=1), "own_data": dict(n=50, epochs=1)}


@pytest.mark.parametrize("name, parameters", FEW.items())
def test_it_runs(name, parameters, tmp_path):
    page = execute(GUIDES / f"{name}.ipynb", tmp_path / f"{name}.ipynb", parameters, progress=False)
    assert "score" in page.read_text()
