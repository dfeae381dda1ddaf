"""Whatever loop is watched: it runs as without, its weights are the same bits, and nothing is left on its objects."""

import copy
import gc
import io
import os
import pickle
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as hooks_of_modules

import netwright
import warm
from netwright.watching.watch import Watch

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)
STEPS = 26  # beyond the dense beginning

Loop = Callable[[Callable[..., Watch | None]], nn.Module]
LOOPS: dict[str, Loop] = {}


def loop(function: Loop) -> Loop:
    LOOPS[function.__name__] = function
    return function


def batches(steps: int = STEPS, size: int = 16) -> Iterator[tuple[Tensor, Tensor]]:
    for step in range(steps):
        rows = torch.arange(step * size, (step + 1) * size) % len(X)
        yield X[rows], Y[rows]


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.3), nn.BatchNorm1d(8), nn.Linear(8, 3))


def plain(model: nn.Module, optimizer: Any, watch: Any, steps: int = STEPS) -> nn.Module:
    seen = watch(model, optimizer)
    for x, y in batches(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if seen is not None:
            seen.step(loss)
    return model


@loop
def told(watch: Any) -> nn.Module:
    model = network()
    return plain(model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9), watch)


@loop
def not_told(watch: Any) -> nn.Module:
    """Nobody calls ``step``: the optimiser's hook counts."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    seen = watch(model, optimizer)
    criterion = nn.CrossEntropyLoss()
    for x, y in batches():
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
    if seen is not None:
        assert seen.steps == STEPS
        seen.findings()
        assert len(seen.observations.series.get("loss").finite) >= 20
        assert seen.observations.series.get("loss-gradient").finite[0] == 1
    return model


@loop
def no_optimizer_named(watch: Any) -> nn.Module:
    model = network()
    seen = watch(model)
    optimizer = torch.optim.AdamW(model.parameters())
    for x, y in batches():
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    if seen is not None:
        seen.findings()
        assert seen.steps == STEPS
        assert seen.observations.optimizer.kind == "AdamW"
        assert seen.observations.series.get("update-ratio").finite
    return model


@loop
def autocast(watch: Any) -> nn.Module:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    seen = watch(model, optimizer)
    for x, y in batches():
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if seen is not None:
            seen.step(loss)
    return model


@loop
def scaler(watch: Any) -> nn.Module:
    """Gradients are scaled by 1024 until the optimiser's step; one step is skipped because of an infinity."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scale = torch.amp.GradScaler("cpu", init_scale=1024.0)
    seen = watch(model, optimizer)
    for number, (x, y) in enumerate(batches()):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y) * (float("inf") if number == 5 else 1.0)
        scale.scale(loss).backward()
        scale.step(optimizer)
        scale.update()
        if seen is not None:
            seen.step(loss)
    if seen is not None:
        seen.findings()
        series = seen.observations.series
        assert max(series.get("gradient-norm").finite) < 50  # and not a thousand times that
        assert series.get("optimizer-steps").values[5] == 0
        assert series.get("gradients-kept").finite.count(0.0) == len(series.get("gradients-kept").values)
    return model


@loop
def accumulation(watch: Any) -> nn.Module:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    seen = watch(model, optimizer)
    for number, (x, y) in enumerate(batches(4 * STEPS)):
        loss = F.cross_entropy(model(x), y) / 4
        loss.backward()
        if number % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()
            if seen is not None:
                seen.step(loss)
    if seen is not None:
        seen.findings()
        kept = seen.observations.series.get("gradients-kept")
        assert max(kept.finite) == 0  # gathered within a step, cleared between steps
    return model


@loop
def accumulation_told_every_batch(watch: Any) -> nn.Module:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    seen = watch(model, optimizer)
    for number, (x, y) in enumerate(batches(4 * STEPS)):
        loss = F.cross_entropy(model(x), y) / 4
        loss.backward()
        if number % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()
        if seen is not None:
            seen.step(loss)
    if seen is not None:
        seen.findings()
        assert max(seen.observations.series.get("gradients-kept").finite, default=0.0) == 0
    return model


@loop
def two_optimizers(watch: Any) -> nn.Module:
    """A generator and a discriminator, one watch over both."""
    model = nn.ModuleDict({"g": nn.Linear(4, 6), "d": nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(), nn.Linear(8, 1))})
    of_g, of_d = (torch.optim.Adam(model[name].parameters(), 1e-3) for name in "gd")
    seen = watch(model, [of_g, of_d])
    for x, _ in batches():
        fake = model["g"](torch.randn(len(x), 4))
        of_d.zero_grad()
        loss = F.softplus(-model["d"](x)).mean() + F.softplus(model["d"](fake.detach())).mean()
        loss.backward()
        of_d.step()
        of_g.zero_grad()
        F.softplus(-model["d"](fake)).mean().backward()
        of_g.step()
    if seen is not None:
        seen.findings()
        assert seen.steps == STEPS
        assert set(seen.observations.series.layers("update-ratio")) == {"g", "d.0", "d.2", ""}
    return model


