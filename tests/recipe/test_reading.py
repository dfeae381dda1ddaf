"""Reading recipes: every key can be set, a wrong one stops with the nearest name, and numbers are numbers."""

import shlex
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from netwright.errors import RecipeError
from netwright.recipe import Recipe, difference, flat, from_dict, keys, load, override, parse_assignments, reading

# A value other than the default for every key; a key without one here fails the test that walks the schema.
OTHER: dict[str, Any] = {
    "name": "mine", "seed": 7,
    "data.source": "folder/of/images", "data.format": "idx", "data.task": "regression", "data.validation": 0.25,
    "data.test": "elsewhere.csv", "data.split_seed": 3, "data.limit": 100, "data.channels": "rgb+hsv",
    "data.size": "32x48", "data.fit": "pad", "data.normalize": False, "data.target": "price",
    "data.types": {"zip": "category"}, "data.header": True, "data.missing": "mean", "data.skip_broken": True,
    "data.sample_rate": 8000, "data.seconds": 1.5, "data.memory_mb": 64, "data.cache": "cache",
    "data.limit_seed": 2, "data.leave_out": "labels.csv",
    "data.unit": "word", "data.vocabulary": 500, "data.length": 100, "data.horizon": 3, "data.window": 12,
    "network.name": "file.py:Net", "network.width": 32, "network.depth": 3, "network.dropout": 0.5,
    "network.arguments": {"kernel": 5}, "network.activation": "elu", "network.norm": "group",
    "network.norm_place": "after", "network.norm_groups": 4, "network.init": "he", "network.prior_bias": True,
    "network.drop_input": 0.2, "network.drop_hidden": 0.5, "network.noise_hidden": 0.1, "network.noise_weights": 0.01,
    "network.weights": "runs/digits-0001",
    "objective.loss": "focal", "objective.label_smoothing": 0.1, "objective.class_weights": [1.0, 2.0],
    "objective.focal_gamma": 1.0, "objective.huber_delta": 0.5, "objective.top_k": 3,
    "augment.shift": 0.1, "augment.flip": "both", "augment.rotate": 15.0, "augment.crop": 0.2, "augment.cutout": 0.3,
    "augment.color": 0.4, "augment.noise": 0.01, "augment.mixup": 0.2,
    "train.epochs": 12, "train.batch_size": 64, "train.optimizer": "sgd", "train.lr": 1e-3, "train.momentum": 0.8,
    "train.beta2": 0.99, "train.weight_decay": 5e-4, "train.decay_all": True, "train.schedule": "cosine",
    "train.warmup": 1.0, "train.gamma": 0.5, "train.step_epochs": 5, "train.clip": 1.0, "train.accumulate": 4,
    "train.sampling": "balanced", "train.snapshots": 5, "data.bootstrap_seed": 3, "data.bootstrap_weights": "w.npy",
    "train.patience": 5, "train.keep": "last", "train.precision": "bf16", "train.layout": "channels_last",
    "train.device": "cpu", "train.threads": 2, "train.average": 0.99, "train.checkpoint_seconds": 30.0,
    "train.decay_layers": {"head": 0.1}, "train.l1": 1e-4, "train.max_norm": 3.0, "train.constraint": "unit-norm",
    "train.bptt": 64, "train.mini_batches": True, "train.freeze": "all", "train.unfreeze_every": 2,
    "train.depth_rate": 0.5, "train.sync_norm": True,
    "watch.enabled": False, "watch.budget": 0.1, "watch.confirm": 5.0,
    "ignore": {"plateau": "known"},
}  # fmt: skip


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def refusal(action: typing.Callable[[], Any]) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        action()
    return caught.value


# ------------------------------------------------------------------------------------------------ what can be said


@pytest.mark.parametrize("key", [key for key in keys() if key != "version"])
def test_every_key_can_be_set(key: str) -> None:
    changed = override(Recipe(), {key: OTHER[key]})
    assert flat(changed)[key] == OTHER[key]
    assert set(difference(Recipe(), changed)) == {key}


