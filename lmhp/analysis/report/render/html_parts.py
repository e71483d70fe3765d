"""The parts of a report as HTML: findings, tables, figures, paragraphs. Every string that comes in is escaped.

The tables and the findings are whole without JavaScript; `assets/report.js` sorts, pages and filters what is here.
"""

from __future__ import annotations

import html
import json
from typing import Any, Mapping, Sequence

import numpy as np

from lmhp.analysis.findings import Finding
from lmhp.analysis.report import numbers
from lmhp.analysis.report.document import Figure, Section, Table, Text

ROWS_SHOWN = (
  50  # of a table before a reader asks for more; `report.js` reads it from the table
)
FILTER_FROM = 12  # rows from which a table has a box to filter it
RUNS_SHOWN = 20  # of a finding
CELL_LENGTH = 160
LONG_NAME = 14  # letters of a name that stays on one line
SHORT = 28  # letters of a cell that stays on one line

# A level is told by its word and by its shape; its colour comes third.
SHAPES = {
  'answer': 'M6 1a5 5 0 1 0 0 10a5 5 0 1 0 0-10z',
  'warning': 'M6 .8L11.6 11H.4z',
  'advice': 'M1 4.2h5V1l5.4 5L6 11V7.8H1z',
  'note': 'M2 2h8v8H2z',
}
WORDS = {'answer': 'Found', 'warning': 'Doubt', 'advice': 'Try next', 'note': 'Note'}


def escape(value: Any) -> str:
  """Any value as text of HTML or of an attribute in double quotes.

  >>> escape('<b title="x">')
  '&lt;b title=&quot;x&quot;&gt;'
  """
  # File names may hold lone surrogates, which UTF-8 cannot, and HTML knows no NUL.
  return html.escape(
    str(value).encode('utf-8', 'replace').decode().replace('\0', '\ufffd')
  )


def breakable(name: str) -> str:
  """A name that may break after its dots and underscores where it is long."""
  return (
    escape(name).replace('.', '.<wbr>').replace('_', '_<wbr>')
    if len(name) > LONG_NAME
    else escape(name)
  )


def paragraphs(texts: Sequence[str]) -> str:
  """Paragraphs of plain text."""
  return ''.join(
    f'<p>{escape(text)}</p>\n'
    for text in ([texts] if isinstance(texts, str) else texts)
  )


def run_button(run: Any, known: Any) -> str:
  """A run's number, which opens its config where that is known."""
  number = int(run)
  return (
    f'<button type="button" class="run" data-run="{number}" aria-label="Config of run {number}">{number}</button>'
    if number in known
    else str(number)
  )


def cell(value: Any, shown: str, kind: str, known: Any) -> str:
  """A table's cell: its value is there to sort by, its text to read."""
  number = value.item() if isinstance(value, np.generic) else value
  sort = f' data-v="{float(number)!r}"' if numbers.is_number(number) else ''
  if kind == 'run' and numbers.is_number(number):
    return f'<td class="number"{sort}>{run_button(number, known)}</td>'
  full = f' title="{escape(shown[:2000])}"' if len(shown) > CELL_LENGTH else ''
  cut = shown if len(shown) <= CELL_LENGTH else shown[: CELL_LENGTH - 1] + '…'
  look = (
    ' class=number'
    if sort or kind == 'number'
    else ' class=short'
    if len(cut) <= SHORT
    else ''
  )
  return f'<td{look}{sort}{full}>{escape(cut)}</td>'


def shown_cells(table: Table) -> list[list[str]]:
  """The text of each cell, by column: a column's numbers look alike.

  >>> shown_cells(
  ...   Table('t', '', ['loss', ('name', '', 'text')], [(3.21234, 'a'), (None, True)])
  ... )
  [['3.212', '–'], ['a', 'yes']]
  """
  out = []
  for place, column in enumerate(table.columns):
    values = [row[place] for row in table.rows]
    alike = numbers.column(values) if column.kind == 'number' else [None] * len(values)
    out.append(
      [
        near
        if column.kind == 'number' and numbers.is_number(value)
        else numbers.text(value)
        for value, near in zip(values, alike)
      ]
    )
  return out


def table(item: Table, known: Any, level: int = 3) -> str:
  """A table that sorts, in a box of its own that scrolls sideways.

  Args:
    item: the table.
    known: numbers of the runs whose config is there to open.
    level: of its heading.
  """
  name, columns = escape(item.id), item.columns
  heads = ''.join(
    f'<th scope="col" data-kind="{c.kind}" aria-sort="none"{" class=number" if c.kind != "text" else ""}>'
    f'<button type="button">{breakable(c.name)}{f" <span class=unit>{escape(c.unit)}</span>" if c.unit else ""}'
    '<span class="arrow" aria-hidden="true"></span></button></th>'
    for c in columns
  )
  shown = list(zip(*shown_cells(item))) if columns else []
  rows = ''.join(
    f'<tr{" hidden" if i >= ROWS_SHOWN else ""}>'
    f'{"".join(cell(v, t, c.kind, known) for v, t, c in zip(row, shown[i], columns))}</tr>\n'
    for i, row in enumerate(item.rows)
  )
  search = (
    f'<label class="search"><span class="hidden-label">Filter {escape(item.title)}</span>'
    '<input type="search" placeholder="Filter rows" autocomplete="off" spellcheck="false"></label>'
    if len(item.rows) >= FILTER_FROM
    else ''
  )
  caption = f'<p class="caption">{escape(item.caption)}</p>' if item.caption else ''
  return (
    f'<div class="table" id="table-{name}"><div class="table-head"><h{level} id="title-{name}">'
    f'{escape(item.title)}</h{level}>{search}</div>{caption}'
    f'<div class="scroll" tabindex="0" role="region" aria-labelledby="title-{name}">'
    f'<table data-page="{ROWS_SHOWN}"><thead><tr>{heads}</tr></thead><tbody>\n{rows}</tbody></table></div>'
    '<p class="rows" aria-live="polite"></p></div>\n'
  )


