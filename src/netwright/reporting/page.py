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
from netwright.reporting import contents as reading
from netwright.reporting import sections

FILE_NAME = "report.html"
TEMPLATES = Path(__file__).parent / "templates"


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
    style, script = _asset("report.css"), _asset("report.js")
    page: str = _template().render(
        **sections.sections(contents),
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
def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_asset("report.html.jinja"))