@pytest.mark.parametrize("key", [key for key in keys() if key != "version"])
def test_every_key_can_be_set_from_the_command_line(key: str) -> None:
    text = msgspec.json.encode(OTHER[key]).decode()  # JSON is YAML
    assert flat(override(Recipe(), parse_assignments([f"{key}={text}"])))[key] == OTHER[key]


def test_nested_and_dotted_keys_mean_the_same(tmp_path: Path) -> None:
    nested = load(write(tmp_path, "train:\n  epochs: 3\n  lr: 0.1\n"))
    assert load(write(tmp_path, "train.epochs: 3\ntrain.lr: 0.1\n")) == nested
    assert nested.train.epochs == 3


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "train:\n", "train: {}\n", "data:\n  types:\nignore:\n"])
def test_what_is_left_out_is_the_default(tmp_path: Path, text: str) -> None:
    """Also where every key of a section is commented out, which leaves ``train:`` without a value."""
    assert load(write(tmp_path, text)) == Recipe()


@pytest.mark.parametrize("text", ["1e-3", "0.001", "1E-3", "+1e-3", "1.e-3", "10e-4", ".001"])
def test_every_way_to_write_a_number(tmp_path: Path, text: str) -> None:
    """YAML 1.1, as PyYAML reads it, takes ``1e-3`` for text."""
    assert load(write(tmp_path, f"train:\n  lr: {text}\n")).train.lr == 0.001
    assert parse_assignments([f"train.lr={text}"]) == {"train.lr": 0.001}


@pytest.mark.parametrize("text", ["on", "yes", "no", "010", "1_000", "2024-05-01", "12:30", "0x1f"])
def test_what_older_yaml_takes_for_something_else_is_text(tmp_path: Path, text: str) -> None:
    assert load(write(tmp_path, f"data:\n  source: {text}\n")).data.source == text


@pytest.mark.parametrize("text", ["2024", "1.5", "true", "null"])
def test_a_value_for_text_is_text_on_the_command_line(text: str) -> None:
    """A folder named 2024 needs no quotes there; where a key takes numbers too, a number is one."""
    assert parse_assignments([f"data.source={text}"]) == {"data.source": text}
    assert parse_assignments(["data.size=32", "data.validation=0.2"]) == {"data.size": 32, "data.validation": 0.2}


def test_overrides_rule_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "train: {epochs: 3, lr: 0.1}\n")
    recipe = load(path, {"train.epochs": 9})
    assert (recipe.train.epochs, recipe.train.lr) == (9, 0.1)


def test_the_users_own_keys() -> None:
    changes = parse_assignments(["data.types.zip code=category", "network.arguments.k=3", "ignore.plateau=known to me"])
    recipe = override(Recipe(), changes)
    assert recipe.data.types == {"zip code": "category"}
    assert recipe.network.arguments == {"k": 3}
    assert recipe.ignore == {"plateau": "known to me"}


def test_the_callers_values_are_copied() -> None:
    arguments = {"layers": [1, 2]}
    recipe = from_dict({"network": {"arguments": arguments}}, {"network.arguments.more": 1})
    arguments["layers"].append(3)
    assert arguments == {"layers": [1, 2, 3]}
    assert recipe.network.arguments == {"layers": [1, 2], "more": 1}


# ------------------------------------------------------------------------------------------------ what stops


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("train.epoch", "train.epochs=1"), ("trian.lr", "train.lr=1"), ("epochs", "train.epochs=1"), ("sede", "seed=1"),
        ("data.sorce", "data.source=1"), ("optimiser", "train.optimizer=1"), ("train.batchsize", "train.batch_size=1"),
        ("train", "train.epochs=auto"), ("network.args", "network.arguments.NAME=1"), ("quite.other", ""),
    ],
)  # fmt: skip
def test_an_unknown_key_offers_the_nearest(key: str, near: str) -> None:
    error = refusal(lambda: from_dict({}, {key: 1}))
    assert error.where == f"--set {key}"
    assert error.suggestion == (f"--set {near}" if near else "netwright list keys")
    assert error.exit_code == 2
    assert refusal(lambda: override(Recipe(), {"sede": 1})).suggestion == "settings={'seed': 1}"


