"""The recipe: everything that decides a run, as one immutable value. No torch.

``"auto"`` means: chosen from the data's type, shape, number of examples and classes by ``recipe.defaults`` (nothing
else; names of files and classes change nothing). A resolved recipe, the one kept with a run, has no ``"auto"`` left
but in ``data``, where it means: as the files say.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

VERSION = 1

Auto = Literal["auto"]
BelowOne = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
CountOrZero = Annotated[int, msgspec.Meta(ge=0)]

OPTIMIZERS = (
    "sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "nadam", "radam", "adamax",
    "rprop", "lbfgs", "cg", "cg-hs", "newton-cg",
)  # fmt: skip
FULL_BATCH = ("rprop", "lbfgs", "cg", "cg-hs", "newton-cg")  # a step takes the whole training part
SCHEDULES = ("constant", "step", "exponential", "cosine", "one-cycle", "plateau")
LOSSES = ("cross-entropy", "binary-cross-entropy", "squared", "absolute", "huber", "hinge", "focal", "kl")
ACTIVATIONS = (
    "identity", "relu", "leaky-relu", "prelu", "relu6", "elu", "selu", "gelu", "silu", "mish", "softplus", "sigmoid",
    "tanh", "softsign", "hard-sigmoid", "hard-swish", "rbf", "softmax", "maxout",
)  # fmt: skip
INITIALIZERS = (
    "default", "xavier", "xavier-normal", "he", "he-uniform", "orthogonal", "lsuv", "small", "sparse"
)  # fmt: skip
NORMS = ("batch", "layer", "group", "instance", "weight", "cosine")
FORMATS = ("digits", "idx", "cifar", "folder", "array", "table", "sound", "text", "series", "python")

Optimizer = Literal[
    Auto, "sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "nadam", "radam", "adamax",
    "rprop", "lbfgs", "cg", "cg-hs", "newton-cg", "python",
]  # fmt: skip
Schedule = Literal[Auto, "constant", "step", "exponential", "cosine", "one-cycle", "plateau"]
Loss = Literal[
    Auto, "cross-entropy", "binary-cross-entropy", "squared", "absolute", "huber", "hinge", "focal", "kl", "python"
]
Activation = Literal[
    "own", "identity", "relu", "leaky-relu", "prelu", "relu6", "elu", "selu", "gelu", "silu", "mish", "softplus",
    "sigmoid", "tanh", "softsign", "hard-sigmoid", "hard-swish", "rbf", "softmax", "maxout",
]  # fmt: skip
Init = Literal[
    "own", "default", "xavier", "xavier-normal", "he", "he-uniform", "orthogonal", "lsuv", "small", "sparse"
]  # fmt: skip
Norm = Literal["own", "none", "batch", "layer", "group", "instance", "weight", "cosine"]
Rate = Positive | Literal["auto", "range-test"]
Format = Literal[Auto, "digits", "idx", "cifar", "folder", "array", "table", "sound", "text", "series", "python"]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of keys."""


