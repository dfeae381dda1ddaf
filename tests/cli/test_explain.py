"""netwright explain."""

from collections.abc import Callable
from typing import Any

import pytest

from netwright.codes import CODES
from netwright.diagnosis import catalogue
from netwright.diagnosis.catalogue import LANGUAGES, Language
from netwright.inspection.explaining import SUBJECTS, explain

Says = Callable[..., Any]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_subject_is_printed_whole(subject: str, says: Says) -> None:
    said = says("explain", subject)
    assert (said.code, said.err) == (0, "")
    made = explain(subject)
    for step in made.steps:
        for words in (step.title, step.formula, step.substituted, step.result):
            assert words in said.out, words
    assert made.source in said.out
    assert says("explain", subject, "--json").document == made.to_dict()


def test_without_a_subject_the_subjects_are_listed(says: Says) -> None:
    said = says("explain")
    assert said.code == 0
    assert all(name in said.out for name in SUBJECTS)
    assert [row["name"] for row in says("explain", "--json").document["subjects"]] == list(SUBJECTS)


@pytest.mark.parametrize(
    ("word", "meant"), [("batch-nrom", "batch-norm"), ("convolutoin", "convolution"), ("?!", "netwright explain")]
)
def test_an_unknown_subject_offers_the_nearest(word: str, meant: str, says: Says) -> None:
    said = says("explain", word)
    assert (said.code, said.out) == (2, "")
    assert f"'{word}'" in said.err
    tries = [line.split(maxsplit=1)[1] for line in said.err.splitlines() if line.startswith("  try")]
    assert tries == [meant]
    assert says("explain", word, "--json").document["error"]["try"] == meant


def test_the_numbers_of_batch_norm_are_those_of_the_paper(says: Says) -> None:
    """By hand, for z = (1, 3, 4, 8), γ = 2, β = ½: μ = 4, σ² = 6.5; a bias before it gets no gradient."""
    out = says("explain", "batch-norm").out
    for words in ("⇒ μ = 4\n", "⇒ σ² = 6.5\n", "⇒ dβ = 2\n", "⇒ db = 0:", "v = 1.767"):
        assert words in out, words


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_is_explained_whole(code: str, language: Language, says: Says) -> None:
    said = says("explain", code, "--lang", language)
    assert (said.code, said.err) == (0, "")
    entry = catalogue.entry(code, language)
    words = "".join(said.out.split())
    for text in (entry.title, entry.looks, entry.cause, *entry.remedies, entry.formula, entry.source, *entry.see):
        assert "".join(text.split()) in words, text


def test_codes_are_explained_as_documents_and_listed(says: Says) -> None:
    assert says("explain", "dead-units", "--json").document == catalogue.entry("dead-units").to_dict()
    assert [row["name"] for row in says("explain", "--json").document["findings"]] == list(CODES)
    assert [row["name"] for row in says("list", "findings", "--json").document["findings"]] == list(CODES)
    listed = says("explain", "--lang", "zh").out
    assert all(catalogue.entry(code, "zh").title in listed for code in CODES)
    assert "convolution" not in listed


def test_a_layer_has_no_other_language_and_an_unknown_code_offers_the_nearest(says: Says) -> None:
    assert "a finding's code" in says("explain", "batch-norm", "--lang", "zh").err
    said = says("explain", "dead-unit")
    assert (said.code, "try       dead-units" in said.err) == (2, True), said.err
