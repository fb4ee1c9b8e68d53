"Pictures are small and the same each time; a score is called the same in tables and in figures."
import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from ddad import plots
from ddad.method import metrics
from ddad.method.scores import SCORE_NAMES, score_name


@pytest.fixture
def chart():
    fig, ax = plt.subplots(figsize=(3, 2), layout="constrained")
    ax.plot([0, 1], [0, 1], color=plots.NORMAL, linewidth=5)
    yield fig
    plt.close(fig)


@pytest.mark.parametrize("vector, written", [(True, ["picture.png", "picture.pdf"]), (False, ["picture.png"])])
def test_save_writes_a_pdf_for_charts_alone(chart, tmp_path, vector, written):
    paths = plots.save(chart, tmp_path / "new/picture.png", vector=vector)
    assert [p.name for p in paths] == written and {p.name for p in (tmp_path / "new").iterdir()} == set(written)
    first = [p.read_bytes() for p in paths]
    assert [p.read_bytes() for p in plots.save(chart, tmp_path / "new/picture", vector=vector)] == first


def test_a_png_has_a_palette_and_the_colours_that_were_drawn(chart, tmp_path):
    with Image.open(plots.save(chart, tmp_path / "chart", vector=False)[0]) as im:
        assert im.mode == "P" and im.size == (450, 300) and [round(d) for d in im.info["dpi"]] == [150, 150]
        ours, shown = np.asarray(im.convert("RGB")), plt.imread(tmp_path / "chart.png")
    chart.canvas.draw()
    chart.savefig(tmp_path / "plain.png", dpi=150)
    with Image.open(tmp_path / "plain.png") as im: plain = np.asarray(im.convert("RGB"))
    assert np.abs(ours.astype(int) - plain.astype(int)).max() <= 8 and (ours[0, 0] == 255).all()
    assert tuple(bytes.fromhex(plots.NORMAL[1:])) in {tuple(c) for c in ours.reshape(-1, 3).tolist()}
    assert shown.shape[:2] == (300, 450) and np.allclose(shown[..., :3], ours / 255, atol=1 / 255)


def test_a_score_has_one_name():
    labels = np.arange(8) >= 4
    rows = metrics.results_table({name: np.arange(8.0) for name in ("rec_1", "rec_2", "inter_top", "r_image_dual", "PCA")}, labels, n=10)
    first = [line.split("|")[1].strip() for line in metrics.to_markdown([metrics.single_network(rows), *rows]).splitlines()[2:]]
    assert first == ["A_rec, single network (mean ± std over 2 networks)", "A_rec, network 1 alone", "A_rec, network 2 alone", "A_inter, upper half", "R_image+dual", "PCA"]
    axes = plots.roc_curves({name: np.arange(8.0) for name in ("inter_top", "PCA")}, labels)
    assert [t.get_text() for t in axes.get_legend().get_texts()] == [r"$\mathcal{A}_{inter}$, upper half  1.000", "PCA  1.000"]
    plt.close(axes.figure)
    assert len(set(SCORE_NAMES.values())) == len(SCORE_NAMES) and score_name("r_dual") == "R_dual"
