"""The page without a browser: what it holds, in which order, and that no string of a study can leave its place."""

import base64
import hashlib
import html.parser
import json
import re

import numpy as np
import pytest

from lmhp.analysis.findings import LEVELS, Finding
from lmhp.analysis.report.document import Report, Table
from lmhp.analysis.report.render import html as page
from lmhp.analysis.report.render import html_parts as parts
from lmhp.analysis.report.render import notebook


class Tree(html.parser.HTMLParser):
  """What a browser's parser meets: tags, scripts and text, in order."""

  def __init__(self, source):
    super().__init__()
    self.tags, self.scripts, self.texts, self.ids = [], [], [], []
    self.feed(source)
    self.close()

  def handle_starttag(self, tag, attrs):
    attrs = dict(attrs)
    if tag == 'wbr':  # where a long name may break: no word ends there
      return
    self.tags.append((tag, attrs))
    self.texts.append(' ')
    self.ids += [attrs['id']] if 'id' in attrs else []
    if tag == 'script':
      self.scripts.append([attrs.get('type', ''), ''])

  def handle_data(self, data):
    if self.cdata_elem == 'script':
      self.scripts[-1][1] += data
    elif self.cdata_elem is None:
      self.texts.append(data)

  @property
  def text(self):
    return ' '.join(''.join(self.texts).split())

  def named(self, tag):
    return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope='module')
def tree(report_of):
  return Tree(page.html(report_of()))


@pytest.fixture(scope='module')
def attacked(report_of, attack):
  return Tree(page.html(report_of(word=attack)))


def test_the_order_is_answer_findings_figures_trials_about(tree):
  places = [
    tree.ids.index(name)
    for name in (
      'findings',
      'section-rate',
      'section-curves',
      'trials',
      'method',
      'caveats',
      'about',
    )
  ]
  assert places == sorted(places) and len(set(tree.ids)) == len(tree.ids)
  assert tree.text.index('The best is 3.1 nats. It holds. Try more.') < tree.text.index(
    'The best rate is 0.003.'
  )
  assert tree.text.index('The best rate is 0.003.') < tree.text.index(
    'A note.'
  )  # ranked, though given last


def test_every_link_within_the_page_has_its_place_and_none_leads_out(tree):
  links = [attrs['href'] for attrs in tree.named('a')]
  assert links and all(link[0] == '#' and link[1:] in tree.ids for link in links)
  assert not [
    name
    for name, attrs in tree.tags
    if 'src' in attrs or name in ('link', 'object', 'embed', 'iframe')
  ]
  assert not [name for _, attrs in tree.tags for name in attrs if name.startswith('on')]


def policy_of(tree):
  text = next(
    a['content']
    for a in tree.named('meta')
    if a.get('http-equiv') == 'Content-Security-Policy'
  )
  return {part.split()[0]: part.split()[1:] for part in text.split(';')}


def test_only_the_scripts_of_lmhp_run(tree):
  policy = policy_of(tree)
  code = [text for kind, text in tree.scripts if kind == '']
  hashes = [
    f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    for text in code
  ]
  assert len(code) == 3 and policy['script-src'] == hashes
  assert policy['default-src'] == ["'none'"] and policy['form-action'] == policy[
    'base-uri'
  ] == ["'none'"]
  assert policy['img-src'] == ['data:', 'blob:'] and 'connect-src' not in policy
  assert not any(
    '\r' in text for text in code
  )  # a parser would change it, and with it the hash


def data_of(tree):
  return [
    json.loads(text, parse_constant=pytest.fail)
    for kind, text in tree.scripts
    if kind == 'application/json'
  ]


def test_the_data_is_strict_json_of_all_figures_and_configs(tree):
  configs, figures = data_of(tree)
  assert [figure['id'] for figure in figures['figures']] == ['response', 'curves']
  assert (
    len(tree.named('figure')) == 2
    and figures['figures'][1]['data'][0]['x']['dtype'] == 'f4'
  )
  assert (
    figures['figures'][0]['data'][0]['marker']['color'] == '$blue'
    and figures['palettes']['dark']['blue']
  )
  assert (
    configs['most']['optimizer.name'] == 'adamw'
    and configs['most']['optimizer.clip_norm'] == 'inf'
  )
  assert set(configs['runs']) == set('012345')


def test_an_attack_stays_text_in_every_string(tree, attacked, attack):
  assert [name for name, _ in attacked.tags] == [name for name, _ in tree.tags]
  assert [kind for kind, _ in attacked.scripts] == [kind for kind, _ in tree.scripts]
  assert policy_of(attacked) == policy_of(tree)
  # Browsers end a script at more than Python's parser does: nothing may even begin.
  assert all(
    '<' not in text for kind, text in attacked.scripts if kind == 'application/json'
  )
  shown = ' '.join(attack.split())
  for said in (
    'A study',
    'Try more.',
    'The best rate is 0.003.',
    'Of 6 runs.',
    'loss_nats',
    'What the rate does.',
    'Loss against learning rate',
    'Each point is a run.',
    'by run',
    'Rates',
    'Three of them.',
    'Trials',
    'complete',
    'Halton points.',
    'One seed.',
    'lmhp sweep',
    'optimizer.learning_rate',
  ):
    assert f'{said}{shown}' in attacked.text, said
  configs, figures = data_of(attacked)
  assert configs['most']['data.path'] == f'text.txt{attack}'
  assert figures['figures'][0]['title'].endswith(attack)