class Shared(nn.Module):
    """One layer twice, tied weights, an activation in place, and a function between the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.first = nn.Linear(6, 3)
        self.second = nn.Linear(6, 3)
        self.second.weight = self.first.weight
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Any:
        x = self.act(self.inner(x))
        x = F.relu(torch.tanh(self.inner(x)) + x, inplace=True)
        return self.first(x) + self.second(x)


@loop
def shared(watch: Any) -> nn.Module:
    model = Shared()
    return plain(model, torch.optim.SGD(model.parameters(), 0.1), watch)


@loop
def lazy(watch: Any) -> nn.Module:
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyBatchNorm1d(), nn.LazyLinear(3))
    return plain(model, torch.optim.SGD(model.parameters(), 0.1), watch)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.cell, self.head = nn.LSTM(2, 5, batch_first=True), nn.GRUCell(5, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        states, _ = self.lstm(x.reshape(len(x), 3, 2))
        state = states.new_zeros(len(x), 4)
        for time in range(3):
            state = self.cell(states[:, time], state)
        return self.head(state)


@loop
def recurrent(watch: Any) -> nn.Module:
    model = Recurrent()
    return plain(model, torch.optim.RMSprop(model.parameters()), watch)


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.embed, self.head = nn.Linear(2, 4), nn.Linear(4, 3)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2)

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x.reshape(len(x), 3, 2))
        return self.head(self.encoder(torch.cat([self.token.expand(len(x), 1, 4), x], 1))[:, 0])


@loop
def attention(watch: Any) -> nn.Module:
    model = Attending()
    return plain(model, torch.optim.AdamW(model.parameters()), watch)


@loop
def checkpointed(watch: Any) -> nn.Module:
    """Activations are computed again during the backward pass."""
    from torch.utils.checkpoint import checkpoint

    class Saving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.5)), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Any:
            return self.head(checkpoint(self.body, x, use_reentrant=False))

    model = Saving()
    return plain(model, torch.optim.SGD(model.parameters(), 0.1), watch)


@loop
def closure(watch: Any) -> nn.Module:
    model = nn.Linear(6, 3)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    seen = watch(model, optimizer)
    for x, y in batches(5):

        def evaluate(x: Tensor = x, y: Tensor = y) -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        loss = optimizer.step(evaluate)
        if seen is not None:
            seen.step(loss)
    if seen is not None:
        seen.findings()
        assert seen.observations.series.get("gradient-norm", "Linear").finite
    return model


@loop
def never_backward(watch: Any) -> nn.Module:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    seen = watch(model, optimizer)
    for x, y in batches():
        loss = F.cross_entropy(model(x), y)
        optimizer.step()
        if seen is not None:
            seen.step(loss)
    if seen is not None:
        seen.findings()
        assert seen.observations.series.get("gradient-missing", "0").last == 2
    return model


@loop
def swapped(watch: Any) -> nn.Module:
    """Another network is trained than the one that is watched, from the middle on."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    seen = watch(model, optimizer)
    for number, (x, y) in enumerate(batches()):
        if number == 8:
            model = network()
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if seen is not None:
            seen.step(loss)
    if seen is not None:
        seen.findings()
        assert "no forward pass" in seen.observations.unseen["activation"]
    return model


@loop
def nan_from_the_start(watch: Any) -> nn.Module:
    model = network()
    with torch.no_grad():
        next(model.parameters())[0, 0] = float("nan")
    plain(model, torch.optim.SGD(model.parameters(), 0.1), watch)
    return model


@loop
def one_step(watch: Any) -> nn.Module:
    model = network()
    return plain(model, torch.optim.SGD(model.parameters(), 0.1), watch, steps=1)


@loop
def no_step(watch: Any) -> nn.Module:
    model = network()
    return plain(model, torch.optim.SGD(model.parameters(), 0.1), watch, steps=0)


@loop
def no_parameters(watch: Any) -> nn.Module:
    model = nn.Sequential(nn.ReLU(), nn.Softmax(1))
    seen = watch(model)
    for x, _ in batches():
        loss = model(x).sum()
        if seen is not None:
            seen.step(loss)
    return model


