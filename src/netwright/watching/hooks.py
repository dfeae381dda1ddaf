"""One step of a training looked at: hooks before it, none after it.

`Sampler.arm` says that the next step is looked at, `Sampler.finish` that it has ended. In between the network's calls,
the gradients that come back to their outputs, and the optimisers' steps are measured by the probes; the values stay on
their device until `Sampler.read`. While no step is looked at, all that is left is a counter of optimisers' steps.
"""

from __future__ import annotations

import functools
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim.optimizer import register_optimizer_step_post_hook

from netwright.observations import Observations
from netwright.observations.network import LayerFacts
from netwright.probes import activations, norms, outputs, parameters, readings
from netwright.probes.parameters import Parameter
from netwright.probes.readings import Readings
from netwright.watching import networks
from netwright.watching.budget import DENSE
from netwright.watching.calls import Call, Calls, layers_of, tensors, unwrapped
from netwright.watching.undisturbed import undisturbed

CHECKED_FOR_KEPT = 4  # parameters whose gradients before the backward pass are looked at
BLIND_SAMPLES = 2  # sampled steps without a forward pass, after which none is looked for
MOST_CLASSES = 10_000  # columns of scores that are counted as classes


class Sample:
    """What was seen of one step so far."""

    def __init__(self, step: int, now: float) -> None:
        self.step = step
        self.began_at = now
        self.readings = Readings(step)  # of the step
        self.forward: Readings | None = None  # of the forward pass that the backward pass belongs to
        self.backward_seen = False
        self.forward_after: float | None = None
        self.loss: Tensor | None = None
        self.batch: tuple[Any, ...] = ()
        self.steps: dict[int, _Step] = {}
        self.kept: dict[str, tuple[Tensor | None, Tensor | None]] = {}
        self.own = 0.0
        self.optimizer_steps = 0
        self.mode_without_gradient: bool | None = None


class _Step:
    """An optimiser's step: its parameters before and after it, and their gradients."""

    def __init__(self, own: list[Parameter], before: parameters.Parts) -> None:
        self.parameters, self.before = own, before
        self.gradient: parameters.Parts | None = None
        self.norms: Tensor | None = None
        self.after: parameters.Parts | None = None
        self.previous: parameters.Parts | None = None


