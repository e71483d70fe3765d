"""Tests of the page without a browser: its content, its order, and the escaping of strings."""

import base64
import hashlib
import html.parser
import json
import re

import numpy as np
import pytest

from lmhp.analysis.findings import LEVELS, Finding, ProposedChoices, ProposedRange
from lmhp.analysis.report.document import Column, Report, Table, formatted_columns
from lmhp.analysis.report.render import html as page, html_elements as elements


class Tree(html.parser.HTMLParser):
  """Tags, scripts and texts of a page, in order."""

  def __init__(self, source):
    super().__init__()
    self.tags = []
    self.scripts = []
    self.texts = []
    self.ids = []
    self.feed(source)
    self.close()

  def handle_starttag(self, tag, attrs):
    attrs = dict(attrs)
    # A long name may break at this tag, but no word ends there.
    if tag == 'wbr':
      return
    self.tags.append((tag, attrs))
    self.texts.append(' ')
    if 'id' in attrs:
      self.ids.append(attrs['id'])
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

  def attributes(self, tag):
    """Returns the attributes of all elements with a tag."""
    return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope='module')
def tree(report_of):
  return Tree(page.html(report_of()))


@pytest.fixture(scope='module')
def attacked(report_of, attack):
  return Tree(page.html(report_of(word=attack)))


def test_the_order_is_findings_figures_trials_about(tree):
  ids = (
    'findings',
    'section-rate',
    'section-curves',
    'trials',
    'method',
    'caveats',
    'about',
  )
  positions = [tree.ids.index(name) for name in ids]
  assert positions == sorted(positions)
  assert len(set(tree.ids)) == len(tree.ids)


def test_the_answer_stands_before_the_findings_which_are_ranked(tree):
  texts = (
    'The best is 3.1 nats. It holds. Try more.',
    'The best rate is 0.003.',
    'A note.',
  )
  positions = [tree.text.index(text) for text in texts]
  assert positions == sorted(positions)


def test_each_link_stays_within_the_page(tree):
  links = [attrs['href'] for attrs in tree.attributes('a')]
  assert links
  assert all(link[0] == '#' and link[1:] in tree.ids for link in links)


def test_nothing_is_loaded_and_no_attribute_is_a_script(tree):
  loading = ('link', 'object', 'embed', 'iframe')
  assert not [name for name, attrs in tree.tags if 'src' in attrs or name in loading]
  assert not [name for _, attrs in tree.tags for name in attrs if name.startswith('on')]


def policy_of(tree):
  text = next(
    a['content']
    for a in tree.attributes('meta')
    if a.get('http-equiv') == 'Content-Security-Policy'
  )
  return {part.split()[0]: part.split()[1:] for part in text.split(';')}


def test_only_the_scripts_of_lmhp_run(tree):
  policy = policy_of(tree)
  code = [text for kind, text in tree.scripts if kind == '']
  hashes = []
  for text in code:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    hashes.append(f"'sha256-{digest}'")
  assert len(code) == 3
  assert policy['script-src'] == hashes
  for directive in ('default-src', 'form-action', 'base-uri'):
    assert policy[directive] == ["'none'"]
  assert policy['img-src'] == ['data:', 'blob:']
  assert 'connect-src' not in policy
  # A parser would change a carriage return, and with it the hash.
  assert not any('\r' in text for text in code)


def data_of(tree):
  return [
    json.loads(text, parse_constant=pytest.fail)
    for kind, text in tree.scripts
    if kind == 'application/json'
  ]


def test_the_data_has_all_figures(tree):
  data = data_of(tree)[1]
  response, curves = data['figures']
  assert (response['id'], curves['id']) == ('response', 'curves')
  assert len(tree.attributes('figure')) == 2
  assert curves['data'][0]['x']['dtype'] == 'f4'
  assert response['data'][0]['marker']['color'] == '$blue'
  assert data['palettes']['dark']['blue']


def test_the_data_has_all_configs(tree):
  configs = data_of(tree)[0]
  assert configs['most']['optimizer.name'] == 'adamw'
  assert configs['most']['optimizer.clip_norm'] == 'inf'
  assert set(configs['runs']) == set('012345')


def test_an_attack_adds_no_element(tree, attacked):
  assert [name for name, _ in attacked.tags] == [name for name, _ in tree.tags]
  assert [kind for kind, _ in attacked.scripts] == [kind for kind, _ in tree.scripts]
  assert policy_of(attacked) == policy_of(tree)
  # Browsers end a script at more texts than Python's parser does, so none may have a '<'.
  data = [text for kind, text in attacked.scripts if kind == 'application/json']
  assert not any('<' in text for text in data)


