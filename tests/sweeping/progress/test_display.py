"""A sweep's progress in a terminal, a notebook and plain lines: what it says is right, and it never ends a study."""

import dataclasses
import io
import itertools
import logging
import re
import sys
import types
import xml.etree.ElementTree as ElementTree

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import lmhp
from lmhp.errors import ConfigError
from lmhp.sweeping.budget import SearchPlan
from lmhp.sweeping.config import SweepConfig
from lmhp.sweeping.execution.packs import Pack
from lmhp.sweeping.progress import board as boards
from lmhp.sweeping.progress import display
from lmhp.sweeping.space import Float
from lmhp.sweeping.store.trial import ModelSummary, StageResult, Trial, TrialCost

LOG = logging.getLogger('lmhp.sweeping.store.study')
RATE, SCHEDULE = 'optimizer.learning_rate', 'schedule.name'


@pytest.fixture
def clock(monkeypatch):
  """A clock that goes only when told."""
  now = types.SimpleNamespace(seconds=1000.0)
  monkeypatch.setattr(boards.time, 'monotonic', lambda: now.seconds)
  return now


def sweep_of(n=6, **fields):
  return SweepConfig(
    space={RATE: Float(1e-4, 1e-1, log=True)},
    search='halton',
    trials=n,
    confirm_points=0,
    **fields,
  )


def trials_of(n, cohort='search-0', first=0):
  return [
    Trial(
      i,
      i,
      0,
      {RATE: 1e-3 * (i + 1), SCHEDULE: f'shape{i}'},
      {},
      cohort,
      ModelSummary(structure='s'),
    )
    for i in range(first, first + n)
  ]


def pack_of(members, last=20, name='search-0-rung0-0-0', first=0, **fields):
  members = tuple(members)
  return Pack(name, members, (None,) * len(members), first, last, width=8, **fields)


def ended(trials, pack, losses, tokens_per_step=10, status='complete'):
  """The trials after a pack, whose members got these scores."""
  after = {t.number: t for t in trials}
  for number, loss in zip(pack.trials, losses):
    t = after[number]
    cost = TrialCost(
      steps=pack.last_step,
      cooldown_steps=pack.cooldown_steps,
      tokens=tokens_per_step * (pack.last_step + pack.cooldown_steps),
      seconds=1.0,
    )
    after[number] = dataclasses.replace(
      t,
      status=status,
      scores={**t.scores, pack.last_step: loss},
      cost=cost,
      stages=(*t.stages, StageResult(pack.name, pack.name, (loss,))),
      values=None if status == 'running' else (loss,),
    )
  return list(after.values())


def losses(*values):
  return {'loss_nats': np.array(values, np.float32), 'seconds': 3.0}


# --- what is known --------------------------------------------------------------------------------------------------


def test_speed_and_time_left_by_hand_with_compiling_not_counted(clock):
  board, trials = boards.Board(sweep_of(), 's'), trials_of(6)
  board.plan(SearchPlan(6, (20,), None, False, 120), trials)
  first, second = pack_of(range(3)), pack_of(range(3, 6), name='search-0-rung0-0-1')
  board.pack(first)
  clock.seconds += 100  # compiles
  board.step(first, 4, losses(3, 3, 3))
  assert board.seconds_left() is None and board.words() == '0/6 trials'
  clock.seconds += 8
  board.step(first, 20, losses(2, 2, 2))  # 16 updates of 3 members in 8 s
  assert board.steps_per_second() == 6 and board.seconds_left() == 60 / 6
  assert 'tokens' not in board.words() and '6 steps/s' in board.words()
  clock.seconds += 50  # scoring, which compiles as well
  trials = ended(trials, first, (2, 2, 2))
  board.trials(trials)
  assert board.tokens_per_second() == 60 and board.words().endswith(
    '60 tokens/s  0:10 left'
  )
  board.pack(second)  # of the same kind: all of it counts
  clock.seconds += 2
  board.step(second, 4, losses(3, 3, 3))
  assert board.steps_per_second() == (48 + 12) / (8 + 2)
  board.compiling('something')
  clock.seconds += 1000
  board.step(second, 10, losses(3, 3, 3))
  assert board.steps_per_second() == 6 and board.seconds_left() == 30 / 6
  clock.seconds += 10
  board.step(second, 20, losses(3, 3, 3))
  clock.seconds += 3
  board.trials(ended(trials, second, (2, 2, 2)))
  assert board.steps_per_second() == 90 / 23  # the scoring too
  assert board.seconds_left() is None