def test_a_name_that_utf8_does_not_know(report_of):
  source = page.html(report_of(word='\udcff\0'))
  assert source.encode() and '\0' not in source


def test_configs_come_back_whole():
  rng = np.random.default_rng(0)
  of_runs = {
    run: {
      'a': {f'k{k}': int(rng.integers(2)) for k in range(5) if rng.random() < 0.8},
      'b.c': f'v{run % 2}',
      'n': 2**60 + 1,
      'list': [1, 'x'],
      'none': None,
      'empty': {},
    }
    for run in range(9)
  }
  found = json.loads(json.dumps(page.configs(of_runs)))
  for run, config in of_runs.items():
    differs, absent = found['runs'][str(run)]
    back = {**found['most'], **differs}
    back = {path: text for path, text in back.items() if path not in absent}
    flat = {f'a.{k}': str(v) for k, v in config['a'].items()} | {
      'b.c': config['b.c'],
      'n': '1152921504606846977',
      'list': '[1, "x"]',
      'none': 'null',
      'empty': '{}',
    }
    if not config['a']:
      flat['a'] = '{}'
    assert back == flat


def test_a_finding_is_told_by_word_and_shape():
  drawn = [parts.finding(Finding('k', level, 'T.'), ()) for level in LEVELS]
  shapes = [re.search(r'<path d="(.*?)"', text)[1] for text in drawn]
  words = [Tree(text).text.split(' T.')[0] for text in drawn]
  assert len(set(shapes)) == len(set(words)) == len(LEVELS) and all(words)


def test_a_proposal_is_a_space_that_lmhp_reads():
  from lmhp.sweeping import space

  text = parts.space(
    {
      'optimizer.learning_rate': {'low': 1e-4, 'high': 0.1, 'log': True},
      'model.n_layers': {'low': np.int64(2), 'high': 8},
      "a'b": {'choices': ['x', 1.5]},
      'optimizer.b1': {'value': 0.9},
    }
  )
  names = {}
  exec(text, {'Float': space.Float, 'Int': space.Int, 'Choice': space.Choice}, names)
  assert names['space'] == {
    'optimizer.learning_rate': space.Float(1e-4, 0.1, log=True),
    'model.n_layers': space.Int(2, 8),
    "a'b": space.Choice('x', 1.5),
    'optimizer.b1': 0.9,
  }


def test_a_table_sorts_by_values_and_shows_a_page():
  rows = [(i, 0.1 * i if i else None, 'x' * 300) for i in range(120)]
  table = Tree(
    parts.table(
      Table(
        't', 'T', [('trial', '', 'run'), ('loss', 'nats'), ('s', '', 'text')], rows
      ),
      {3},
    )
  )
  cells = table.named('td')
  assert [float(c['data-v']) for c in cells[1::3] if 'data-v' in c] == [
    0.1 * i for i in range(1, 120)
  ]
  assert 'data-v' not in cells[1] and len(cells[2]['title']) == 300
  assert sum('hidden' in attrs for attrs in table.named('tr')) == 120 - parts.ROWS_SHOWN
  assert [a['data-run'] for a in table.named('button') if 'data-run' in a] == [
    '3'
  ]  # whose config is known
  assert [a['aria-sort'] for a in table.named('th')] == ['none'] * 3


def test_number_columns_may_hold_words():
  assert parts.shown_cells(
    Table('t', '', ['n'], [(1.5,), ('auto',), (True,), (np.inf,)])
  )[0][1:3] == ['auto', 'yes']


def test_a_report_of_nothing_is_a_page():
  tree = Tree(page.html(Report('Empty', ['No run ended.'])))
  assert (
    'No run ended.' in tree.text
    and 'findings' not in tree.ids
    and 'trials' not in tree.ids
  )
  assert data_of(tree)[1]['figures'] == []


def test_a_thousand_runs_fit(report_of):
  assert len(page.html(report_of(1000, 60)).encode()) < 8e6


def test_a_notebook_shows_the_same_page_in_a_sandbox(report_of, attack):
  report = report_of(word=attack)
  (frame,) = Tree(notebook.inline(report)).tags
  assert frame[0] == 'iframe' and frame[1]['srcdoc'] == page.html(report)
  assert set(frame[1]['sandbox'].split()) == {
    'allow-scripts',
    'allow-downloads',
  }  # no origin: no cookies, no parent