class Homemade:
    """An optimiser that PyTorch does not know: no hooks, no state."""

    def __init__(self, parameters: Any) -> None:
        self.parameters = list(parameters)

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        with torch.no_grad():
            for parameter in self.parameters:
                parameter -= 0.1 * parameter.grad


@loop
def homemade_optimizer(watch: Any) -> nn.Module:
    model = network()
    plain(model, Homemade(model.parameters()), watch)
    return model


@loop
def frozen_in_the_middle(watch: Any) -> nn.Module:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    seen = watch(model, optimizer)
    for number, (x, y) in enumerate(batches()):
        if number == 6:
            model[0].requires_grad_(False)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if seen is not None:
            seen.step(loss)
    return model


@loop
def sparse_gradients(watch: Any) -> nn.Module:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(20, 4, sparse=True), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Any:
            return self.head(self.table((x[:, 0].abs() * 5).long().clamp_max(19)))

    model = Table()
    return plain(model, torch.optim.SGD(model.parameters(), 0.1), watch)


@loop
def penalty_on_gradients(watch: Any) -> nn.Module:
    """A backward pass through a backward pass."""
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    seen = watch(model, optimizer)
    for x, y in batches():
        x = x.clone().requires_grad_(True)
        loss = F.cross_entropy(model(x), y)
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        optimizer.zero_grad()
        (loss + slope.square().sum()).backward()
        optimizer.step()
        if seen is not None:
            seen.step(loss)
    return model


@loop
def functional_gradients(watch: Any) -> nn.Module:
    """`torch.func` calls the network under its own transforms, and the weights are set by hand."""
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    seen = watch(model)

    def objective(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(torch.func.functional_call(model, values, (x[None],)), y[None])

    per_example = torch.func.vmap(torch.func.grad(objective), in_dims=(None, 0, 0))
    for x, y in batches(4):
        gradients = per_example(dict(model.named_parameters()), x, y)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.sub_(0.1 * gradients[name].mean(0))
        if seen is not None:
            seen.step()
    return model


def run(name: str, watch: Callable[..., Any]) -> tuple[dict[str, Tensor], Tensor]:
    torch.manual_seed(3)
    state = LOOPS[name](watch).state_dict()
    return {key: value.clone() for key, value in state.items()}, torch.get_rng_state()


def hooks() -> tuple[int, ...]:
    return (
        len(hooks_of_modules._global_forward_hooks), len(hooks_of_modules._global_forward_pre_hooks),
        len(hooks_of_modules._global_backward_hooks),
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(LOOPS))
def test_weights_and_random_state_are_the_same_bits(name: str) -> None:
    alone, generator = run(name, lambda *arguments: None)
    watches: list[Watch] = []

    def watch(model: Any, optimizer: Any = None) -> Watch:
        watches.append(netwright.watch(model, optimizer, confirm=0))
        return watches[-1]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watched, watched_generator = run(name, watch)
        watches[0].findings()
    assert watched.keys() == alone.keys()
    for key, value in alone.items():
        assert torch.equal(value, watched[key]) or (value.isnan().any() and value.isnan().equal(watched[key].isnan()))
    assert torch.equal(generator, watched_generator)
    assert "watch" not in watches[0].observations.unseen
    assert hooks() == (0, 0, 0)


def test_nothing_hangs_on_the_users_objects() -> None:
    """In the middle of a step that is looked at, the network can be copied, pickled and saved as if alone."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    watch = netwright.watch(model, optimizer, confirm=0)
    for x, y in batches(3):
        assert watch._course is not None
        assert watch._course.sampler.armed
        for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert not any(m._forward_hooks or m._forward_pre_hooks for m in copied.modules())
            assert not any(p._backward_hooks for p in copied.parameters())
        torch.save(model, io.BytesIO())
        pickle.dumps(optimizer)
        copy.deepcopy(optimizer)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        watch.step(loss)
    known = weakref.ref(watch)
    del watch
    gc.collect()
    assert known() is None  # no hook keeps it alive
    assert hooks() == (0, 0, 0)
    assert not any(p._backward_hooks for p in model.parameters())


def test_its_own_failure_is_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    from netwright.probes import activations, parameters

    def broken(*arguments: Any) -> Any:
        raise RuntimeError("planted")

    planted = {activations: ("activation", "output_gradient"), parameters: ("weights", "compared")}
    for place, name in [(place, name) for place, names in planted.items() for name in names]:
        alone, _ = run("told", lambda *arguments: None)
        with monkeypatch.context() as patched, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            patched.setattr(place, name, broken)
            watches: list[Watch] = []

            def watch(*arguments: Any, watches: list[Watch] = watches) -> Watch:
                watches.append(netwright.watch(*arguments, confirm=0))
                return watches[-1]

            watched, _ = run("told", watch)
        assert [str(one.message) for one in caught if "netwright" in str(one.message)] != []
        assert len(caught) == 1
        assert "planted" in watches[0].observations.unseen["watch"]
        assert all(torch.equal(alone[key], watched[key]) for key in alone)
        assert hooks() == (0, 0, 0)


def test_an_error_in_the_users_network_is_the_users() -> None:
    """A forward that raises leaves no mode on, and the next forward is seen."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = netwright.watch(model, optimizer, confirm=0)
    with pytest.raises(RuntimeError):
        model(torch.randn(4, 7))
    assert torch.overrides._get_current_function_mode() is None
    for x, y in batches(2):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        watch.step(loss)
    watch.findings()
    assert list(watch.observations.series.get("activation-scale", "0").steps) == [1, 2]


def test_outputs_of_layers_are_let_go_within_the_forward() -> None:
    """The first forward tells the facts of the network, too: that must not hold every output until its end."""

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.norm, self.after = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
            self.dead: list[bool] = []

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.before(x))
            held = weakref.ref(x)
            x = F.relu(x)  # keeps its own output for the way back, not what it was given
            self.dead.append(held() is None)
            return self.after(x)

    model = Chain()
    seen: list[Watch] = []

    def watched(*arguments: Any) -> Watch:
        seen.append(netwright.watch(*arguments, confirm=0))
        return seen[0]

    plain(model, torch.optim.SGD(model.parameters(), 0.1), watched, steps=3)
    assert model.dead == [True] * 3
    facts = seen[0].observations.network
    assert facts is not None
    assert facts.executed
    assert {layer.name: layer.output_shape for layer in facts.layers}["norm"] == (8,)


