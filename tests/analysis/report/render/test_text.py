"""Tests of the report as Markdown and as JSON."""

import json
import re

import numpy as np
import pytest

from lmhp.analysis.report.render.html_elements import LEVEL_WORDS
from lmhp.analysis.report.render.text import (
  MAX_ROWS,
  inline,
  markdown,
  paragraph,
  to_json,
)


def test_all_parts_are_in_order(report_of):
  text = markdown(report_of(30))
  parts = [
    '# A study',
    'The best is 3.1 nats. It holds. Try more.',
    '## Findings',
    f'1. **{LEVEL_WORDS["answer"]}:** The best rate',
    "'optimizer.learning_rate': Float(0.001, 0.1, log=True),",
    f'2. **{LEVEL_WORDS["note"]}:**',
    '## Learning rate',
    '*Figure: Loss against learning rate.* Each point is a run.',
    '### Rates',
    '| trial | loss (nats) | name |',
    '## Trials',
    '10 more rows',
    '## Method',
    'Halton points.',
    '## Caveats',
    '## About',
    '- command: lmhp sweep',
  ]
  positions = [text.index(part) for part in parts]
  assert positions == sorted(positions)


def test_tables_stay_tables_with_any_content(report_of, attack):
  text = markdown(report_of(30, word=attack))
  tables = re.findall(r'(?:^\|.*\n)+', text, re.M)
  assert len(tables) == 2
  for table in tables:
    lines = table.splitlines()
    columns = {len(re.findall(r'(?<!\\)\|', line)) for line in lines}
    assert len(columns) == 1
    assert len(lines) <= 2 + MAX_ROWS


def test_an_attack_is_no_html(report_of, attack):
  text = markdown(report_of(word=attack))
  code = re.findall(r'^ {3}(`{3,})python$.*?^ {3}\1$', text, re.M | re.S)
  assert len(code) == 1
  outside = re.sub(r'^ {3}(`{3,})python$.*?^ {3}\1$', '', text, flags=re.M | re.S)
  assert '<' not in outside and not re.search(r'(?<!\\)`', outside)


@pytest.mark.parametrize('text', ['# a', '- a', '+ a', '1. a', '12) a', '> a', '=== a'])
def test_a_paragraph_starts_no_block(text):
  assert not re.match(r'([#+\-=>]|\d+[.)])', paragraph(text))


def test_names_stay_readable():
  assert inline('eval_loss_nats of run_1') == 'eval_loss_nats of run_1'
  assert inline('_a_') == '\\_a\\_'


@pytest.fixture(scope='module')
def report(report_of, attack):
  return report_of(30, word=attack)


@pytest.fixture(scope='module')
def content(report):
  return json.loads(to_json(report), parse_constant=pytest.fail)


def test_json_has_these_keys(content):
  assert list(content) == [
    'title',
    'answer',
    'basis',
    'findings',
    'tables',
    'configs',
    'method',
    'caveats',
    'about',
  ]
  assert [finding['level'] for finding in content['findings']] == ['answer', 'note']


def test_json_has_all_tables_with_their_numbers(report, content):
  rates, trials = content['tables']
  assert (rates['id'], trials['id']) == ('rates', 'trials')
  assert trials['columns'][2] == {'name': 'loss', 'unit': 'nats', 'kind': 'number'}
  losses = [np.nan if row[2] is None else row[2] for row in trials['rows']]
  np.testing.assert_array_equal(losses, [row[2] for row in report.trials.rows])


def test_json_has_the_configs(content, attack):
  assert content['configs']['3']['data.path'] == f'text.txt{attack}'


def test_json_is_the_same_again(report):
  assert to_json(report) == to_json(report)
