"""Networks over sequences: recurrent ones and a small transformer, over tokens or over series of numbers.

A network of tokens takes ids (N, T) and has a ``vocabulary``; one of series takes (N, C, T). Where ids are ``padded``,
0 stands behind the end of a text and is never looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from netwright.errors import NetworkError, unknown_name
from netwright.nn.attention import AdditiveAttention, DotProductAttention

Read = Literal["last", "mean", "max", "attention", "every", "unroll"]
READS = ("last", "mean", "max", "attention", "every")
UNROLL = "unroll"  # of recurrent networks alone
CELLS: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Embedded(nn.Module):
    """What both kinds share: from the input to features (N, T, ``features``) and the mask of what is there."""

    def __init__(self, name: str, input_shape: Sequence[int], vocabulary: int, features: int, padded: bool) -> None:
        super().__init__()
        if len(input_shape) != (1 if vocabulary else 2):
            unroll = f"; to tell several numbers, --set network.arguments.read={UNROLL}" if name in CELLS else ""
            raise NetworkError(
                name, f"an input of shape {tuple(input_shape)}", "ids (T) with a vocabulary, or a series (C, T)",
                f"mlp; for ids, --set network.arguments.vocabulary=N{unroll}",
            )  # fmt: skip
        self.padded = padded and vocabulary > 0
        self.embedding = (
            nn.Embedding(vocabulary, features, padding_idx=0 if self.padded else None) if vocabulary else None
        )

    def features(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.embedding is None:
            return x.transpose(1, 2), None
        ids = x if x.dtype in (torch.int32, torch.int64) else x.long()
        return self.embedding(ids), ids != 0 if self.padded else None


class Reading(nn.Module):
    """Hidden values (N, T, F) → one vector an example, (N, F); positions outside ``mask`` (N, T) do not count."""

    def __init__(self, how: Read, features: int) -> None:
        super().__init__()
        self.how = how
        self.attention = AdditiveAttention(features, features, features) if how == "attention" else None
        self.query = nn.Parameter(torch.zeros(features)) if how == "attention" else None

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        if self.attention is not None and self.query is not None:
            mixed, _ = self.attention(self.query.expand(len(hidden), 1, -1), hidden, None, mask)
            return mixed[:, 0]  # type: ignore[no-any-return]
        if self.how == "max":
            return (hidden if mask is None else hidden.masked_fill(~mask[..., None], -math.inf)).amax(1)
        if self.how == "mean":
            return hidden.mean(1) if mask is None else (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return last_of(hidden, mask)


def last_of(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """(N, T, F) → (N, F): what is hidden at the last position that is there."""
    if mask is None:
        return hidden[:, -1]
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]


def there(mask: Tensor) -> Tensor:
    """The mask (N, T) in which the first position counts always: an empty text is one unknown word."""
    return mask | (torch.arange(mask.shape[1], device=mask.device) == 0)


class Encoder(Embedded):
    """``depth`` recurrent layers over tokens (N, T) or a series (N, C, T); padded texts are packed."""

    def __init__(
        self, cell: str, input_shape: Sequence[int], width: int, depth: int, dropout: float, *, vocabulary: int,
        embedding: int, bidirectional: bool, padded: bool,
    ) -> None:  # fmt: skip
        super().__init__(cell, input_shape, vocabulary, embedding, padded)
        self.bidirectional = bidirectional
        self.dropped = nn.Dropout(dropout)
        self.recurrent = CELLS[cell](
            embedding if vocabulary else input_shape[0], width, depth, batch_first=True,
            dropout=dropout if depth > 1 else 0.0, bidirectional=bidirectional,
        )  # fmt: skip

    def encoded(self, x: Tensor, *, whole: bool) -> tuple[Tensor, Any, Tensor | None]:
        """Hidden values (N, T, F), the state behind the end, and the mask (N, T) of what is there.

        Where not the ``whole`` is asked for, the hidden values of packed texts stay packed and are not to be read.
        """
        values, mask = self.features(x)
        values = self.dropped(values)
        if mask is None:
            return *self.recurrent(values), None
        lengths = mask.sum(1).clamp_min(1).cpu()
        hidden, state = self.recurrent(pack_padded_sequence(values, lengths, batch_first=True, enforce_sorted=False))
        if whole:
            hidden, _ = pad_packed_sequence(hidden, batch_first=True)
            mask = there(mask[:, : hidden.shape[1]])
        return hidden, state, mask

    def outward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Hidden values (N, T, F) of one direction and the mask, without packing: what stands behind an end cannot
        change what is before it. The gradient of a packed text costs a copy of the whole batch a position, so that
        32 texts of 1,024 words train in a tenth of the time as they lie (PyTorch 2.13, processor)."""
        values, mask = self.features(x)
        hidden, _ = self.recurrent(self.dropped(values))
        return hidden, None if mask is None else there(mask)


