"""A second blind set of faulty programs with fixed twins, written without a look at any rule, in the same format.

`second_layers.py` and `second_data.py` add layers, options of optimisers, labels and data. `measured` holds the
validation metric of seed 0, and of seed 1 where two numbers stand (None: not finite), as `score_blind.py --set second
--diagnoser none --seeds 2` measured it. Where a source is named, the program restates the fault told there on data at hand.
"""

# A program reads as one paragraph, as in the shared benchmark: options as keywords, long lines, no reformatting.
# ruff: noqa: C408, E501
# fmt: off

import second_data  # noqa: F401 - adds its makers
import second_layers  # noqa: F401 - adds its words
from programs import Case, Program
from second_controls import CONTROLS  # noqa: F401 - the other half of the set

BEATS = "conv1d 12 7 relu, conv1d 16 7 relu stride=3, flatten, dense 4"
LETTERS = "embedding 28 16, transpose, conv1d 32 5 relu, conv1d 32 5 relu, gap, dense 3"

CASES = [
    # -------------------------------------------------------------------------------------------- output and loss
    Case(
        id="gusts-cross-entropy",
        source="constructed: nn.BCEWithLogitsLoss on a target of all numbers",
        fault="binary cross-entropy for a standardised target to regress",
        labels=("loss", "label_range"),
        faulty=Program(
            data="gusts", network="dense 48 relu, dense 48 relu, dense 1",
            loss="bce_with_logits", optimizer="adam", lr=0.003, batch=32, epochs=15, metric="r2", init="torch",
        ),
        changes=dict(loss="mse"),
        measured={"faulty": (-9.1e+08,), "fixed": (0.927,)},
    ),
    Case(
        id="voices-relu-logits",
        source="constructed: the last layer made like all others in a loop",
        fault="ReLU on the logits of nn.CrossEntropyLoss",
        labels=("output_activation",),
        faulty=Program(
            data="voices", network="transpose, conv1d 16 5 relu, conv1d 16 5 relu, gap, dense 6 relu",
            loss="cross_entropy", optimizer="sgd", lr=0.1, momentum=0.9, batch=32, epochs=8, metric="accuracy", init="torch",
        ),
        changes=dict(network="transpose, conv1d 16 5 relu, conv1d 16 5 relu, gap, dense 6"),
        measured={"faulty": (0.61,), "fixed": (0.95,)},
    ),
    Case(
        id="counts-rate-taken-for-logarithm",
        source="constructed: nn.PoissonNLLLoss left at log_input=True over a softplus",
        fault="a softplus output, a rate, where the loss takes the logarithm of one",
        labels=("output_activation",),
        faulty=Program(
            data="counts", network="dense 32 relu, dense 32 relu, dense 1 softplus",
            loss="poisson_of_log", optimizer="adam", lr=0.003, batch=32, epochs=15, metric="r2", init="torch",
        ),
        changes=dict(loss="poisson_of_rate"),
        measured={"faulty": (-0.106, -0.219), "fixed": (0.625, 0.581)},
    ),
    Case(
        id="labels-of-minus-one",
        source="constructed: labels of a support vector machine's file under nn.BCEWithLogitsLoss",
        fault="classes -1 and +1 for a loss of 0 and 1",
        labels=("label_range",),
        faulty=Program(
            data="plus_minus", network="dense 48 relu, dense 24 relu, dense 1",
            loss="bce_with_logits", optimizer="adam", lr=0.003, batch=32, epochs=12, metric="balanced_sign", init="torch",
        ),
        changes=dict(data_options=dict(low=0.0)),
        measured={"faulty": (0.67, 0.686), "fixed": (0.922, 0.921)},
    ),
    Case(
        id="beats-channel-left",
        source="constructed: a 1-D convolution's outputs (N, 1, L) against targets (N, L)",
        fault="outputs (N, 1, 96) against targets (N, 96): every output is paired with every row",
        labels=("shape_broadcast",),
        faulty=Program(
            data="clean_beats", data_options=dict(flat_target=True), network="conv1d 12 9 relu pad=4, conv1d 12 9 relu pad=4, conv1d 1 9 pad=4",
            loss="mse", optimizer="adam", lr=0.003, batch=32, epochs=6, metric="r2", init="torch",
        ),
        changes=dict(data_options=dict()),
        measured={"faulty": (0.3,), "fixed": (0.918,)},
    ),
    Case(
        id="ovens-one-unit",
        source="constructed: a template for one target on a table with three",
        fault="one output unit for three targets, repeated by broadcasting",
        labels=("output_units", "shape_broadcast"),
        faulty=Program(
            data="ovens", network="dense 48 relu, dense 48 relu, dense 1",
            loss="mse", optimizer="adam", lr=0.003, batch=32, epochs=20, metric="r2_columns", init="torch",
        ),
        changes=dict(network="dense 48 relu, dense 48 relu, dense 3"),
        measured={"faulty": (0.296,), "fixed": (0.964,)},
    ),
    Case(
        id="discs-dice-itself",
        source="constructed: the Dice coefficient returned where the loss is one minus it",
        fault="the overlap is minimised",
        labels=("loss_sign",),
        faulty=Program(
            data="discs", network="conv 12 5 relu pad=2, conv 12 5 relu pad=2, conv 1 3 sigmoid pad=1",
            loss="dice_kept", optimizer="adam", lr=0.003, batch=32, epochs=6, metric="f1", init="torch",
        ),
        changes=dict(loss="dice"),
        measured={"faulty": (0,), "fixed": (0.959,)},
        tolerated=("loss-mismatch",),
    ),
    # -------------------------------------------------------------------------------------------- data
    Case(
        id="machines-seconds-since-1970",
        source="constructed: a timestamp left among the features",
        fault="a column of 1.6 billion beside standardised ones",
        labels=("input_scale",),
        faulty=Program(
            data="machines", data_options=dict(timestamp=True), network="dense 48 relu, dense 24 relu, dense 2",
            loss="cross_entropy", optimizer="adam", lr=0.003, batch=32, epochs=12, metric="balanced", init="torch",
        ),
        changes=dict(data_options=dict()),
        measured={"faulty": (0.5, 0.5), "fixed": (0.826, 0.794)},
    ),
    Case(
        id="machines-minus-999",
        source="constructed: the sign for a missing reading is taken for a number",
        fault="-999 for a tenth of the readings",
        labels=("sentinel",),
        faulty=Program(
            data="machines", data_options=dict(sentinel=True), network="dense 48 tanh, dense 24 tanh, dense 2",
            loss="cross_entropy", optimizer="adam", lr=0.003, batch=32, epochs=12, metric="balanced", init="torch",
        ),
        changes=dict(data_options=dict()),
        measured={"faulty": (0.601, 0.6), "fixed": (0.813,)},
    ),
    Case(
        id="ovens-three-scales",
        source="constructed: several targets in their own units under one squared error",
        fault="targets of deviation 60, 9000 and .04",
        labels=("target_scale",),
        faulty=Program(
            data="ovens", data_options=dict(raw=True), network="dense 48 relu, dense 48 relu, dense 3",
            loss="mse", optimizer="adam", lr=0.003, batch=32, epochs=20, metric="r2_columns", init="torch",
        ),
        changes=dict(data_options=dict()),
        measured={"faulty": (-105,), "fixed": (0.964,)},
        tolerated=("too-few-epochs",),
    ),
    Case(
        id="machines-hours-of-repair",
        source="after the list in https://infraphysics.net/lab/second-brain/DtLk14xn (a feature known only afterwards)",
        fault="a column that is filled after the event",
        labels=("leak",),
        faulty=Program(
            data="machines", data_options=dict(after_the_event=True), network="dense 48 relu, dense 24 relu, dense 2",
            loss="cross_entropy", optimizer="adam", lr=0.003, batch=32, epochs=12, metric="balanced", init="torch",
        ),
        changes=dict(data_options=dict()),
        measured={"faulty": (0.5,), "fixed": (0.826,)},
    ),
    Case(
        id="genes-sixty-rows",
        source="constructed: a micro-array study",
        fault="sixty rows of 400 features for a network of 60,000 weights",
        labels=("little_data",),
        faulty=Program(
            data="genes", network="dense 128 relu, dense 64 relu, dense 2",
            loss="cross_entropy", optimizer="adam", lr=0.001, batch=16, epochs=40, metric="accuracy", init="torch",
        ),
        changes=dict(data_options=dict(rows=3000), network="dropout 0.3, dense 16 relu, dense 2", batch=64, epochs=4),
        measured={"faulty": (0.683,), "fixed": (0.873,)},
    ),
    Case(
        id="rings-two-fifths-flipped",
        source="constructed: labels of inattentive annotators",
        fault="two labels in five are flipped",
        labels=("label_noise",),
        faulty=Program(
            data="rings", data_options=dict(flipped=0.4), network="dense 64 relu, dense 64 relu, dense 2",
            loss="cross_entropy", optimizer="adam", lr=0.005, batch=32, epochs=60, metric="accuracy", init="torch",
        ),
        changes=dict(data_options=dict()),
        measured={"faulty": (0.763, 0.789), "fixed": (0.981, 0.985)},
    ),
    Case(
        id="beats-three-rare",
        source="constructed: arrhythmias are rare in a day's recording",
        fault="three of four kinds of beat are 2 % of the rows each",
        labels=("class_imbalance",),
        faulty=Program(
            data="beats", data_options=dict(shares=(0.94, 0.02, 0.02, 0.02)), network="conv1d 8 7 relu stride=2, gap, dense 4",
            loss="cross_entropy", optimizer="adam", lr=0.003, batch=64, epochs=15, metric="balanced", init="torch",
        ),
        changes=dict(data_options=dict()),
        measured={"faulty": (0.25, 0.25), "fixed": (0.723, 0.716)},
        tolerated=("split-mismatch",),
    ),
    Case(
        id="yields-in-order",
        source="constructed: a table sorted by its target, shuffle=False",
        fault="rows in the order of the target under SGD",
        labels=("data_order",),
        faulty=Program(
            data="yields", data_options=dict(by_target=True), network="dense 48 relu, dense 48 relu, dense 1",
            loss="mse", optimizer="sgd", lr=0.05, momentum=0.9, batch=16, epochs=15, metric="r2", init="torch", shuffle=False,
        ),
        changes=dict(data_options=dict(), shuffle=True),
        measured={"faulty": (-1.79, -1.83), "fixed": (0.967, 0.971)},
    ),
    Case(
        id="sunspots-two-scalers",
        source="constructed: a second scaler was fitted to the held-out part",
        fault="training values standardised, held-out values divided by their maximum",
        labels=("split_mismatch",),
        faulty=Program(
            data="sunspots", data_options=dict(validation_by_maximum=True), network="dense 32 relu, dense 16 relu, dense 1",
            loss="mse", optimizer="adam", lr=0.002, batch=32, epochs=12, metric="r2", init="torch",
        ),
        changes=dict(data_options=dict()),
        measured={"faulty": (0.101, 0.0865), "fixed": (0.896, 0.887)},
    ),
    Case(
        id="weaves-scattered",
        source="constructed: a table of pixels whose columns were sorted by name",
        fault="convolutions over pixels that stand in any order",
        labels=("no_local_structure",),
        faulty=Program(
            data="weaves", data_options=dict(scattered=True), network="conv 12 3 relu, pool 2, conv 24 3 relu, gap, dense 4",
            loss="cross_entropy", optimizer="adam", lr=0.003, batch=32, epochs=8, metric="accuracy", init="torch",
        ),
        changes=dict(data_options=dict()),
        measured={"faulty": (0.517, 0.533), "fixed": (1, 1)},
    ),
    Case(
        id="yields-cast-to-integers",
        source="constructed: .long() on a target between 0 and 1",
        fault="every training target is 0",
        labels=("constant_labels",),
        faulty=Program(
            data="yields", data_options=dict(whole=True), network="dense 32 relu, dense 32 relu, dense 1",
            loss="mse", optimizer="adam", lr=0.003, batch=32, epochs=12, metric="r2", init="torch",
        ),
        changes=dict(data_options=dict()),
        measured={"faulty": (-3.47,), "fixed": (0.953,)},
        tolerated=("split-mismatch",),
    ),
    # -------------------------------------------------------------------------------------------- network
    Case(
        id="voices-attention-over-rows",
        source="after https://github.com/ethanfetaya/NRI/issues/25 (softmax along the batch)",
        fault="attention weights whose softmax runs along the batch instead of the time",
        labels=("mixed_rows",),
        tolerated=("wrong-hidden-activation",),
        faulty=Program(
            data="voices", network="dense 24 tanh, attend over_rows, dense 24 relu, dense 6",
            loss="cross_entropy", optimizer="adam", lr=0.003, batch=32, epochs=8, metric="accuracy", init="torch",
        ),
        changes=dict(network="dense 24 tanh, attend, dense 24 relu, dense 6"),
        measured={"faulty": (0.49,), "fixed": (0.963,)},
    ),
    Case(
        id="sources-behind-the-padding",
        source="constructed: pad_sequence and output[:, -1]",
        fault="a plain recurrence has to remember the passage over forty zeros of padding",
        labels=("vanishing_gradient",),
        faulty=Program(
            data="sources", data_options=dict(n=1500, length=32, padding=40), network="embedding 28 12, rnn 24, dense 3",
            loss="cross_entropy", optimizer="adam", lr=0.003, batch=32, epochs=6, metric="accuracy", init="torch",
        ),
        changes=dict(data_options=dict(n=1500, length=32, padding=40, pad_front=True), network="embedding 28 12, gru 24, dense 3"),
        measured={"faulty": (0.334,), "fixed": (0.504,)},
        fixed_is_healthy=False,
    ),
    Case(
        id="ratings-unit-vectors",
        source="constructed: nn.Embedding starts at N(0, 1), products of 32 such numbers at N(0, 32)",
        fault="user and item vectors that start thirty times too large",
        labels=("initialization",),
        faulty=Program(
            data="ratings", network="embedding_product 150 100 32 std=1",
            loss="mse", optimizer="adam", lr=0.01, batch=64, epochs=12, metric="r2", init="torch",
        ),
        changes=dict(network="embedding_product 150 100 8 std=0.1", epochs=8),
        measured={"faulty": (-6.49, -7.9), "fixed": (0.749, 0.772)},
    ),
    Case(
        id="weaves-linear-convolutions",
        source="constructed: F.relu forgotten in forward",
        fault="convolutions one after the other without an activation",
        labels=("missing_nonlinearity",),
        faulty=Program(
            data="weaves", network="conv 12 3, avgpool 2, conv 24 3, gap, dense 4",
            loss="cross_entropy", optimizer="adam", lr=0.003, batch=32, epochs=8, metric="accuracy", init="torch",
        ),
        changes=dict(network="conv 12 3 relu, avgpool 2, conv 24 3 relu, gap, dense 4"),
        measured={"faulty": (0.444,), "fixed": (1,)},
    ),
    Case(
        id="dots-far-apart",
        source="constructed: two 3 x 3 convolutions and a mean see seven pixels at once",
        fault="units see 5 x 5 pixels where ten have to be compared",
        labels=("receptive_field",),
        faulty=Program(
            data="two_dots", network="conv 12 3 relu pad=1, conv 12 3 relu pad=1, gap, dense 2",
            loss="cross_entropy", optimizer="adam", lr=0.003, batch=32, epochs=8, metric="accuracy", init="torch",
        ),
        changes=dict(network="conv 12 3 relu pad=1, pool 2, conv 16 3 relu pad=1, pool 2, conv 24 3 relu pad=1, pool 2, flatten, dense 24 relu, dense 2"),
        measured={"faulty": (0.482,), "fixed": (0.998,)},
    ),
    Case(
        id="adding-frozen-gru",
        source="constructed: requires_grad_(False) kept from a run with a pretrained encoder",
        fault="a random recurrent layer that is frozen",
        labels=("frozen",),
        faulty=Program(
            data="adding", network="gru 32 frozen, dense 16 relu, dense 1",
            loss="mse", optimizer="adam", lr=0.005, batch=32, epochs=9, metric="r2", init="torch",
        ),
        changes=dict(network="gru 32, dense 16 relu, dense 1"),
        measured={"faulty": (0.0665,), "fixed": (0.998,)},
    ),
    Case(
        id="second-largest-plain-list",
        source="https://theflyingbirds.in/blog/pytorch-mysteries-lets-understand-nnmodule-nnparameter-modulelist-sequential-and-the-classic-layers-linear-activations-dropout",
        fault="the hidden layers stand in a plain list, so that model.parameters() lacks them",
        labels=("not_in_optimizer",),
        faulty=Program(
            data="second_largest", network="unregistered 16 relu depth=3, dense 1",
            loss="mse", optimizer="adam", lr=0.003, batch=32, epochs=12, metric="r2", init="torch",
        ),
        changes=dict(network="3x dense 16 relu, dense 1"),
        measured={"faulty": (0.141, 0.152), "fixed": (0.792, 0.785)},
    ),
    Case(
        id="marked-hard-choice",
        source="constructed: argmax in the forward pass",
        fault="the step is chosen by argmax: no gradient reaches the scores",
        labels=("detached",),
        faulty=Program(
            data="marked", network="dense 8 tanh, attend hard, dense 16 relu, dense 1",
            loss="mse", optimizer="adam", lr=0.01, batch=32, epochs=15, metric="r2", init="torch",
        ),
        changes=dict(network="dense 8 tanh, attend, dense 16 relu, dense 1"),
        measured={"faulty": (-0.00667, 5.3e-06), "fixed": (1, 1)},
    ),
    Case(
        id="plots-first-tower-twice",
        source="constructed: torch.cat([a, a])",
        fault="the second tower's output is never used",
        labels=("unused",),
        faulty=Program(
            data="plots", network="halves 24 relu first_twice, dense 24 relu, dense 2",
            loss="cross_entropy", optimizer="adam", lr=0.005, batch=32, epochs=15, metric="accuracy", init="torch",
        ),
        changes=dict(network="halves 24 relu, dense 24 relu, dense 2"),
        measured={"faulty": (0.696, 0.716), "fixed": (0.911, 0.902)},
    ),
    Case(
        id="beats-norm-hardly-moves",
        source="constructed: Keras' momentum .999 carried over as PyTorch's .001",
        fault="the running statistics of batch norm stay near where they start",
        labels=("norm_statistics",),
        faulty=Program(
            data="beats", data_options=dict(shift=6), network="conv1d 12 7, batchnorm momentum=0.001, act relu, conv1d 16 7 stride=3, batchnorm momentum=0.001, act relu, gap, dense 4",
            loss="cross_entropy", optimizer="adam", lr=0.005, batch=64, epochs=6, metric="accuracy", init="torch",
        ),
        changes=dict(network="conv1d 12 7, batchnorm momentum=0.1, act relu, conv1d 16 7 stride=3, batchnorm momentum=0.1, act relu, gap, dense 4"),
        measured={"faulty": (0.555, 0.48), "fixed": (0.738, 0.851)},
        tolerated=("bias-before-norm",),
    ),
    Case(
        id="gusts-dropout-on-the-answer",
        source="constructed: dropout behind the last layer of a regression",
        fault="half of the answers are set to zero in training",
        labels=("regularization",),
        faulty=Program(
            data="gusts", network="dense 48 relu, dense 48 relu, dense 1, dropout 0.6",
            loss="mse", optimizer="adam", lr=0.003, batch=32, epochs=20, metric="r2", init="torch",
        ),
        changes=dict(network="dense 48 relu, dense 48 relu, dense 1"),
        measured={"faulty": (0.601, 0.569), "fixed": (0.923, 0.928)},
    ),
    Case(
        id="trend-time-for-rows",
        source="https://discuss.pytorch.org/t/lstm-change-batch-first-true-loss-does-not-decrease/62364",
        fault="batch_first forgotten: the recurrence runs over the rows of the batch",
        labels=("mixed_rows",),
        faulty=Program(
            data="trend", network="rows_first_gru 24, dense 2",
            loss="cross_entropy", optimizer="adam", lr=0.005, batch=32, epochs=10, metric="accuracy", init="torch",
        ),
        changes=dict(network="gru 24, dense 2"),
        measured={"faulty": (0.584,), "fixed": (0.949,)},
    ),
    # -------------------------------------------------------------------------------------------- optimisation
    Case(
        id="new-clothes-hot",
        source="constructed: the rate of a training from scratch for a fine-tuning",
        fault="Adam at .1 destroys a trained trunk",
        labels=("rate_too_high",),
        faulty=Program(
            data="new_clothes", network="trunk, dense 5",
            loss="cross_entropy", optimizer="adam", lr=0.1, batch=16, epochs=20, metric="accuracy", init="torch",
        ),
        changes=dict(lr=0.0005),
        measured={"faulty": (0.195,), "fixed": (0.763,)},
        tolerated=("dead-units",),
    ),
    Case(
        id="sources-scheduled-to-nothing",
        source="after https://bitsfolio.com/learning-rate-schedule-killing-model-convergence/",
        fault="a schedule made for epochs advances every step: the rate is gone after fifty",
        labels=("rate_too_low",),
        faulty=Program(
            data="sources", network=LETTERS,
            loss="cross_entropy", optimizer="adam exponential=0.9", lr=0.003, batch=32, epochs=5, metric="accuracy", init="torch",
        ),
        changes=dict(optimizer="adam exponential=0.997"),
        measured={"faulty": (0.333,), "fixed": (0.619,)},
    ),
    Case(
        id="voices-clipped-to-nothing",
        source="constructed: clip_grad_norm_ at .001",
        fault="gradients clipped to a norm of .001 under SGD",
        labels=("rate_too_low",),
        faulty=Program(
            data="voices", network="gru 24, dense 6",
            loss="cross_entropy", optimizer="sgd clip=0.001", lr=0.1, momentum=0.9, batch=32, epochs=8, metric="accuracy", init="torch",
        ),
        changes=dict(optimizer="sgd clip=1.0"),
        measured={"faulty": (0.343,), "fixed": (0.98,)},
    ),
    Case(
        id="gusts-residual-he",
        source="after Zhang, Dauphin, Ma 2019 (Fixup): residual networks without norm explode at He's weights",
        fault="thirty residual blocks, each of which doubles the variance",
        labels=("exploding_gradient",),
        faulty=Program(
            data="gusts", network="dense 32, 30x he_res 32, dense 1",
            loss="mse", optimizer="sgd", lr=0.01, momentum=0.9, batch=32, epochs=6, metric="r2", init="torch",
        ),
        changes=dict(network="dense 32, 6x res 32 relu layernorm, dense 1"),
        measured={"faulty": (None, None), "fixed": (0.889, 0.895)},
    ),
    Case(
        id="beats-gradients-kept-raw",
        source="constructed: two of a beginner's slips in one script",
        fault="gradients are never zeroed, and the converter's 0..4095 go in as they are",
        labels=("gradients_kept", "input_scale"),
        faulty=Program(
            data="beats", data_options=dict(raw=True), network=BEATS,
            loss="cross_entropy", optimizer="rmsprop", lr=0.002, batch=32, epochs=8, metric="accuracy", init="torch", zero_grad=False,
        ),
        changes=dict(data_options=dict(), zero_grad=True),
        measured={"faulty": (0.261,), "fixed": (0.767,)},
    ),
    Case(
        id="checkers-small-and-slow",
        source="constructed: too few units, and plain SGD at .001",
        fault="three sigmoid units and a rate of .001 for nine fields of a board",
        labels=("rate_too_low", "too_small"),
        faulty=Program(
            data="checkers", network="dense 3 sigmoid, dense 1 sigmoid",
            loss="bce", optimizer="sgd", lr=0.001, batch=32, epochs=30, metric="accuracy", init="torch",
        ),
        changes=dict(network="dense 48 tanh, dense 1 sigmoid", optimizer="adam", lr=0.03),
        measured={"faulty": (0.53,), "fixed": (0.932,)},
    ),
]
