"Pictures can be read at the paper's size, are small and the same each time; those of the pages: tests/test_pages.py."
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from legible import faults
from matplotlib import pyplot as plt

from ddad import plots

REPO = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def check(name, fig):
    assert fig.get_figwidth() in (plots.COLUMN, plots.PAGE), f"{name} is {fig.get_figwidth()} inches wide"
    assert faults(fig) == [], name


def test_the_growth_with_the_number_of_images(monkeypatch):
    spec = importlib.util.spec_from_file_location("scale", REPO / "benchmarks/scale.py")
    scale = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scale)
    saved = {}
    monkeypatch.setattr(plots, "save", lambda fig, path: saved.setdefault(Path(path).name, fig))
    scale.draw(json.loads((REPO / "benchmarks/scale.json").read_text(encoding="utf-8"))["sizes"])
    check("scale", saved["scale"])
    assert {axis for ax in saved["scale"].axes for axis in (ax.get_xscale(), ax.get_yscale())} == {"log"}


def random_maps(rng, n, names=("map 1", "map 2", "map 3", "map 4")):
    return {name: 0.2 + rng.random((n, 1, 64, 64)) ** 8 for name in names}


@pytest.mark.parametrize("normal, abnormal", [(4, 4), (0, 8), (2, 1)])
def test_maps(normal, abnormal):
    rng, n = np.random.default_rng(0), normal + abnormal
    axes = plots.map_grid(rng.integers(0, 256, (n, 1, 64, 64), dtype=np.uint8), random_maps(rng, n),
                          labels=np.arange(n) >= normal)
    fig = axes[0, 0].figure
    assert axes.shape == (5, n) and faults(fig) == [] and fig.get_figwidth() <= plots.PAGE + 1e-9


def test_where_a_map_is_low_the_scan_is_seen_alone():
    "A level that all pixels share gives no tint."
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, 1, 64, 64), dtype=np.uint8)
    level = np.full(image.shape, 0.2)
    level[..., :8, :8] = 0.9
    axes = plots.map_grid(image, {"map": level})
    shown = axes[1, 0].images[0].get_array()
    assert np.allclose(shown[8:], image[0, 0, 8:, :, None] / 255)
    assert not np.allclose(shown[:8, :8], image[0, 0, :8, :8, None] / 255)


def test_a_score_is_neither_blue_nor_red_orange_and_each_has_its_own_colour():
    def rgb(color): return np.array(plt.matplotlib.colors.to_rgb(color))
    for name, color in plots.SCORE_COLORS.items():
        others = [plots.NORMAL, plots.ABNORMAL, *(c for n, c in plots.SCORE_COLORS.items() if n != name)]
        assert min(np.abs(rgb(color) - rgb(other)).max() for other in others) > 0.15, name
    assert len({look["marker"] for look in plots.FAMILIES.values()}) == len(plots.FAMILIES)
