"""Every named change: what it does, that nothing else changes, and that it refuses where it does not fit."""

import copy
import dataclasses
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from netwright.observations.experiments import Change
from netwright.repair import anatomy, changes, wording
from netwright.repair.changes import KINDS, RefusedError, apply, rate_of, statistics
from netwright.repair.replaying import Copy, replay, steps_of
from small_trainings import mlp, spirals, training, waves

cross_entropy = nn.CrossEntropyLoss()


def sgd(rate: float = 0.1, **options):
    return lambda parameters: torch.optim.SGD(parameters, rate, **options)


def plain(make=lambda: mlp(2, 3), optimizer=None, **options):
    return training(make, spirals(150), cross_entropy, optimizer or sgd(), epochs=2, **options)


def numbers(make=lambda: mlp(5, 1), **options):
    return training(make, waves(150), nn.MSELoss(), sgd(0.01), epochs=2, **options)


def change(kind: str, value=None, layer: str = "") -> Change:
    return Change(kind=kind, value=value, layer=layer)


def deep() -> nn.Module:
    return mlp(2, 3, width=8, hidden=6, act=nn.Sigmoid)


def normed() -> nn.Module:
    return nn.Sequential(
        nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3), nn.Softmax(-1)
    )


FITTING = [
    (plain, change("learning-rate", 10.0)), (plain, change("optimizer", "adam")), (plain, change("batch-size", 0.5)),
    (plain, change("epochs", 2.0)), (plain, change("shuffle", False)), (plain, change("clear-gradients", False)),
    (plain, change("clip", 1.0)), (plain, change("warm-up", 0.5)), (plain, change("standardize-inputs")),
    (plain, change("same-preprocessing")), (plain, change("balance-classes")),
    (plain, change("initialization", "auto")),
    (plain, change("initialization", "default")), (plain, change("norm", "batch")), (plain, change("norm", "layer")),
    (plain, change("width", 2.0)), (plain, change("activation", "tanh")), (plain, change("output", "softmax")),
    (plain, change("output-units", 4)), (plain, change("loss-mean")), (plain, change("usual-settings")),
    (lambda: plain(deep), change("depth", 2)), (lambda: plain(deep), change("residual")),
    (lambda: plain(normed), change("group-norm")), (lambda: plain(normed), change("dropout", 0.0)),
    (lambda: plain(normed), change("loss", "cross-entropy")), (lambda: plain(normed), change("output", "identity")),
    (lambda: plain(lambda: mlp(2, 3, act=nn.Identity)), change("nonlinearity", "relu")),
    (lambda: plain(optimizer=sgd(weight_decay=0.1)), change("weight-decay", 0.0)),
    (numbers, change("standardize-targets")), (numbers, change("loss", "absolute")),
]  # fmt: skip


@pytest.mark.parametrize(("make", "one"), FITTING, ids=lambda value: getattr(value, "kind", None) or "")
def test_a_change_leaves_the_replica_alone_trains_and_has_words(make, one: Change) -> None:
    replica = make()
    kept = copy.deepcopy(replica.network.state_dict()), replica.train[0].clone(), replica.train[1].clone()
    fields = {field.name: getattr(replica, field.name) for field in dataclasses.fields(replica)}
    altered = apply(replica, one)
    result = replay(altered)
    assert result.steps == steps_of(altered)
    assert result.score is not None
    assert all(getattr(replica, name) is value for name, value in fields.items())
    for name, value in replica.network.state_dict().items():
        assert torch.equal(value, kept[0][name])
    assert torch.equal(replica.train[0], kept[1])
    assert torch.equal(replica.train[1], kept[2])
    assert wording.in_words(one) != one.kind


def test_every_named_change_is_tried_here_or_below() -> None:
    tried = {one.kind for _, one in FITTING} | {"train-all", "drop-bad-rows", "drop-duplicates"}
    assert tried == set(KINDS)


