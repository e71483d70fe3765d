"""A report as JSON, for a program: all numbers, and no figures."""

from __future__ import annotations

import json

from lmhp.analysis.findings import ranked
from lmhp.analysis.report.document import Report, to_strict_json


def to_json(report: Report) -> str:
  """Returns the report as strict JSON. A number that is not finite is null.

  Returns:
    An object with title, answer, findings, tables, configs, method, caveats and about, in this
    order. A table has id, title, caption, columns (name, unit, kind) and rows. The trials are
    the last table.

  >>> json.loads(to_json(Report('A study', ['There is no result.'])))['answer']
  ['There is no result.']
  """
  tables = [
    {
      'id': table.id,
      'title': table.title,
      'caption': table.caption,
      'columns': table.columns,
      'rows': table.rows,
    }
    for table in report.tables()
  ]
  content = {
    'title': report.title,
    'answer': report.answer,
    'findings': ranked(report.findings),
    'tables': tables,
    'configs': report.configs,
    'method': report.method,
    'caveats': report.caveats,
    'about': report.about,
  }
  return json.dumps(to_strict_json(content), allow_nan=False, indent=1) + '\n'
