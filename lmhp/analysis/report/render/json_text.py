"""A report as JSON, for a program: every number of it, and no picture."""

from __future__ import annotations

import json

from lmhp.analysis.findings import ranked
from lmhp.analysis.report.document import Report, plain


def to_json(report: Report) -> str:
  """The report as strict JSON: what is not finite is null.

  Returns:
    An object of title, answer, findings, tables, configs, method, caveats, about, in this order. A table is its id,
    title, caption, columns (name, unit, kind) and rows; the trials are the last table.

  >>> json.loads(to_json(Report('A study', ['Nothing was found.'])))['answer']
  ['Nothing was found.']
  """
  tables = [
    {
      'id': t.id,
      'title': t.title,
      'caption': t.caption,
      'columns': t.columns,
      'rows': t.rows,
    }
    for t in report.tables()
  ]
  whole = {
    'title': report.title,
    'answer': report.answer,
    'findings': ranked(report.findings),
    'tables': tables,
    'configs': report.configs,
    'method': report.method,
    'caveats': report.caveats,
    'about': report.about,
  }
  return json.dumps(plain(whole), allow_nan=False, indent=1) + '\n'
