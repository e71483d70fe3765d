"""A report as one HTML file that opens offline: no request leaves it, and no string in it can become a script.

Three scripts run, each allowed by the hash of its text in the page's Content-Security-Policy: Plotly, from its package,
and those of `assets/`. What they draw and open is data: JSON in script elements that no browser executes.
"""

from __future__ import annotations

import base64
import collections
import functools
import hashlib
import importlib.resources
import json
from typing import Any, Iterator, Mapping

import numpy as np

from lmhp.analysis.findings import ranked
from lmhp.analysis.report.document import Report, plain
from lmhp.analysis.report.figures.style import PALETTES
from lmhp.analysis.report.render import html_parts as parts
from lmhp.analysis.report.render.html_parts import escape

# Plotly places what it draws by style attributes, and its toImage paints a blob.
POLICY = (
  "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
  "base-uri 'none'; form-action 'none'"
)


def html(report: Report) -> str:
  """The page.

  Args:
    report: what it says; its findings are ranked here.

  Returns:
    HTML, to be written as UTF-8.
  """
  known = {int(run) for run in report.configs}
  scripts = [asset('report.js'), plotly(), asset('figures.js')]
  policy = POLICY.format(scripts=' '.join(f"'{digest(script)}'" for script in scripts))
  return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{escape(report.title)}</title>
<style>{colours()}
{asset('report.css')}</style>
<noscript><style>tr[hidden] {{ display: table-row; }} .saves, .views, .plot, .search, #theme {{ display: none; }}
</style></noscript>
</head>
<body>
<a class="skip" href="#content">To the content</a>
<div id="page">
<header>
<button type="button" id="theme" aria-label="Light or dark" title="Light or dark"><svg viewBox="0 0 16 16"
aria-hidden="true"><path d="M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13zm0 1.5v10a5 5 0 0 0 0-10z"
fill-rule="evenodd"/></svg></button>
<h1>{escape(report.title)}</h1>
<p class="lede">{escape(' '.join(report.answer))}</p>
{_contents(report)}
</header>
<main id="content" tabindex="-1">
<noscript><p>The figures need JavaScript; findings and tables are here without it.</p></noscript>
{parts.findings(ranked(report.findings), known)}{
    ''.join(parts.section(s, known) for s in report.sections)
  }{_trials(report, known)}</main>
{_last(report)}
</div>
<dialog id="run" aria-labelledby="run-title"></dialog>
<script type="application/json" id="data-configs">{
    embedded(configs(report.configs))
  }</script>
