"""Memory of a training step: predicted bytes against those that PyTorch's profiler sees live in a real one.

Measured with PyTorch 2.13 on a processor with AVX-512, one thread, predicted over real: exact (within 0.1 %) for MLP,
LeNet-5, ResNet-20, ResNeXt, DenseNet, MobileNet v2, ShuffleNet v2, SqueezeNet, GoogLeNet, AlexNet, GRU, RNN and a
transformer's layer; 0.97 to 0.99 for VGGs, ResNet-50, ERFNet; 1.06 for U-Net, 0.94 for LSTM, 0.92 for a small ViT,
whose patch convolution takes a scratchpad four times its weights. What is missing is inside of oneDNN's kernels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from netwright.errors import NetworkError, UsageError
from netwright.inspection.memory import OPTIMIZERS, PARTS, TrainingMemory, training_memory
from netwright.nn.zoo import NETWORKS

# What the project promises, where its figures were taken. With narrower vectors a convolution's copies are laid out
# otherwise: LeNet-5's peak is 17 % above what is predicted there.
TOLERANCE = 0.10 if "AVX512" in torch.backends.cpu.get_cpu_capability() else 0.20


class Sequence(nn.Module):
    """(N, T, 32) → (N, 10) by a recurrent layer."""

    def __init__(self, kind: type[nn.Module], width: int) -> None:
        super().__init__()
        self.recurrent = kind(32, width, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(x)[0][:, -1])


class Attentive(nn.Module):
    """(N, T, 64) → (N, 10) by a transformer's layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(64, 4, 256, batch_first=True)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).mean(1))


Build = Callable[[], nn.Module]
CASES: dict[str, tuple[Build, tuple[int, ...], str]] = {
    "mlp": (lambda: NETWORKS["mlp"]((784,), 10, width=256, depth=2), (64, 784), "adam"),
    "lenet5": (lambda: NETWORKS["lenet5"]((1, 28, 28), 10), (64, 1, 28, 28), "momentum"),
    "small_vgg": (lambda: NETWORKS["small_vgg"]((3, 32, 32), 10), (16, 3, 32, 32), "rmsprop"),
    "resnet20_cifar": (lambda: NETWORKS["resnet20_cifar"]((3, 32, 32), 10), (16, 3, 32, 32), "momentum"),
    "resnet18": (lambda: NETWORKS["resnet18"]((3, 64, 64), 10, width=0.25), (8, 3, 64, 64), "adam"),
    "mobilenet_v2": (lambda: NETWORKS["mobilenet_v2"]((3, 64, 64), 10, width=0.5), (8, 3, 64, 64), "sgd"),
    "squeezenet": (lambda: NETWORKS["squeezenet1_1"]((3, 64, 64), 10), (8, 3, 64, 64), "sgd"),
    "unet": (lambda: NETWORKS["unet"]((1, 188, 188), 2, width=0.125), (2, 1, 188, 188), "adam"),
    "vit": (lambda: NETWORKS["vit_b_16"]((3, 64, 64), 10, width=0.25, depth=3), (8, 3, 64, 64), "adamw"),
    "lstm": (lambda: Sequence(nn.LSTM, 64), (16, 20, 32), "adam"),
    "gru": (lambda: Sequence(nn.GRU, 64), (16, 20, 32), "adadelta"),
    "transformer layer": (Attentive, (8, 32, 64), "nesterov"),
}


def measured(network: nn.Module, x: Tensor, target: Tensor, build: Callable) -> int:
    """Highest sum of live bytes in the second step, by PyTorch's profiler; what lived before is added by hand."""
    network.train()
    optimizer = build(network.parameters())

    def step() -> None:
        loss = F.cross_entropy(network(x), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        step()
    state = [v for entry in optimizer.state.values() for v in entry.values() if isinstance(v, Tensor)]
    before = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers(), *state, x, target))
    events = watched.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    return before + max(itertools.accumulate(change for _, change in changes))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """PyTorch chooses its convolutions by the number of threads too; few of them is what small machines have."""
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", CASES)
def test_predicted_is_within_a_tenth_of_the_profilers_peak(name: str) -> None:
    torch.manual_seed(0)
    build, shape, optimizer = CASES[name]
    network = build()
    found = training_memory(network, shape[1:], batch=shape[0], optimizer=optimizer)
    with torch.no_grad():
        outputs = network.eval()(torch.zeros(shape))
    target = torch.randint(outputs.shape[1], (shape[0], *outputs.shape[2:]))
    real = measured(network, torch.randn(shape), target, OPTIMIZERS[optimizer])
    assert found.peak == pytest.approx(real, rel=TOLERANCE)
    assert sum(found.at_peak.values()) == found.peak
    assert set(found.at_peak) == set(PARTS)


def test_a_dense_network_by_hand() -> None:
    """Two dense layers, squared loss, Adam; every byte has its name. float32, batch 4."""
    network = nn.Sequential(nn.Linear(10, 100), nn.ReLU(), nn.Linear(100, 1))
    found = training_memory(network, (10,), batch=4, optimizer="adam", loss="squared")
    weights = 4 * (1100 + 101)
    assert (found.weights, found.gradients, found.buffers) == (weights, weights, 0)
    assert found.optimizer_state == 2 * weights + 4 * 4, "two moments, and a count for each of four tensors"
    assert found.inputs == 4 * (4 * 10 + 4)
    assert found.activations == 4 * (4 * 100 + 4 + 1), "ReLU's output (its input is freed), the output, the loss"
    assert (found.batch, found.optimizer) == (4, "adam")


