"""The report as Markdown and as JSON."""

import json
import re

import numpy as np
import pytest

from lmhp.analysis.report.render import json_text as as_json
from lmhp.analysis.report.render import markdown


def test_everything_is_said_in_order(report_of):
  text = markdown.markdown(report_of(30))
  said = [
    '# A study',
    'The best is 3.1 nats. It holds. Try more.',
    '## Findings',
    '1. **Found:** The best rate',
    "'optimizer.learning_rate': Float(0.001, 0.1, log=True),",
    '2. **Note:**',
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
  places = [text.index(words) for words in said]
  assert places == sorted(places)


def test_tables_are_tables_whatever_they_hold(report_of, attack):
  text = markdown.markdown(report_of(30, word=attack))
  tables = re.findall(r'(?:^\|.*\n)+', text, re.M)
  assert len(tables) == 2
  for table in tables:
    lines = table.splitlines()
    assert (
      len({len(re.findall(r'(?<!\\)\|', line)) for line in lines}) == 1
      and len(lines) <= 2 + markdown.ROWS
    )


def test_an_attack_is_no_html(report_of, attack):
  text = markdown.markdown(report_of(word=attack))
  code = re.findall(r'^ {3}(`{3,})python$.*?^ {3}\1$', text, re.M | re.S)
  assert len(code) == 1
  outside = re.sub(r'^ {3}(`{3,})python$.*?^ {3}\1$', '', text, flags=re.M | re.S)
  assert '<' not in outside and not re.search(r'(?<!\\)`', outside)


@pytest.mark.parametrize('text', ['# a', '- a', '+ a', '1. a', '12) a', '> a', '=== a'])
def test_a_paragraph_starts_no_block(text):
  assert not re.match(r'([#+\-=>]|\d+[.)])', markdown.paragraph(text))


def test_names_stay_readable():
  assert markdown.inline('eval_loss_nats of run_1') == 'eval_loss_nats of run_1'
  assert markdown.inline('_a_') == '\\_a\\_'


def test_json_is_strict_and_its_keys_are_these(report_of, attack):
  report = report_of(30, word=attack)
  text = as_json.to_json(report)
  found = json.loads(text, parse_constant=pytest.fail)
  assert list(found) == [
    'title',
    'answer',
    'findings',
    'tables',
    'configs',
    'method',
    'caveats',
    'about',
  ]
  assert [f['level'] for f in found['findings']] == ['answer', 'note']
  assert [t['id'] for t in found['tables']] == ['rates', 'trials'] and len(
    found['tables'][1]['rows']
  ) == 30
  assert found['tables'][1]['columns'][2] == {
    'name': 'loss',
    'unit': 'nats',
    'kind': 'number',
  }
  losses = [row[2] for row in report.trials.rows]
  np.testing.assert_array_equal(
    [np.nan if row[2] is None else row[2] for row in found['tables'][1]['rows']], losses
  )
  assert found['configs']['3'][
    'data.path'
  ] == f'text.txt{attack}' and text == as_json.to_json(report)
