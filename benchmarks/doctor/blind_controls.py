"""Healthy programs that a naive rule would blame; see `blind_cases.py`."""

# A program reads as one paragraph, as in the shared benchmark: options as keywords, long lines, no reformatting.
# ruff: noqa: C408, E501
# fmt: off

import blind_data  # noqa: F401 - adds its makers
from programs import Control, Program

CONTROLS = [
    # ------------------------------------------------------------------------- a low metric is what there is
    Control(
        id="noise-of-six-tenths",
        program=Program(
            data="half_noise", network="dense 16 tanh, dense 1",
            loss="mse", optimizer="adam", lr=0.003, batch=32, epochs=12, metric="r2", init="torch",
        ),
        measured=(0.374, 0.419),
    ),
    Control(
        id="temperatures-mlp",
        program=Program(
            data="temperatures", network="dense 16 relu, dense 1",
            loss="mse", optimizer="adam", lr=0.003, batch=32, epochs=8, metric="r2", init="torch",
        ),
        measured=(0.656, 0.661),
    ),
    Control(
        id="next-letter-transformer",
        program=Program(
            data="next_letter", network="embedding 40 32, positions, transformer 4 64, last, dense 40",
            loss="cross_entropy", optimizer="adamw", lr=0.003, batch=64, epochs=8, metric="accuracy", init="torch", weight_decay=0.01,
        ),
        measured=(0.307, 0.296),
    ),
    Control(
        id="cifar-residual-norm",
        program=Program(
            data="cifar", network="conv 12 3 nobias pad=1, batchnorm, act relu, pool 2, resconv 24 relu, pool 2, gap, dense 10",
            loss="cross_entropy", optimizer="sgd", lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4, batch=64, epochs=7,
            metric="accuracy", init="torch",
        ),
        measured=(0.445, 0.447),
    ),
    # ------------------------------------------------------------------------- data that look odd
    Control(
        id="adult-one-to-three",
        program=Program(
            data="adult", network="dense 32 relu, dense 1 sigmoid",
            loss="bce", optimizer="adam", lr=0.001, batch=64, epochs=6, metric="accuracy", init="torch",
        ),
        measured=(0.842, 0.834),
    ),
    Control(
        id="adult-zeros-and-ones",
        program=Program(
            data="adult", data_options=dict(numbers="binned", target="index"), network="dense 24 relu, dense 2",
            loss="cross_entropy", optimizer="adam", lr=0.001, batch=64, epochs=5, metric="accuracy", init="torch",
        ),
        measured=(0.828, 0.834),
    ),
    Control(
        id="wine-small",
        program=Program(
            data="wine", network="dense 12 tanh, dense 3",
            loss="cross_entropy", optimizer="sgd", lr=0.1, batch=16, epochs=25, metric="accuracy", init="torch",
        ),
        measured=(1.0, 1.0),
    ),
    Control(
        id="four-constant-columns",
        program=Program(
            data="constant_columns", network="dense 32 relu, dense 16 relu, dense 2",
            loss="cross_entropy", optimizer="adam", lr=0.005, batch=32, epochs=15, metric="accuracy", init="torch",
        ),
        measured=(0.956, 0.964),
    ),
    Control(
        id="oil-in-order-of-time",
        program=Program(
            data="transformer_oil", data_options=dict(in_order=True), network="lstm 16, dense 1",
            loss="mse", optimizer="adam", lr=0.003, batch=64, epochs=8, metric="r2", init="torch", shuffle=False,
        ),
        measured=(0.947, 0.951),
    ),
    Control(
        id="reviews-words",
        program=Program(
            data="reviews", network="dropout 0.5, dense 8 relu, dropout 0.5, dense 1 sigmoid",
            loss="binary_crossentropy", optimizer="adam", lr=0.001, batch=32, epochs=8, metric="accuracy",
        ),
        measured=(0.742, 0.775),
    ),
    # ------------------------------------------------------------------------- outputs and losses that fit
    Control(
        id="softmax-regression",
        program=Program(
            data="digits", network="dense 10",
            loss="cross_entropy", optimizer="sgd", lr=0.05, batch=32, epochs=10, metric="accuracy", init="torch",
        ),
        measured=(0.943, 0.948),
    ),
    Control(
        id="tags-multilabel",
        program=Program(
            data="tags", network="dense 64 relu, dense 6 sigmoid",
            loss="bce", optimizer="adam", lr=0.003, batch=32, epochs=15, metric="elementwise", init="torch",
        ),
        measured=(0.918, 0.916),
    ),
    Control(
        id="autoencoder-digits",
        program=Program(
            data="digit_copies", network="dense 48 relu, dense 12, dense 48 relu, dense 64 sigmoid",
            loss="bce", optimizer="adam", lr=0.003, batch=32, epochs=15, metric="r2", init="torch",
        ),
        measured=(0.862, 0.872),
    ),
    Control(
        id="shares-sigmoid-mse",
        program=Program(
            data="shares", network="dense 32 relu, dense 32 relu, dense 1 sigmoid",
            loss="mse", optimizer="adam", lr=0.005, batch=32, epochs=15, metric="r2", init="torch",
        ),
        measured=(0.983, 0.98),
    ),
    Control(
        id="durations-softplus",
        program=Program(
            data="durations", network="dense 32 elu, dense 32 elu, dense 1 softplus",
            loss="huber", optimizer="adam", lr=0.005, batch=32, epochs=15, metric="r2", init="torch",
        ),
        measured=(0.96, 0.948),
    ),
    Control(
        id="waves-tanh-output",
        program=Program(
            data="waves", data_options=dict(bound=0.9), network="dense 64 tanh, dense 64 tanh, dense 1 tanh",
            loss="mse", optimizer="adam", lr=0.005, batch=32, epochs=25, metric="r2", init="torch",
        ),
        measured=(0.923, 0.906),
    ),
    Control(
        id="fashion-softmax-keras",
        program=Program(
            data="fashion", data_options=dict(images=True, target="onehot"),
            network="conv 8 3 relu pad=1, pool 2, conv 16 3 relu pad=1, pool 2, flatten, dense 32 relu, dense 10 softmax",
            loss="categorical_crossentropy", optimizer="adadelta", lr=1.0, batch=64, epochs=7, metric="accuracy",
        ),
        measured=(0.772, 0.744),
    ),
    Control(
        id="fashion-smoothed-labels",
        program=Program(
            data="fashion", data_options=dict(standard=True), network="dense 64 gelu, dense 32 gelu, dense 10",
            loss="smoothed_cross_entropy", optimizer="adamw", lr=0.001, batch=64, epochs=5, metric="accuracy", init="torch", weight_decay=0.01,
        ),
        measured=(0.806, 0.81),
    ),
    # ------------------------------------------------------------------------- networks
    Control(
        id="fashion-dropout-right",
        program=Program(
            data="fashion", data_options=dict(standard=True),
            network="dense 256 relu, dropout 0.5, dense 128 relu, dropout 0.5, dense 10",
            loss="cross_entropy", optimizer="adam", lr=0.001, batch=64, epochs=6, metric="accuracy", init="torch",
        ),
        measured=(0.805, 0.806),
    ),
    Control(
        id="fashion-residual-twenty",
        program=Program(
            data="fashion", data_options=dict(standard=True), network="dense 32, 20x res 32 relu layernorm, layernorm, dense 10",
            loss="cross_entropy", optimizer="adam", lr=0.001, batch=64, epochs=4, metric="accuracy", init="torch",
        ),
        measured=(0.79, 0.811),
    ),
    Control(
        id="selu-ten",
        program=Program(
            data="spirals", network="8x dense 32 selu, dense 3",
            loss="cross_entropy", optimizer="adam", lr=0.002, batch=32, epochs=20, metric="accuracy",
        ),
        measured=(1.0, 1.0),
    ),
    Control(
        id="fashion-third-inactive",
        program=Program(
            data="fashion", data_options=dict(standard=True), network="dense 128 relu bias=-1.5, dense 64 relu bias=-0.5, dense 10",
            loss="cross_entropy", optimizer="adam", lr=0.001, batch=64, epochs=6, metric="accuracy", init="he",
        ),
        measured=(0.812, 0.821),
    ),
    Control(
        id="languages-gru",
        program=Program(
            data="languages", network="embedding 48 12, gru 24, dense 3",
            loss="cross_entropy", optimizer="rmsprop", lr=0.003, batch=32, epochs=5, metric="accuracy", init="torch",
        ),
        measured=(0.97, 0.97),
    ),
    Control(
        id="languages-embedding-mean",
        program=Program(
            data="languages", network="embedding 48 16, mean, dense 16 relu, dense 3",
            loss="cross_entropy", optimizer="adam", lr=0.01, batch=32, epochs=6, metric="accuracy", init="torch",
        ),
        measured=(0.95, 0.95),
    ),
    Control(
        id="languages-transformer",
        program=Program(
            data="languages", network="embedding 48 24, positions, transformer 2 48, transformer 2 48, mean, dense 3",
            loss="cross_entropy", optimizer="adamw", lr=0.002, batch=64, epochs=4, metric="accuracy", init="torch", weight_decay=0.01,
        ),
        measured=(0.972, 0.97),
    ),
    Control(
        id="speech-conv1d-norm",
        program=Program(
            data="speech", network="conv1d 32 5 pad=2, batchnorm, act relu, conv1d 32 5 stride=2, batchnorm, act relu, gap, dense 10",
            loss="cross_entropy", optimizer="adam", lr=0.002, batch=32, epochs=6, metric="accuracy", init="torch",
        ),
        measured=(0.993, 0.953),
        tolerated=("bias-before-norm",),
    ),
    Control(
        id="speech-bigru",
        program=Program(
            data="speech", data_options=dict(frames_first=True), network="bigru 24, dense 10",
            loss="cross_entropy", optimizer="adam", lr=0.005, batch=32, epochs=3, metric="accuracy", init="torch",
        ),
        measured=(0.967, 0.96),
    ),
    # ------------------------------------------------------------------------- ways of training
    Control(
        id="digits-batch-4",
        program=Program(
            data="digits", network="dense 32 relu, dense 10",
            loss="cross_entropy", optimizer="sgd", lr=0.01, batch=4, epochs=6, metric="accuracy", init="torch",
        ),
        measured=(0.939, 0.95),
    ),
    Control(
        id="fashion-rate-one-half",
        program=Program(
            data="fashion", data_options=dict(standard=True),
            network="dense 64 nobias, batchnorm, act relu, dense 64 nobias, batchnorm, act relu, dense 10",
            loss="cross_entropy", optimizer="sgd", lr=0.5, batch=128, epochs=5, metric="accuracy", init="he",
        ),
        measured=(0.821, 0.779),
    ),
    Control(
        id="fashion-large-batch",
        program=Program(
            data="fashion", data_options=dict(n=6000, standard=True), network="dense 128 relu, dense 10",
            loss="cross_entropy", optimizer="adam", lr=0.003, batch=512, epochs=8, metric="accuracy", init="torch",
        ),
        measured=(0.819, 0.822),
    ),
    Control(
        id="parity-after-a-plateau",
        program=Program(
            data="parity", network="dense 32 tanh, dense 32 tanh, dense 2",
            loss="cross_entropy", optimizer="sgd", lr=0.1, momentum=0.9, batch=32, epochs=30, metric="accuracy", init="torch",
        ),
        measured=(1.0, 1.0),
    ),
    Control(
        id="first-sign-gru-after-a-plateau",
        program=Program(
            data="first_sign", data_options=dict(length=12), network="gru 16, dense 1 sigmoid",
            loss="bce", optimizer="adam", lr=0.005, batch=32, epochs=12, metric="accuracy", init="torch",
        ),
        measured=(1.0, 1.0),
    ),
    Control(
        id="flats-little-l1",
        program=Program(
            data="flats", network="dense 32 relu, dense 32 relu, dense 1",
            loss="mse", optimizer="adam", lr=0.003, batch=32, epochs=20, metric="r2", init="torch", l1=1e-5,
        ),
        measured=(0.97, 0.957),
    ),
    Control(
        id="oil-gru-decay",
        program=Program(
            data="transformer_oil", network="gru 24, dense 1",
            loss="mse", optimizer="adamw", lr=0.003, batch=64, epochs=6, metric="r2", init="torch", weight_decay=0.05,
        ),
        measured=(0.964, 0.965),
    ),
]
