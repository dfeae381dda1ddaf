"""The callbacks beside the trainers themselves, where installed, and beside the least that calls their hooks."""

import sys
import types
from typing import Any

import pytest
import torch
from torch import nn

from netwright.adapters import lightning as for_lightning
from netwright.adapters import transformers as for_transformers
from netwright.errors import MissingExtraError

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


class Trainer:
    """What Lightning's does, in its order: the optimiser's step runs the closure; two batches make a step."""

    def __init__(self, callbacks: list[Any]) -> None:
        self.callbacks, self.global_step = callbacks, 0
        self.optimizers: list[Any] = []
        self.callback_metrics: dict[str, Any] = {}

    def call(self, hook: str, *arguments: Any) -> None:
        for one in self.callbacks:
            getattr(one, hook)(self, *arguments)

    def fit(self, module: nn.Module, epochs: int = 6) -> None:
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        self.optimizers = [optimizer]
        self.call("on_train_start", module)
        for epoch in range(epochs):
            for number, start in enumerate(range(0, 64, 8)):
                rows = slice(start, start + 8)

                def closure(rows: slice = rows, number: int = number) -> torch.Tensor:
                    loss = nn.functional.cross_entropy(module(X[rows]), Y[rows]) / 2
                    if number % 2 == 0:
                        optimizer.zero_grad()
                    loss.backward()
                    return loss

                if number % 2:
                    loss: Any = optimizer.step(closure)
                    self.global_step += 1
                else:
                    loss = closure()
                self.call("on_train_batch_end", module, {"loss": loss.detach()}, None, number)
            self.callback_metrics = {"accuracy": torch.tensor(epoch / 10)}
            self.call("on_validation_end", module)
        self.call("on_train_end", module)


def test_lightning_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    fake: Any = types.ModuleType("lightning.pytorch")
    fake.Callback = type("Callback", (), {})
    monkeypatch.setitem(sys.modules, "lightning", types.ModuleType("lightning"))
    monkeypatch.setitem(sys.modules, "lightning.pytorch", fake)
    alone, watched = network(), network()
    Trainer([]).fit(alone)
    callback = for_lightning.callback("accuracy", confirm=0)
    Trainer([callback]).fit(watched)
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), watched.parameters(), strict=True))
    seen = callback.watch.observations
    assert callback.watch.steps == 24
    assert len(seen.series.get("loss").finite) == 24
    assert seen.series.get("update-ratio", "0").finite
    assert max(seen.series.get("gradients-kept").finite) == 0
    assert [row.metrics["score"] for row in seen.epochs] == pytest.approx([n / 10 for n in range(6)])


def test_transformers_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    fake: Any = types.ModuleType("transformers")
    fake.TrainerCallback = type("TrainerCallback", (), {})
    monkeypatch.setitem(sys.modules, "transformers", fake)
    callback = for_transformers.callback("eval_accuracy", confirm=0)
    state = types.SimpleNamespace(global_step=0)
    model = network()
    optimizer = torch.optim.AdamW(model.parameters())
    wrapped = types.SimpleNamespace(optimizer=optimizer)
    callback.on_train_begin(None, state, None, model=model, optimizer=wrapped)
    for step in range(24):
        nn.functional.cross_entropy(model(X), Y).backward()
        optimizer.step()
        model.zero_grad()
        state.global_step = step + 1
        callback.on_step_end(None, state, None)
        if step % 8 == 7:
            callback.on_log(None, state, None, logs={"loss": 1.0})
            callback.on_evaluate(None, state, None, metrics={"eval_accuracy": 0.5})
    callback.on_train_end(None, state, None)
    seen = callback.watch.observations
    assert callback.watch.steps == 24
    assert list(seen.series.get("loss").steps) == [8, 16, 24]
    assert seen.series.get("update-ratio", "2").finite
    assert len(seen.epochs) == 3


@pytest.mark.parametrize("name", ["lightning", "transformers"])
def test_what_is_missing_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("lightning", "lightning.pytorch", "pytorch_lightning", "transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=f"pip install {name}") as caught:
        {"lightning": for_lightning, "transformers": for_transformers}[name].callback()
    assert caught.value.exit_code == 4


def test_with_lightning_itself() -> None:
    pl = pytest.importorskip("lightning.pytorch")

    class Module(pl.LightningModule):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def training_step(self, batch: Any, index: int) -> Any:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    callback = for_lightning.callback(confirm=0)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), 8)
    trainer = pl.Trainer(
        max_epochs=3, callbacks=[callback], logger=False, enable_checkpointing=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), loader)
    assert callback.watch.steps == 24
    assert callback.watch.observations.series.get("activation-scale", "net.0").finite


def test_with_transformers_itself(tmp_path: Any) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Any, labels: Any = None) -> Any:
            logits = self.net(x)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    callback = for_transformers.callback(confirm=0)
    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=24, report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True
    )
    data = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]
    transformers.Trainer(Model(), arguments, train_dataset=data, callbacks=[callback]).train()
    assert callback.watch.steps == 24
    assert callback.watch.observations.series.get("gradient-norm", "net.0").finite