class Data(Section, frozen=True, kw_only=True):
    """Where the examples come from and how they become inputs."""

    source: str = "digits"  # a built-in name, a file or a folder
    format: Format = "auto"  # of the source; auto: seen from its files
    task: Literal[Auto, "classification", "multi-label", "regression"] = "auto"  # what is predicted
    validation: Share | str = "auto"  # a share of the training part, or a file or folder; 0: none
    test: Share | str = "auto"  # a share of all examples, or a file or folder; 0: none
    split_seed: int = 0  # which examples are held out; the run's seed does not change it
    limit: CountOrZero = 0  # at most so many training examples (stratified); 0: all
    limit_seed: CountOrZero = 0  # which examples a limit keeps; a smaller limit keeps some of those of a larger one
    bootstrap_seed: CountOrZero = 0  # learn from a sample of the training part, drawn with replacement; 0: from all
    bootstrap_weights: str = ""  # how likely each example is drawn, in a .npy file; default: all alike
    leave_out: str = ""  # a list (CSV) of training examples that are left out, as check --labels writes it
    channels: str = "auto"  # binary, grey, rgb, yuv, hsv, hsl, or several as rgb+hsv
    size: str | int = "auto"  # of images: 32 or 32x48 (height x width)
    fit: Literal["squash", "crop", "pad"] = "squash"  # how pictures of another shape become that size
    normalize: bool | Auto = "auto"  # (x - mean) / deviation, measured on the training part
    target: str = "auto"  # the target column of a table, or several with commas or a *; default: the last
    types: dict[str, Literal["number", "category", "date", "text", "ignore"]] = {}  # of columns, where guessed wrong
    header: bool | Auto = "auto"  # whether a table's first row holds names
    missing: Literal["stop", "mean"] = "stop"  # empty or NaN cells of a table: stop, or fill with the training mean
    skip_broken: bool = False  # leave unreadable files out instead of stopping
    sample_rate: CountOrZero = 0  # of sounds, Hz; 0: the first file's
    seconds: NotNegative = 0.0  # of sounds; 0: the longest file's
    unit: Literal[Auto, "character", "word"] = "auto"  # of texts; auto: words to judge them, characters to go on
    vocabulary: CountOrZero = 0  # most words that are told apart; 0: 20,000 to judge texts, 10,000 to go on
    length: CountOrZero = 0  # units of a text that are read; 0: as 95 % of them have, at most 1,024
    horizon: CountOrZero = 0  # steps that a series is forecast; above 0, a table is read as series in order of time
    window: CountOrZero = 0  # steps of the past that a forecast sees; 0: 4 times the horizon, and at least 24
    memory_mb: CountOrZero = 0  # decoded images above this go to a memory-mapped cache; 0: a quarter of the machine's
    cache: str = ""  # the folder of that cache; default: the user's cache folder


class Network(Section, frozen=True, kw_only=True):
    """What is trained: a name, or file.py:Name or package.module:Name with arguments."""

    name: str = "auto"  # a network by name, file.py:Name or package.module:Name
    width: Count | Positive | Auto = "auto"  # channels of the first stage or units of a layer; else a factor of them
    depth: Count | Auto = "auto"  # blocks a stage, or hidden layers
    dropout: BelowOne | Auto = "auto"  # share of units that a training step leaves out
    arguments: dict[str, Any] = {}  # handed to the network as keywords
    activation: Activation = "own"  # of all hidden layers; own: as the network has them
    norm: Norm = "own"  # what its norms become, or what one without norms gets; own: as the network has them
    norm_place: Literal["before", "after"] = "before"  # the hidden activation
    norm_groups: CountOrZero = 0  # of group norm; 0: up to 32
    init: Init = "own"  # how the first weights are drawn; own: as the network does
    prior_bias: bool = False  # the last bias begins at the classes' shares
    drop_input: BelowOne = 0.0  # share of the inputs that a training step leaves out
    drop_hidden: BelowOne = 0.0  # share of the units behind every hidden activation that a training step leaves out
    noise_hidden: NotNegative = 0.0  # deviation of Gaussian noise behind every hidden activation
    noise_weights: NotNegative = 0.0  # deviation of Gaussian noise on weights, as a share of their root mean square
    weights: str = ""  # start from these: a run, or a .safetensors or state_dict file; python: handed to fit


class Objective(Section, frozen=True, kw_only=True):
    """What is learned from a batch."""

    loss: Loss = "auto"  # what is made small; python: handed to fit
    label_smoothing: Share | Auto = "auto"  # share of a label spread over all classes
    class_weights: Literal["none", "balanced"] | list[Positive] = "none"  # balanced: rare ones count more
    focal_gamma: NotNegative = 2.0  # how far the focal loss turns from easy examples
    huber_delta: Positive = 1.0  # error at which the Huber loss turns from square to line, in deviations of the target
    top_k: Count = 5  # accuracy among the k most probable classes is reported as well


class Augment(Section, frozen=True, kw_only=True):
    """Random changes of training batches; 0 switches one off."""

    shift: Share | Auto = "auto"  # up to this share of height and width
    flip: Literal[Auto, "none", "horizontal", "vertical", "both"] = "auto"  # mirror every second picture
    rotate: Annotated[float, msgspec.Meta(ge=0, le=180)] | Auto = "auto"  # degrees to either side
    crop: Share | Auto = "auto"  # zoom into a part at least 1 - crop of the picture's sides
    cutout: Share | Auto = "auto"  # side of a square of zeros, as a share of the picture's
    color: Share | Auto = "auto"  # brightness, contrast and saturation by up to this share
    noise: NotNegative | Auto = "auto"  # deviation of Gaussian noise on normalised inputs
    mixup: NotNegative | Auto = "auto"  # alpha of the Beta distribution


