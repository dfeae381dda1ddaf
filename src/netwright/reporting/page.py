"""The report of a run as one HTML file that needs nothing else: no network, no fonts, no other file. No torch."""

from __future__ import annotations

import base64
import datetime
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from netwright import __version__, files
from netwright.diagnosis.judging import Diagnosis
from netwright.observations import Observations
from netwright.reporting import contents as reading
from netwright.reporting import formatting, sections
from netwright.reporting.heading import list_findings
from netwright.reporting.health import health

FILE_NAME = "report.html"
TEMPLATES = Path(__file__).parent / "templates"
REPORT = "report.html.jinja"


def write_report(directory: Path | str, *, state: str = "") -> Path:
    """Write ``report.html`` into a run's directory, also of one that is unfinished or damaged in parts.

    ``state``: ``interrupted`` or ``running`` where the caller knows it better than the directory shows.
    """
    directory = Path(directory)
    page = render(reading.read(directory, state))
    path = directory / FILE_NAME
    files.replace_file(path, page, "copy the run to a folder that can be written")
    return path


def render(contents: reading.Contents) -> str:
    """The page."""
    return _render(sections.sections(contents))


def write_watch_report(path: Path | str, diagnosis: Diagnosis, observations: Observations, title: str) -> Path:
    """The page of a training in someone else's loop: its health alone."""
    steps = max((series.steps[-1] for _, _, series in observations.series if series.steps), default=0)
    facts = observations.network
    shown = health(diagnosis, observations, {})
    made = dict.fromkeys(
        ("ensemble", "compression", "learning", "classes", "values", "mistakes", "data", "recipe", "environment")
    )
    known = [{"value": formatting.count(steps), "label": "steps seen", "note": ""}]
    if facts is not None:
        known.append({"value": formatting.count(facts.parameters), "label": "parameters", "note": ""})
    head = {
        "name": title, "state": "finished", "state_text": "", "started": "", "headline": shown["sentence"],
        "headline_html": "", "facts": known,
    }  # fmt: skip
    found = list_findings([*diagnosis.findings, *diagnosis.silenced], numbered=True)
    page = _render({**made, "head": head, "health": {**shown, "sentence": ""}, "findings": found, "missing": []})
    path = Path(path)
    files.replace_file(path, page, "another place")
    return path


def write_page(path: Path | str, template: str, shown: dict[str, Any]) -> Path:
    """A page from another template, in the report's style, with its script."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace_file(path, _render(shown, template), "another place")
    return path


def _render(shown: dict[str, Any], template: str = REPORT) -> str:
    style, script = _asset("report.css"), _asset("report.js")
    page: str = _template(template).render(
        **shown,
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=__version__,
        written=datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
    )
    return page


@lru_cache
def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()


@lru_cache
def _template(name: str) -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_asset(name))
