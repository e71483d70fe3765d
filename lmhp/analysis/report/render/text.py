"""A report as text: GitHub Markdown for a paper or a pull request, and JSON for a program."""

from __future__ import annotations

import itertools
import json
import re
import textwrap

from lmhp.analysis.findings import Finding, ranked
from lmhp.analysis.phrases import shortened
from lmhp.analysis.report.document import (
  Figure,
  Report,
  Section,
  Table,
  Text,
  cell_text,
  formatted_columns,
  to_strict_json,
)
from lmhp.analysis.report.render.html_elements import (
  LEVEL_WORDS,
  space_code,
)

MAX_ROWS = 20
CELL_LENGTH = 120


def markdown(report: Report) -> str:
  """Returns the report as Markdown.

  It has the answer, findings, tables with at most `MAX_ROWS` rows, captions of the figures,
  method, caveats and origin.

  >>> print(markdown(Report('A study', ['There is <no> result.'])))
  # A study
  <BLANKLINE>
  There is &lt;no&gt; result.
  <BLANKLINE>
  """
  blocks = [f'# {inline(report.title)}', paragraph(' '.join(report.answer))]
  if report.basis:
    blocks.append(paragraph(' '.join(report.basis)))
  if report.findings:
    blocks += [
      '## Findings',
      *map(_finding, itertools.count(1), ranked(report.findings)),
    ]
  for section in report.sections:
    blocks += _section(section)
  if report.trials is not None:
    blocks += _table(report.trials, '##')
  for title, texts in (('Method', report.method), ('Caveats', report.caveats)):
    if texts:
      blocks += [f'## {title}', *map(paragraph, texts)]
  if report.about:
    lines = [
      f'- {inline(name)}: {inline(cell_text(value))}'
      for name, value in report.about.items()
    ]
    blocks += ['## About', '\n'.join(lines)]
  return '\n\n'.join(blocks) + '\n'


def inline(text: object) -> str:
  """Returns a text that Markdown shows literally, on one line.

  >>> inline('a|b *c* <d> [e](f)')
  'a\\\\|b \\\\*c\\\\* &lt;d&gt; \\\\[e\\\\](f)'
  """
  line = ' '.join(str(text).encode('utf-8', 'replace').decode().split())
  line = re.sub(r'([\\`*\[\]|~$])', r'\\\1', line)
  # An underscore inside a word has no meaning, as in eval_loss_nats.
  line = re.sub(r'(?<!\w)_|_(?!\w)', r'\\_', line)
  return line.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')


def paragraph(text: object) -> str:
  """Returns a text as a paragraph, whatever it starts with.

  >>> paragraph('# no heading'), paragraph('1. no list')
  ('\\\\# no heading', '1\\\\. no list')
  """
  return re.sub(r'^(\d*)([#+\-=.)])', r'\1\\\2', inline(text))


def _finding(rank: int, finding: Finding) -> str:
  lines = [f'{rank}. **{LEVEL_WORDS[finding.level]}:** {inline(finding.title)}']
  if finding.evidence:
    lines += ['', f'   {paragraph(finding.evidence)}']
  if finding.proposal:
    code = space_code(finding.proposal)
    # A fence must be longer than any row of backticks in the code.
    fence = '`' * max(3, 1 + max(map(len, re.findall('`+', code)), default=0))
    lines += ['', textwrap.indent(f'{fence}python\n{code}\n{fence}', '   ')]
  return '\n'.join(lines)


def _section(section: Section) -> list[str]:
  blocks = [f'## {inline(section.title)}']
  for block in section.blocks:
    if isinstance(block, Text):
      blocks.append(paragraph(block.text))
    elif isinstance(block, Figure):
      blocks.append(f'*Figure: {inline(block.title)}.* {inline(block.caption)}')
    else:
      blocks += _table(block, '###')
  return blocks


def _table(table: Table, heading: str) -> list[str]:
  names = [f'{c.name} ({c.unit})' if c.unit else c.name for c in table.columns]
  rows = [
    map(inline, names),
    ['---' if column.kind == 'text' else '---:' for column in table.columns],
  ]
  for row in list(zip(*formatted_columns(table)))[:MAX_ROWS]:
    rows.append([inline(shortened(text, CELL_LENGTH)) for text in row])
  n_more = len(table.rows) - MAX_ROWS
  more = f'{n_more:,} more rows are in the HTML and JSON reports.' if n_more > 0 else ''
  blocks = (
    f'{heading} {inline(table.title)}',
    paragraph(table.caption),
    '\n'.join(f'| {" | ".join(row)} |' for row in rows),
    more,
  )
  return [block for block in blocks if block]


# --- JSON -------------------------------------------------------------------------------


def to_json(report: Report) -> str:
  """Returns the report as strict JSON. A number that is not finite is null.

  Returns:
    An object with title, answer, findings, tables, configs, method, caveats and about, in this
    order. A table has id, title, caption, columns (name, unit, kind) and rows. The trials are
    the last table.

  >>> json.loads(to_json(Report('A study', ['There is no result.'])))['answer']
  ['There is no result.']
  """
  content = {
    'title': report.title,
    'answer': report.answer,
    'basis': report.basis,
    'findings': ranked(report.findings),
    'tables': [
      {
        'id': table.id,
        'title': table.title,
        'caption': table.caption,
        'columns': table.columns,
        'rows': table.rows,
      }
      for table in report.tables()
    ],
    'configs': report.configs,
    'method': report.method,
    'caveats': report.caveats,
    'about': report.about,
  }
  return json.dumps(to_strict_json(content), allow_nan=False, indent=1) + '\n'