def test_optimisers_keep_what_they_keep() -> None:
    """Values kept for each parameter; all else is equal."""
    network = nn.Linear(100, 100, bias=False)
    state = {name: training_memory(network, (100,), optimizer=name).optimizer_state // 40_000 for name in OPTIMIZERS}
    assert state == {
        "sgd": 0, "momentum": 1, "nesterov": 1, "adagrad": 1, "rmsprop": 1, "adam": 2, "adamw": 2, "adadelta": 2,
    }  # fmt: skip


def test_activations_grow_with_the_batch_and_weights_do_not() -> None:
    network = NETWORKS["small_resnet"]((3, 32, 32), 10)
    small, large = (training_memory(network, (3, 32, 32), batch=batch) for batch in (4, 8))
    assert (small.weights, small.optimizer_state) == (large.weights, large.optimizer_state)
    assert large.activations == pytest.approx(2 * small.activations, rel=0.01)  # norms keep two values a channel
    assert large.inputs == 2 * small.inputs


def test_frozen_layers_have_no_gradient_no_state_and_keep_nothing() -> None:
    network = nn.Sequential(nn.Linear(50, 500), nn.ReLU(), nn.Linear(500, 10))
    free = training_memory(network, (50,), batch=32)
    network[0].requires_grad_(False)
    frozen = training_memory(network, (50,), batch=32)
    assert frozen.weights == free.weights
    assert frozen.gradients == 4 * 5010
    assert frozen.optimizer_state < 0.2 * free.optimizer_state
    assert frozen.peak < free.peak


def test_recomputation_is_seen() -> None:
    """Checkpointing is no special case: it is only another program."""
    from torch.utils.checkpoint import checkpoint

    class Deep(nn.Module):
        def __init__(self, saving: bool) -> None:
            super().__init__()
            self.saving = saving
            blocks = [nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64)) for _ in range(8)]
            self.blocks = nn.ModuleList(blocks)

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=False) if self.saving else block(x)
            return x

    plain, saving = (training_memory(Deep(on), (64,), batch=256) for on in (False, True))
    assert saving.activations < 0.6 * plain.activations
    assert saving.peak < plain.peak


def test_where_the_peak_is() -> None:
    """A wide layer in the middle: its gradients come while its activations are still there."""
    network = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4000), nn.Tanh(), nn.Linear(4000, 8))
    found = training_memory(network, (8,), batch=64, optimizer="sgd")
    assert found.at == "backward"
    assert found.where in ("2", "3", "4")


def test_several_inputs_a_loss_and_an_optimiser_of_ones_own() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Embedding(11, 4), nn.Linear(3, 4)

        def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
            return {"sum": self.left(left) + self.right(right)}

    example = [torch.zeros(1, dtype=torch.int64), torch.zeros(1, 3)]
    found = training_memory(
        Two(), example, batch=6, optimizer=lambda p: torch.optim.SGD(p, 0.1),
        loss=lambda outputs, target: (outputs["sum"] - target).square().mean(), target=torch.zeros(1, 4),
    )  # fmt: skip
    assert found.inputs == 6 * (8 + 3 * 4 + 4 * 4)
    assert found.gradients == found.weights == 4 * (44 + 16)
    assert found.optimizer_state == 0


def test_the_network_is_left_as_it_was() -> None:
    """Modes of single modules, values, gradients, hooks, random state; also after an error."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(144, 2)).eval()
    network[1].train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    training_memory(network, (3, 8, 8), batch=2)
    with pytest.raises(NetworkError):
        training_memory(network, (5, 8, 8), batch=2)
    assert [module.training for module in network] == [False, True, False, False, False]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(type(parameter) is nn.Parameter and parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.equal(torch.get_rng_state(), random)


def test_what_it_says_when_it_cannot() -> None:
    class Sees(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x) if x.sum() > 0 else self.fc(-x)

    with pytest.raises(NetworkError, match="shapes alone"):
        training_memory(Sees(), (4,))
    with pytest.raises(NetworkError, match="trainable"):
        training_memory(nn.Linear(4, 2).requires_grad_(False), (4,))
    with pytest.raises(UsageError, match="adam"):
        training_memory(nn.Linear(4, 2), (4,), optimizer="adm")
    with pytest.raises(UsageError, match="squared"):
        training_memory(nn.Linear(4, 2), (4,), loss="sqared")
    with pytest.raises(UsageError, match="at least 1"):
        training_memory(nn.Linear(4, 2), (4,), batch=0)


def test_a_network_without_values_and_the_record() -> None:
    with torch.device("meta"):
        network = NETWORKS["lenet5"]((1, 28, 28), 10)
    found = training_memory(network, (1, 28, 28), batch=8)
    assert found == training_memory(NETWORKS["lenet5"]((1, 28, 28), 10), (1, 28, 28), batch=8)
    assert TrainingMemory.from_json(found.to_json()) == found
