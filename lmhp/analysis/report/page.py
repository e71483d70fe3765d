"""A report of whatever was named: a study, a run, a table, or several of these beside each other."""

from __future__ import annotations

import functools
import os
from typing import Any, Sequence

from lmhp.analysis.analysis import analyze
from lmhp.analysis.report import composition as compose
from lmhp.analysis.report.document import Report
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError

FORMATS = ('html', 'md', 'json')


class Page:
  """A report that can be read, written and shown; a notebook shows it where it is the last line of a cell.

  Attributes:
    report: what it says, before anybody draws it.
  """

  def __init__(self, report: Report):
    self.report = report

  @property
  def answer(self) -> tuple[str, ...]:
    """The answer, in three sentences."""
    return tuple(self.report.answer)

  @property
  def findings(self) -> tuple:
    """What was found, ranked: each a `lmhp.analysis.findings.Finding`."""
    return tuple(self.report.findings)

  def text(self, format: str = 'html') -> str:
    """The report as 'html', one file that opens offline; 'md', for a paper or a pull request; 'json', for a program.

    Raises:
      ConfigError: another format.
    """
    if format not in FORMATS:
      raise ConfigError(f'format: got {format!r}, expected one of {", ".join(FORMATS)}')
    if format == 'html':
      from lmhp.analysis.report.render.html import html

      return html(self.report)
    if format == 'md':
      from lmhp.analysis.report.render.markdown import markdown

      return markdown(self.report)
    from lmhp.analysis.report.render.json_text import to_json

    return to_json(self.report)

  def save(self, path: str | os.PathLike, format: str | None = None) -> str:
    """Writes the report, whole or not at all, so that an open page can be loaded again at any time.

    Args:
      path: a file; its suffix says the format where `format` does not.
      format: as of `text`.

    Returns:
      The path.

    Raises:
      ConfigError: a suffix that says no format, or a place that cannot be written.
    """
    from lmhp.files import as_path, write_atomic

    suffix = os.path.splitext(os.fspath(path))[1].lstrip('.').lower()
    content = self.text(format or suffix).encode()
    try:
      write_atomic(as_path(path), content)
    except OSError as error:
      raise ConfigError(
        f'output: {os.fspath(path)!r} cannot be written ({error.strerror or error})'
      ) from None
    return os.fspath(path)

  @functools.cached_property
  def _inline(self) -> str:
    from lmhp.analysis.report.render.notebook import inline

    return inline(self.report)

  def _repr_html_(self) -> str:
    return self._inline

  def __repr__(self) -> str:
    return '\n'.join(self.answer)


def page_of(sources: Sequence[Any], **options: Any) -> Page:
  """The page of one source, or of several compared.

  Args:
    sources: paths that `lmhp.analysis.runs.sources.read` knows, or tables.
    **options: as of `lmhp.analysis.runs.sources.read`.

  Raises:
    ConfigError: there is none, or it cannot be read.
  """
  from lmhp.analysis.runs.sources import read

  if not sources:
    raise ConfigError(
      'report: got nothing, expected a directory of a sweep or a run, or a file of runs'
    )
  tables = [one if isinstance(one, Runs) else read(one, **options) for one in sources]
  for runs, source in zip(tables, sources):
    if not len(runs):
      raise ConfigError(f'{source}: has no runs yet, expected a study that has begun')
  if len(tables) > 1:
    return Page(compose.of_several([analyze(runs, pictures=False) for runs in tables]))
  if len(tables[0]) == 1:
    return Page(compose.of_run(tables[0]))
  return Page(compose.of_study(analyze(tables[0])))