REFUSED = [
    (plain, change("no-such-change"), "no change"), (plain, change("optimizer", "newton"), "no optimiser"),
    (plain, change("weight-decay", 0.0), "no weight decay"), (plain, change("dropout", 0.0), "no dropout"),
    (plain, change("batch-size", {"to": 32}), "already of 32"), (plain, change("standardize-targets"), "no numbers"),
    (plain, change("drop-bad-rows"), "no row"), (plain, change("train-all"), "trained already"),
    (plain, change("depth", 3), "no more than 3"), (plain, change("group-norm"), "no batch norm"),
    (plain, change("nonlinearity"), "every hidden layer"), (plain, change("output", "identity"), "no module"),
    (plain, change("loss", "squared"), "does not fit"), (numbers, change("loss", "cross-entropy"), "one unit"),
    (numbers, change("balance-classes"), "no single class|no classes"),
    (plain, change("activation", "relu"), "no hidden"),
    (lambda: plain(lambda: nn.Linear(2, 3)), change("width", 2.0), "no modules|no hidden"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "one", "reason"), REFUSED, ids=lambda value: getattr(value, "kind", None) or "")
def test_a_change_that_does_not_fit_is_refused_with_the_reason(make, one: Change, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        apply(make(), one)


@given(factors=st.lists(st.floats(0.01, 100), min_size=1, max_size=3), rate=st.floats(1e-5, 10))
@settings(max_examples=25, deadline=None)
def test_rates_multiply_and_keep_the_ratio_of_groups(factors: list[float], rate: float) -> None:
    network = mlp(2, 3)
    groups = [{"params": network[0].parameters(), "lr": rate}, {"params": network[2:].parameters(), "lr": rate / 10}]
    replica = dataclasses.replace(plain(), optimizer=lambda own: torch.optim.SGD(
        [{"params": own[0].parameters(), "lr": rate}, {"params": own[2:].parameters(), "lr": rate / 10}]
    ))  # fmt: skip
    assert len(groups) == 2
    altered = apply(replica, *(change("learning-rate", factor) for factor in factors))
    wanted = rate
    for factor in factors:
        wanted *= factor
    assert rate_of(altered) == pytest.approx(wanted)
    rates = [group["lr"] for group in altered.optimizer(altered.network).param_groups]
    assert rates[1] == pytest.approx(rates[0] / 10)
    assert rate_of(apply(altered, change("learning-rate", {"to": 0.5}))) == pytest.approx(0.5)


def test_more_epochs_and_smaller_batches_make_the_steps_they_should() -> None:
    replica = plain()
    assert steps_of(apply(replica, change("epochs", 3.0))) == 3 * steps_of(replica)
    halved = apply(replica, change("batch-size", 0.5))
    assert (halved.batch_size, halved.epochs) == (16, 2)


# ------------------------------------------------------------------------------------------------- data


@given(st.integers(0, 1000), st.sampled_from([(50, 4), (20, 3, 6, 5), (20, 7, 4)]))
@settings(max_examples=20, deadline=None)
def test_standardised_inputs_have_mean_zero_and_deviation_one(seed: int, shape: tuple[int, ...]) -> None:
    drawn = torch.Generator().manual_seed(seed)
    axis = 1 if len(shape) == 4 else len(shape) - 1
    view = [1] * len(shape)
    view[axis] = shape[axis]
    scales = torch.logspace(-2, 3, shape[axis]).reshape(view)
    inputs = torch.randn(shape, generator=drawn) * scales + 5 * scales
    mean, deviation = statistics(inputs)
    scaled = (inputs - mean) / deviation
    others = [number for number in range(len(shape)) if number != axis]
    assert scaled.mean(others).abs().max() < 1e-2
    assert (scaled.square().mean(others) - 1).abs().max() < 1e-2


def test_pixels_are_of_one_unit_and_get_one_scale() -> None:
    pixels = torch.randint(0, 256, (200, 64)).float()
    pixels[:, :5] = 0  # a border that never varies
    pixels[0, 5] = 1
    mean, deviation = statistics(pixels)
    assert mean.numel() == deviation.numel() == 1


def test_statistics_leave_out_what_is_not_finite_and_constant_columns_alone() -> None:
    inputs = torch.randn(100, 3) * torch.tensor([1.0, 100.0, 0.0])
    inputs[3, 0], inputs[4, 1] = torch.inf, torch.nan
    mean, deviation = statistics(inputs)
    assert torch.isfinite(mean).all()
    assert deviation[0, 2] == 1
    assert deviation[0, 1] == pytest.approx(float(inputs[:, 1][torch.isfinite(inputs[:, 1])].std()), rel=0.02)


def test_validation_is_scaled_by_the_training_parts_statistics() -> None:
    replica = plain()
    altered = apply(replica, change("standardize-inputs"))
    mean, deviation = statistics(replica.train[0])
    assert torch.allclose(altered.validation[0], (replica.validation[0] - mean) / deviation)
    assert apply(altered, change("standardize-inputs")).input_scales[0] is altered.input_scales[0]


def test_bad_rows_and_repeated_rows_are_dropped_with_their_targets() -> None:
    replica = numbers()
    inputs, targets = replica.train[0].clone(), replica.train[1].clone()
    inputs[3, 1], targets[7, 0] = torch.nan, torch.inf
    bad = apply(dataclasses.replace(replica, train=(inputs, targets)), change("drop-bad-rows"))
    kept = [row for row in range(len(inputs)) if row not in (3, 7)]
    assert torch.equal(bad.train[0], inputs[kept])
    assert torch.equal(bad.train[1], targets[kept])
    twice = tuple(torch.cat([part, part[:20]]) for part in replica.train)
    once = apply(dataclasses.replace(replica, train=twice), change("drop-duplicates"))
    assert torch.equal(once.train[0], replica.train[0])


def test_balanced_classes_are_drawn_as_often() -> None:
    inputs, labels = torch.randn(1000, 2), (torch.arange(1000) % 10 == 0).long()
    replica = dataclasses.replace(plain(lambda: mlp(2, 2)), train=(inputs, labels), validation=None)
    copied = Copy(apply(replica, change("balance-classes")))
    drawn = torch.cat([next(copied._batches)[1] for _ in range(30)])
    assert 0.45 < float(drawn.float().mean()) < 0.55


# ---------------------------------------------------------------------------------------------- networks


def test_a_replaced_activation_keeps_weights_and_computes_the_other_function() -> None:
    replica = plain(lambda: mlp(2, 3, act=nn.Sigmoid))
    altered = apply(replica, change("activation", "tanh"))
    x = torch.randn(5, 2)
    first, _, second, _, last = replica.network
    assert torch.allclose(altered.network(x), last(torch.tanh(second(torch.tanh(first(x))))))
    single = apply(replica, change("activation", "relu", layer="1"))
    assert [type(module) for module in single.network] == [nn.Linear, nn.ReLU, nn.Linear, nn.Sigmoid, nn.Linear]


class OwnActivation(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.exp()


class Functional(nn.Module):
    """Its output is made by a function of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act, self.second = nn.Linear(2, 6), OwnActivation(), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.act(self.first(x))) * 2


def test_activations_are_found_by_what_they_do() -> None:
    called = anatomy.calls(Functional(), torch.randn(4, 2))
    assert [call.name for call in anatomy.hidden_activations(called)] == ["act"]
    assert anatomy.output_activation(called) is None
    named = anatomy.calls(normed(), torch.randn(4, 2))
    assert anatomy.output_activation(named).name == "5"
    assert [call.name for call in anatomy.hidden_activations(named)] == ["2"]


@pytest.mark.parametrize("make", [Functional, lambda: mlp(2, 3), normed])
def test_an_output_activation_is_put_or_replaced_wherever_the_output_is_made(make) -> None:
    replica = plain(make)
    altered = apply(replica, change("output", "sigmoid"))
    x = torch.randn(6, 2)
    bare = apply(replica, change("output", "identity")) if make is normed else replica
    assert torch.allclose(altered.network.eval()(x), torch.sigmoid(bare.network.eval()(x)), atol=1e-6)
    known = {id(p) for group in altered.optimizer(altered.network).param_groups for p in group["params"]}
    assert known == {id(p) for p in altered.network.parameters()}


def test_a_loss_of_logits_takes_the_softmax_away() -> None:
    altered = apply(plain(normed), change("loss", "cross-entropy"))
    x, labels = torch.randn(6, 2), torch.randint(0, 3, (6,))
    outputs = altered.network.eval()(x)
    assert not torch.allclose(outputs.sum(1), torch.ones(6))
    assert torch.allclose(altered.loss(outputs, labels), nn.functional.cross_entropy(outputs, labels))
    assert torch.allclose(
        altered.loss(outputs, nn.functional.one_hot(labels, 3).float()), altered.loss(outputs, labels)
    )


def test_new_weights_have_the_variance_of_their_rule_and_differ_between_seeds() -> None:
    replica = training(
        lambda: mlp(300, 3, 400), ((torch.randn(9, 300), torch.arange(9) % 3), None), cross_entropy, sgd()
    )
    altered = apply(replica, change("initialization", "auto"))
    one, other = Copy(altered, 0).network, Copy(altered, 1).network
    assert float(one[0].weight.detach().std()) == pytest.approx((2 / 300) ** 0.5, rel=0.02)  # before a ReLU: He
    assert float(one[4].weight.detach().std()) == pytest.approx(
        (2 / (400 + 3)) ** 0.5, rel=0.1
    )  # at the output: Glorot
    assert float(one[0].bias.abs().max()) == 0
    assert not torch.equal(one[0].weight, other[0].weight)
    assert torch.equal(one[0].weight, Copy(altered, 0).network[0].weight)


def test_everything_is_trained_after_train_all() -> None:
    torch.manual_seed(0)
    network = mlp(2, 3)
    network[0].requires_grad_(False)
    from netwright.repair import replica as replicas

    optimizer = torch.optim.SGD(network[-1].parameters(), 0.1)
    replica = replicas.of(network, optimizer, cross_entropy, *spirals(150), 16, 1)
    copied = Copy(apply(replica, change("train-all")))
    copied.advance()
    for before, after in zip(replica.network.parameters(), copied.network.parameters()):
        assert not torch.equal(before, after)


def test_norms_stand_before_the_hidden_activations_and_are_trained() -> None:
    altered = apply(plain(), change("norm", "batch"))
    kinds = [type(module) for module in altered.network.modules() if not list(module.children())]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    copied = Copy(altered)
    copied.advance()
    assert not torch.equal(copied.network[1][0].weight, torch.ones(32))


def test_group_norm_of_vectors_and_maps_does_not_depend_on_the_batch() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 10),
        nn.BatchNorm1d(10),
        nn.Linear(10, 2),
    )
    replica = training(lambda: network, ((torch.randn(12, 1, 6, 6), torch.arange(12) % 2), None), cross_entropy, sgd())
    altered = apply(replica, change("group-norm")).network.train()
    x = torch.randn(8, 1, 6, 6)
    assert torch.allclose(altered(x)[:3], altered(x[:3]), atol=1e-5)
    assert float(altered(x).std()) > 0


def test_depth_keeps_the_first_layers_of_a_row_and_residual_adds_the_input() -> None:
    replica = plain(deep)
    altered = apply(replica, change("depth", 2)).network
    x = torch.randn(4, 2)
    kept = list(replica.network)
    wanted = kept[12](nn.Sequential(*kept[:6])(x))
    assert torch.allclose(altered(x), wanted)
    residual = apply(replica, change("residual")).network
    y = torch.sigmoid(kept[0](x))
    for layer in range(2, 12, 2):
        y = y + torch.sigmoid(kept[layer](y))
    assert torch.allclose(residual(x), kept[12](y))


def test_wider_layers_fit_each_other_through_convolutions_norms_and_flattening() -> None:
    def make() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 5),
            nn.ReLU(), nn.Linear(5, 2),
        )  # fmt: skip

    replica = training(make, ((torch.randn(12, 1, 6, 6), torch.arange(12) % 2), None), cross_entropy, sgd())
    altered = apply(replica, change("width", 3.0)).network  # 4 and 5 units: three times as many, 16 at least
    assert [tuple(p.shape)[:2] for p in altered.parameters() if p.ndim > 1] == [(16, 1), (16, 64), (2, 16)]
    branched = training(lambda: nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(8, 2)),
                        ((torch.randint(0, 9, (12, 2)), torch.arange(12) % 2), None), cross_entropy, sgd())  # fmt: skip
    with pytest.raises(RefusedError, match="more than dense"):
        apply(branched, change("width", 2.0))


# ---------------------------------------------------------------------------------------------- recipes


def test_what_a_recipe_can_say_is_accepted_by_the_recipe() -> None:
    from netwright.recipe import Recipe
    from netwright.recipe.reading import override

    known = {"train.lr": 0.01, "train.batch_size": 64, "train.epochs": 5, "network.width": 32, "network.depth": 2}
    said = 0
    for one in itertools.chain(
        (one for _, one in FITTING), [change("optimizer", "rmsprop"), change("epochs", {"to": 9})]
    ):
        keys = wording.recipe_change(one, known)
        said += bool(keys)
        override(Recipe(), keys)
    assert said >= 12


def test_group_testing_finds_what_any_of_its_settings_repairs() -> None:
    """A rate a thousand times too low: the group wins as the rate alone would."""
    slow = training(lambda: mlp(2, 3), spirals(), cross_entropy, sgd(1e-4), epochs=20)
    before, after = replay(slow), replay(changes.apply(slow, change("usual-settings")))
    assert (after.score or 0) > (before.score or 0) + 0.2