@pytest.mark.parametrize("when", ["before", "after", "in place"])
@pytest.mark.filterwarnings("error")
def test_a_compiled_network(when: str) -> None:
    """Gradients and steps are seen, outputs of layers are not; nothing is compiled again because of it."""
    counted = []

    def backend(graph: Any, example: Any) -> Any:
        counted.append(1)
        return graph.forward

    def trained(watched: bool) -> tuple[nn.Module, Watch | None, int]:
        torch.manual_seed(0)
        torch._dynamo.reset()
        counted.clear()
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        called: Any = torch.compile(model, backend=backend) if when == "before" else model
        seen = netwright.watch(called, optimizer, confirm=0) if watched else None
        called = torch.compile(model, backend=backend) if when == "after" else called
        if when == "in place":
            model.compile(backend=backend)
        for x, y in batches():
            optimizer.zero_grad()
            loss = F.cross_entropy(called(x), y)
            loss.backward()
            optimizer.step()
            if seen is not None:
                seen.step(loss)
        return model, seen, len(counted)

    alone, _, times = trained(False)
    watched, seen, again = trained(True)
    assert seen is not None
    assert again == times
    assert all(
        torch.equal(a, b) for a, b in zip(alone.state_dict().values(), watched.state_dict().values(), strict=True)
    )
    seen.findings()
    assert "compiled" in seen.observations.unseen["activation"]
    assert len(seen.observations.series.get("gradient-norm", "0").finite) >= 20
    assert seen.observations.series.get("gradients-kept").finite


def _process(rank: int, port: int, results: Any) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    states = []
    for watched in (False, True):
        torch.manual_seed(0)
        model = nn.parallel.DistributedDataParallel(network())
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        seen = netwright.watch(model, optimizer, confirm=0) if watched else None
        for x, y in batches(22):
            half = slice(8 * rank, 8 * rank + 8)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[half]), y[half])
            loss.backward()
            optimizer.step()
            if seen is not None and rank == 0:  # the other is counted by its optimiser
                seen.step(loss)
        states.append([value.clone() for value in model.module.state_dict().values()])
    assert seen is not None
    seen.findings()
    equal = all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    results.put((equal, seen.steps, seen.observations.series.get("activation-scale", "0").finite[:1]))
    torch.distributed.destroy_process_group()


def test_two_processes() -> None:
    port, context = warm.free_port(), warm.context()
    results = context.Queue()
    processes = [context.Process(target=_process, args=(rank, port, results)) for rank in range(2)]
    for process in processes:
        process.start()
    found = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(30)
    assert all(equal and steps == 22 and scale for equal, steps, scale in found)
