"""The estimators pass scikit-learn's own checks, and agree with what they promise."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from netwright import NetworkClassifier, NetworkRegressor
from netwright.errors import NetwrightError, UsageError


@parametrize_with_checks([NetworkClassifier(epochs=20, random_state=0), NetworkRegressor(epochs=20, random_state=0)])
def test_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_told_of_a_row_does_not_depend_on_the_rows_beside_it(seed: int) -> None:
    """By far less than float32 has, whose products round otherwise in another place of a batch."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(37, 23))
    y = X[:, :3].sum(1) * 100
    model = NetworkRegressor(epochs=2, random_state=seed).fit(X, y)
    alone = np.concatenate([model.predict(row[None]) for row in X])
    order = generator.permutation(len(X))
    np.testing.assert_allclose(alone, model.predict(X), rtol=1e-12)
    np.testing.assert_allclose(model.predict(X[order]), model.predict(X)[order], rtol=1e-12)


def digits() -> Any:
    X, y = load_digits(return_X_y=True)
    return train_test_split(X, y, test_size=0.5, random_state=0, stratify=y)


def test_a_convolutional_network_on_flat_rows_and_labels_of_any_kind() -> None:
    X, X_test, y, y_test = digits()
    names = np.array([f"digit {number}" for number in range(10)])
    model = NetworkClassifier(
        "small_vgg", input_shape=(1, 8, 8), epochs=4, random_state=1, settings={"network.width": 8}
    )
    model.fit(X, names[y])
    assert model.score(X_test, names[y_test]) > 0.8
    np.testing.assert_allclose(model.predict_proba(X_test).sum(1), 1, atol=1e-5)
    assert len(model.loss_curve_) == 4


def test_the_same_random_state_gives_the_same_bits_and_nothing_global_changes() -> None:
    X, X_test, y, _ = digits()
    state = torch.get_rng_state()
    first, second = (NetworkClassifier(epochs=2, random_state=3).fit(X, y).predict_proba(X_test) for _ in range(2))
    assert np.array_equal(first, second)
    assert torch.equal(state, torch.get_rng_state())
    assert not np.array_equal(first, NetworkClassifier(epochs=2, random_state=4).fit(X, y).predict_proba(X_test))


def test_in_a_pipeline_a_search_and_a_pickle() -> None:
    X, X_test, y, _ = digits()
    search = GridSearchCV(NetworkClassifier(epochs=2, random_state=0), {"lr": [1e-5, 1e-2]}, cv=2)
    model = make_pipeline(MinMaxScaler(), search).fit(X[:300], y[:300])
    assert search.best_params_ == {"lr": 1e-2}
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict(X_test), model.predict(X_test))


def test_regression_in_the_targets_own_units() -> None:
    X, y = load_diabetes(return_X_y=True)
    model = NetworkRegressor(random_state=0).fit(X[:300], y[:300])
    assert model.score(X[300:], y[300:]) > 0.3
    both = NetworkRegressor(epochs=3, random_state=0).fit(X, np.column_stack([y, -1000 * y]))
    assert both.predict(X).shape == (len(X), 2)
    assert abs(both.predict(X)[:, 1].mean()) > 10_000


def test_networks_of_the_users_own() -> None:
    X, _, y, _ = digits()
    module = torch.nn.Linear(64, 10)
    before = module.weight.detach().clone()
    model = NetworkClassifier(module, epochs=2, random_state=0).fit(X, y)
    assert torch.equal(before, module.weight)  # it is copied
    assert clone(model).network is not module
    made = NetworkClassifier(lambda shape, outputs: torch.nn.Linear(shape[0], outputs), epochs=2).fit(X, y)
    assert made.predict(X).shape == y.shape


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"input_shape": (1, 8, 9)}, "64"),
        ({"network": "nlp"}, "mlp"),
        ({"settings": {"train.epoch": 3}}, "train.epochs"),
        ({"lr": 1e30, "epochs": 3, "settings": {"train.schedule": "constant", "train.optimizer": "sgd"}}, "finite"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], says: str) -> None:
    X, _, y, _ = digits()
    with pytest.raises((UsageError, NetwrightError), match=says):
        NetworkClassifier(**options).fit(X, y)
