"""The law of every pass, and small contexts to try passes in."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import torch
from torch import nn

from netwright.compression import passes
from netwright.compression.passes import At, Changed, Context, Distil, Hook
from netwright.data.loading import Batch
from netwright.nn.surgery import replay
from netwright.records import Surgery, to_builtin


class CrossEntropy:
    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs, targets)


def context(shape: tuple[int, ...], outputs: int = 10, examples: int = 64, seed: int = 0, **fields: Any) -> Context:
    """Learnable data: a class is a random pattern plus noise. Healing is Adam at 1e-2, four batches an epoch."""
    drawn = torch.Generator().manual_seed(seed)
    centres = torch.randn(outputs, *shape, generator=drawn)
    targets = torch.arange(examples) % outputs
    inputs = centres[targets] + 0.5 * torch.randn(examples, *shape, generator=drawn)

    def batches() -> Iterator[Batch]:
        for start in range(0, examples, examples // 4):
            piece = slice(start, start + examples // 4)
            yield Batch((inputs[piece],), targets[piece], torch.arange(examples)[piece])

    def heal(network: nn.Module, epochs: int, distil: Distil | None = None, hook: Hook | None = None) -> None:
        optimizer = torch.optim.Adam(network.parameters(), 1e-2)
        network.train()
        steps = [batch for _ in range(epochs) for batch in batches()]
        for number, batch in enumerate(steps, 1):
            found = passes.call(network, batch)
            loss = CrossEntropy().loss(found, batch.targets)
            loss = loss if distil is None else distil(network, batch, found, loss)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if hook is not None:
                hook(At(number, len(steps), 1e-2, 1e-2 * len(steps)))
        network.eval()

    def metrics(network: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            found = network.eval()(inputs)
        return {
            "loss": float(nn.functional.cross_entropy(found, targets)),
            "accuracy": float((found.argmax(1) == targets).float().mean()),
        }

    given = {"batches": batches, "objective": CrossEntropy(), "metrics": metrics, "training": heal, "seed": seed}
    return Context(example=shape, **{**given, **fields})


def holds(build: Callable[[], nn.Module], chain: str, given: Context) -> tuple[nn.Module, list[Changed]]:
    """Do the chain on a network of ``build``, check the law after every pass; the changed network and what was done."""
    torch.manual_seed(given.seed)
    network = build().eval()
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()):
        given.heal(network, 1)  # statistics that are not the initial ones
    surgeries: list[Surgery] = []
    done = []
    for step in passes.parse(chain):
        changed = step.apply(network, given)
        surgeries += changed.surgeries
        done.append(changed)
        same(build, network.eval(), surgeries, given)
    return network, done


def same(build: Callable[[], nn.Module], network: nn.Module, surgeries: list[Surgery], given: Context) -> None:
    """A fresh network with the surgeries, as a file keeps them, and the state gives the same bits."""
    kept = msgspec.convert(msgspec.json.decode(msgspec.json.encode(to_builtin(surgeries))), list[Surgery])
    torch.manual_seed(given.seed + 1)
    fresh = replay(build(), kept)
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    fresh.load_state_dict(state, strict=True)
    batch = given.first_batch()
    with torch.no_grad():
        expected = passes.call(copy.deepcopy(network).eval(), batch)
        found = passes.call(fresh.eval(), batch)
    assert torch.equal(found, expected)
    with torch.device("meta"):
        replay(build(), kept)
