"""What anomalib's PaDiM and PatchCore make of given features: they go into parity.npz beside it.

    pip install anomalib==2.7.0 && python tests/data/record_anomalib.py

The features take the place of those of anomalib's own network; all that comes after them is anomalib's.
"""
from pathlib import Path

import numpy as np
import torch
from anomalib.models.components import KCenterGreedy
from anomalib.models.image.padim.torch_model import PadimModel
from anomalib.models.image.patchcore.torch_model import PatchcoreModel

SIZE, KNOWN, CHANNELS = 224, 24, 12  # of the maps; images that are learned from


class Given(torch.nn.Module):
    "In the place of the network: an image holds the index of its features."
    def forward(self, images): return {"layer": features[images[:, 0, 0, 0].long()]}


def outputs(model, fit):
    "The map, every eighth pixel of it, and the score of each image after those that are learned from."
    model.feature_extractor, model.layers = Given(), ["layer"]
    index = torch.arange(len(features), dtype=torch.float32)[:, None, None, None].expand(-1, 3, SIZE, SIZE)
    with torch.no_grad():
        model.train()(index[:KNOWN])
        fit()
        out = model.eval()(index[KNOWN:])
    return {"map": out.anomaly_map[..., ::8, ::8].numpy(), "score": out.pred_score.flatten().numpy()}


torch.manual_seed(0)
features = (2 * torch.randn(28, CHANNELS, 7, 7)).half().float()
padim = PadimModel("resnet18", ["layer1"], pre_trained=False, n_features=CHANNELS)
padim.idx = torch.arange(CHANNELS)
patchcore = PatchcoreModel(["layer1"], "resnet18", pre_trained=False, num_neighbors=9)
found = {"padim": outputs(padim, padim.fit), "patchcore": outputs(patchcore, lambda: patchcore.subsample_embedding(0.1))}
points = features[:KNOWN].permute(0, 2, 3, 1).reshape(-1, 1, CHANNELS)  # in three dimensions: not projected
chosen = KCenterGreedy(points, 0.1).select_coreset_idxs()
place = Path(__file__).with_name("parity.npz")
kept = {"features": features.half(), "bank": patchcore.memory_bank, "chosen": np.array(chosen)}
kept |= {f"{name}_{key}": value for name, of in found.items() for key, value in of.items()}
np.savez_compressed(place, **dict(np.load(place)) | {f"anomalib/{name}": value for name, value in kept.items()})