def test_what_the_pack_says_of_its_tokens_counts(clock):
  board = boards.Board(sweep_of(), 's')
  board.plan(SearchPlan(6, (20,), None, False, 120), trials_of(6))
  for name, members in (('a', (0, 1)), ('b', (2, 3))):  # two at once, as on a cluster
    board.pack(pack_of(members, name=name))
  clock.seconds += 1
  for name, members in (('a', (0, 1)), ('b', (2, 3))):
    board.step(pack_of(members, name=name), 4, losses(3, 3))
  clock.seconds += 1
  for name, members in (('a', (0, 1)), ('b', (2, 3))):
    board.step(
      pack_of(members, name=name), 8, losses(3, 3) | {'tokens_per_second': 500.0}
    )
  assert board.tokens_per_second() == 1000
  assert (
    board.steps_per_second() == 2 * 2 * 4
  )  # packs, members, steps of each in a second


def test_a_diverged_trial_has_no_steps_left_and_a_pruned_search_none_either(clock):
  for rungs, left_with_one_diverged in (
    ((20,), 100),
    ((5, 20), 115),
  ):  # rungs promote another in its place
    board, trials, pack = (
      boards.Board(sweep_of(), 's'),
      trials_of(6),
      pack_of([0], last=5),
    )
    board.plan(SearchPlan(6, rungs, None, False, 120), trials)
    board.pack(pack)
    trials = ended(trials, pack, [9.0], status='diverged')
    board.trials(trials)
    assert board.steps_left() == left_with_one_diverged
    board.trials(
      [t if t.number == 0 else dataclasses.replace(t, status='pruned') for t in trials]
    )
    assert board.steps_left() == 0


def test_the_confirmation_is_part_of_the_time_left(clock):
  sweep = dataclasses.replace(sweep_of(2), confirm_points=1, confirm_seeds=4)
  board, trials = boards.Board(sweep, 's'), trials_of(2)
  board.plan(SearchPlan(2, (20,), None, False, 40), trials)
  assert board.steps_left() == 40 + 2 * 4 * 20
  trials = ended(trials, pack_of(range(2)), (2, 3)) + trials_of(8, 'confirm-0', first=2)
  board.trials(trials)
  assert board.steps_left() == 160
  pack = pack_of(range(2, 10), name='confirm-0-0-0')
  board.pack(pack)
  board.step(pack, 5, losses(*range(8)))
  assert board.steps_left() == 160 - 8 * 5
  board.trials(ended(trials, pack, [1.0] * 8))
  assert board.steps_left() == 0 and board.words().startswith(
    '10/10 trials  best 2.0000 (trial 0, step 20)'
  )


@pytest.mark.parametrize('maximize', [False, True])
def test_the_best_come_first_and_what_diverged_last(maximize):
  sweep = sweep_of(maximize=('eval_loss_nats',) if maximize else ())
  board, pack = boards.Board(sweep, 's'), pack_of([0, 1, 2, 3])
  trials = ended(trials_of(6), pack, (3.0, 1.0, 2.0, 0.5))
  trials[1] = dataclasses.replace(
    trials[1], status='diverged', values=(-99.0 if maximize else 99.0,)
  )
  trials[3] = dataclasses.replace(trials[3], cohort='confirm-0')
  board.trials(trials)
  rows = board.view(10).rows
  assert [row.cells[0] for row in rows] == (['0', '2'] if maximize else ['2', '0']) + [
    '4',
    '5',
    '1',
    '3',
  ]
  assert [row.best for row in rows] == [True] + [False] * 5
  assert rows[4].cells[-4:] == ('diverged', '20', '', '')


