"""Tests of whole pages: of a study, of one run, and of several studies."""

import dataclasses
import json
import math
import os

import numpy as np
import planted_studies as planted
import pytest

from lmhp.analysis.findings import FINDINGS, Finding, register_finding
from lmhp.analysis.report.document import Figure
from lmhp.analysis.report.figures.style import layout, plot_axis
from lmhp.analysis.report.page import Page, page_of
from lmhp.analysis.report.registry import FIGURES, register_figure
from lmhp.analysis.runs.axis import Axis
from lmhp.analysis.runs.table import STATUSES, Runs
from lmhp.errors import ConfigError


@pytest.fixture(scope='module')
def study():
  return planted.study(planted.at_bound, 0)


@pytest.fixture(scope='module')
def page(study):
  return page_of([study])


def kinds(page):
  return [finding.kind for finding in page.findings]


def figure_ids(page):
  return [figure.id for figure in page.report.figures()]


def curve(number=0):
  steps = np.linspace(1, 1000, 20)
  loss = 3 + 3 * np.exp(-steps / 200) + 0.001 * number
  return {
    'step': steps,
    'tokens': steps * 64,
    'loss_nats': loss,
    'eval_loss_nats': np.where(np.arange(20) % 5 == 4, loss + 0.01, np.nan),
    'grad_norm': np.full(20, 0.5),
  }


# --- a study ------------------------------------------------------------------------


def test_the_answer_has_four_sentences_and_the_proposed_range(page):
  assert len(page.answer) == 4
  assert page.findings[0].kind == 'better_than_base'
  (at_bound,) = [f for f in page.findings if f.kind == 'optimum_at_bound']
  (proposal,) = at_bound.proposal.values()
  assert proposal.describe() in page.answer[2]


def test_a_study_has_figures_of_its_winner_effects_and_search(page):
  ids = figure_ids(page)
  assert len(ids) == len(set(ids))
  assert len([name for name in ids if name.startswith('response')]) == 4
  expected = {'confirmation', 'history', 'effects', 'contour-0', 'best-of-n'}
  assert expected <= set(ids)


def test_a_study_has_all_its_runs_in_a_table(page, study):
  assert len(page.report.trials.rows) == len(study)
  ids = [table.id for table in page.report.tables()]
  assert len(ids) == len(set(ids))


def test_a_study_has_methods_and_caveats(page):
  assert page.report.method
  assert page.report.caveats


def test_the_page_is_the_same_again(page, study):
  assert page.text('html') == page_of([study]).text('html')


def test_json_has_the_difference_of_the_confirmation(page, study):
  content = json.loads(page.text('json'))
  is_winner = (study.cohort == 'confirm') & (study.point >= 0)
  differences = study.losses[is_winner] - study.losses[study.point == -1]
  (answer,) = [f for f in content['findings'] if f['kind'] == 'better_than_base']
  assert answer['numbers']['difference'] == pytest.approx(float(np.mean(differences)))
  assert content['answer'] == list(page.answer)


def test_markdown_has_each_finding(page):
  text = page.text('md')
  assert text.startswith('# planted')
  (findings,) = text.split('## Findings')[1:]
  findings = findings.split('\n## ')[0]
  assert findings.count('**') == 2 * len(page.findings)


def test_curves_are_in_the_page(study):
  curves = {int(n): curve(int(n)) for n in study.number}
  ids = figure_ids(page_of([dataclasses.replace(study, curves=curves)]))
  assert {'training-curves', 'gap', 'grad-norm'} <= set(ids)


def test_a_number_that_is_not_finite_is_null_in_json(page):
  finding = dataclasses.replace(page.findings[0], numbers={'x': math.inf})
  report = dataclasses.replace(page.report, findings=[finding])
  content = json.loads(Page(report).text('json'))
  assert content['findings'][0]['numbers'] == {'x': None}


# --- entries from outside the package -----------------------------------------------


