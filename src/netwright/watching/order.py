"""In which order the loop feeds the examples: its first batches beside the training data as it lies."""

from __future__ import annotations

import functools
import weakref
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from netwright.observations import Observations, Plan
from netwright.watching import given
from netwright.watching.calls import unwrapped

BATCHES = 4  # that are compared; then the hook takes itself away
COMPARED = 4096  # values of an example
SORTED = -8.0  # of the runs test: in other data the order in which it is fed makes no difference


class Order:
    """Compares the inputs of the network's first calls in training mode with the rows of the training inputs.

    ``observations.plan.order`` becomes ``given`` where every batch is the next piece of the rows as they lie, ``other``
    where none is. Costs one comparison of a batch with as many rows in each of four steps.
    """

    def __init__(self, network: nn.Module, inputs: Any, observations: Observations) -> None:
        self._inputs, self._observations = inputs, observations
        self._place = 0
        self._verdicts: list[bool] = []
        own = weakref.ref(self)
        self._hook = network.register_forward_pre_hook(functools.partial(_called, own))

    def close(self) -> None:
        self._hook.remove()
        self._inputs = None

    def look(self, network: nn.Module, inputs: Any) -> None:
        if not network.training or not torch.is_grad_enabled() or not isinstance(inputs, Tensor):
            return
        try:
            rows = self._inputs[self._place : self._place + len(inputs)]
            self._verdicts.append(_same(rows, inputs.detach()))
            self._place += len(inputs)
        except Exception as error:  # never an exception in the user's step
            self._observations.unseen["order"] = f"{type(error).__name__}: {error}"
            self.close()
            return
        if len(self._verdicts) == BATCHES or self._place >= len(self._inputs):
            self._tell()
            self.close()

    def _tell(self) -> None:
        plan = self._observations.plan or Plan()
        order = "given" if all(self._verdicts) else "unknown" if any(self._verdicts) else "other"
        self._observations.plan = Plan(
            **{name: getattr(plan, name) for name in plan.__struct_fields__} | {"order": order}
        )


def follow(network: Any, train_data: Any, observations: Observations) -> Order | None:
    """Look at the first batches, where the audit found the labels sorted; otherwise there is nothing to learn."""
    order = observations.data.order if observations.data is not None else None
    if order is None or order.z > SORTED or not isinstance(network, nn.Module) or unwrapped(network) is not network:
        return None
    return Order(network, given.open_data(train_data).inputs, observations)


def compare_shapes(network: Any, train_data: Any, observations: Observations) -> None:
    """Where the examples of a batch seem to be mixed: whether the loop feeds rows as the data has them at all, or
    turned round (steps first). Looks at the first batch, and only where it makes a difference."""
    flight = observations.preflight
    if flight is None or not flight.mixing or not isinstance(network, nn.Module):
        return
    shape = tuple(given.open_data(train_data).inputs.shape[1:])

    def look(module: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], Tensor):
            hook.remove()
            if tuple(args[0].shape[1:]) != shape and observations.preflight is not None:
                observations.preflight = msgspec.structs.replace(observations.preflight, mixing=None)
                observations.unseen["mixing"] = f"batches of {tuple(args[0].shape)} are no rows of {shape}"

    hook = network.register_forward_pre_hook(look)


def _called(own: weakref.ref[Order], network: nn.Module, args: tuple[Any, ...]) -> None:
    order = own()
    if order is not None:
        order.look(network, args[0] if args else None)


def _same(rows: Any, batch: Tensor) -> bool:
    there = torch.as_tensor(rows)
    if len(there) != len(batch) or there.shape[1:].numel() != batch.shape[1:].numel():
        return False
    some = torch.linspace(0, batch[0].numel() - 1, min(COMPARED, batch[0].numel())).long()
    flat, own = (values.reshape(len(values), -1)[:, some.to(values.device)] for values in (there, batch))
    return torch.allclose(flat.to(own), own, rtol=1e-3, atol=1e-6)