<script>{scripts[0]}</script>
<script>{scripts[1]}</script>
<script type="application/json" id="data-figures">{embedded(_figures(report))}</script>
<script>{scripts[2]}</script>
</body>
</html>
"""


@functools.cache
def plotly() -> str:
  """Plotly's source, from its package, as it may stand in a script element.

  Raises:
    ImportError: plotly is not installed.
  """
  from plotly.offline import get_plotlyjs

  # A parser of HTML ends a script at '</script' wherever that stands, and makes one newline of each kind.
  return (
    get_plotlyjs()
    .replace('\r\n', '\n')
    .replace('\r', '\n')
    .replace('</script', '<\\/script')
  )


@functools.cache
def asset(name: str) -> str:
  """A file of `assets`."""
  return (
    importlib.resources.files('lmhp.analysis.report')
    .joinpath('assets', name)
    .read_text('utf-8')
  )


@functools.cache
def digest(script: str) -> str:
  """A script's name in a Content-Security-Policy.

  >>> digest('')
  'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
  """
  return f'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'


def embedded(value: Any) -> str:
  """JSON that may stand in a script element: it has no '<' and is ASCII.

  >>> embedded('</script>')
  '"\\\\u003c/script\\\\u003e"'
  """
  text = json.dumps(value, allow_nan=False, separators=(',', ':'))
  return text.replace('<', '\\u003c').replace('>', '\\u003e').replace('&', '\\u0026')


def colours() -> str:
  """The palettes of `drawing` as CSS, so that words and pictures have the same."""
  light, dark = PALETTES['light'], PALETTES['dark']
  return (
    ':root {'
    + ' '.join(f'--{name}: light-dark({light[name]}, {dark[name]});' for name in light)
    + '}'
  )


def configs(of_runs: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
  """Many configs in little room: what most runs have, and of each run what it has otherwise.

  Args:
    of_runs: configs by number of run, nested or by dotted paths.

  Returns:
    'most', {path: text}, and 'runs', {number: [{path: text} that differ, [paths that it has not]]}.

  >>> configs({0: {'a': {'b': 1}}, 1: {'a': {'b': 1}, 'c': 'x'}})['runs']
  {0: [{}, ['c']], 1: [{}, []]}
  """
  flat = {int(run): dict(_flat(config)) for run, config in of_runs.items()}
  counts: dict[str, collections.Counter] = {}
  for config in flat.values():
    for path, text in config.items():
      counts.setdefault(path, collections.Counter())[text] += 1
  most = {path: counted.most_common(1)[0][0] for path, counted in counts.items()}
  runs = {
    run: [
      {path: text for path, text in config.items() if most[path] != text},
      [path for path in most if path not in config],
    ]
    for run, config in flat.items()
  }
  return {'most': most, 'runs': runs}


def _flat(config: Mapping[str, Any], under: str = '') -> Iterator[tuple[str, str]]:
  for name, value in config.items():
    path = f'{under}{name}'
    if isinstance(value, Mapping) and value:
      yield from _flat(value, f'{path}.')
    else:
      yield path, _exact(value)


def _exact(value: Any) -> str:
  """A config's value to its last digit; an infinity stays one, and a long integer is not rounded as JSON's would be."""
  value = value.item() if isinstance(value, np.generic) else value
  if isinstance(value, (str, float)):
    return str(value)
  return json.dumps(
    value,
    default=lambda v: plain(v) if isinstance(v, np.ndarray) else str(v),
    ensure_ascii=False,
  )


def _figures(report: Report) -> dict[str, Any]:
  figures = [
    {
      'id': f.id,
      'title': f.title,
      'caption': f.caption,
      'height': f.height,
      'data': plain(list(f.data), True),
      'layout': plain(f.layout, True),
      'views': [
        {'data': plain(list(v.data), True), 'layout': plain(v.layout, True)}
        for v in f.views
      ],
    }
    for f in report.figures()
  ]
  return {'figures': figures, 'palettes': PALETTES}


def _contents(report: Report) -> str:
  links = [('findings', 'Findings')] if report.findings else []
  links += [(f'section-{section.id}', section.title) for section in report.sections]
  links += [('trials', 'Trials')] if report.trials is not None else []
  links += [
    (name, name.capitalize())
    for name in ('method', 'caveats', 'about')
    if getattr(report, name)
  ]
  items = ''.join(
    f'<li><a href="#{escape(to)}">{escape(title)}</a></li>' for to, title in links
  )
  return f'<nav aria-label="Contents"><ul>{items}</ul></nav>' if items else ''


def _trials(report: Report, known: Any) -> str:
  return (
    ''
    if report.trials is None
    else (
      f'<section id="trials">\n{parts.table(report.trials, known, level=2)}</section>\n'
    )
  )


def _last(report: Report) -> str:
  bodies = {
    'method': parts.paragraphs(report.method),
    'caveats': parts.paragraphs(report.caveats),
    'about': f'<dl class="numbers">{parts.pairs(report.about)}</dl>'
    if report.about
    else '',
  }
  folds = ''.join(
    f'<details id="{name}"{" open" if name == "caveats" else ""}><summary><h2>{name.capitalize()}</h2>'
    f'</summary>{body}</details>\n'
    for name, body in bodies.items()
    if body
  )
  return f'<footer>\n{folds}</footer>'