def test_a_finding_from_outside_is_in_the_report(study, monkeypatch):
  def toy(runs):
    title = f'There are {len(runs)} runs.'
    return [Finding('toy', 'note', title, numbers={'n_runs': len(runs)})]

  monkeypatch.setattr(FINDINGS, '_entries', dict(FINDINGS._entries))
  register_finding('toy', needs=('runs',), rule=toy)
  page = page_of([study])
  (finding,) = [f for f in page.findings if f.kind == 'toy']
  assert finding.numbers == {'n_runs': len(study)}
  assert finding.title in page.text('html')


def test_a_figure_from_outside_is_in_its_section(study, monkeypatch):
  def toy(runs, winner):
    trace = {'type': 'scatter', 'x': runs.number, 'y': runs.objective}
    caption = f'The winner is point {winner.point}.'
    axes = layout(plot_axis('run'), plot_axis('objective'))
    return Figure('toy', 'A toy', caption, [trace], axes)

  monkeypatch.setattr(FIGURES, '_entries', dict(FIGURES._entries))
  register_figure('toy', section='search', needs=('runs', 'winner'), draw=toy)
  page = page_of([study])
  (section,) = [each for each in page.report.sections if each.id == 'search']
  assert 'toy' in [block.id for block in section.blocks if isinstance(block, Figure)]


def test_a_rule_whose_parameters_are_not_its_needs_is_refused():
  with pytest.raises(ConfigError, match='toy'):
    register_finding('toy', needs=('runs', 'winner'), rule=lambda runs: [])


def test_an_unknown_section_is_refused():
  with pytest.raises(ConfigError, match='serch'):
    register_figure('toy', section='serch', needs=('runs',), draw=lambda runs: None)


# --- studies with few results -------------------------------------------------------


@pytest.mark.parametrize('status', ['waiting', 'running', 'failed'])
def test_a_study_without_a_complete_trial_has_a_page(study, status):
  search = study.search_runs()
  n = len(search)
  empty = dataclasses.replace(
    search, objective=np.full(n, np.nan), status=np.full(n, status), scores=({},) * n
  )
  page = page_of([empty])
  assert page.findings[0].kind == 'no_complete_trial'
  assert page.findings[0].numbers['statuses'] == {status: n}
  for format in ('html', 'md', 'json'):
    assert page.text(format)


@pytest.mark.parametrize('n', [2, 3, 5, 9])
def test_a_study_of_a_few_trials_has_a_page(study, n):
  page = page_of([study.search_runs().select(np.arange(n))])
  assert len(page.answer) == 4
  assert page.text('html')


def test_a_study_whose_runs_all_diverged_has_a_page(study):
  search = study.search_runs()
  diverged = dataclasses.replace(search, status=np.full(len(search), 'diverged'))
  page = page_of([diverged])
  assert 'many_diverged' in kinds(page)
  assert page.text('html')


@pytest.mark.parametrize('maximize', [False, True])
def test_a_table_without_budgets_has_a_page(maximize):
  x = np.random.default_rng(0).random(30)
  objective = (x - 0.5) ** 2 * (-1 if maximize else 1) + 3
  axes = {'x': Axis('x', low=0, high=1)}
  runs = Runs('table', axes, {'x': x}, objective, 'score', maximize)
  page = page_of([runs])
  best = int(np.argmax(objective) if maximize else np.argmin(objective))
  assert page.findings[0].runs == (best,)
  (not_confirmed,) = [f for f in page.findings if f.kind == 'not_confirmed']
  assert not_confirmed.runs == (best,)
  assert page.text('html')


def test_a_study_that_varied_nothing_has_a_page():
  losses = np.array([3.0, 3.1, 3.05])
  runs = Runs('seeds', {}, {}, losses, point=np.zeros(3, int), seed=np.arange(3))
  page = page_of([runs])
  assert len(page.answer) == 3
  assert page.text('html')


# --- a single run -------------------------------------------------------------------


def single_run(status='complete', columns=None):
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
    curves={0: columns or curve()},
    configs={0: {'optimizer.learning_rate': 1e-3, 'data.path': ['a<b>']}},
  )


def test_a_single_run_has_its_size_and_result():
  page = page_of([single_run()])
  assert '100,000' in page.answer[0]
  assert '3.1' in page.answer[0]
  assert figure_ids(page) == ['one-run']


def test_the_config_of_a_single_run_is_escaped():
  assert 'a<b>' not in page_of([single_run()]).text('html')


