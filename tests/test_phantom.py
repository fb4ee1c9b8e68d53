"The embedded benchmark: the same every time, whole or not there, lesions inside the brain and under their masks."

import numpy as np
import pytest

from ddad import load_benchmark
from ddad.datasets import phantom

FEW = dict.fromkeys(phantom.SIZES, 3)


def test_it_is_a_benchmark_with_masks(tmp_path):
    phantom.make_phantom(tmp_path, sizes=FEW, progress=False)
    b = load_benchmark(tmp_path, "Phantom", 64, progress=False)
    assert b.test.shape == (6, 1, 64, 64) and b.masks.shape == b.test.shape
    assert not b.masks[b.labels == 0].any() and b.masks[b.labels == 1].flatten(1).any(1).all()
    assert phantom.make_phantom(tmp_path, sizes=FEW, progress=False).is_dir()
    assert [p.name for p in tmp_path.iterdir()] == ["Phantom"]


@pytest.mark.parametrize(
    "spoil", [lambda folder: (folder / "phantom.json").write_text("{"),
              lambda folder: (folder / "phantom.json").unlink()])
def test_a_folder_that_is_no_such_phantom_is_left_alone(tmp_path, spoil):
    folder = phantom.make_phantom(tmp_path, sizes=FEW, progress=False)
    with pytest.raises(ValueError, match="delete that folder"):
        phantom.make_phantom(tmp_path, seed=1, sizes=FEW, progress=False)
    spoil(folder)
    with pytest.raises(ValueError, match="delete that folder"):
        phantom.make_phantom(tmp_path, sizes=FEW, progress=False)


@pytest.mark.parametrize("kind", phantom.LESIONS)
def test_a_lesion_changes_the_brain_under_its_mask(kind):
    for i in range(3):
        image, mask = phantom.phantom_slice(np.random.default_rng([7, i]), kind)
        healthy, empty = phantom.phantom_slice(np.random.default_rng([7, i]))
        changed = np.abs(image.astype(float) - healthy)
        assert mask.any() and not empty.any()
        assert changed[mask].mean() > 5 * changed[~mask].mean()


def test_an_unknown_lesion_is_refused():
    with pytest.raises(ValueError, match="'fracture'"):
        phantom.phantom_slice(np.random.default_rng(0), "fracture")
