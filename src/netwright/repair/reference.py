"""What the data allows at least: a quick learner that needs no settings, on some of the training examples."""

from __future__ import annotations

import torch

from netwright.repair.replica import Replica
from netwright.repair.scoring import kind_of, score
from netwright.repair.trees import predictions

TRAINED, TESTED, FEATURES = 2000, 1000, 4096  # about half a second


def reference(replica: Replica) -> float | None:
    """The score of extremely randomised trees (Geurts et al. 2006) on the held-out part, in the copies' measure.

    They see every value of an example as a feature, of any scale. None where nothing is held out: trees remember what
    they were shown. Costs about half a second, and two more for a process of its own where scikit-learn is not
    imported; the random state is not touched.
    """
    if replica.validation is None:
        return None
    (inputs, targets), (held_out, wanted) = _some(replica.train, TRAINED), _some(replica.validation, TESTED)
    good = torch.isfinite(inputs.float()).all(1) & torch.isfinite(targets.reshape(len(targets), -1).float()).all(1)
    inputs, targets = inputs[good][:, :FEATURES], targets[good]
    held_out = torch.nan_to_num(held_out.float(), 0.0, 0.0, 0.0)[:, :FEATURES]
    if len(inputs) < 2 or targets[0].numel() > 64:
        return None
    per_example = targets.reshape(len(targets), -1)
    one_hot = kind_of(targets, targets, replica.task) == "one-hot"
    whole = bool((targets == targets.round()).all()) and replica.task != "regression" and per_example.max() < 1000
    learned, asked = inputs.cpu().numpy(), held_out.cpu().numpy()
    if one_hot or (whole and per_example.shape[1] == 1):
        classes = per_example.argmax(1) if one_hot else per_example[:, 0]
        own = (wanted.argmax(-1) if one_hot else wanted.reshape(len(wanted), -1)[:, 0]).cpu().numpy()
        return float((predictions(learned, classes.cpu().numpy(), asked, classes=True) == own).mean())
    told = predictions(learned, per_example.cpu().numpy().squeeze(), asked, classes=False)
    given = torch.as_tensor(told).reshape(wanted.shape)
    return score(given, wanted.cpu().float(), torch.nn.functional.mse_loss, replica.task).value


def _some(data: tuple[torch.Tensor, torch.Tensor], most: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.linspace(0, len(data[0]) - 1, min(most, len(data[0]))).long()
    inputs, targets = data[0][rows.to(data[0].device)], data[1][rows.to(data[1].device)]
    return inputs.reshape(len(inputs), -1), targets
