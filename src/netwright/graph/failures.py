"""A network that does not run on an example: which layer, what came, what it expected, and the line of its source."""

from __future__ import annotations

from torch import nn

from netwright.errors import NetworkError, users_line


def explained(network: nn.Module, path: str, came: str, error: BaseException) -> NetworkError:
    """``error`` in our words. It rose in the module at ``path``, which was given tensors of the shapes ``came``."""
    module = network.get_submodule(path) if path else network
    kind = type(module).__name__
    where = f"{path} ({kind})" if path else kind
    expected = _expectation(module)
    line = users_line(error)
    message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    got = f"an input of {came}" if came else "an error"
    advice = "another --input" if expected else "run forward with this input by itself"
    if isinstance(error, TypeError) and "forward()" in message and "argument" in message:
        advice = "one --input for every argument of forward, in order"
    if "expected" not in expected and "embedding" in message.lower() + kind.lower():
        advice = "an integer input, such as --input 16:int64"
    return NetworkError(where, f"{got} ({type(error).__name__}: {message}{line and f'; at {line}'})", expected, advice)


def needs_values(error: BaseException) -> bool:
    """Whether the error came from having shapes only: such a network is run once with values."""
    text = f"{type(error).__name__} {error}".lower()
    return "meta" in text or isinstance(error, NotImplementedError) or "data-dependent" in text


def _expectation(module: nn.Module) -> str:
    for attribute, words in (
        ("in_channels", "{} channels in axis 1"),
        ("in_features", "{} values in the last axis"),
        ("num_features", "{} channels in axis 1"),
        ("num_channels", "{} channels in axis 1"),
        ("normalized_shape", "{} at the end of the shape"),
        ("input_size", "{} values in the last axis"),
        ("embed_dim", "{} values in the last axis"),
        ("num_embeddings", "integers below {}"),
    ):
        value = getattr(module, attribute, None)
        if isinstance(value, int | tuple):
            return words.format(value if isinstance(value, int) else "x".join(map(str, value)))
    return ""