def test_rows_are_the_best_and_up_to_half_of_them_run(clock):
  board, trials = boards.Board(sweep_of(40), 's'), trials_of(40)
  board.plan(SearchPlan(40, (20,), None, False, 800), trials)
  board.trials(ended(trials, pack_of(range(30)), range(30)))
  pack = pack_of(range(30, 40), name='next')
  board.pack(pack)
  board.step(pack, 7, losses(*range(10)))
  for n in (1, 2, 7, 10, 40, 99):
    view = board.view(n)
    assert len(view.rows) == min(n, 40) and view.hidden == 40 - len(view.rows)
    marked = [row.cells for row in view.rows if row.running]
    assert len(marked) == min(n // 2, 10) and all(
      cells[0].startswith('▸ ') for cells in marked
    )
    if marked:
      assert marked[0] == ('▸ 30', '0.031', 'shape30', 'running', '7', '0.0000', '')


def test_columns_have_short_names_that_differ():
  found = boards.columns(
    [
      'train.seed',
      'data.seed',
      SCHEDULE,
      'model.d_model+model.n_heads',
      'o.lr[o.name=a]',
      'o.lr[o.name=b]',
    ]
  )
  assert list(found) == ['train.seed', 'data.seed', 'schedule', 'd_model+n_heads', 'lr']
  assert found['lr'] == ['o.lr[o.name=a]', 'o.lr[o.name=b]']


def test_values_of_conditional_and_zipped_parameters():
  board, zipped = boards.Board(sweep_of(), 's'), 'model.d_model+model.n_heads'
  board.trials(
    [
      Trial(
        0,
        0,
        0,
        {'o.lr[o.name=a]': 0.12345, zipped: 1},
        {'model.d_model': 64, 'model.n_heads': 2},
      ),
      Trial(1, 1, 0, {'o.lr[o.name=b]': None}, {}),
    ]
  )
  assert [row.cells[1:3] for row in board.view(9).rows] == [
    ('0.123', '64 2'),
    ('None', ''),
  ]


def test_curves_leave_out_what_is_not_finite_and_are_thinned():
  running = boards.Running(pack_of(range(3), last=5000), False, 0, 0.0, True)
  for step in range(1, 5001):
    running.add(step, np.array([1 / step, 2 / step, np.nan if step > 10 else 3 / step]))
  lines = running.lines()
  assert boards.MAX_POINTS / 2 <= len(lines['best']) <= boards.MAX_POINTS
  assert lines['best'][-1] == (5000, 1 / 5000) and lines['worst'][-1] == (
    5000,
    2 / 5000,
  )
  running.add(100, np.array([7.0, np.inf, np.nan]))  # begun again from a save
  assert (
    running.lines()['worst'][-1] == (100, 7.0) and len(running.lines()['median']) < 60
  )
  running.add(101, np.full(3, np.nan))
  assert running.lines()['best'][-1] == (100, 7.0)


# --- plain lines ----------------------------------------------------------------------------------------------------