def test_an_attack_stays_text_in_each_string(attacked, attack):
  visible = ' '.join(attack.split())
  for text in (
    'A study',
    'Try more.',
    'The best rate is 0.003.',
    'Of 6 runs.',
    'loss_nats',
    'The effect of the rate.',
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
    assert f'{text}{visible}' in attacked.text, text
  configs, data = data_of(attacked)
  assert configs['most']['data.path'] == f'text.txt{attack}'
  assert data['figures'][0]['title'].endswith(attack)


def test_a_string_that_utf8_cannot_encode_has_a_page(report_of):
  source = page.html(report_of(word='\udcff\0'))
  assert source.encode() and '\0' not in source


def test_configs_can_be_restored_from_their_compact_form():
  rng = np.random.default_rng(0)
  configs = {}
  for run in range(9):
    keys = {f'a.k{k}': int(rng.integers(2)) for k in range(5) if rng.random() < 0.8}
    configs[run] = {
      **keys,
      'b.c': f'v{run % 2}',
      'n': 2**60 + 1,
      'list': [1, 'x'],
      'none': None,
      'empty': {},
    }
  compact = json.loads(json.dumps(page.compact_configs(configs)))
  for run, config in configs.items():
    different, missing = compact['runs'][str(run)]
    restored = {**compact['most'], **different}
    restored = {path: text for path, text in restored.items() if path not in missing}
    expected = {key: str(config[key]) for key in config if key.startswith('a.')}
    expected |= {
      'b.c': config['b.c'],
      'n': '1152921504606846977',
      'list': '[1, "x"]',
      'none': 'null',
      'empty': '{}',
    }
    assert restored == expected


def test_levels_of_findings_differ_in_word_and_shape():
  drawn = [elements.finding(Finding('k', level, 'T.'), ()) for level in LEVELS]
  shapes = {re.search(r'<path d="(.*?)"', text)[1] for text in drawn}
  words = {Tree(text).text.split(' T.')[0] for text in drawn}
  assert len(shapes) == len(words) == len(LEVELS)
  assert all(words)


def test_a_proposal_is_code_of_a_space():
  from lmhp.sweeping import space

  code = elements.space_code(
    {
      'optimizer.learning_rate': ProposedRange(1e-4, 0.1, log=True),
      'model.n_layers': ProposedRange(2, 8),
      "a'b": ProposedChoices(('x', 1.5)),
    }
  )
  names = {}
  exec(code, {'Float': space.Float, 'Int': space.Int, 'Choice': space.Choice}, names)
  assert names['space'] == {
    'optimizer.learning_rate': space.Float(1e-4, 0.1, log=True),
    'model.n_layers': space.Int(2, 8),
    "a'b": space.Choice('x', 1.5),
  }


@pytest.fixture(scope='module')
def long_table():
  columns = [
    Column('trial', kind='run'),
    Column('loss', 'nats'),
    Column('s', kind='text'),
  ]
  rows = [(i, 0.1 * i if i else None, 'x' * 300) for i in range(120)]
  return Tree(elements.table(Table('t', 'T', columns, rows), {3}))


def test_cells_hold_the_values_by_which_a_table_is_sorted(long_table):
  cells = long_table.attributes('td')
  values = [float(cell['data-v']) for cell in cells[1::3] if 'data-v' in cell]
  assert values == [0.1 * i for i in range(1, 120)]
  assert 'data-v' not in cells[1]
  assert [head['aria-sort'] for head in long_table.attributes('th')] == ['none'] * 3


def test_a_long_cell_has_its_whole_text_as_title(long_table):
  assert len(long_table.attributes('td')[2]['title']) == 300


def test_a_table_shows_its_first_rows(long_table):
  hidden = [attrs for attrs in long_table.attributes('tr') if 'hidden' in attrs]
  assert len(hidden) == 120 - elements.ROWS_SHOWN


def test_only_a_run_whose_config_is_known_has_a_button(long_table):
  buttons = long_table.attributes('button')
  assert [attrs['data-run'] for attrs in buttons if 'data-run' in attrs] == ['3']


def test_a_column_of_numbers_may_hold_words():
  rows = [(1.5,), ('auto',), (True,), (np.inf,)]
  (texts,) = formatted_columns(Table('t', '', [Column('n')], rows))
  assert texts[1:3] == ['auto', 'yes']


def test_a_report_without_results_is_a_page():
  tree = Tree(page.html(Report('Empty', ['No run ended.'])))
  assert 'No run ended.' in tree.text
  assert 'findings' not in tree.ids
  assert 'trials' not in tree.ids
  assert data_of(tree)[1]['figures'] == []


def test_a_thousand_runs_fit(report_of):
  assert len(page.html(report_of(1000, 60)).encode()) < 8e6


def test_a_notebook_shows_the_same_page_in_a_sandbox_without_an_origin(
  report_of, attack
):
  report = report_of(word=attack)
  (frame,) = Tree(page.inline(report)).tags
  assert frame[0] == 'iframe'
  assert frame[1]['srcdoc'] == page.html(report)
  assert set(frame[1]['sandbox'].split()) == {'allow-scripts', 'allow-downloads'}
