"""scikit-learn estimators: the same recipe, default rule and loop, with nothing written to disk."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from netwright import building, sourcing
from netwright.data.examples import Examples, Part, Task, facts
from netwright.data.loading import ArrayBatches
from netwright.errors import NetworkError, UsageError
from netwright.nn import keeping
from netwright.preprocess import ArrayPreprocess, InputFile, apply, input_shape, measure, raw_shape
from netwright.recipe import defaults, override
from netwright.recipe.schema import Recipe
from netwright.training import loop as loops
from netwright.training import randomness
from netwright.training.averaging import Average
from netwright.training.evaluating import evaluation_mode
from netwright.training.precision import Precision
from netwright.training.state import State

Array = npt.NDArray[Any]


class _Silent:
    """An observer that writes nothing; a loss that is not finite stops the training with an error."""

    def __init__(self, average: Average | None) -> None:
        self.average = average
        self.losses: list[torch.Tensor] = []
        self.curve: list[float] = []

    def after_step(self, state: State, loss: torch.Tensor, outputs: Any, targets: torch.Tensor) -> None:
        self.losses.append(loss)
        if self.average is not None:
            self.average.after_step(state.step)

    def after_epoch(self, state: State) -> bool:
        mean = float(torch.stack(self.losses).mean())
        self.losses = []
        if not np.isfinite(mean):
            raise UsageError(f"epoch {state.epoch}", f"a loss of {mean}", "a finite loss", "a smaller lr")
        self.curve.append(mean)
        return False


class _NetworkEstimator(BaseEstimator):
    """What classifier and regressor share."""

    def __init__(
        self,
        network: str | nn.Module | Callable[..., nn.Module] = "auto",
        *,
        input_shape: Sequence[int] | None = None,
        epochs: int | str = "auto",
        batch_size: int | str = "auto",
        optimizer: str = "auto",
        lr: float | str = "auto",
        settings: dict[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        """
        ``network``: a name, a module (copied, then trained) or a function of (input_shape, outputs). ``input_shape``:
        the shape of one example, into which each row of X is folded (``(1, 8, 8)`` for small pictures).
        ``settings``: any other recipe keys, such as ``{"train.weight_decay": 0.01}``.
        """
        self.network = network
        self.input_shape = input_shape
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.settings = settings
        self.random_state = random_state

    def _recipe(self, seed: int) -> Recipe:
        changes = {
            "seed": seed, "data.source": "python", "data.format": "python", "train.epochs": self.epochs,
            "train.batch_size": self.batch_size, "train.optimizer": self.optimizer, "train.lr": self.lr,
        }  # fmt: skip
        if isinstance(self.network, str):
            changes["network.name"] = self.network
        return override(Recipe(), {**changes, **(self.settings or {})})

    def _train(self, X: Array, targets: Array, task: Task, classes: tuple[str, ...], names: tuple[str, ...]) -> None:
        shape = tuple(self.input_shape or X.shape[1:])
        if int(np.prod(shape)) != X.shape[1]:
            raise UsageError(
                "input_shape", f"{shape}, {int(np.prod(shape))} numbers", f"{X.shape[1]}, one a column of X"
            )
        if len(X) < 2:
            raise UsageError("X", f"n_samples = {len(X)}", "at least 2 examples")
        raw = np.ascontiguousarray(X.reshape(len(X), *shape), np.float32)
        record = measure(ArrayPreprocess(shape=shape), raw)
        part = Part((raw,), targets)
        kind = "image" if len(shape) == 3 else "array"
        examples = Examples(kind, task, {"train": part}, (record,), classes, names)  # type: ignore[arg-type]
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with randomness.kept():
            recipe = defaults.resolve(self._recipe(seed), facts(examples))
            place = building.device(recipe)
            randomness.seed(seed)
            network = self._network(recipe, examples).to(place)
            inputs = sourcing.input_file(examples, examples.outputs)
            objective = building.objective(recipe, inputs, examples)
            job = loops.Job(
                network=network, objective=objective, optimizer=building.optimizer(recipe, network),
                rate=lambda step: 1.0, batches=building.batches(recipe, examples, "train", place, training=True),
                precision=Precision(recipe.train.precision, place), epochs=int(recipe.train.epochs),
                accumulate=recipe.train.accumulate, clip=recipe.train.clip,
            )  # fmt: skip
            job.rate = building.rate(recipe, job.epochs, job.steps_per_epoch)
            observer = _Silent(Average(network, float(recipe.train.average)) if recipe.train.average else None)
            loops.train(job, State(), observer)
        self.network_ = (network if observer.average is None else observer.average.network).eval().cpu()
        self.recipe_, self.preprocess_, self.inputs_ = recipe, record, inputs
        self.loss_curve_ = observer.curve
        self.n_iter_ = len(observer.curve)

    def _network(self, recipe: Recipe, examples: Examples) -> nn.Module:
        if isinstance(self.network, nn.Module):
            return copy.deepcopy(self.network)
        if callable(self.network):
            shape = input_shape(examples.preprocess[0])
            made = self.network(shape, examples.outputs)
            if not isinstance(made, nn.Module):
                raise NetworkError("network", type(made).__name__, "a function that returns a torch.nn.Module")
            return made
        record = building.network_file(recipe, examples)
        network = keeping.build(record, trust=True)
        building.refitted(recipe, record, network)
        building.initialized(recipe, network, examples)
        return network

    def _outputs(self, X: Array) -> torch.Tensor:
        """Dense networks by name are asked in float64: in float32 the bits of a row depend on the rows beside it, and
        scikit-learn's checks hold the two apart."""
        check_is_fitted(self, "network_")
        X = validate_data(self, X, reset=False, dtype=np.float32)
        raw = X.reshape(len(X), *raw_shape(self.preprocess_))
        batches = ArrayBatches(
            Part((np.ascontiguousarray(raw),), np.zeros(len(raw), np.int64)),
            (lambda piece: piece,),
            building.EVALUATION_BATCH,
        )
        exact = isinstance(self.network, str) and raw.ndim == 2
        network = copy.deepcopy(self.network_).double() if exact else self.network_
        with evaluation_mode(network), torch.inference_mode():
            prepared = (torch.from_numpy(apply(self.preprocess_, b.inputs[0].numpy())) for b in batches.epoch(0))
            return torch.cat([network(x.double() if exact else x) for x in prepared])

    def _objective(self) -> Any:
        inputs: InputFile = self.inputs_
        return building.objective(self.recipe_, inputs, None)


