"""Elements of a report as HTML: findings, tables, figures, paragraphs. All text is escaped.

Tables and findings are complete without JavaScript. `assets/report.js` sorts, pages and filters
them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
import html

from lmhp.analysis.findings import Finding, Proposal, ranked
from lmhp.analysis.phrases import is_number, shortened
from lmhp.analysis.report.document import (
  Column,
  Figure,
  Section,
  Table,
  Text,
  cell_text,
  formatted_columns,
)

ROWS_SHOWN = 50
"""Rows of a table that are shown at first. `report.js` reads it from the table."""
FILTER_FROM = 12
"""Number of rows from which a table has a filter."""
RUNS_SHOWN = 20
"""Runs of a finding that are listed."""
CELL_LENGTH = 160
TITLE_LENGTH = 2000
LONG_NAME = 14
"""Length from which a name may break across lines."""
SHORT_CELL = 28
"""Length up to which a cell stays on one line."""
DOWNLOADS = ('PNG', 'SVG', 'CSV', 'JSON')

# A level is shown by its word and by its shape, and by a colour in addition.
LEVEL_SHAPES = {
  'answer': 'M6 1a5 5 0 1 0 0 10a5 5 0 1 0 0-10z',
  'warning': 'M6 .8L11.6 11H.4z',
  'advice': 'M1 4.2h5V1l5.4 5L6 11V7.8H1z',
  'note': 'M2 2h8v8H2z',
}
LEVEL_WORDS = {
  'answer': 'Answer',
  'warning': 'Warning',
  'advice': 'Next step',
  'note': 'Note',
}


# --- text -------------------------------------------------------------------------------


def escape(value: object) -> str:
  """Returns any value as text of HTML, or of an attribute in double quotes.

  >>> escape('<b title="x">')
  '&lt;b title=&quot;x&quot;&gt;'
  """
  # A file name may hold lone surrogates, which UTF-8 cannot hold. HTML has no NUL.
  text = str(value).encode('utf-8', 'replace').decode()
  return html.escape(text.replace('\0', '\ufffd'))


def breakable(name: str) -> str:
  """Returns a name that may break after dots and underscores if it is long."""
  text = escape(name)
  is_long = len(name) > LONG_NAME
  return text.replace('.', '.<wbr>').replace('_', '_<wbr>') if is_long else text


def present(*parts: tuple[object, str]) -> str:
  """Returns the HTML of those parts (content, HTML) whose content is not empty."""
  return ''.join(source for content, source in parts if content)


def paragraphs(texts: Sequence[str]) -> str:
  """Returns paragraphs of plain text."""
  return ''.join(f'<p>{escape(text)}</p>\n' for text in texts)


def definitions(values: Mapping[str, object]) -> str:
  """Returns names and values as `<dt>` and `<dd>`. A mapping becomes a list inside."""
  items = ''
  for name, value in values.items():
    content = escape(cell_text(value))
    if isinstance(value, Mapping):
      content = f'<dl>{definitions(value)}</dl>'
    items += f'<div><dt>{breakable(str(name))}</dt><dd>{content}</dd></div>'
  return items


# --- tables -----------------------------------------------------------------------------


def run_button(run: int, known_runs: Collection[int]) -> str:
  """Returns a run number, as a button that opens its config if that is known."""
  if run not in known_runs:
    return str(run)
  return (
    f'<button type="button" class="run" data-run="{run}" '
    f'aria-label="Config of run {run}">{run}</button>'
  )


def cell(value: object, text: str, kind: str, known_runs: Collection[int]) -> str:
  """Returns a cell of a table.

  Args:
    value: Value of the cell, by which a column is sorted.
    text: Its text.
    kind: Kind of the column.
    known_runs: Numbers of the runs whose config is known.
  """
  # The script sorts by the number itself, not by its text.
  sort = f' data-v="{float(value)!r}"' if is_number(value) else ''
  if kind == 'run' and is_number(value):
    return f'<td class="number"{sort}>{run_button(int(value), known_runs)}</td>'
  # A long text is cut, and shown as a whole when the mouse rests on it.
  is_long = len(text) > CELL_LENGTH
  title = f' title="{escape(text[:TITLE_LENGTH])}"' if is_long else ''
  style = ' class=short' if len(text) <= SHORT_CELL else ''
  if sort or kind == 'number':
    style = ' class=number'
  return f'<td{style}{sort}{title}>{escape(shortened(text, CELL_LENGTH))}</td>'


def table(item: Table, known_runs: Collection[int], level: int = 3) -> str:
  """Returns a sortable table in a box that scrolls sideways.

  Args:
    item: The table.
    known_runs: Numbers of the runs whose config is known.
    level: Level of the heading.
  """
  name = escape(item.id)
  title = escape(item.title)
  search = (
    f'<label class="search"><span class="hidden-label">Filter {title}</span>'
    '<input type="search" placeholder="Filter rows" autocomplete="off" '
    'spellcheck="false"></label>'
  )
  caption = f'<p class="caption">{escape(item.caption)}</p>' if item.caption else ''
  return (
    f'<div class="table" id="table-{name}"><div class="table-head">'
    f'<h{level} id="title-{name}">{title}</h{level}>'
    f'{search if len(item.rows) >= FILTER_FROM else ""}</div>{caption}'
    f'<div class="scroll" tabindex="0" role="region" aria-labelledby="title-{name}">'
    f'<table data-page="{ROWS_SHOWN}"><thead><tr>'
    f'{"".join(map(_head, item.columns))}</tr></thead><tbody>\n'
    f'{_rows(item, known_runs)}</tbody></table></div>'
    '<p class="rows" aria-live="polite"></p></div>\n'
  )


def _head(column: Column) -> str:
  style = ' class=number' if column.kind != 'text' else ''
  unit = f' <span class=unit>{escape(column.unit)}</span>' if column.unit else ''
  return (
    f'<th scope="col" data-kind="{column.kind}" aria-sort="none"{style}>'
    f'<button type="button">{breakable(column.name)}{unit}'
    '<span class="arrow" aria-hidden="true"></span></button></th>'
  )


def _rows(item: Table, known_runs: Collection[int]) -> str:
  """Returns the rows of a table. Those after the first page are hidden."""
  rows = ''
  for i, (row, texts) in enumerate(zip(item.rows, zip(*formatted_columns(item)))):
    cells = ''.join(
      cell(value, text, column.kind, known_runs)
      for value, text, column in zip(row, texts, item.columns)
    )
    rows += f'<tr{" hidden" if i >= ROWS_SHOWN else ""}>{cells}</tr>\n'
  return rows


# --- figures and sections ---------------------------------------------------------------


def figure(item: Figure) -> str:
  """Returns the place of a figure, with its text and buttons. `figures.js` draws it."""
  name = escape(item.id)
  title = escape(item.title)
  caption = escape(item.caption)
  buttons = ''.join(
    f'<button type="button" data-view="{i}" aria-pressed="{"false" if i else "true"}">'
    f'{escape(view.label)}</button>'
    for i, view in enumerate(item.views)
  )
  views = (
    f'<div class="views" role="group" aria-label="Views of {title}">{buttons}</div>'
  )
  saves = ''.join(
    f'<button type="button" data-save="{kind.lower()}" '
    f'aria-label="Download {title} as {kind}">{kind}</button>'
    for kind in DOWNLOADS
  )
  return (
    f'<figure id="figure-{name}" data-figure="{name}"><figcaption><h3>{title}</h3>'
    f'<p class="caption">{caption}</p></figcaption>{views if item.views else ""}'
    f'<div class="plot" style="height:{int(item.height)}px" role="img" '
    f'aria-label="{title}: {caption}"></div>'
    f'<div class="saves" role="group" aria-label="Download {title}">{saves}</div>'
    '</figure>\n'
  )


def section(item: Section, known_runs: Collection[int]) -> str:
  """Returns a section with all its blocks."""
  blocks = ''
  for block in item.blocks:
    if isinstance(block, Text):
      blocks += paragraphs([block.text])
    elif isinstance(block, Table):
      blocks += table(block, known_runs)
    else:
      blocks += figure(block)
  return (
    f'<section id="section-{escape(item.id)}">\n<h2>{escape(item.title)}</h2>\n'
    f'{blocks}</section>\n'
  )


# --- findings ---------------------------------------------------------------------------


def findings(items: Sequence[Finding], known_runs: Collection[int]) -> str:
  """Returns findings, ranked."""
  rows = ''.join(finding(item, known_runs) for item in ranked(items))
  return present(
    (
      items,
      '<section id="findings">\n<h2>Findings</h2>\n'
      f'<ol class="findings">\n{rows}</ol></section>\n',
    )
  )


def finding(item: Finding, known_runs: Collection[int]) -> str:
  """Returns a finding: its level, title, hyperparameters, proposal and evidence."""
  badge = (
    '<span class="badge"><svg viewBox="0 0 12 12" aria-hidden="true">'
    f'<path d="{LEVEL_SHAPES[item.level]}"/></svg>{LEVEL_WORDS[item.level]}</span>'
  )
  axes = ' '.join(f'<code>{breakable(axis)}</code>' for axis in item.axes)
  proposal = (
    '<div class="snippet"><pre tabindex="0">'
    f'<code>{escape(space_code(item.proposal))}</code></pre>'
    '<button type="button" class="copy">Copy</button></div>'
  )
  runs = [run_button(int(run), known_runs) for run in item.runs[:RUNS_SHOWN]]
  if len(item.runs) > RUNS_SHOWN:
    runs.append(f'and {len(item.runs) - RUNS_SHOWN} more')
  # Evidence, numbers and runs are folded.
  folded = present(
    (item.evidence, paragraphs([item.evidence])),
    (item.numbers, f'<dl class="numbers">{definitions(item.numbers)}</dl>'),
    (item.runs, f'<p class="runs">Runs {" ".join(runs)}</p>'),
  )
  parts = present(
    (item.axes, f'<p class=axes>{axes}</p>'),
    (item.proposal, proposal),
    (folded, f'<details><summary>Evidence</summary>{folded}</details>'),
  )
  return (
    f'<li class="finding {item.level}">{badge}<div><h3>{escape(item.title)}</h3>'
    f'{parts}</div></li>\n'
  )


def space_code(proposal: Mapping[str, Proposal]) -> str:
  """Returns a proposed space as code.

  >>> from lmhp.analysis.findings import ProposedRange
  >>> print(
  ...   space_code({'optimizer.learning_rate': ProposedRange(0.001, 0.1, log=True)})
  ... )
  space = {
    'optimizer.learning_rate': Float(0.001, 0.1, log=True),
  }
  """
  lines = [f'  {axis!r}: {domain.to_code()},\n' for axis, domain in proposal.items()]
  return f'space = {{\n{"".join(lines)}}}'
