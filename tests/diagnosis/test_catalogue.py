"""The catalogue: whole in every language, and about the codes that rules may tell."""

import re
from pathlib import Path

import pytest

from netwright.codes import CODES, FAMILIES
from netwright.diagnosis import catalogue, judging
from netwright.diagnosis.registry import RULES
from netwright.errors import UsageError

CHINESE = re.compile(r"[\u4e00-\u9fff]")


@pytest.mark.parametrize("file", ["codes", *catalogue.LANGUAGES])
def test_every_file_holds_every_code_and_no_other(file: str) -> None:
    assert list(catalogue._read(file)) == list(CODES), "in the order of the families"
    assert len(set(CODES)) == sum(map(len, FAMILIES.values()))


@pytest.mark.parametrize("code", CODES)
def test_an_entry_is_whole_in_both_languages(code: str) -> None:
    english, chinese = (catalogue.entry(code, language) for language in catalogue.LANGUAGES)
    for each in (english, chinese):
        for text in (each.title, each.looks, each.cause, *each.remedies, each.source):
            assert text.strip() == text != ""
            assert "  " not in text
        assert not each.title.endswith((".", "。"))
    assert len(english.remedies) == len(chinese.remedies), "one remedy of one language for one of the other"
    for one, other in ((english, chinese),):
        texts = (other.title, other.looks, other.cause, *other.remedies)
        assert all(CHINESE.search(text) for text in texts if len(text) > 60 or text is other.title)
        assert not any(CHINESE.search(text) for text in (one.title, one.looks, one.cause, one.formula, *one.remedies))
    assert set(english.see) <= set(CODES) - {code}


def test_what_rules_may_tell_is_in_the_catalogue() -> None:
    judging.load_rules()
    for rule, codes in RULES.items():
        assert set(codes) <= set(CODES), (rule.__module__, set(codes) - set(CODES))


def test_the_kinds_are_those_of_the_labelled_faults() -> None:
    """What the labelled programs call a symptom is one here."""
    from reference import shared_folder

    labels = Path(shared_folder()) / "faults" / "labels.py"
    if not labels.exists():
        pytest.skip(f"{labels} is not here")
    found: dict[str, set[str]] = {}
    exec(labels.read_text(), found)
    assert {code for code, entry in catalogue.entries().items() if entry.kind == "symptom"} == found["SYMPTOMS"]
    named = set().union(*found["ACCEPTED"].values(), *found["NEUTRAL"].values(), *found["DATA_FACTS"].values())
    assert named <= set(CODES)


def test_an_unknown_code_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="vanishing-gradient"):
        catalogue.entry("vanishing-gradeint")
