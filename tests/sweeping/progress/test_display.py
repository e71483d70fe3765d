"""Progress of a sweep in a terminal, in a notebook and as lines, and after its errors."""

import io
import logging
import re
import sys
import time
import types

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import lmhp
from lmhp.errors import ConfigError
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.progress import display
from lmhp.sweeping.progress.study_state import StudyState
from lmhp.sweeping.space import Float
from lmhp.training.progress import heartbeat
from lmhp.training.progress.live import THEME

LOG = logging.getLogger('lmhp.sweeping.store.study')


def all_events(progress, study):
  trials = study.trials(6)
  pack = study.pack(range(3))
  progress.start(study.plan(), trials)
  progress.start_pack(pack)
  progress.update_pack(pack, 20, study.losses(3, 3, 3))
  progress.update_trials(study.ended(trials, pack, (2.5, 1.5, 2)))
  progress.message('the last message')


# --- plain lines ----------------------------------------------------------------------


def printed(capsys):
  """Returns the lines without their times."""
  lines = capsys.readouterr().out.splitlines()
  for line in lines:
    assert re.match(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ', line)
  return [line[21:] for line in lines]


def test_plain_lines_are_ends_of_packs_messages_and_log_records(study, clock, capsys):
  trials = study.trials(6)
  pack = study.pack(range(3))
  with display.study_progress(study.sweep(), 'study', 'plain') as progress:
    progress.start(study.plan(), trials)
    progress.message('a message')
    progress.start_pack(pack)
    for step in range(2, 21, 2):
      clock.seconds += 1
      progress.update_pack(pack, step, study.losses(3, 3, 3))
    trials = study.ended(trials, pack, (2.5, 1.5, 2))
    progress.update_trials(iter(trials))
    progress.update_trials(trials)
    LOG.warning('damaged %d', 3)
  assert printed(capsys) == [
    'a message',
    'search-0-0: 3 trials to step 20  3/6 trials  best 1.5000 (trial 1, step 20)  '
    '60 tokens/s  0:10 left',
    'warning: damaged 3',
  ]


def test_log_records_go_to_other_handlers_again_after_the_study(study, caplog):
  with display.study_progress(study.sweep(), 'study', 'plain'):
    LOG.warning('inside')
  LOG.warning('after')
  assert [record.getMessage() for record in caplog.records] == ['after']


def test_auto_is_plain_in_a_pipe(study, capsys):
  with display.study_progress(study.sweep(), 'study') as progress:
    all_events(progress, study)
  assert len(printed(capsys)) == 2


def test_none_prints_nothing(study, capsys):
  with display.study_progress(study.sweep(), 's', 'none') as progress:
    all_events(progress, study)
  assert capsys.readouterr().out == ''


def test_an_unknown_mode_is_an_error(study):
  with pytest.raises(ConfigError, match="display: got 'plane', .*'plain'"):
    display.study_progress(study.sweep(), 's', 'plane')


def test_a_sweep_prints_a_line_for_each_new_pack(tmp_path, capsys):
  def init(hypers):
    return jnp.zeros(3)

  def step(w, hypers, i):
    return w - hypers['rate'] * 2 * (w - 1), {'loss': jnp.sum((w - 1) ** 2)}

  task = lmhp.FunctionTask(init, step, {'rate': 0.1, 'seed': 0}, steps=30)
  sweep = SweepConfig(
    space={'rate': Float(1e-3, 0.4, log=True)},
    search='halton',
    trials=6,
    objective=('loss',),
    halving='successive',
    first_rung_fraction=0.2,
    n_calibration_trials=3,
    min_rank_correlation=None,
    execution='loop',
    max_pack_width=4,
    confirm_seeds=2,
  )
  result = lmhp.sweep(task, sweep, workdir=tmp_path, display='plain')
  lines = [line for line in printed(capsys) if ' trials to step ' in line]
  packs = [path.parent.name for path in tmp_path.glob('packs/*/result.json')]
  assert sorted(line.split(':')[0] for line in lines) == sorted(packs)
  n_trials = len(result.trials)
  assert lines[-1].split('  ')[1] == f'{n_trials}/{n_trials} trials'
  assert f'(trial {result.summary.best_trial}, step 30)' in lines[-1]

  # The same call trains nothing again.
  lmhp.sweep(task, sweep, workdir=tmp_path, display='plain')
  assert not [line for line in printed(capsys) if ' trials to step ' in line]


# --- a terminal -----------------------------------------------------------------------


def busy_state(study, n_trials=40):
  """Returns a study of which one half has ended and the other half runs."""
  half = n_trials // 2
  state = StudyState(study.sweep(n_trials), 'study')
  trials = study.trials(n_trials)
  state.start(study.plan(n_trials), trials)
  first = study.pack(range(half))
  state.update_trials(study.ended(trials, first, np.linspace(2, 3, half)))
  pack = study.pack(range(half, n_trials), name='next')
  state.start_pack(pack)
  for step in range(1, 11):
    losses = 5 - step / 10 + np.arange(half) / n_trials
    state.update_pack(pack, step, study.losses(*losses))
  return state


def drawn(state, width):
  console = Console(width=width, file=io.StringIO(), theme=THEME)
  console.print(display.render_study(state))
  return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_screen_has_the_summary_the_packs_and_the_trials(study):
  lines = drawn(busy_state(study), 140)
  assert lines[0].startswith('study ')
  assert '20/40 trials  best 2.0000 (trial 0, step 20)' in lines[0]
  assert lines[1] == 'next: 20 trials by vmap, step 10 of 20'
  headings = 'trial learning_rate schedule status step training eval loss'
  assert lines[2].split() == headings.split()
  assert lines[3].split() == ['0', '0.001', 'shape0', 'complete', '20', '2.0000']
  assert any(re.search(r'20 .* running +10 +4.0000', line) for line in lines)
  assert lines[-1] == 'not shown: 26 more trials'


@pytest.mark.parametrize('width', [40, 60, 80, 200])
def test_a_screen_fits_in_its_width_and_in_24_lines(study, width):
  lines = drawn(busy_state(study), width)
  assert len(lines) < 24
  assert max(map(len, lines)) <= width
  assert sum('complete' in line or 'running' in line for line in lines) == 14


def test_the_bar_shows_the_part_of_the_updates_that_is_done(study):
  # 20 complete trials of 20 steps and 20 trials at step 10, of 40 times 20 updates.
  assert busy_state(study).fraction_done() == pytest.approx(600 / 800)


class FakeTerminal(io.StringIO):
  def isatty(self):
    return True


def use_terminal(monkeypatch):
  """Replaces the standard output. A fixture cannot, since pytest replaces it later."""
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setenv('COLUMNS', '100')
  monkeypatch.setenv('LINES', '24')
  fake = FakeTerminal()
  monkeypatch.setattr(sys, 'stdout', fake)
  return fake


def test_messages_stand_above_the_table_and_their_markup_has_no_effect(
  study, monkeypatch
):
  terminal = use_terminal(monkeypatch)
  with display.study_progress(study.sweep(), 'study') as progress:
    progress.start(study.plan(), study.trials(6))
    progress.message('a [bold]message[/bold]')
    LOG.warning('careful')
  text = re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', terminal.getvalue())
  assert 'a [bold]message[/bold]' in text
  assert re.search(r'warning: careful.*study.*0/6 trials', text, re.DOTALL)
  assert 'failed' not in text


# --- a notebook -----------------------------------------------------------------------


@pytest.fixture
def notebook_outputs(monkeypatch):
  """A fake IPython. Holds, for each output, the HTML that was drawn there."""
  outputs = []

  def show(html, display_id):
    drawings = [html]
    outputs.append(drawings)
    return types.SimpleNamespace(update=drawings.append)

  fake = types.ModuleType('IPython')
  fake.get_ipython = lambda: types.SimpleNamespace(config={'IPKernelApp': {}})
  fake.display = types.SimpleNamespace(HTML=str, display=show)
  monkeypatch.setitem(sys.modules, 'IPython', fake)
  return outputs


def test_a_notebook_has_one_output_that_is_drawn_at_most_once_a_second(
  study, notebook_outputs, clock, capsys
):
  trials = study.trials(6)
  pack = study.pack(range(3), last_step=100)
  with display.study_progress(study.sweep(), 'a < b') as progress:
    progress.start(study.plan(), trials)
    progress.start_pack(pack)
    for step in range(1, 101):
      clock.seconds += 0.1
      progress.update_pack(pack, step, study.losses(3, 4, 5))
    progress.update_trials(study.ended(trials, pack, (2, 1, 3)))
    progress.message('done')
  assert capsys.readouterr().out == 'done\n'
  assert len(notebook_outputs) == 1
  assert 10 <= len(notebook_outputs[0]) <= 13
  last = notebook_outputs[0][-1]
  assert 'a &lt; b' in last
  assert '3/6 trials' in last
  assert 'best 1.0000' in last


# --- errors ---------------------------------------------------------------------------


@pytest.mark.parametrize('method', ['open', 'update', 'message', 'close'])
def test_a_display_that_fails_is_replaced_by_plain_lines(
  study, method, monkeypatch, capsys
):
  def fail(*_):
    raise RuntimeError('no screen')

  for name in ('open', 'update', 'close'):
    monkeypatch.setattr(display.LiveDisplay, name, lambda *_: None)
  monkeypatch.setattr(display.LiveDisplay, method, fail)
  with display.study_progress(study.sweep(), 's', 'notebook') as progress:
    all_events(progress, study)
    LOG.warning('after')
  text = capsys.readouterr().out
  assert text.count('RuntimeError: no screen') == 1
  assert text.count('warning: after') == 1
  assert text.count('the last message') == 1
  assert text.count('3 trials to step 20  3/6 trials') == (method in ('open', 'update'))


@pytest.mark.parametrize(
  'method', ['start', 'start_pack', 'update_pack', 'update_trials', 'summary']
)
def test_an_error_of_the_state_costs_only_its_lines(study, method, monkeypatch, capsys):
  def fail(*_):
    raise KeyError(method)

  monkeypatch.setattr(StudyState, method, fail)
  with display.study_progress(study.sweep(), 's', 'plain') as progress:
    all_events(progress, study)
  text = capsys.readouterr().out
  assert text.count('KeyError') == 1
  assert text.endswith('the last message\n')


def test_an_error_of_the_drawing_thread_is_noticed(study, monkeypatch):
  terminal = use_terminal(monkeypatch)
  monkeypatch.setattr(display, 'render_study', lambda state: 1 / 0)
  with display.study_progress(study.sweep(), 's', 'terminal') as progress:
    for _ in range(50):
      if 'ZeroDivisionError' in terminal.getvalue():
        break
      time.sleep(0.1)
      progress.start_pack(study.pack([0], name='other'))
    all_events(progress, study)
  text = terminal.getvalue()
  assert text.count('ZeroDivisionError') == 1
  assert '3 trials to step 20' in text
  assert 'the last message' in text


def test_an_interrupt_ends_the_study_and_its_progress(study, monkeypatch):
  def interrupt(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(StudyState, 'start_pack', interrupt)
  with pytest.raises(KeyboardInterrupt):
    with display.study_progress(study.sweep(), 's', 'plain') as progress:
      progress.start_pack(study.pack([0]))
  logger = logging.getLogger('lmhp')
  assert logger.propagate
  assert not logger.handlers


def test_plain_prints_a_line_while_nothing_happens(study, monkeypatch, capsys):
  monkeypatch.setattr(heartbeat, 'SILENT_SECONDS', 0.1)
  with display.study_progress(study.sweep(), 'study', 'plain'):
    time.sleep(0.5)
    lines = capsys.readouterr().out.splitlines()
  assert len(lines) >= 2 and 'compiling' in lines[0]
