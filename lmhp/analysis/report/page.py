"""The page of a report: of a study, a run, a table, or several of them beside each other."""

from __future__ import annotations

from collections.abc import Sequence
import os
from typing import Unpack

from lmhp.analysis.analysis import analyze
from lmhp.analysis.findings import Finding
from lmhp.analysis.report.comparison_report import comparison_report
from lmhp.analysis.report.document import Report
from lmhp.analysis.report.render.html import html, inline
from lmhp.analysis.report.render.text import markdown, to_json
from lmhp.analysis.report.run_report import run_report
from lmhp.analysis.report.study_report import study_report
from lmhp.analysis.runs.sources import ReadOptions, read
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError
from lmhp.files import as_path, write_atomic
from lmhp.typing import PathLike

RENDERERS = {'html': html, 'md': markdown, 'json': to_json}
"""{format: function that returns a report in it}."""


class Page:
  """A report that can be read, saved, and shown as the last line of a notebook cell.

  Attributes:
    report: Content of the report.
  """

  def __init__(self, report: Report):
    self.report = report

  @property
  def answer(self) -> tuple[str, ...]:
    """The answer in at most three sentences."""
    return tuple(self.report.answer)

  @property
  def findings(self) -> tuple[Finding, ...]:
    """Findings, ranked."""
    return tuple(self.report.findings)

  def text(self, format: str = 'html') -> str:
    """Returns the report in a format.

    Args:
      format: 'html' is one file that opens offline, 'md' is for a paper or a pull request,
        'json' is for a program.

    Raises:
      ConfigError: If the format is another one.
    """
    if format not in RENDERERS:
      raise ConfigError(
        f'format: got {format!r}, expected one of {", ".join(RENDERERS)}'
      )
    return RENDERERS[format](self.report)

  def save(self, path: str | os.PathLike[str], format: str | None = None) -> str:
    """Writes the report atomically, so that an open page can be reloaded at any time.

    Args:
      path: File to write.
      format: One of `RENDERERS`. None takes the suffix of the path.

    Returns:
      The path.

    Raises:
      ConfigError: If the suffix is no format, or the file cannot be written.
    """
    suffix = os.path.splitext(os.fspath(path))[1].lstrip('.').lower()
    try:
      write_atomic(as_path(path), self.text(format or suffix).encode())
    except OSError as error:
      raise ConfigError(
        f'output: {os.fspath(path)!r} cannot be written ({error.strerror or error})'
      ) from None
    return os.fspath(path)

  def _repr_html_(self) -> str:
    return inline(self.report)

  def __repr__(self) -> str:
    return '\n'.join(self.answer)


def page_of(sources: Sequence[PathLike | Runs], **options: Unpack[ReadOptions]) -> Page:
  """Returns the page of one source, or of several that are compared.

  Args:
    sources: Paths that `lmhp.analysis.runs.sources.read` reads, or tables of runs.
    **options: Options of `lmhp.analysis.runs.sources.read`.

  Raises:
    ConfigError: If there is no source, or one cannot be read or has no runs.
  """
  if not sources:
    raise ConfigError(
      'report: got no source, expected a directory of a sweep or a run, or a file of runs'
    )
  analyses = []
  for source in sources:
    runs = source if isinstance(source, Runs) else read(source, **options)
    if not len(runs):
      name = runs.name if isinstance(source, Runs) else os.fspath(source)
      raise ConfigError(f'{name}: has no runs yet, expected a study that has started')
    analyses.append(analyze(runs))
  if len(analyses) > 1:
    return Page(comparison_report(analyses))
  # One run has no comparison, and a report of its own.
  build = run_report if len(analyses[0].runs) == 1 else study_report
  return Page(build(analyses[0]))