class Recurrent(Encoder):
    """Tokens (N, T) or a series (N, C, T) → (N, outputs); with ``read="every"`` an answer a position, (N · T, outputs).

    ``depth`` layers of ``width`` units, the hidden state of the last position (of both directions where it is
    ``bidirectional``), or the mean, maximum or attention-weighted mean of all. Recurrent weights begin orthogonal (Saxe
    et al. 2014), forget gates open with a bias of 1 (Jozefowicz et al. 2015). Padded texts are
    packed where both directions are read.

    With ``read="every"`` the hidden state at the end of a batch is where the next one begins, without its gradient
    (truncated back-propagation through time), until ``memory`` is set to None.
    """

    def __init__(
        self, input_shape: Sequence[int], outputs: int, width: int = 128, depth: int = 1, dropout: float = 0.0, *,
        cell: str = "lstm", vocabulary: int = 0, embedding: int = 64, bidirectional: bool = False,
        read: Read = "last", padded: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            cell, input_shape, width, depth, dropout, vocabulary=vocabulary, embedding=embedding,
            bidirectional=bidirectional, padded=padded,
        )  # fmt: skip
        if read == "every" and bidirectional:
            raise NetworkError(
                "network.arguments.bidirectional", "true where every position tells the next", "false",
                "a network that sees the future would only copy it",
            )  # fmt: skip
        self.read = read
        self.memory: tuple[Tensor, ...] | None = None
        features = width * (2 if bidirectional else 1)
        self.reading = Reading(read, features) if read in ("mean", "max", "attention") else None
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, outputs))
        _begin(self.recurrent)

    def forward(self, x: Tensor) -> Tensor:
        if self.read == "every":
            values, _ = self.features(x)
            hidden, state = self.recurrent(self.dropped(values), self._remembered(len(x)))
            self.memory = tuple(each.detach() for each in (state if isinstance(state, tuple) else (state,)))
            return self.head(hidden).flatten(0, 1)  # type: ignore[no-any-return]
        if self.padded and not self.bidirectional:
            hidden, mask = self.outward(x)
            read = last_of if self.reading is None else self.reading
            return self.head(read(hidden, mask))  # type: ignore[no-any-return]
        hidden, state, mask = self.encoded(x, whole=self.reading is not None)
        if self.reading is not None:
            return self.head(self.reading(hidden, mask))  # type: ignore[no-any-return]
        last = state[0] if isinstance(state, tuple) else state
        return self.head(torch.cat((last[-2], last[-1]), 1) if self.bidirectional else last[-1])  # type: ignore[no-any-return]

    def _remembered(self, lanes: int) -> Any:
        """The state that the last batch left, if it was of as many sequences."""
        if self.memory is None or self.memory[0].shape[1] != lanes:
            return None
        return self.memory if isinstance(self.recurrent, nn.LSTM) else self.memory[0]


