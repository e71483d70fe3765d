"""A report as one HTML file that opens offline. It makes no request, and no text in it can run.

Three scripts run, and each is allowed by its hash in the page's Content-Security-Policy: Plotly
from its package, and two files of `assets/`. Figures and configs are data: JSON in script
elements that a browser does not execute.
"""

from __future__ import annotations

import base64
import collections
from collections.abc import Iterable, Mapping
import functools
import hashlib
import importlib.resources
import json

import numpy as np

from lmhp.analysis.report.document import Report, to_strict_json
from lmhp.analysis.report.figures.style import PALETTES
from lmhp.analysis.report.render import html_elements as elements
from lmhp.analysis.report.render.html_elements import escape

# Plotly sets style attributes, and its toImage draws a blob.
POLICY = (
  "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; "
  "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


def html(report: Report) -> str:
  """Returns the page as HTML, to be written as UTF-8."""
  known_runs = {int(run) for run in report.configs}
  # The policy lets only these scripts run, by their digests.
  scripts = [asset('report.js'), plotly(), asset('figures.js')]
  digests = ' '.join(f"'{digest(script)}'" for script in scripts)
  sections = [elements.section(section, known_runs) for section in report.sections]
  # The palettes are CSS variables, so that text and figures have one palette.
  colours = ' '.join(
    f'--{name}: light-dark({light}, {PALETTES["dark"][name]});'
    for name, light in PALETTES['light'].items()
  )
  figures = {
    'figures': to_strict_json(report.figures(), packed=True),
    'palettes': PALETTES,
  }
  basis = elements.present(
    (report.basis, f'<p class="caption basis">{escape(" ".join(report.basis))}</p>\n')
  )
  trials = ''
  if report.trials is not None:
    table = elements.table(report.trials, known_runs, level=2)
    trials = f'<section id="trials">\n{table}</section>\n'
  # Method, caveats and origin are folded at the end of the page, except for the caveats.
  about = f'<dl class="numbers">{elements.definitions(report.about)}</dl>'
  parts = {
    'method': elements.paragraphs(report.method),
    'caveats': elements.paragraphs(report.caveats),
    'about': about if report.about else '',
  }
  parts = {name: content for name, content in parts.items() if content}
  folds = ''.join(
    f'<details id="{name}"{" open" if name == "caveats" else ""}>'
    f'<summary><h2>{name.capitalize()}</h2></summary>{content}</details>\n'
    for name, content in parts.items()
  )
  return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY.format(scripts=digests)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{escape(report.title)}</title>
<style>:root {{{colours}}}
{asset('report.css')}</style>
<noscript><style>tr[hidden] {{ display: table-row; }} .saves, .views, .plot, .search,
#theme {{ display: none; }}</style></noscript>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<div id="page">
<header>
<button type="button" id="theme" aria-label="Light or dark" title="Light or dark">
<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0
0-13zm0 1.5v10a5 5 0 0 0 0-10z" fill-rule="evenodd"/></svg></button>
<h1>{escape(report.title)}</h1>
<p class="lede">{escape(' '.join(report.answer))}</p>
{basis}{_contents(report, parts)}
</header>
<main id="content" tabindex="-1">
<noscript><p>Figures need JavaScript. Findings and tables do not.</p></noscript>
{elements.findings(report.findings, known_runs)}{''.join(sections)}\
{trials}</main>
<footer>
{folds}</footer>
</div>
<dialog id="run" aria-labelledby="run-title"></dialog>
<script type="application/json" id="data-configs">\
{embed(compact_configs(report.configs))}</script>
<script>{scripts[0]}</script>
<script>{scripts[1]}</script>
<script type="application/json" id="data-figures">{embed(figures)}</script>
<script>{scripts[2]}</script>
</body>
</html>
"""


# --- scripts and styles -----------------------------------------------------------------


@functools.cache
def plotly() -> str:
  """Returns Plotly's source as it may stand in a script element.

  Raises:
    ImportError: If plotly is not installed.
  """
  from plotly.offline import get_plotlyjs

  # A parser of HTML ends a script at '</script', and turns each kind of newline into '\n'.
  source = get_plotlyjs().replace('\r\n', '\n').replace('\r', '\n')
  return source.replace('</script', '<\\/script')


@functools.cache
def asset(name: str) -> str:
  """Returns the text of a file of `assets`."""
  folder = importlib.resources.files('lmhp.analysis.report') / 'assets'
  return (folder / name).read_text('utf-8')


@functools.cache
def digest(script: str) -> str:
  """Returns the hash of a script, as a Content-Security-Policy has it.

  >>> digest('')
  'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
  """
  hashed = hashlib.sha256(script.encode()).digest()
  return f'sha256-{base64.b64encode(hashed).decode()}'


# --- data -------------------------------------------------------------------------------


def embed(value: object) -> str:
  """Returns JSON that may stand in a script element: it is ASCII and has no '<'.

  >>> embed('</script>')
  '"\\\\u003c/script\\\\u003e"'
  """
  text = json.dumps(value, allow_nan=False, separators=(',', ':'))
  text = text.replace('<', '\\u003c').replace('>', '\\u003e')
  return text.replace('&', '\\u0026')


def compact_configs(
  configs: Mapping[int, Mapping[str, object]],
) -> dict[str, object]:
  """Returns many configs in little space: the usual values, and the differences of each run.

  Args:
    configs: {dotted path: value} by run number.

  Returns:
    'most', {path: text}, and 'runs', {number: [{path: text} that differ, paths it lacks]}.

  >>> compact_configs({0: {'a.b': 1}, 1: {'a.b': 1, 'c': 'x'}})['runs']
  {0: [{}, ['c']], 1: [{}, []]}
  """
  flat = {
    int(run): {path: _exact_text(value) for path, value in config.items()}
    for run, config in configs.items()
  }
  # The most common value of each key is stored once.
  counters: dict[str, collections.Counter[str]] = {}
  for config in flat.values():
    for path, text in config.items():
      counters.setdefault(path, collections.Counter())[text] += 1
  most = {path: counter.most_common(1)[0][0] for path, counter in counters.items()}
  runs = {}
  for run, config in flat.items():
    # A run lists the values that differ, and the keys that it lacks.
    runs[run] = [
      {path: text for path, text in config.items() if most[path] != text},
      [path for path in most if path not in config],
    ]
  return {'most': most, 'runs': runs}


def _exact_text(value: object) -> str:
  """Returns a value of a config with all its digits.

  An infinity stays one. A long integer is not rounded, as JavaScript would do.
  """
  value = value.item() if isinstance(value, np.generic) else value
  if isinstance(value, (str, float)):
    return str(value)
  return json.dumps(value, default=str, ensure_ascii=False)


# --- parts of the page ------------------------------------------------------------------


def _contents(report: Report, at_end: Iterable[str]) -> str:
  """Returns links to the parts of the page, with the names of those at its end."""
  links = {'findings': 'Findings'} if report.findings else {}
  links |= {f'section-{section.id}': section.title for section in report.sections}
  if report.trials is not None:
    links['trials'] = 'All runs'
  links |= {name: name.capitalize() for name in at_end}
  items = ''.join(
    f'<li><a href="#{escape(anchor)}">{escape(title)}</a></li>'
    for anchor, title in links.items()
  )
  return f'<nav aria-label="Contents"><ul>{items}</ul></nav>' if items else ''


# --- notebooks --------------------------------------------------------------------------


def inline(report: Report) -> str:
  """Returns the page in a frame without an origin, so that it cannot read cookies.

  The frame is about as high as a laptop's screen below a notebook's bars. A reader may
  resize it.
  """
  source = html(report).replace('&', '&amp;').replace('"', '&#34;')
  return (
    f'<iframe title="{escape(report.title)}" sandbox="allow-scripts allow-downloads" '
    f'srcdoc="{source}" style="width:100%;height:760px;border:0;'
    'resize:vertical;overflow:auto" loading="lazy"></iframe>'
  )