class Train(Section, frozen=True, kw_only=True):
    """How it is trained."""

    epochs: Count | Auto = "auto"  # passes over the training part
    batch_size: Count | Auto = "auto"  # examples a step (times accumulate)
    optimizer: Optimizer = "auto"  # how a step follows the gradient; python: handed to fit
    lr: Rate = "auto"  # the highest learning rate; range-test: measured at the start
    momentum: BelowOne = 0.9  # of momentum, nesterov; beta 1 of Adam
    beta2: BelowOne = 0.999  # of Adam; smoothing of RMSProp and Adadelta
    weight_decay: NotNegative | Auto = "auto"  # pull of the weights towards zero
    decay_all: bool = False  # also decay biases and norm scales
    decay_layers: dict[str, NotNegative] = {}  # module → a weight decay of its own, for all that is in it
    l1: NotNegative = 0.0  # L1 penalty on weights, as a proximal step: zeros are zeros
    max_norm: NotNegative = 0.0  # longest that a unit's incoming weights may be; 0: any length
    constraint: Literal["none", "non-negative", "unit-norm"] = "none"  # on weights, by projection after each step
    schedule: Schedule = "auto"  # how the learning rate changes
    warmup: NotNegative | Auto = "auto"  # epochs of linear warm-up (one-cycle: of its rising part)
    gamma: Positive = 0.1  # factor of step, exponential and plateau
    step_epochs: Count = 10  # epochs between two steps of the step schedule, or without progress for plateau
    snapshots: CountOrZero = 0  # cosine cycles, each from the full rate; the weights at their ends are kept; 0: none
    clip: NotNegative = 0.0  # largest gradient norm; 0: not clipped
    bptt: CountOrZero = 0  # units through which the gradient of a running text goes back; 0: 128
    accumulate: Count = 1  # batches a step
    sampling: Literal["shuffled", "square-root", "balanced"] = "shuffled"  # of classes; balanced: equally often
    mini_batches: bool = False  # let a method of the whole training part (rprop, lbfgs, cg, newton-cg) take less a step
    freeze: CountOrZero | str = 0  # blocks from the input that do not learn; all: all but the last; or modules a,b
    unfreeze_every: CountOrZero = 0  # epochs after which the next frozen block learns, from the output; 0: never
    depth_rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0  # factor of the rate for every block towards the input
    average: Annotated[float, msgspec.Meta(ge=0, lt=1)] | Auto = "auto"  # decay of a weight average that is kept
    patience: CountOrZero = 0  # epochs without a better validation before stopping; 0: never
    keep: Literal[Auto, "best", "last"] = "auto"  # which weights the finished run stands for
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"  # number format of forward and backward; fp16 needs a GPU
    layout: Literal[Auto, "contiguous", "channels_last"] = "auto"  # auto: measured at the start
    device: str = "auto"  # cpu, cuda, cuda:1, mps; auto: a GPU where there is one
    threads: CountOrZero = 0  # of the processor; 0: as many as PyTorch takes
    sync_norm: bool = False  # with several processes (torchrun) batch norms see the whole batch, not a process's rows
    checkpoint_seconds: Positive = 4.0  # at most so much work is lost


class Watch(Section, frozen=True, kw_only=True):
    """What is looked at while it trains; it changes no weight."""

    enabled: bool = True  # checks before the first step, measurements while it trains, findings
    budget: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.01  # the share of the step time that looking on may cost
    confirm: NotNegative = 30.0  # seconds at most to try suspicions on a copy; 0: none is tried


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides a run."""

    version: int = VERSION  # of this format
    name: str = ""  # of the run; default: the source's
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0  # of weights, order, augmentation and dropout
    data: Data = Data()
    network: Network = Network()
    objective: Objective = Objective()
    augment: Augment = Augment()
    train: Train = Train()
    watch: Watch = Watch()
    ignore: dict[str, str] = {}  # finding code → the reason why it is silenced