def figure(item: Figure) -> str:
  """A figure's place, its words and its buttons; the picture is drawn by `report.js`."""
  name, title = escape(item.id), escape(item.title)
  views = ''.join(
    f'<button type="button" data-view="{i}" aria-pressed="{"false" if i else "true"}">{escape(v.label)}'
    '</button>'
    for i, v in enumerate(item.views)
  )
  views = (
    f'<div class="views" role="group" aria-label="Views of {title}">{views}</div>'
    if views
    else ''
  )
  saves = ''.join(
    f'<button type="button" data-save="{kind.lower()}" aria-label="Download {title} as {kind}">{kind}'
    '</button>'
    for kind in ('PNG', 'SVG', 'CSV', 'JSON')
  )
  return (
    f'<figure id="figure-{name}" data-figure="{name}"><figcaption><h3>{title}</h3>'
    f'<p class="caption">{escape(item.caption)}</p></figcaption>{views}'
    f'<div class="plot" style="height:{int(item.height)}px" role="img" aria-label="{title}: '
    f'{escape(item.caption)}"></div><div class="saves" role="group" aria-label="Download {title}">{saves}</div>'
    '</figure>\n'
  )


def section(item: Section, known: Any) -> str:
  """A section and all its blocks."""
  blocks = ''.join(
    paragraphs(b.paragraphs)
    if isinstance(b, Text)
    else table(b, known)
    if isinstance(b, Table)
    else figure(b)
    for b in item.blocks
  )
  return f'<section id="section-{escape(item.id)}">\n<h2>{escape(item.title)}</h2>\n{blocks}</section>\n'


def findings(items: Sequence[Finding], known: Any) -> str:
  """The ranked findings."""
  rows = ''.join(finding(item, known) for item in items)
  return (
    f'<section id="findings">\n<h2>Findings</h2>\n<ol class="findings">\n{rows}</ol></section>\n'
    if rows
    else ''
  )


def finding(item: Finding, known: Any) -> str:
  """One finding: its level by shape and word, what it says, how that is known, what to do."""
  badge = (
    f'<span class="badge"><svg viewBox="0 0 12 12" aria-hidden="true"><path d="{SHAPES[item.level]}"/></svg>'
    f'{WORDS[item.level]}</span>'
  )
  about = ' '.join(f'<code>{breakable(axis)}</code>' for axis in item.axes)
  evidence = paragraphs([item.evidence]) if item.evidence else ''
  known_numbers = (
    f'<dl class="numbers">{pairs(item.numbers)}</dl>' if item.numbers else ''
  )
  runs = ' '.join(run_button(run, known) for run in list(item.runs)[:RUNS_SHOWN])
  more = (
    f' and {len(item.runs) - RUNS_SHOWN} more' if len(item.runs) > RUNS_SHOWN else ''
  )
  runs = f'<p class="runs">Runs {runs}{more}</p>' if runs else ''
  details = evidence + known_numbers + runs
  details = (
    f'<details><summary>Evidence</summary>{details}</details>' if details else ''
  )
  proposal = (
    f'<div class="snippet"><pre tabindex="0"><code>{escape(space(item.proposal))}</code></pre>'
    '<button type="button" class="copy">Copy</button></div>'
    if item.proposal
    else ''
  )
  return (
    f'<li class="finding {item.level}">{badge}<div><h3>{escape(item.title)}</h3>'
    f'{f"<p class=axes>{about}</p>" if about else ""}{proposal}{details}</div></li>\n'
  )


def pairs(values: Mapping[str, Any]) -> str:
  """Names and values as `<dt>` and `<dd>`; a mapping within is a list within."""
  out = []
  for name, value in values.items():
    inner = (
      f'<dl>{pairs(value)}</dl>'
      if isinstance(value, Mapping)
      else escape(numbers.text(value))
    )
    out.append(f'<div><dt>{breakable(str(name))}</dt><dd>{inner}</dd></div>')
  return ''.join(out)


def space(proposal: Mapping[str, Mapping[str, Any]]) -> str:
  """A proposed space in the words of `lmhp.sweeping.space`.

  >>> print(
  ...   space({'optimizer.learning_rate': {'low': 0.001, 'high': 0.1, 'log': True}})
  ... )
  space = {
    'optimizer.learning_rate': Float(0.001, 0.1, log=True),
  }
  """
  return '\n'.join(
    [
      'space = {',
      *(f'  {name!r}: {domain(took)},' for name, took in proposal.items()),
      '}',
    ]
  )


def domain(took: Mapping[str, Any]) -> str:
  """What one hyperparameter is proposed to take.

  >>> (
  ...   domain({'choices': ['cosine', 'wsd']}),
  ...   domain({'low': 2, 'high': 8}),
  ...   domain({'value': 0.1}),
  ... )
  ("Choice('cosine', 'wsd')", 'Int(2, 8)', '0.1')
  """
  item = lambda v: v.item() if isinstance(v, np.generic) else v
  if 'choices' in took:
    return f'Choice({", ".join(repr(item(v)) for v in took["choices"])})'
  if 'low' in took and 'high' in took:
    low, high = item(took['low']), item(took['high'])
    kind = 'Int' if isinstance(low, int) and isinstance(high, int) else 'Float'
    short = [repr(v if isinstance(v, int) else float(f'{v:.4g}')) for v in (low, high)]
    return f'{kind}({", ".join(short)}{", log=True" if took.get("log") else ""})'
  return (
    repr(item(took['value']))
    if set(took) == {'value'}
    else json.dumps(took, default=str)
  )
