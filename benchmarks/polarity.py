"""Film reviews that praise or do not, told by recurrent networks and by bags of words on the same split.

    python benchmarks/polarity.py [--networks gru] [--splits 1] [--set KEY=VALUE …]

Pang and Lee's 2,000 reviews (polarity 2.0): a fifth is the test part, the default recipe learns from the rest, of
which it holds a tenth out. The bags learn from all of the rest: naive Bayes over counts, logistic regression over
tf-idf of words, and of words and pairs. A split is a ``data.split_seed``.
"""

from __future__ import annotations

import argparse
import json
import tarfile
import tempfile
import time

from common import shared

import netwright
from netwright.data.opening import open_source
from netwright.recipe import from_dict, parse_assignments
from netwright.recipe.schema import Data

SOURCE = shared() / "text" / "sentiment" / "review_polarity.tar.gz"


def bags(split: int) -> dict[str, float]:
    """Accuracy on the test part that a run with the same ``data.split_seed`` has."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    with tarfile.open(SOURCE) as archive:
        texts = {each.name: archive.extractfile(each).read().decode("latin-1") for each in archive if each.isfile()}
    examples = open_source(Data(source=str(SOURCE), test=0.2, validation=0, split_seed=split))

    def part(name: str) -> tuple[list[str], list[int]]:
        one = examples.parts[name]
        names = [one.name(row) for row in range(len(one))]
        return [next(texts[key] for key in texts if key.endswith(each)) for each in names], one.part_targets().tolist()

    (train, y), (test, z) = part("train"), part("test")
    pairs = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    methods = {
        "naive Bayes": make_pipeline(CountVectorizer(), MultinomialNB()),
        "logistic regression": make_pipeline(TfidfVectorizer(), LogisticRegression()),
        "logistic regression, pairs": make_pipeline(pairs, LogisticRegression(C=10)),
    }
    return {name: float(method.fit(train, y).score(test, z)) for name, method in methods.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=["gru"])
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    for split in range(options.splits):
        for method, accuracy in bags(split).items():
            print(json.dumps({"split": split, "method": method, "accuracy": round(accuracy, 4)}), flush=True)
        for network in options.networks:
            recipe = from_dict({}, parse_assignments(options.set) | {
                "data.source": str(SOURCE), "data.test": 0.2, "data.split_seed": split, "network.name": network,
                "train.threads": 1, "watch.enabled": False,
            })  # fmt: skip
            started = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                accuracy = netwright.train(recipe, folder=folder).metrics["test"]["accuracy"]
            seconds = round(time.process_time() - started)
            row = {"split": split, "method": network, "accuracy": round(accuracy, 4), "processor_seconds": seconds}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
