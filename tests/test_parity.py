"Every number of the official networks and scores, and of anomalib's PaDiM and PatchCore, against ours (data/parity.md)."
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ddad.method import networks, refine, scores
from ddad.rivals import frozen

FIXTURES = np.load(Path(__file__).parent / "data" / "parity.npz")


def u(shape, salt):
    "The pseudo-random numbers in [-0.5, 0.5) of the fixtures' README."
    k, mask = np.arange(np.prod(shape, dtype=np.int64), dtype=np.uint64), np.uint64(2**32 - 1)
    h = (k * np.uint64(2654435761) + np.uint64(salt * 40503 + 12345)) & mask
    h = ((h ^ (h >> np.uint64(15))) * np.uint64(2246822519)) & mask
    return torch.from_numpy((h / 2**32 - 0.5).reshape(shape).astype(np.float32))


def fill(net, s=0):
    "Network number s with the fixtures' weights, in eval mode."
    state = net.state_dict()
    for i, (name, t) in enumerate(state.items()):
        v = u(tuple(t.shape), 1000 * s + i)
        if name.endswith("num_batches_tracked"): v = torch.zeros_like(t)
        elif name.endswith("running_var"): v = 1 + 0.2 * v
        elif name.endswith("running_mean") or name.endswith(".bias"): v = 0.1 * v
        elif t.ndim == 1: v = 1 + 0.2 * v
        else: v = v * 2 * (3 / t[0].numel()) ** 0.5
        state[name] = v
    net.load_state_dict(state)
    return net.eval()


def same(ours, official):
    a, b = np.asarray(ours.detach(), dtype=np.float64), np.asarray(official, dtype=np.float64)
    assert a.shape == b.shape
    assert np.linalg.norm(a - b) / np.linalg.norm(b) < 1e-4


@pytest.fixture(scope="module")
def x():
    return 2 * u((2, 1, 64, 64), 7)


def load(name, net=None):
    f = {key.partition("/")[2]: FIXTURES[key] for key in FIXTURES if key.partition("/")[0] == name}
    if net is not None:
        assert [f"{k} {tuple(t.shape)}" for k, t in net.state_dict().items()] == [str(k) for k in f["keys"]]
    return f


def test_ae(x):
    net = fill(networks.AE())
    f = load("ae", net)
    same(net(x), f["output"])
    same(net.encode(x), f["latent"])


def test_aeu(x):
    net = fill(networks.AEU())
    f = load("aeu", net)
    for ours, key in zip(net(x), ("mean", "logvar")): same(ours, f[key])


@pytest.mark.parametrize("shrink", [0.0, 0.04])
def test_memae(x, shrink):
    net = fill(networks.MemAE(shrink=shrink))
    f = load(f"memae_shrink{shrink}", net)
    output, attention = net(x)
    same(output, f["output"])
    same(attention, f["attention"])
    same(networks.attention_entropy(attention), f["entropy"])


def test_refine():
    net = fill(networks.ASRNet())
    f = load("refine", net)
    maps = u((2, 2, 64, 64), 9).abs()
    logits = net(maps)
    same(logits, f["logits"])
    same(refine.refined_map(net, maps).mean(dim=(1, 2, 3)), f["score"])
    same(refine.focal_loss(logits.softmax(1), u((2, 64, 64), 11) > 0.3), f["focal"])


@pytest.mark.parametrize("fixture, divide", [("maps", False), ("maps_aeu", True)])
def test_maps(x, fixture, divide):
    f = load(fixture)
    with torch.no_grad():
        udm, ndm = ([fill(networks.AEU(), s).reconstruct(x) for s in group]
                    for group in ((1, 2, 3), (4, 5, 6)))
    udm_recon, ndm_recon = (torch.stack([r for r, _ in m]) for m in (udm, ndm))
    var = torch.stack([v for _, v in ndm]).mean(0) if divide else None
    maps = scores.anomaly_maps(x, udm_recon, ndm_recon, var)
    for name in ("rec", "intra", "inter"): same(maps[name], f[f"a_{name}"])


@pytest.fixture(scope="module")
def features():
    "Those that anomalib was given, of images to learn from and of others to judge."
    x = torch.from_numpy(load("anomalib")["features"]).float()
    return x[:24], x[24:]


def test_padim(features):
    f, (known, new) = load("anomalib"), features
    maps = frozen.heat_map(frozen.PatchGaussians(known, 0.01 + 1e-5)(new), (224, 224))
    same(maps[..., ::8, ::8], f["padim_map"])
    same(maps.amax((1, 2, 3)), f["padim_score"])


def test_patchcore(features):
    f, (_, new) = load("anomalib"), features
    grid, score = frozen.MemoryBank(torch.from_numpy(f["bank"]))(frozen.around(new))
    same(frozen.smoothed(F.interpolate(grid, 224))[..., ::8, ::8], f["patchcore_map"])
    same(score, f["patchcore_score"])


@pytest.mark.parametrize("block", [3, 40, 512])
def test_coreset(features, block):
    chosen, (known, _) = load("anomalib")["chosen"], features
    points = known.permute(0, 2, 3, 1).flatten(0, 2).double()
    assert np.array_equal(frozen.k_center(points, len(chosen), int(chosen[0]), block), chosen)
