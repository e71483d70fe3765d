"""Whole pages: of a study, of one run, of several; of studies that have hardly begun; what is refused."""

import dataclasses
import json
import math
import os

import numpy as np
import planted_studies as planted
import pytest

from lmhp.analysis.report.render.html import Page, page_of
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError

RATE = 'optimizer.learning_rate'


@pytest.fixture(scope='module')
def study():
  return planted.study(planted.at_bound, 0)


@pytest.fixture(scope='module')
def page(study):
  return page_of([study])


def curves(n, rows=20, number=0):
  steps = np.linspace(1, 1000, rows)
  loss = 3 + 3 * np.exp(-steps / 200) + 0.001 * number
  return {
    'step': steps,
    'tokens': steps * 64,
    'loss_nats': loss,
    'eval_loss_nats': np.where(np.arange(rows) % 5 == 4, loss + 0.01, np.nan),
    'grad_norm': np.full(rows, 0.5),
  }


def test_a_study_has_its_answer_findings_and_pictures(page, study):
  report = page.report
  assert len(page.answer) == 3 and 'equal steps (1,000)' in page.answer[0]
  assert (
    'better than the base config' in page.answer[1]
    and 'from 0.001 to 0.1' in page.answer[2]
  )
  assert page.findings[0].level == 'answer'
  ids = [figure.id for figure in report.figures()]
  assert (
    len(ids) == len(set(ids)) and len([i for i in ids if i.startswith('response')]) == 4
  )
  assert {'confirmation', 'history', 'effects', 'contour-0', 'best-of-n'} <= set(ids), (
    ids
  )
  assert len(report.trials.rows) == len(study)
  assert len({table.id for table in report.tables()}) == len(report.tables())
  assert any('90% intervals' in text for text in report.method) and report.caveats


def test_the_page_is_the_same_again(page, study):
  assert page.text('html') == page_of([study]).text('html')


def test_json_has_the_numbers_of_the_answer(page, study):
  found = json.loads(page.text('json'))
  own = (
    study.losses[(study.cohort == 'confirm') & (study.point >= 0)]
    - study.losses[study.point == -1]
  )
  numbers = next(f for f in found['findings'] if f['kind'] == 'better_than_base')[
    'numbers'
  ]
  assert numbers['difference'] == pytest.approx(float(np.mean(own)))
  assert found['answer'] == list(page.answer)


def test_markdown_says_the_answer_and_every_finding(page):
  text = page.text('md')
  assert text.startswith('# planted')
  for finding in page.findings:
    assert finding.title.split(':')[0].replace('_', '') in text.replace(
      '\\', ''
    ).replace('_', '').replace('`', '')


def test_saved_by_suffix_whole_and_nothing_beside(page, tmp_path):
  for name, start in (
    ('a.html', '<!doctype html>'),
    ('a.md', '# planted'),
    ('a.json', '{'),
  ):
    assert page.save(tmp_path / name) == str(tmp_path / name)
    assert (tmp_path / name).read_text().startswith(start)
  assert sorted(os.listdir(tmp_path)) == ['a.html', 'a.json', 'a.md']
  with pytest.raises(
    ConfigError, match="format: got 'txt', expected one of html, md, json"
  ):
    page.save(tmp_path / 'a.txt')
  with pytest.raises(ConfigError, match='cannot be written'):
    (tmp_path / 'file').write_text('')
    page.save(tmp_path / 'file' / 'a.html')


def test_a_notebook_shows_it(page):
  shown = page._repr_html_()
  assert (
    'iframe' in shown and 'sandbox' in shown and repr(page) == '\n'.join(page.answer)
  )


def test_studies_that_have_hardly_begun_have_a_page(study):
  waiting = study.search_runs()
  n = len(waiting)
  for status in ('waiting', 'running', 'failed'):
    one = dataclasses.replace(
      waiting, objective=np.full(n, np.nan), status=np.full(n, status), scores=({},) * n
    )
    page = page_of([one])
    assert page.answer[1] == 'No trial came to its end yet.'
    assert page.text('html') and page.text('md') and page.text('json')
  for k in (2, 3, 5, 9):
    page = page_of([waiting.select(np.arange(k))])
    assert len(page.answer) == 3 and page.text('html')


def test_all_diverged_has_a_page(study):
  waiting = study.search_runs()
  one = dataclasses.replace(waiting, status=np.full(len(waiting), 'diverged'))
  page = page_of([one])
  assert any(f.kind == 'infeasible_share' for f in page.findings) and page.text('html')