def test_a_section_must_be_a_section(tmp_path: Path) -> None:
    error = refusal(lambda: load(write(tmp_path, "train: 5\n")))
    assert (error.got, error.expected) == ("5", "a section of keys")


@pytest.mark.parametrize(
    ("assignment", "expected", "suggestion"),
    [
        ("train.epochs=ten", "a whole number >= 1, or auto", "train.epochs=auto"),
        ("train.epochs=0", "a whole number >= 1, or auto", "train.epochs=auto"),
        ("train.epochs=1.5", "a whole number >= 1, or auto", "train.epochs=auto"),
        ("train.epochs=true", "a whole number >= 1, or auto", "train.epochs=auto"),
        ("train.lr=-1", "a number > 0, auto, or range-test", "train.lr=auto"),
        ("train.lr=range_test", "a number > 0, auto, or range-test", "train.lr=range-test"),
        ("train.optimizer=adm", "one of auto, sgd, momentum, nesterov", "train.optimizer=adam"),
        ("train.momentum=1", "a number >= 0 and < 1", "train.momentum=0.9"),
        ("data.validation=1.5", "a number from 0 to 1, or text", "data.validation=auto"),
        ("data.normalize=maybe", "one of true, false, auto", "data.normalize=auto"),
        ("data.missing=stopp", "stop or mean", "data.missing=stop"),
        ("data.types.age=numer", "one of number, category, date, text, ignore", "data.types.age=number"),
        ("objective.class_weights=[1, 0]", "a list of numbers > 0, none, or balanced", "objective.class_weights=none"),
        ("train.clip=", "a number >= 0", "train.clip=0.0"),
        ("seed=-1", "a whole number >= 0", "seed=0"),
        ("ignore.plateau=3", "text", ""),
        ("ignore.plataeu=known", "the code of a finding", "ignore.plateau=known"),
        ("ignore.plateau=", "why it is silenced", "ignore.plateau=REASON"),
    ],
)  # fmt: skip
def test_a_wrong_value_says_what_is_expected(assignment: str, expected: str, suggestion: str) -> None:
    error = refusal(lambda: from_dict({}, parse_assignments([assignment])))
    assert error.where == f"--set {assignment.partition('=')[0]}"
    assert error.expected.startswith(expected)
    assert error.suggestion == (f"--set {suggestion}" if suggestion else "")


def test_a_hint_can_be_pasted_where_the_value_was_given(tmp_path: Path) -> None:
    path = write(tmp_path, "train:\n  epochs: ten\n")
    error = refusal(lambda: load(path))
    assert (error.where, error.suggestion) == (f"{path}: train.epochs", "epochs: auto")
    path.write_text(path.read_text().replace("epochs: ten", error.suggestion))
    assert load(path) == Recipe()
    error = refusal(lambda: override(Recipe(), {"train.epochs": "ten"}))
    assert (error.where, error.suggestion) == ("train.epochs", "settings={'train.epochs': 'auto'}")
    words = refusal(lambda: from_dict({}, {"data.types.zip code": "categry"})).suggestion
    assert shlex.split(words) == ["--set", "data.types.zip code=category"]


def test_a_wrong_value_stops_although_another_rules_over_it(tmp_path: Path) -> None:
    path = write(tmp_path, "train: {epochs: ten}\n")
    assert refusal(lambda: load(path, {"train.epochs": 3})).got == "'ten'"
    path.write_text("train: {lr: .nan}\n")
    assert refusal(lambda: load(path, {"train.lr": 0.1})).expected == "a finite number"


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
@pytest.mark.parametrize("key", ["train.lr", "train.weight_decay", "network.arguments.scale", "augment.noise"])
def test_numbers_are_finite(key: str, value: str) -> None:
    assert refusal(lambda: override(Recipe(), parse_assignments([f"{key}={value}"]))).expected == "a finite number"


