"""Healthy programs that look odd; the controls of `second_cases.py`."""

# A program reads as one paragraph, as in the shared benchmark: options as keywords, long lines, no reformatting.
# ruff: noqa: C408, E501
# fmt: off

import second_data  # noqa: F401 - adds its makers
import second_layers  # noqa: F401 - adds its words
from programs import Control, Program

CONTROLS = [
    Control(
        id="counts-negative-loss",
        program=Program(
            data="counts", network="dense 32 relu, dense 32 relu, dense 1",
            loss="poisson_of_log", optimizer="adam", lr=0.003, batch=32, epochs=12, metric="r2_log", init="torch",
        ),
        measured=(0.674,),
    ),
    Control(
        id="returns-a-tenth",
        program=Program(
            data="returns", network="dense 16 tanh, dense 1",
            loss="mse", optimizer="adam", lr=0.001, batch=64, epochs=10, metric="r2", init="torch", weight_decay=1e-3,
        ),
        measured=(0.177,),
    ),
    Control(
        id="few-rows-linear",
        program=Program(
            data="few_rows", network="dense 8 tanh, dense 1",
            loss="mse", optimizer="adam", lr=0.01, batch=16, epochs=40, metric="r2", init="torch", weight_decay=1e-3,
        ),
        measured=(0.937,),
    ),
    Control(
        id="alarms-weighted",
        program=Program(
            data="alarms", network="dense 24 relu, dense 1",
            loss="bce_weighted_19", optimizer="adam", lr=0.002, batch=64, epochs=12, metric="balanced_sign", init="torch",
        ),
        measured=(0.76,),
        tolerated=("split-mismatch",),
    ),
    Control(
        id="checkers-sigmoid",
        program=Program(
            data="checkers", network="dense 48 sigmoid, dense 24 sigmoid, dense 1 sigmoid",
            loss="bce", optimizer="adam", lr=0.03, batch=32, epochs=60, metric="accuracy",
        ),
        measured=(0.955,),
    ),
    Control(
        id="rings-twelve-normed",
        program=Program(
            data="rings", network="12x normed 24 relu, dense 2",
            loss="cross_entropy", optimizer="adamw", lr=0.003, batch=32, epochs=12, metric="accuracy", init="he", weight_decay=0.01,
        ),
        measured=(0.97,),
        tolerated=("bias-before-norm",),
    ),
    Control(
        id="new-clothes-frozen-trunk",
        program=Program(
            data="new_clothes", data_options=dict(n=400), network="trunk frozen, dense 5",
            loss="cross_entropy", optimizer="adam", lr=0.002, batch=16, epochs=15, metric="accuracy", init="torch",
        ),
        measured=(0.762,),
    ),
    Control(
        id="voices-transformer-one-cycle",
        program=Program(
            data="voices", network="dense 32, positions, transformer 4 64, mean, dense 6",
            loss="cross_entropy", optimizer="adamw one_cycle=190 clip=1.0", lr=0.003, batch=64, epochs=10, metric="accuracy", init="torch", weight_decay=0.01,
        ),
        measured=(0.97,),
    ),
    Control(
        id="discs-dice",
        program=Program(
            data="discs", network="conv 12 5 relu pad=2, conv 12 5 relu pad=2, conv 1 3 sigmoid pad=1",
            loss="dice", optimizer="adam", lr=0.003, batch=16, epochs=6, metric="f1", init="torch",
        ),
        measured=(0.975,),
    ),
    Control(
        id="clothes-denoised",
        program=Program(
            data="noisy_clothes", network="conv 16 3 relu pad=1, pool 2, conv 16 3 relu pad=1, upsample 2, conv 1 3 sigmoid pad=1",
            loss="mse", optimizer="adam", lr=0.005, batch=32, epochs=6, metric="r2", init="torch",
        ),
        measured=(0.864,),
    ),
    Control(
        id="ratings-factors",
        program=Program(
            data="ratings", network="embedding_product 150 100 6 std=0.1",
            loss="mse", optimizer="adamw", lr=0.01, batch=64, epochs=8, metric="r2", init="torch", weight_decay=0.05,
        ),
        measured=(0.783,),
    ),
    Control(
        id="bags-of-words-linear",
        program=Program(
            data="bags", network="dropout 0.5, dense 3",
            loss="cross_entropy", optimizer="sgd", lr=0.05, momentum=0.9, batch=32, epochs=10, metric="accuracy", init="torch", weight_decay=1e-3,
        ),
        measured=(0.993,),
    ),
]