class NetworkClassifier(ClassifierMixin, _NetworkEstimator):
    """A neural network as a scikit-learn classifier; the recipe's defaults follow from the data's shape and size."""

    def fit(self, X: Array, y: Array) -> Self:
        """X (N, features) of finite numbers, y (N,) of labels; at least two classes."""
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise UsageError(
                "y",
                f"one class only ({self.classes_[0]!r})",
                "labels of at least 2 classes; the classifier can't train when only one class is present",
            )
        self._train(X, codes.astype(np.int64), "classification", tuple(str(name) for name in self.classes_), ())
        return self

    def predict_proba(self, X: Array) -> Array:
        """(N, classes), rows that sum to 1."""
        outputs = self._outputs(X)
        return np.asarray(self._objective().probabilities(outputs).double().numpy())

    def predict(self, X: Array) -> Array:
        chosen = self.predict_proba(X).argmax(1)
        return np.asarray(self.classes_[chosen])


class NetworkRegressor(RegressorMixin, _NetworkEstimator):
    """A neural network as a scikit-learn regressor, for one target or several."""

    def fit(self, X: Array, y: Array) -> Self:
        """X (N, features) and y (N,) or (N, targets), finite numbers."""
        X, y = validate_data(self, X, y, dtype=np.float32, multi_output=True, y_numeric=True)
        values = np.asarray(y, np.float32)
        self._flat = values.ndim == 1
        values = values.reshape(len(values), -1)
        names = tuple(f"y{number}" for number in range(values.shape[1]))
        self._train(X, np.ascontiguousarray(values), "regression", (), names)
        return self

    def predict(self, X: Array) -> Array:
        """(N,) or (N, targets), in the targets' own units."""
        outputs = self._outputs(X)
        values = self._objective().decide(outputs).double().numpy()
        return np.asarray(values.reshape(len(values), -1)[:, 0] if self._flat else values.reshape(len(values), -1))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.single_output = False
        tags.target_tags.multi_output = True
        return tags