@pytest.mark.parametrize('status', STATUSES)
def test_the_status_of_a_single_run_is_in_its_answer(status):
  from lmhp.analysis.report.run_report import STATUS_WORDS

  assert STATUS_WORDS[status] in page_of([single_run(status)]).answer[0]


def paragraphs(page):
  blocks = [block for section in page.report.sections for block in section.blocks]
  return ' '.join(block.text for block in blocks if hasattr(block, 'text'))


@pytest.fixture(scope='module')
def power_law():
  steps = np.arange(10.0, 2001, 10)
  noise = 0.01 * np.random.default_rng(0).standard_normal(200)
  return {'step': steps, 'loss_nats': 2 + 5 * steps**-0.5 + noise}


def test_the_loss_after_twice_as_many_steps_is_predicted(power_law):
  text = paragraphs(page_of([single_run(columns=power_law)]))
  assert '4,000' in text
  assert '2.0' in text


def test_no_loss_is_predicted_for_a_falling_learning_rate(power_law):
  columns = power_law | {'learning_rate': 1 - power_law['step'] / 2001}
  assert '4,000' not in paragraphs(page_of([single_run(columns=columns)]))


# --- several studies ----------------------------------------------------------------


@pytest.fixture(scope='module')
def other():
  return dataclasses.replace(planted.study(planted.no_effect, 1), name='other')


def test_studies_are_compared_by_their_expected_results(study, other):
  page = page_of([study, other])
  assert page.report.title == 'planted and other'
  (table,) = [each for each in page.report.tables() if each.id == 'compared']
  names = [column.name for column in table.columns]
  expected = {row[0]: row[names.index('expected')] for row in table.rows}
  assert min(expected, key=expected.get) in page.answer[1]


def test_runs_of_several_studies_are_numbered_through(study, other):
  page = page_of([study, other])
  rows = page.report.trials.rows
  assert [row[0] for row in rows] == list(range(len(study) + len(other)))
  assert {row[1] for row in rows} == {'planted', 'other'}


def test_findings_of_several_studies_have_their_names(study, other):
  page = page_of([study, other])
  assert all(f.title.startswith(('planted: ', 'other: ')) for f in page.findings)
  assert page.text('html')
  assert json.loads(page.text('json'))


def test_studies_of_different_objectives_have_one_sentence(study):
  other = dataclasses.replace(study, name='other', objective_name='accuracy')
  page = page_of([study, other])
  assert len(page.answer) == 1
  assert 'accuracy' in page.answer[0]
  assert 'studies' not in figure_ids(page)


def test_studies_of_one_name_are_numbered(study):
  assert page_of([study, study]).report.title == 'planted (1) and planted (2)'


# --- files and errors ---------------------------------------------------------------


@pytest.mark.parametrize(
  'name, start',
  [('a.html', '<!doctype html>'), ('a.md', '# planted'), ('a.json', '{')],
)
def test_a_page_is_saved_in_the_format_of_the_suffix(page, tmp_path, name, start):
  assert page.save(tmp_path / name) == str(tmp_path / name)
  assert (tmp_path / name).read_text().startswith(start)
  assert os.listdir(tmp_path) == [name]


def test_an_unknown_suffix_is_refused(page, tmp_path):
  with pytest.raises(ConfigError, match="format: got 'txt'"):
    page.save(tmp_path / 'a.txt')


def test_a_file_that_cannot_be_written_is_an_error(page, tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(ConfigError, match='output: '):
    page.save(tmp_path / 'file' / 'a.html')


def test_a_notebook_shows_the_page_in_a_sandbox(page):
  frame = page._repr_html_()
  assert 'iframe' in frame
  assert 'sandbox' in frame
  assert repr(page) == '\n'.join(page.answer)


def test_a_report_needs_a_source_with_runs():
  with pytest.raises(ConfigError, match='report: got no source'):
    page_of([])
  with pytest.raises(ConfigError, match='/nowhere/at/all'):
    page_of(['/nowhere/at/all'])
  with pytest.raises(ConfigError, match='empty'):
    page_of([Runs('empty', {}, {}, np.array([]))])