def test_one_key_with_two_values_is_a_conflict(tmp_path: Path) -> None:
    error = refusal(lambda: parse_assignments(["train.epochs=3", "train.epochs=4"]))
    assert (error.where, error.got) == ("--set train.epochs", "3 and 4")
    assert parse_assignments(["train.epochs=3", "train.epochs=3"]) == {"train.epochs": 3}
    error = refusal(lambda: load(write(tmp_path, "train:\n  epochs: 3\n  lr: 0.1\n  epochs: 4\n")))
    assert error.where.endswith("line 4")
    assert "epochs twice" in error.got
    error = refusal(lambda: load(write(tmp_path, "train: {epochs: 3}\ntrain.epochs: 4\n")))
    assert "train.epochs" in error.where


@pytest.mark.parametrize("assignment", ["train.epochs", "", "=3", "train.epochs 3"])
def test_an_assignment_has_a_key_and_a_value(assignment: str) -> None:
    assert refusal(lambda: parse_assignments([assignment])).expected == "key=value"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("train:\n  epochs: 3\n lr: 1\n", 3),
        ("train: {epochs: 3\n", 2),
        ("name: [1, 2\nseed: 3\n", 2),
        ("a: b: c\n", 1),
        ("name: !!python/object/apply:os.system ['true']\n", 1),
        ("name: \t- x\n", 1),
    ],
)
def test_what_is_not_yaml_names_the_line(tmp_path: Path, text: str, line: int) -> None:
    error = refusal(lambda: load(write(tmp_path, text)))
    assert error.where.endswith(f"recipe.yaml, line {line}")


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text\n", "3\n"])
def test_yaml_that_is_no_recipe(tmp_path: Path, text: str) -> None:
    assert refusal(lambda: load(write(tmp_path, text))).suggestion == "netwright init"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert refusal(lambda: load(tmp_path / "absent.yaml")).got == "no such file"
    assert refusal(lambda: load(tmp_path)).got == "a folder"
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refusal(lambda: load(tmp_path / "bytes.yaml")).got


@pytest.mark.parametrize("opening", ["[", "{a: ", "\n- ", "? "])
def test_deep_nesting_is_refused_before_it_overflows_a_stack(tmp_path: Path, opening: str) -> None:
    (tmp_path / "deep.yaml").write_text("name: " + opening + opening.strip("\n") * 100_000)
    assert refusal(lambda: load(tmp_path / "deep.yaml")).exit_code == 2
    (tmp_path / "loop.yaml").write_text("network: {arguments: &a {k: *a}}")
    assert refusal(lambda: load(tmp_path / "loop.yaml")).exit_code == 2


# ------------------------------------------------------------------------------------------------ versions


@pytest.mark.parametrize("version", ["2", "999", "0", "-1", "true", "one", "1.0", "null"])
def test_another_version_is_refused(tmp_path: Path, version: str) -> None:
    error = refusal(lambda: load(write(tmp_path, f"version: {version}\n")))
    assert error.where.endswith("recipe.yaml: version")
    assert error.expected == "1"


def test_a_newer_version_says_who_can_read_it(tmp_path: Path) -> None:
    assert refusal(lambda: load(write(tmp_path, "version: 2\n"))).suggestion == "a newer netwright"


def test_an_older_version_is_brought_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(fields: dict[str, Any]) -> dict[str, Any]:
        train = dict(fields.get("train", {}))
        return {**fields, "seed": int(fields.get("seed", 0)) + 1, "train": train}

    monkeypatch.setattr(reading, "VERSION", 2)
    old = {"version": 1, "seed": 4}
    assert "nothing converts it" in refusal(lambda: from_dict(old)).expected
    monkeypatch.setattr(reading, "UPGRADES", {1: renamed})
    assert from_dict(old).seed == 5
    assert from_dict(old).version == 2