class Unrolled(nn.Module):
    """One example → a sequence, (N, channels · steps): step after step a recurrent network says ``channels`` values
    from its state and the values of the step before, which are zeros at first. One channel follows the other.

    What is known before the first step is the state that it begins with: a dense layer of a row or a picture (one to
    many: Karpathy and Fei-Fei 2015, section 3.2), or what recurrent layers of the same kind know at the end of a text
    or a series (many to many: Sutskever et al. 2014; Cho et al. 2014). In training, too, it sees its own values, not
    the true ones, so that it learns from what it will meet; the gradient goes back through all of them.
    """

    def __init__(
        self, input_shape: Sequence[int], outputs: int, width: int = 128, depth: int = 1, dropout: float = 0.0, *,
        cell: str = "lstm", vocabulary: int = 0, embedding: int = 64, bidirectional: bool = False,
        channels: int = 1, padded: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if channels < 1 or outputs % channels:
            raise NetworkError(
                "network.arguments.channels", f"{channels} values a step for {outputs} outputs",
                "a whole number of steps", f"--set network.arguments.channels={math.gcd(max(channels, 1), outputs)}",
            )  # fmt: skip
        self.channels, self.steps, self.depth = channels, outputs // channels, depth
        sequence = vocabulary > 0 or len(input_shape) == 2
        if bidirectional and not sequence:
            raise NetworkError(
                "network.arguments.bidirectional", f"true for an input of shape {tuple(input_shape)}, no sequence",
                "false", "--set network.arguments.bidirectional=false",
            )  # fmt: skip
        self.encoder: Encoder | None = None
        parts = 2 if cell == "lstm" else 1  # of the state: LSTM has cells beside the hidden values
        self.begun: nn.Linear | None = None
        if sequence:
            self.encoder = Encoder(
                cell, input_shape, width, depth, dropout, vocabulary=vocabulary, embedding=embedding,
                bidirectional=bidirectional, padded=padded,
            )  # fmt: skip
            _begin(self.encoder.recurrent)
            if bidirectional:
                self.begun = nn.Linear(2 * width, width)  # both directions' ends → one, of every layer
        else:
            self.begun = nn.Linear(math.prod(input_shape), parts * depth * width)
        self.recurrent = CELLS[cell](channels, width, depth, batch_first=True, dropout=dropout if depth > 1 else 0.0)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, channels))
        _begin(self.recurrent)

    def forward(self, x: Tensor) -> Tensor:
        state = self.beginning(x)
        values = (state[0] if isinstance(state, tuple) else state).new_zeros(len(x), self.channels)
        told = []
        for _ in range(self.steps):
            hidden, state = self.recurrent(values[:, None], state)
            values = self.head(hidden[:, 0])
            told.append(values)
        return torch.stack(told, 2).flatten(1)

    def beginning(self, x: Tensor) -> Any:
        """The state before the first step: (depth, N, width), of an LSTM a pair of them."""
        lstm = isinstance(self.recurrent, nn.LSTM)
        if self.encoder is None:
            assert self.begun is not None
            parts = self.begun(x.flatten(1)).unflatten(1, (-1, self.depth, self.recurrent.hidden_size)).unbind(1)
            states = [part.transpose(0, 1).contiguous() for part in parts]
            return (states[0].tanh(), states[1]) if lstm else states[0].tanh()
        _, state, _ = self.encoder.encoded(x, whole=False)
        if self.begun is None:
            return state
        ends = [torch.cat((part[0::2], part[1::2]), 2) for part in (state if lstm else (state,))]
        return (self.begun(ends[0]).tanh(), self.begun(ends[1])) if lstm else self.begun(ends[0]).tanh()


def _begin(recurrent: nn.RNNBase) -> None:
    """Orthogonal recurrent weights, a gate at a time; Xavier's for the inputs; open forget gates."""
    size = recurrent.hidden_size
    for name, parameter in recurrent.named_parameters():
        if name.startswith("weight_hh"):
            for gate in parameter.detach().split(size):
                nn.init.orthogonal_(gate)
        elif name.startswith("weight_ih"):
            for gate in parameter.detach().split(size):
                nn.init.xavier_uniform_(gate)
        else:
            nn.init.zeros_(parameter)
            if isinstance(recurrent, nn.LSTM) and name.startswith("bias_ih"):
                nn.init.ones_(parameter.detach()[size : 2 * size])


def _require_known(read: Read, *more: str) -> None:
    if read not in (*READS, *more):
        raise unknown_name("network.arguments.read", str(read), (*READS, *more), NetworkError)


def _recurrent(cell: str, read: Read, channels: int, *shape: Any, **options: Any) -> Recurrent | Unrolled:
    _require_known(read, UNROLL)  # before the shapes: a misspelt one is no complaint about the input
    if read == UNROLL:
        return Unrolled(*shape, cell=cell, channels=channels, **options)
    if channels != 1:
        raise NetworkError(
            "network.arguments.channels", f"{channels} with read={read}", f"a sequence that is told (read={UNROLL})",
            f"--set network.arguments.read={UNROLL}",
        )  # fmt: skip
    return Recurrent(*shape, cell=cell, read=read, **options)