def said(capsys):
  lines = capsys.readouterr().out.splitlines()
  assert all(re.match(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ', line) for line in lines)
  return [line[21:] for line in lines]


def test_plain_says_each_packs_end_and_each_message_once(clock, capsys, caplog):
  trials, pack = trials_of(6), pack_of(range(3))
  with display.progress(sweep_of(), 'study', 'plain') as show:
    show.plan(SearchPlan(6, (20,), None, False, 120), trials)
    show.message('a word')
    show.compiling('vmap, 8 wide')
    show.pack(pack)
    for step in range(2, 21, 2):
      clock.seconds += 1
      show.step(pack, step, losses(3, 3, 3))
    trials = ended(trials, pack, (2.5, 1.5, 2))
    show.trials(iter(trials))
    show.trials(trials)
    LOG.warning('damaged %d', 3)
  LOG.warning('after')
  assert [record.getMessage() for record in caplog.records] == ['after']
  assert said(capsys) == [
    'a word',
    'search-0-rung0-0-0: 3 trials to step 20  3/6 trials  best 1.5000 (trial 1, step 20)  60 tokens/s  '
    '0:10 left',
    'warning: damaged 3',
  ]


def test_what_an_earlier_process_did_is_not_said_again(capsys):
  pack = pack_of(range(3))
  trials = ended(trials_of(6), pack, (1, 2, 3))
  with display.progress(sweep_of(), 'study') as show:  # auto: a pipe
    show.plan(SearchPlan(6, (20,), None, False, 120), trials)
    show.pack(pack)
    show.trials(trials)
    show.pack(pack_of(range(3, 6), name='next'))
    show.trials(ended(trials, pack_of(range(3, 6), name='next'), (1, 2, 3)))
  assert [line.split(':')[0] for line in said(capsys)] == ['next']


def test_none_is_silent_and_an_unknown_mode_is_an_error(capsys):
  with display.progress(sweep_of(), 's', 'none') as show:
    show.message('x')
    show.plan(None, [])
    show.trials(trials_of(2))
  assert capsys.readouterr().out == ''
  with pytest.raises(
    ConfigError,
    match="display: got 'plane', expected one of auto, .*; did you mean 'plain'",
  ):
    display.progress(sweep_of(), 's', 'plane')


def test_a_real_sweep_says_a_line_for_each_pack(tmp_path, capsys):
  step = lambda w, hypers, i: (
    w - hypers['rate'] * 2 * (w - 1),
    {'loss': jnp.sum((w - 1) ** 2)},
  )
  task = lmhp.FunctionTask(
    lambda hypers: jnp.zeros(3), step, {'rate': 0.1, 'seed': 0}, steps=30
  )
  sweep = SweepConfig(
    space={'rate': Float(1e-3, 0.4, log=True)},
    search='halton',
    trials=6,
    objective=('loss',),
    halving='successive',
    first_rung_fraction=0.2,
    execution='loop',
    max_pack_width=4,
    confirm_seeds=2,
  )
  for resumed in (False, True):
    found = lmhp.sweep(task, sweep, workdir=tmp_path, display='plain')
    lines = [line for line in said(capsys) if ' trials to step ' in line]
    packs = [p.parent.name for p in tmp_path.glob('packs/*/result.json')]
    assert sorted(line.split(':')[0] for line in lines) == (
      [] if resumed else sorted(packs)
    )
    if not resumed:
      best = min(
        t.values[0]
        for t in found.trials
        if t.status == 'complete' and t.cohort.startswith('search')
      )
      assert (
        lines[-1].split('  ')[1] == f'{len(found.trials)}/{len(found.trials)} trials'
      )
      assert (
        f'best {best:.4g} (trial {found.result["best_trial"]}, step 30)' in lines[-1]
      )


# --- a terminal -----------------------------------------------------------------------------------------------------


def busy_board(n=40):
  board, trials = boards.Board(sweep_of(n), 'study'), trials_of(n)
  board.plan(SearchPlan(n, (20,), None, False, 20 * n), trials)
  board.trials(ended(trials, pack_of(range(n // 2)), np.linspace(2, 3, n // 2)))
  pack = pack_of(range(n // 2, n), name='next')
  board.pack(pack)
  for step in range(1, 11):
    board.step(pack, step, losses(*(5 - step / 10 + np.arange(n // 2) / n)))
  board.compiling('vmap, 8 wide')
  return board


def drawn(board, width, height):
  console = Console(width=width, height=height, file=io.StringIO())
  console.print(display.screen(board, width, height))
  return console.file.getvalue().splitlines()


@pytest.mark.parametrize('n', [2, 40])
def test_the_screen_is_never_too_small(n):
  board = busy_board(n)
  for width, height in itertools.product((36, 60, 80, 200), (9, 12, 16, 24, 60)):
    lines = drawn(board, width, height)
    assert len(lines) < height and all(len(line.rstrip()) <= width for line in lines), (
      width,
      height,
    )
    shown = sum(
      bool(re.match(r' *(▸ )?\d+ .*(complete|running)', line)) for line in lines
    )
    hidden = [
      int(found[1])
      for line in lines
      if (found := re.search(r'not shown: (\d+) more', line))
    ]
    assert shown >= 1 and shown + sum(hidden) == n


def test_what_a_screen_says():
  lines = drawn(busy_board(), 100, 24)
  assert lines[0].rstrip() == 'study' and lines[2].rstrip() == 'compiling vmap, 8 wide'
  assert lines[1].startswith('20/40 trials  best 2.0000 (trial 0, step 20)')
  assert lines[3].startswith('next: 20 trials by vmap, step 10 of 20')
  assert lines[5].split() == [
    'trial',
    'learning_rate',
    'schedule',
    'status',
    'step',
    'training',
    'eval',
    'loss',
  ]
  assert lines[6].split() == ['0', '0.001', 'shape0', 'complete', '20', '2.0000']
  assert any(re.search(r'▸ 20 .* running +10 +4.0000', line) for line in lines)
  narrow = ' '.join(drawn(busy_board(), 50, 24))
  assert (
    'columns schedule, ' in narrow
    and 'shape0' not in narrow
    and 'learning_rate' in narrow
  )


def test_sparklines_fall_with_the_loss_and_a_diverging_member_does_not_flatten_them():
  running = boards.Running(pack_of(range(3), last=50), False, 0, 0.0, True)
  for step in range(1, 51):
    running.step, running.loss = step, 'loss_nats'
    running.add(
      step,
      np.array([4 - step / 25, 4.5 - step / 25, 10.0**step if step < 30 else np.nan]),
    )
  head, best, median, worst = display.sparklines(running, 100)
  assert head == 'loss_nats of search-0-rung0-0-0 to step 50, from 2 to 4.46'
  heights = [display.BLOCKS.index(c) for c in best[8:68]]
  assert (
    heights == sorted(heights, reverse=True) and heights[0] == 6 and heights[-1] == 0
  )
  assert (
    best.endswith('  2.0000')
    and median.endswith('  2.0000')
    and worst.endswith('  2.5000')
  )
  assert worst[8:9] == display.BLOCKS[-1]
  running.curve[:] = [(1, np.full(3, np.nan))]
  assert display.sparklines(running, 80) == [
    "loss_nats of search-0-rung0-0-0: no member's is finite"
  ]


class FakeTerminal(io.StringIO):
  def isatty(self):
    return True


def test_terminal_with_messages_above_the_picture(monkeypatch):
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setenv('COLUMNS', '100')
  monkeypatch.setenv('LINES', '24')
  monkeypatch.setattr(sys, 'stdout', FakeTerminal())
  with display.progress(sweep_of(), 'study') as show:
    show.plan(SearchPlan(6, (20,), None, False, 120), trials_of(6))
    show.message('a [bold]word[/bold]')
    LOG.warning('careful')
  text = re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', sys.stdout.getvalue())
  assert (
    'a [bold]word[/bold]' in text
    and 'warning: careful' in text
    and 'failed' not in text
  )
  assert re.search(r'study *\r?\n0/6 trials', text[text.index('careful') :])


# --- a notebook -----------------------------------------------------------------------------------------------------


@pytest.fixture
def notebook_page(monkeypatch):
  """What a notebook's page shows: the last HTML drawn at each place. IPython itself is no dependency."""
  shown = []

  def show(html, display_id):
    shown.append([html])
    return types.SimpleNamespace(update=lambda html, here=shown[-1]: here.append(html))

  fake = types.ModuleType('IPython')
  fake.get_ipython = lambda: types.SimpleNamespace(config={'IPKernelApp': {}})
  fake.display = types.SimpleNamespace(HTML=str, display=show)
  monkeypatch.setitem(sys.modules, 'IPython', fake)
  return shown


def test_notebook_redraws_one_picture_in_place(notebook_page, clock, capsys):
  trials, pack = trials_of(30), pack_of(range(3), last=100)
  trials[1] = dataclasses.replace(trials[1], parameters={RATE: 0.002, SCHEDULE: '<b>&'})
  with display.progress(sweep_of(30), 'a < b') as show:
    show.plan(SearchPlan(30, (100,), None, False, 3000), trials)
    show.pack(pack)
    for step in range(1, 101):
      clock.seconds += 0.1
      show.step(pack, step, losses(5 - step / 25, 6 - step / 25, 1e9))
    show.trials(ended(trials, pack, (2, 1, 3)))
    show.message('done')
  assert capsys.readouterr().out == 'done\n'
  assert (
    len(notebook_page) == 1 and 10 <= len(notebook_page[0]) <= 16
  )  # a second apart at least
  root = ElementTree.fromstring(notebook_page[0][-1].replace('<br>', ''))
  assert root.find('.//b').text == 'a < b'
  assert root.find('.//code').text.startswith(
    '3/30 trials  best 1.0000 (trial 1, step 100)'
  )
  rows = [[cell.text or '' for cell in row] for row in root.iter('tr')]
  assert len(rows) == 1 + display.ROWS and rows[1] == [
    '1',
    '0.002',
    '<b>&',
    'complete',
    '100',
    '',
    '1.0000',
  ]
  assert root.find('i').text == 'not shown: 10 more trials'
  lines = {
    line.get('stroke'): [
      tuple(map(float, p.split(','))) for p in line.get('points').split()
    ]
    for line in root.iter('polyline')
  }
  assert {len(points) for points in lines.values()} == {100} and set(lines) == set(
    display.COLORS.values()
  )
  best = [y for _, y in lines[display.COLORS['best']]]
  assert best == sorted(best) and all(
    0 <= y <= 160 for points in lines.values() for _, y in points
  )
  assert {y for _, y in lines[display.COLORS['worst']]} == {4.0}  # cut off at the top


# --- what goes wrong ------------------------------------------------------------------------------------------------


def all_events(show):
  trials, pack = trials_of(6), pack_of(range(3))
  show.plan(SearchPlan(6, (20,), None, False, 120), trials)
  show.compiling('x')
  show.pack(pack)
  show.step(pack, 20, losses(3, 3, 3))
  show.trials(ended(trials, pack, (1, 2, 3)))
  show.message('the last word')


@pytest.mark.parametrize('method', ['open', 'draw', 'message', 'close'])
def test_a_picture_that_fails_gives_way_to_plain_lines(method, monkeypatch, capsys):
  def fail(*_):
    raise RuntimeError('no screen')

  monkeypatch.setattr(display._Notebook, 'open', lambda self: None)
  monkeypatch.setattr(display._Notebook, 'draw', lambda self, ended, soon: None)
  monkeypatch.setattr(display._Notebook, 'close', lambda self: None)
  monkeypatch.setattr(display._Notebook, method, fail)
  with display.progress(sweep_of(), 's', 'notebook') as show:
    all_events(show)
    LOG.warning('after')
  text = capsys.readouterr().out
  assert (
    text.count(
      'the display failed (RuntimeError: no screen); the study goes on, in plain lines'
    )
    == 1
  )
  assert text.count('the last word') == text.count('warning: after') == 1
  assert text.count('3 trials to step 20  3/6 trials') == (method in ('open', 'draw'))


@pytest.mark.parametrize(
  'method', ['plan', 'compiling', 'pack', 'step', 'trials', 'words']
)
def test_a_board_that_fails_costs_its_words_alone(method, monkeypatch, capsys):
  def fail(*_):
    raise KeyError(method)

  monkeypatch.setattr(boards.Board, method, fail)
  with display.progress(sweep_of(), 's', 'plain') as show:
    all_events(show)
  text = capsys.readouterr().out
  assert text.count('the display failed (KeyError') == 1 and text.endswith(
    'the last word\n'
  )


def test_a_thread_that_fails_to_draw_is_noticed_and_left(monkeypatch):
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setattr(sys, 'stdout', FakeTerminal())
  monkeypatch.setattr(display, 'screen', lambda board, width, height: 1 / 0)
  with display.progress(sweep_of(), 's', 'terminal') as show:
    all_events(show)
  text = sys.stdout.getvalue()
  assert (
    text.count('the display failed (ZeroDivisionError') == 1
    and '3 trials to step 20' in text
  )
  assert 'the last word' in text


def test_an_interrupt_is_no_mistake_of_the_display(monkeypatch):
  def interrupt(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(boards.Board, 'pack', interrupt)
  with pytest.raises(KeyboardInterrupt):
    with display.progress(sweep_of(), 's', 'plain') as show:
      show.pack(pack_of([0]))
  assert logging.getLogger('lmhp').propagate and not logging.getLogger('lmhp').handlers