@pytest.mark.parametrize('maximize', [False, True])
def test_a_bare_table_has_a_page(maximize):
  rng = np.random.default_rng(0)
  x = rng.random(30)
  runs = Runs(
    'table',
    {'x': Axis('x', low=0, high=1)},
    {'x': x},
    (x - 0.5) ** 2 * (-1 if maximize else 1) + 3,
    objective_name='score',
    maximize=maximize,
  )
  page = page_of([runs])
  assert 'not recorded' in page.answer[0] and page.text('html')
  best = np.argmax(runs.objective) if maximize else np.argmin(runs.objective)
  assert f'Trial {best} ' in page.answer[1]
  (not_confirmed,) = [f for f in page.findings if f.kind == 'not_confirmed']
  assert not_confirmed.runs == (best,)


def test_nothing_varied_has_a_page():
  page = page_of(
    [
      Runs(
        'seeds',
        {},
        {},
        np.array([3.0, 3.1, 3.05]),
        point=np.zeros(3, int),
        seed=np.arange(3),
      )
    ]
  )
  assert len(page.answer) == 3 and page.text('html')


def one_run(status='complete', **more):
  return Runs(
    'a run',
    {},
    {},
    np.array([3.1]),
    objective_name='eval_loss_nats',
    status=np.array([status]),
    measured={
      'steps': np.array([1000.0]),
      'tokens': np.array([64000.0]),
      'parameters': np.array([1e5]),
    },
    curves={0: curves(1)},
    configs={0: {'optimizer.learning_rate': 1e-3, 'data.path': ['a<b>']}},
    **more,
  )


def test_one_run_has_a_page():
  page = page_of([one_run()])
  assert '100,000 parameters' in page.answer[0] and '3.100' in page.answer[1]
  assert [f.id for f in page.report.figures()] == ['run'] or len(
    page.report.figures()
  ) == 1
  html = page.text('html')
  assert 'a<b>' not in html
  assert 'is not at its end' in page_of([one_run('running')]).answer[0]


def test_one_run_says_what_further_steps_would_bring():
  steps = np.arange(10.0, 2001, 10)
  loss = 2 + 5 * steps**-0.5 + 0.01 * np.random.default_rng(0).standard_normal(200)
  runs = dataclasses.replace(one_run(), curves={0: {'step': steps, 'loss_nats': loss}})
  texts = [
    t
    for s in page_of([runs]).report.sections
    for b in s.blocks
    for t in getattr(b, 'paragraphs', ())
  ]
  assert any('at step 4,000 would be 2.0' in text for text in texts), texts
  decayed = dataclasses.replace(
    runs, curves={0: {**runs.curves[0], 'learning_rate': 1 - steps / 2001}}
  )
  texts = [
    t
    for s in page_of([decayed]).report.sections
    for b in s.blocks
    for t in getattr(b, 'paragraphs', ())
  ]
  assert any(
    'is not said: the learning rate is constant for' in text for text in texts
  ), texts


def test_several_studies_are_compared(study):
  other = dataclasses.replace(planted.study(planted.nothing, 1), name='other')
  page = page_of([study, other])
  assert (
    page.report.title == 'planted and other'
    and 'at equal steps and tokens' in page.answer[0]
  )
  expected = {'planted': 3.02, 'other': 3.0}
  assert f'Best is {min(expected, key=expected.get)}' in page.answer[1]
  table = page.report.trials
  runs = [row[0] for row in table.rows]
  assert runs == list(range(len(study) + len(other)))
  assert {row[1] for row in table.rows} == {'planted', 'other'}
  assert all(f.title.startswith(('planted: ', 'other: ')) for f in page.findings)
  assert page.text('html') and page.text('md') and json.loads(page.text('json'))


def test_studies_of_different_objectives_have_no_common_best(study):
  other = dataclasses.replace(study, name='other', objective_name='accuracy')
  assert 'no common best' in page_of([study, other]).answer[0]


def test_studies_of_one_name_are_told_apart(study):
  assert page_of([study, study]).report.title == 'planted (1) and planted (2)'


def test_curves_are_in_the_page(study):
  with_curves = dataclasses.replace(
    study, curves={int(n): curves(1, number=int(n)) for n in study.number}
  )
  ids = [figure.id for figure in page_of([with_curves]).report.figures()]
  assert any('curve' in i for i in ids) and any('grad' in i for i in ids)


def test_nothing_is_refused():
  with pytest.raises(ConfigError, match='got nothing'):
    page_of([])
  with pytest.raises(ConfigError, match='no such file'):
    page_of(['/nowhere/at/all'])
  with pytest.raises(ConfigError, match='has no runs yet'):
    page_of([Runs('empty', {}, {}, np.array([]))])


def test_a_finding_that_is_not_finite_is_null_in_json(study):
  page = page_of([study])
  report = dataclasses.replace(
    page.report,
    findings=[dataclasses.replace(page.findings[0], numbers={'x': math.inf})],
  )
  assert json.loads(Page(report).text('json'))['findings'][0]['numbers'] == {'x': None}