def rnn(input_shape: Sequence[int], outputs: int, width: int = 128, depth: int = 1, dropout: float = 0.0, *,
        vocabulary: int = 0, embedding: int = 64, bidirectional: bool = False, read: Read = "last",
        channels: int = 1, padded: bool = False) -> Recurrent | Unrolled:  # fmt: skip
    """Plain recurrent units with tanh (Elman 1990)."""
    return _recurrent("rnn", read, channels, input_shape, outputs, width, depth, dropout, vocabulary=vocabulary,
                      embedding=embedding, bidirectional=bidirectional, padded=padded)  # fmt: skip


def lstm(input_shape: Sequence[int], outputs: int, width: int = 128, depth: int = 1, dropout: float = 0.0, *,
         vocabulary: int = 0, embedding: int = 64, bidirectional: bool = False, read: Read = "last",
         channels: int = 1, padded: bool = False) -> Recurrent | Unrolled:  # fmt: skip
    """Long short-term memory (Hochreiter and Schmidhuber 1997) with forget gates (Gers et al. 2000)."""
    return _recurrent("lstm", read, channels, input_shape, outputs, width, depth, dropout, vocabulary=vocabulary,
                      embedding=embedding, bidirectional=bidirectional, padded=padded)  # fmt: skip


def gru(input_shape: Sequence[int], outputs: int, width: int = 128, depth: int = 1, dropout: float = 0.0, *,
        vocabulary: int = 0, embedding: int = 64, bidirectional: bool = False, read: Read = "last",
        channels: int = 1, padded: bool = False) -> Recurrent | Unrolled:  # fmt: skip
    """Gated recurrent units (Cho et al. 2014)."""
    return _recurrent("gru", read, channels, input_shape, outputs, width, depth, dropout, vocabulary=vocabulary,
                      embedding=embedding, bidirectional=bidirectional, padded=padded)  # fmt: skip


class Layer(nn.Module):
    """(N, T, width) → (N, T, width): attention and a network of two layers, each behind its norm and beside a
    shortcut (pre-norm: Xiong et al. 2020)."""

    def __init__(self, width: int, heads: int, causal: bool, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = DotProductAttention(width, heads, causal=causal, dropout=dropout)
        self.inner = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropped = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.dropped(self.attention(self.norm1(x), mask))
        return x + self.dropped(self.inner(self.norm2(x)))  # type: ignore[no-any-return]


class Transformer(Embedded):
    """Tokens (N, T) or a series (N, C, T) → (N, outputs) from the mean of all positions, or (N · T, outputs) with
    ``read="every"``, where no position sees a later one (Vaswani et al. 2017).

    ``depth`` layers of ``width`` features; sines and cosines tell the positions, so that any length may come.
    """

    def __init__(
        self, input_shape: Sequence[int], outputs: int, width: int = 128, depth: int = 2, dropout: float = 0.0, *,
        heads: int = 4, vocabulary: int = 0, read: Read = "mean", padded: bool = False,
    ) -> None:  # fmt: skip
        _require_known(read)
        super().__init__("transformer", input_shape, vocabulary, width, padded)
        if width % heads or width % 2:
            raise NetworkError(
                "network.width", f"{width} with {heads} heads", "an even width that the heads divide",
                f"--set network.width={max(2, heads) * max(1, round(width / max(2, heads)))}",
            )  # fmt: skip
        self.read = read
        self.inputs = None if vocabulary else nn.Linear(input_shape[0], width)
        self.layers = nn.ModuleList(Layer(width, heads, read == "every", dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.reading = None if read == "every" else Reading(read, width)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, outputs))
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        values, mask = self.features(x)
        if self.inputs is not None:
            values = self.inputs(values)
        if mask is not None:
            mask = there(mask)
        values = values + positions(values.shape[1], values.shape[2]).to(values)
        for layer in self.layers:
            values = layer(values, mask)
        values = self.norm(values)
        if self.reading is None:
            return self.head(values).flatten(0, 1)  # type: ignore[no-any-return]
        return self.head(self.reading(values, mask))  # type: ignore[no-any-return]


def positions(length: int, width: int) -> Tensor:
    """(length, width) sines and cosines of wavelengths from 2π to 10,000 · 2π (Vaswani et al. 2017, section 3.5), as
    small as the embeddings are at first."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angles = torch.arange(length)[:, None] * rates
    return 0.02 * torch.stack((angles.sin(), angles.cos()), 2).flatten(1)