class Sampler:
    """Looks at single steps. ``failed`` gets an error of its own, once; afterwards everything is taken away.

    ``stepped`` is called after each step of the optimiser that steps first; None is for a loop that tells its steps.
    """

    def __init__(
        self,
        network: Any,
        optimizers: Sequence[Any],
        observations: Observations,
        failed: Callable[[Exception], None],
        *,
        loss: Any = None,
        stepped: Callable[[], None] | None = None,
    ) -> None:
        self.observations, self.loss, self.stepped = observations, loss, stepped
        self.network: nn.Module = unwrapped(network)
        self.optimizers: list[Any] = []
        self.sample: Sample | None = None
        self.modes: dict[str, bool] = {}  # of all modules, in the last forward pass that was sampled
        self.losses_are_told = False
        self.expected: dict[str, Tensor] = {}  # the gradient of the loss before the first step, entries by parameter
        self._began_with: dict[int, parameters.Parts] = {}  # weights before the first step, by optimiser
        self._failed, self._broken = failed, False
        self._pending: list[Sample] = []
        self._alive: dict[str, Tensor] = {}
        self._previous: tuple[int, dict[int, parameters.Parts]] = (0, {})  # step, gradients by optimiser
        self._trained: list[Parameter] = []
        self._by_name: dict[str, LayerFacts] = {}
        self._lazy = False
        self._order: dict[str, int] = {}
        self._blind = 0
        self._steps_since = 0  # of optimisers since the last sampled step
        self._permanent: list[Any] = []
        self._handles: list[Any] = []
        self._leader: weakref.ref[Any] | None = None
        self._compiled = _is_compiled(network)
        self._recorded: list[Call] = []
        self._calls = self._make_calls(follow=not self._knows_calls())
        if self._compiled:
            self._say_compiled()
        for optimizer in optimizers:
            self._adopt(optimizer)
        if not optimizers:
            own = weakref.ref(self)
            self._permanent.append(register_optimizer_step_post_hook(functools.partial(_foreign_step, own)))
        self.refresh()

    # ---------------------------------------------------------------- begin and end

    @property
    def armed(self) -> bool:
        return self.sample is not None

    def arm(self, step: int) -> None:
        """Look at step number ``step``, which is the next."""
        now = time.perf_counter()
        if self._previous[0] != step - 1 or not all(p.tensor.requires_grad for p in self._trained):
            self.refresh()
        self.sample = Sample(step, now)
        if not self._compiled and self._blind < BLIND_SAMPLES:
            self._calls.seconds = 0.0
            self._calls.on()
        for optimizer in self.optimizers:
            if hasattr(optimizer, "register_step_pre_hook"):
                self._handles.append(optimizer.register_step_pre_hook(self._before_step))
        if self._steps_since:  # else the gradients are still being gathered
            for parameter in self._checked():
                hook = functools.partial(self._gradient_comes, self.sample, parameter)
                self._handles.append(parameter.tensor.register_hook(hook))
        self.sample.began_at = time.perf_counter()
        self.sample.own += self.sample.began_at - now

    def finish(self) -> float:
        """The step has ended; returns the seconds that were spent on looking within it."""
        sample, now = self.sample, time.perf_counter()
        if sample is None:
            return 0.0
        sample.own += self._calls.seconds
        self.disarm()
        if not sample.steps and not self.optimizers:
            self._measure_gradients(sample)
        seconds = now - sample.began_at
        if sample.forward_after is not None and seconds > 0:
            sample.readings.put("waiting-share", "share", sample.forward_after / seconds)
        sample.readings.put("optimizer-steps", "steps", sample.optimizer_steps)
        self._steps_since = min(1, sample.optimizer_steps)
        if sample.mode_without_gradient is not None:
            sample.readings.put("validation-training-mode", "share", float(sample.mode_without_gradient))
        rate = next((group.get("lr") for o in self.optimizers for group in getattr(o, "param_groups", ())), None)
        if isinstance(rate, int | float):
            sample.readings.put("learning-rate", "rate", float(rate))
        elif isinstance(rate, Tensor):
            sample.readings.add("", (("learning-rate", "rate"),), rate.detach().reshape(1).clone())
        self._tell_kept(sample)
        self._compare(sample)
        if sample.forward is None and not self._compiled:
            self._blind += 1
            if self._blind == BLIND_SAMPLES:
                self.observations.unseen["activation"] = (
                    "no forward pass of the network was seen: it is compiled, was replaced, or is not called itself"
                )
        elif sample.forward is not None:
            self._blind = 0
            self.observations.unseen.pop("activation", None)
        self._pending.append(sample)
        return sample.own

    def disarm(self) -> None:
        """Take every hook away but the counters."""
        self._calls.off()
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.sample = None

    def close(self) -> None:
        """Take everything away."""
        self.disarm()
        for handle in self._permanent:
            handle.remove()
        self._permanent = []
        self._previous = (0, {})

    def read(self, *, all_of_them: bool = True) -> None:
        """Put what was measured into the observations, layers in their order. Unless ``all_of_them``, the last sample
        waits, as its values may still be computed."""
        ready = self._pending if all_of_them else self._pending[:-1]
        self._pending = self._pending[len(ready) :]
        for sample in ready:
            if sample.loss is not None and not self.losses_are_told:
                sample.readings.add("", (("loss", "loss"),), sample.loss.reshape(1))
            found = sample.readings.read() + (sample.forward.read() if sample.forward is not None else [])
            for measurement in sorted(found, key=lambda m: self._order.get(m.layer, len(self._order))):
                self.observations.series.add(measurement)

    def refresh(self) -> None:
        """Look again at which parameters there are; call it after a change of the network or of the optimisers."""
        owners: dict[int, str] = {}
        for name, module in layers_of(self.network).items():
            for _, parameter in networks.own_parameters(module):
                owners.setdefault(id(parameter), name)
        self._trained = [
            Parameter(name, owners.get(id(p), name.rpartition(".")[0]), p)
            for name, p in self.network.named_parameters()
            if p.requires_grad and not is_lazy(p) and p.numel() and p.is_floating_point()
        ]
        facts = self.observations.network
        self._by_name = {layer.name: layer for layer in facts.layers} if facts is not None else {}
        names = dict.fromkeys([*self._by_name, *layers_of(self.network), ""])
        self._order = {name: number for number, name in enumerate(names)}
        self._lazy = any(is_lazy(p) for p in self.network.parameters())

    # ---------------------------------------------------------------- forward

    def _make_calls(self, *, follow: bool) -> Calls:
        own = weakref.ref(self)

        def tell(name: str) -> Callable[..., None]:
            def told(*arguments: Any) -> None:
                sampler = own()
                if sampler is not None and sampler.sample is not None:
                    getattr(sampler, name)(sampler.sample, *arguments)

            return told

        return Calls(
            self.network, tell("_seen"), began=tell("_began"), ended=tell("_ended"), other=tell("_other"),
            without_gradient=tell("_without_gradient"), compiled=self._say_compiled, failed=self._fail, follow=follow,
        )  # fmt: skip

    def _knows_calls(self) -> bool:
        return self.observations.network is not None and self.observations.network.executed

    def _say_compiled(self) -> None:
        self._compiled = True
        self.observations.unseen["activation"] = "the network is compiled: outputs of layers are not seen"

    def _began(self, sample: Sample, args: tuple[Any, ...]) -> None:
        if sample.backward_seen:  # gradients are gathered over several passes: the first one was looked at
            self._calls.off()
            return
        sample.forward = Readings(sample.step)
        sample.loss = None
        sample.batch = args
        self._recorded.clear()
        if sample.forward_after is None:
            sample.forward_after = time.perf_counter() - sample.began_at
        self.modes = {name: module.training for name, module in self.network.named_modules()}
        sample.forward.put("training-mode", "share", float(self.network.training))

    def _seen(self, sample: Sample, call: Call) -> None:
        if sample.backward_seen:
            return
        if self._calls.follow:
            given = None if call.given is None else _hollow(call.given)
            self._recorded.append(call._replace(output=_hollow(call.output), given=given))
        output = call.output
        if call.again or not output.is_floating_point() or not output.numel() or _is_transformed(output):
            return
        sample.forward = into = sample.forward or Readings(sample.step)
        with torch.no_grad():
            name, facts = call.name, self._by_name.get(call.name)
            axis = facts.unit_axis if facts is not None else (1 if output.dim() >= 4 else -1)
            axis = axis if output.dim() > 2 else -1
            values = readings.portion(output, axis)
            into.add(name, activations.ACTIVATION, activations.activation(values))
            options = facts.options if facts is not None else {}
            kind = options.get("activation")
            if kind == "softmax":
                into.add(name, activations.SATURATION, activations.softmax_saturation(values))
            elif "lower" in options and kind != "relu6":
                bounds = (options["lower"], options["upper"])
                into.add(name, activations.SATURATION, activations.saturation(values, *bounds))
            if kind in ("relu", "relu6"):
                self._dead(into, name, values)
            if isinstance(call.module, nn.modules.batchnorm._BatchNorm):
                self._norm(into, name, call)
            if output.requires_grad:
                output.register_hook(functools.partial(self._gradient_of_output, sample, into, name, axis))

    def _dead(self, into: Readings, name: str, values: Tensor) -> None:
        alive = activations.alive(values)
        before = self._alive.get(name)
        if before is not None and before.shape == alive.shape and before.device == alive.device:
            alive = alive | before
        self._alive[name] = alive
        into.add(name, activations.DEAD, 1 - alive.to(values.dtype).mean().reshape(1))

    def _norm(self, into: Readings, name: str, call: Call) -> None:
        module: Any = call.module
        if call.given is None or not module.training:
            return
        into.put("norm-samples", "values", call.given.numel() / max(1, call.given.shape[1]), name)
        if module.running_mean is not None and module.running_mean.shape[0] == call.given.shape[1]:
            values = readings.portion(call.given, 1, all_units=True)
            into.add(name, norms.NORM, norms.norm(values, module.running_mean, module.running_var, module.eps))

    def _ended(self, sample: Sample, output: Any) -> None:
        if self._recorded and output is not None:
            self._learn_calls(output)
        answer = main_output(output)
        if answer is None or sample.forward is None or _is_transformed(answer):
            return
        with torch.no_grad():
            axis = 1 if answer.dim() == 4 else -1
            values = readings.portion(answer, axis)
            sample.forward.add("", outputs.OUTPUT, outputs.output(values))
            if answer.dim() >= 2 and 2 <= answer.shape[axis] <= MOST_CLASSES:
                scores = readings.portion(answer, axis, all_units=True).movedim(1, -1).flatten(0, -2)
                sample.forward.add("", outputs.CLASSES, outputs.classes(scores))

    def _learn_calls(self, output: Any) -> None:
        """The facts that no batch of the data could tell, from the first forward pass that is looked at."""
        calls = self._recorded[:]
        self._recorded.clear()
        with undisturbed():
            facts = networks.of_calls(
                self.network, self.optimizers, calls, self.network, output, self._calls.sources(output)
            )
        self.observations.network = facts
        self.observations.unseen.pop("network", None)
        self._calls.follow = False
        self.refresh()

    def _other(self, sample: Sample, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """A module that is not the network's: the loss, if it makes one number of outputs."""
        if sample.backward_seen or sample.loss is not None or not isinstance(output, Tensor) or output.numel() != 1:
            return
        if self.loss is not None and isinstance(self.loss, nn.Module) and module is not self.loss:
            return
        if output.requires_grad and not _is_transformed(output):
            sample.loss = output.detach()
            into = sample.forward or sample.readings
            output.register_hook(functools.partial(self._gradient_of_loss, sample, into))

    def _without_gradient(self, sample: Sample, training: bool) -> None:
        sample.mode_without_gradient = training

    # ---------------------------------------------------------------- backward; hooks of tensors

    def _gradient_of_output(self, sample: Sample, into: Readings, name: str, axis: int, gradient: Tensor) -> None:
        started = time.perf_counter()
        try:
            if sample.forward is into and not gradient.is_sparse:
                sample.backward_seen = True
                with torch.no_grad():
                    values = activations.output_gradient(readings.portion(gradient, axis))
                    into.add(name, activations.OUTPUT_GRADIENT, values)
        except Exception as error:
            self._fail(error)
        sample.own += time.perf_counter() - started

    def _gradient_of_loss(self, sample: Sample, into: Readings, gradient: Tensor) -> None:
        try:
            into.add("", (("loss-gradient", "ratio"),), gradient.detach().reshape(-1).mean().reshape(1))
        except Exception as error:
            self._fail(error)

    def _gradient_comes(self, sample: Sample, parameter: Parameter, fresh: Tensor) -> None:
        """A gradient is about to be added to ``parameter``'s: what is there already?"""
        started = time.perf_counter()
        try:
            if sample is self.sample and parameter.name not in sample.kept and not fresh.is_sparse:
                sample.backward_seen = True
                with torch.no_grad():
                    old = parameter.tensor.grad
                    if old is None or old.is_sparse:
                        sample.kept[parameter.name] = (None, None)
                    else:
                        there, new = readings.entries(old), readings.entries(fresh)
                        sample.kept[parameter.name] = ((there != 0).any(), (there + new).norm() / new.norm())
        except Exception as error:
            self._fail(error)
        sample.own += time.perf_counter() - started

    def _checked(self) -> list[Parameter]:
        """The first, the last and the largest parameters."""
        largest = sorted(self._trained, key=lambda p: -p.tensor.numel())[:CHECKED_FOR_KEPT]
        return list({p.name: p for p in [*self._trained[:1], *self._trained[-1:], *largest]}.values())

    def _tell_kept(self, sample: Sample) -> None:
        seen = list(sample.kept.values())
        if not seen:
            return
        kept = [there.float() for there, _ in seen if there is not None]
        growth = [grown.float() for _, grown in seen if grown is not None]
        if not kept:
            sample.readings.put("gradients-kept", "share", 0.0)
            sample.readings.put("gradient-growth", "ratio", 1.0)
        else:
            device = kept[0].device
            share = torch.stack([value.to(device) for value in kept]).sum() / len(seen)
            grown = torch.stack([value.to(device) for value in growth]).nanmedian()
            probes = (("gradients-kept", "share"), ("gradient-growth", "ratio"))
            sample.readings.add("", probes, torch.stack((share, grown)))

    # ---------------------------------------------------------------- the optimisers' steps

    def adopt(self, optimizer: Any) -> None:
        """One more optimiser, from the next step on."""
        self._adopt(optimizer)
        self.observations.optimizer = networks.describe_optimizers(self.network, self.optimizers)

    def _adopt(self, optimizer: Any) -> None:
        self.optimizers.append(optimizer)
        if hasattr(optimizer, "register_step_post_hook"):
            own = weakref.ref(self)
            self._permanent.append(optimizer.register_step_post_hook(functools.partial(_own_step, own)))
        else:
            self.observations.unseen["optimizer"] = f"{type(optimizer).__name__} has no hooks: its steps are not seen"

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        sample = self.sample
        if sample is None or id(optimizer) in sample.steps or self._broken:
            return
        started = time.perf_counter()
        try:
            with torch.no_grad():
                own = self._parameters_of(optimizer, first=not sample.steps)
                step = _Step(own, parameters.weights(own))
                closure = args[1] if len(args) > 1 else kwargs.get("closure")
                if closure is None:
                    self._take_gradients(step, optimizer)
                sample.steps[id(optimizer)] = step
        except Exception as error:
            self._fail(error)
        sample.own += time.perf_counter() - started

    def after_step(self, optimizer: Any) -> None:
        """An optimiser has stepped."""
        self._steps_since += 1
        sample = self.sample
        if sample is not None:
            started = time.perf_counter()
            sample.optimizer_steps += 1
            step = sample.steps.get(id(optimizer))
            try:
                if step is not None and step.after is None:
                    with torch.no_grad():
                        step.after = parameters.weights(step.parameters)
                        if step.gradient is None:  # a closure computed it during the step
                            self._take_gradients(step, optimizer)
            except Exception as error:
                self._fail(error)
            sample.own += time.perf_counter() - started
        if self.stepped is not None:
            if self._leader is None or self._leader() is None:
                self._leader = weakref.ref(optimizer)
            if self._leader() is optimizer:
                try:
                    self.stepped()
                except Exception as error:
                    self._fail(error)

    def _parameters_of(self, optimizer: Any, *, first: bool) -> list[Parameter]:
        """The network's parameters that it steps; the first also gets those that nobody steps."""
        if self._lazy:
            self.refresh()
        own = {id(p) for p in networks.parameters_of(optimizer)}
        held = {id(p) for other in self.optimizers for p in networks.parameters_of(other)}
        return [p for p in self._trained if id(p.tensor) in own or (first and id(p.tensor) not in held)]

    def _take_gradients(self, step: _Step, optimizer: Any) -> None:
        scale = getattr(optimizer, "grad_scale", None)  # a fused optimiser unscales within its step
        step.gradient = parameters.gradients(step.parameters, scale)
        step.norms = parameters.norms(step.parameters, scale)

    def _measure_gradients(self, sample: Sample) -> None:
        """Without an optimiser that could be asked: what is there at the end of the step."""
        with torch.no_grad():
            if self._lazy:
                self.refresh()
            step = _Step(self._trained, parameters.weights(self._trained))
            self._take_gradients(step, None)
            if step.gradient is not None and any(step.gradient.present):
                sample.steps[0] = step
            else:
                self.observations.unseen["gradient"] = "no optimiser was seen, and no gradients after a step"

    def _compare(self, sample: Sample) -> None:
        """Measure the optimisers' steps; the numbers become layers' when they are read."""
        number, earlier = self._previous
        self._previous = (sample.step, {})
        stacked: list[Tensor] = []
        whole = parameters.Layered([], [], [], [])
        stepped = compared = True
        with torch.no_grad():
            for key, step in sample.steps.items():
                if step.gradient is None or step.norms is None or not step.parameters:
                    continue
                before = earlier.get(key) if number == sample.step - 1 else None
                before = before if before is not None and before.sizes == step.gradient.sizes else None
                if self.expected:
                    self._descent(sample, key, step)
                sums = parameters.compared(step.before, step.after, step.gradient, before)
                stacked.append(torch.cat((sums, step.norms.to(sums)[:, None]), 1))
                whole.extend(step.parameters, step.gradient)
                stepped, compared = stepped and step.after is not None, compared and before is not None
                self._previous[1][key] = step.gradient
                if sample.step & (sample.step - 1) == 0 or (sample.step > DENSE and not compared):  # first of a pair
                    self._spread(sample, step)
            if sample.step >= DENSE:
                self.expected, self._began_with = {}, {}
            if stacked:
                sums = torch.cat([rows.to(stacked[0]) for rows in stacked])
                told = functools.partial(whole.values, stepped=stepped, compared=compared)
                sample.readings.later(sums.flatten(), told)

    def _descent(self, sample: Sample, key: int, step: _Step) -> None:
        """How far the first steps together went down the loss as it was before them."""
        if sample.step == 1:
            self._began_with[key] = step.before
        began = self._began_with.get(key)
        if began is None or step.after is None or began.sizes != step.after.sizes:
            return
        told = parameters.descent(step.parameters, began, step.after, self.expected)
        if told is not None:
            sample.readings.add("", (("first-descent", "cosine"),), told.reshape(1))

    def _spread(self, sample: Sample, step: _Step) -> None:
        done = set()
        for parameter in step.parameters:
            tensor = parameter.tensor
            if tensor.dim() < 2 or parameter.layer in done or tensor.shape[0] < 2:
                continue
            done.add(parameter.layer)
            values, probes = [parameters.spread(tensor)], [("weight-unit-spread", "share")]
            if tensor.grad is not None and not tensor.grad.is_sparse:
                values.append(parameters.spread(tensor.grad))
                probes.append(("gradient-unit-spread", "share"))
            sample.readings.add(parameter.layer, probes, torch.stack(values))

    def _fail(self, error: Exception) -> None:
        """Its own failure: everything is taken away, and the watch is told once."""
        if not self._broken:
            self._broken = True
            self.close()
            self._failed(error)


def _own_step(own: weakref.ref[Sampler], optimizer: Any, args: Any, kwargs: Any) -> None:
    sampler = own()
    if sampler is not None and not sampler._broken:
        sampler.after_step(optimizer)


def _foreign_step(own: weakref.ref[Sampler], optimizer: Any, args: Any, kwargs: Any) -> None:
    """No optimiser was named: one that steps the network's parameters is taken."""
    sampler = own()
    if sampler is None or sampler._broken or any(optimizer is known for known in sampler.optimizers):
        return
    trained = {id(p) for p in sampler.network.parameters()}
    if any(id(p) in trained for p in networks.parameters_of(optimizer)):
        sampler.adopt(optimizer)
        sampler.after_step(optimizer)


def main_output(output: Any) -> Tensor | None:
    """The tensor that is the network's answer: ``logits`` where there is such a field, else the first with examples."""
    found = getattr(output, "logits", None)
    candidates = [found] if isinstance(found, Tensor) else list(tensors(output))
    fitting = [t for t in candidates if t.dim() >= 1 and t.numel() and t.is_floating_point()]
    return next((t for t in fitting if t.dim() >= 2), fitting[0] if fitting else None)


def _is_compiled(network: Any) -> bool:
    if hasattr(network, "_orig_mod"):
        return True
    modules = network.modules() if isinstance(network, nn.Module) else ()
    return any("_orig_mod" in m._modules or m.__dict__.get("_compiled_call_impl") is not None for m in modules)


def _hollow(tensor: Tensor) -> Tensor:
    """Of the same shape, type and device, but of one number: outputs are let go as in any forward pass."""
    if tensor.layout != torch.strided or tensor.is_nested or _is_transformed(tensor):
        return tensor
    return tensor.detach().new_empty(()).expand(tensor.shape)


def _is_transformed(tensor: Tensor) -> bool:
    """Within `torch.func`, or on a device without values, there is nothing to measure."""
    return (
        tensor.is_meta
        or torch._C._functorch.peek_interpreter_stack() is not None
        or (tensor.is_cuda and torch.cuda.is_current_stream_capturing())
    )
