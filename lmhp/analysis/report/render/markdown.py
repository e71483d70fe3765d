"""A report as Markdown (GitHub's), for a paper or a pull request: its words and its tables."""

from __future__ import annotations

import re
from typing import Any, Sequence

from lmhp.analysis.findings import Finding, ranked
from lmhp.analysis.report import numbers
from lmhp.analysis.report.document import Figure, Report, Section, Table, Text
from lmhp.analysis.report.render.html_parts import WORDS, shown_cells, space

ROWS = 20
CELL_LENGTH = 120


def markdown(report: Report) -> str:
  """The report: answer, findings, tables of at most `ROWS` rows, figures as their captions, method, caveats, about.

  >>> print(markdown(Report('A study', ['Found <nothing>.'])))
  # A study
  <BLANKLINE>
  Found &lt;nothing&gt;.
  <BLANKLINE>
  """
  blocks = [f'# {inline(report.title)}', paragraph(' '.join(report.answer))]
  if report.findings:
    blocks += [
      '## Findings',
      *(_finding(place, f) for place, f in enumerate(ranked(report.findings), 1)),
    ]
  for section in report.sections:
    blocks += _section(section)
  if report.trials is not None:
    blocks += _table(report.trials, '##')
  for title, texts in (('Method', report.method), ('Caveats', report.caveats)):
    blocks += (
      [f'## {title}', *map(paragraph, [texts] if isinstance(texts, str) else texts)]
      if texts
      else []
    )
  if report.about:
    about = [
      f'- {inline(name)}: {inline(numbers.text(value))}'
      for name, value in report.about.items()
    ]
    blocks += ['## About', '\n'.join(about)]
  return '\n\n'.join(blocks) + '\n'


def inline(text: Any) -> str:
  """A string that Markdown shows letter by letter, on one line.

  >>> inline('a|b *c* <d> [e](f)')
  'a\\\\|b \\\\*c\\\\* &lt;d&gt; \\\\[e\\\\](f)'
  """
  text = ' '.join(str(text).encode('utf-8', 'replace').decode().split())
  text = re.sub(r'([\\`*\[\]|~$])', r'\\\1', text)
  text = re.sub(
    r'(?<!\w)_|_(?!\w)', r'\\_', text
  )  # within a word it is a letter, as in eval_loss_nats
  return text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')


def paragraph(text: Any) -> str:
  """A string as a paragraph of its own, whatever it starts with.

  >>> paragraph('# no heading'), paragraph('1. no list')
  ('\\\\# no heading', '1\\\\. no list')
  """
  return re.sub(r'^(\d*)([#+\-=.)])', r'\1\\\2', inline(text))


def _finding(place: int, item: Finding) -> str:
  lines = [f'{place}. **{WORDS[item.level]}:** {inline(item.title)}']
  lines += ['', f'   {paragraph(item.evidence)}'] if item.evidence else []
  if item.proposal:
    code = space(item.proposal)
    fence = '`' * max(3, 1 + max(map(len, re.findall('`+', code)), default=0))
    lines += [
      '',
      *(f'   {line}' for line in (f'{fence}python', *code.splitlines(), fence)),
    ]
  return '\n'.join(lines)


def _section(section: Section) -> list[str]:
  out = [f'## {inline(section.title)}']
  for block in section.blocks:
    if isinstance(block, Text):
      out += map(paragraph, block.paragraphs)
    elif isinstance(block, Figure):
      out.append(f'*Figure: {inline(block.title)}.* {inline(block.caption)}')
    else:
      out += _table(block, '###')
  return out


def _table(table: Table, heading: str) -> list[str]:
  heads = [inline(f'{c.name} ({c.unit})' if c.unit else c.name) for c in table.columns]
  rules = ['---' if c.kind == 'text' else '---:' for c in table.columns]
  rows = [
    [inline(_cut(text)) for text in row]
    for row in list(zip(*shown_cells(table)))[:ROWS]
  ]
  lines = '\n'.join(_row(cells) for cells in (heads, rules, *rows))
  left = len(table.rows) - len(rows)
  more = [f'{left:,} more rows are in the page and in the JSON.'] if left > 0 else []
  return [
    f'{heading} {inline(table.title)}',
    *([paragraph(table.caption)] if table.caption else []),
    lines,
    *more,
  ]


def _row(cells: Sequence[str]) -> str:
  return f'| {" | ".join(cells)} |'


def _cut(text: str) -> str:
  return text if len(text) <= CELL_LENGTH else text[: CELL_LENGTH - 1] + '…'
