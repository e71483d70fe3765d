"""A task that is written from the protocol alone runs whole studies, on both engines."""

import json
import os
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lmhp
from lmhp.declarations import Declaration
from lmhp.errors import ConfigError
from lmhp.sweeping import space as spaces
from lmhp.sweeping.store.manifest import TaskDescription
from lmhp.sweeping.store.study import Study
from lmhp.sweeping.store.trial import ModelSummary
from lmhp.sweeping.tasks.task import Job, SeededOverrides
from lmhp.training.chunks import ChunkSteps, repeat_update
from lmhp.training.compile_cache import ProgramCache, compile_deterministic

STEPS = 27
SPACE = {
  'rate': lmhp.Float(1e-3, 0.6, log=True),
  'size': lmhp.Choice(3, 5),
}


def make_bowl():
  """Returns gradient descent on a bowl of several dimensions, which are its structure.

  The classes are local, so that Ray sends them to its workers by value.
  """

  class State(NamedTuple):
    step: jax.Array
    w: jax.Array

  class BowlPrograms:
    max_chunk_steps = 8

    def __init__(self, size):
      self.size = size
      self.program_cache = ProgramCache()
      self._score = jax.jit(self.score_function())

    def init(self, hypers):
      w = jax.random.normal(jax.random.key(hypers['seed']), (self.size,))
      return State(jnp.int32(0), w)

    def abstract_state(self, hypers):
      return jax.eval_shape(self.init, hypers)

    def chunk(self, state, hypers, data, steps):
      program = self.compile_chunk(state, hypers, data)
      return program(state, hypers, data, steps.as_int32())

    def compile_chunk(self, state, hypers, data):
      def build():
        steps = ChunkSteps(0, 0).as_int32()
        jitted = jax.jit(self.chunk_function(), donate_argnums=0)
        return compile_deterministic(jitted.lower(state, hypers, data, steps))

      return self.program_cache.get('chunk', build)

    def score(self, state, hypers, batch):
      return self._score(state, hypers, batch)

    def chunk_function(self, hold_after_nonfinite=False):
      def chunk(state, hypers, data, steps):
        def update(state, i):
          loss = jnp.sum(state.w**2)
          w = state.w - hypers['rate'] * (2 * state.w + data[i])
          return State(state.step + 1, w), {'bowl': loss}

        hold = 'bowl' if hold_after_nonfinite else None
        return repeat_update(
          update, state, steps, ('bowl',), hold, max_chunk_steps=self.max_chunk_steps
        )

      return chunk

    def score_function(self):
      return lambda state, hypers, batch: {'bowl': jnp.sum(state.w**2)}

  class Bowl:
    loss = 'bowl'
    evaluate_every_steps = 5
    checkpoint_seconds = 60.0
    log_every_steps = 2
    seed_paths = ('seed',)

    def __init__(self):
      self.base = {'rate': 0.01, 'size': 3, 'seed': 0}
      self._programs = {}

    def describe(self):
      return TaskDescription('bowl', self.base, {'steps': STEPS})

    def check(self, sweep):
      declarations = {
        'rate': Declaration(traced=True),
        'size': Declaration(traced=False),
        'seed': Declaration(traced=True),
      }
      spaces.check_space(sweep.space, declarations, self.base)
      sweep.check_objective(('eval_bowl', 'bowl', 'depth'))

    def base_values(self):
      return dict(self.base)

    def experiment_config(self, overrides):
      return None

    def recipe(self):
      return lambda: self

    def __getstate__(self):
      return {'base': self.base, '_programs': {}}

    def is_traced(self, path):
      return path == 'rate'

    def decays(self):
      return True

    def longest_warmup_fraction(self, space):
      return 0.1

    def varies_data_per_trial(self, space):
      return False

    def with_seed(self, overrides, replicate, *, reseed_data):
      seeded = {'seed': replicate, **overrides}
      return SeededOverrides(seeded, seeded['seed'])

    def with_matched_length(self, overrides):
      return dict(overrides)

    def job(self, overrides):
      values = {**self.base, **overrides}
      name = f'size {values["size"]}'
      return Job(
        structure=name,
        hypers={'rate': np.float32(values['rate']), 'seed': np.uint32(values['seed'])},
        steps=STEPS,
        tokens_per_step=4,
        flops_per_step=2.0,
        known_metrics={'depth': 1.0},
        model=ModelSummary(structure=name, n_parameters=values['size']),
        config=values['size'],
      )

    def programs(self, job):
      return self._programs.setdefault(job.structure, BowlPrograms(job.config))

    def feed(self, job, hypers, data_per_trial, first_step, lengths):
      for n_steps in lengths:
        # The data of a step is its number.
        steps = np.zeros(BowlPrograms.max_chunk_steps, np.float32)
        steps[:n_steps] = 1e-3 * np.arange(first_step, first_step + n_steps)
        first_step += n_steps
        yield n_steps, steps

    def data_axis(self, job, data_per_trial):
      return None

    def evaluate(self, population, state, job, final):
      values = np.asarray(population.score(state, ())['bowl'], np.float64)
      return [{'eval_bowl': float(value)} for value in values]

    def measure(self, metric, job):
      raise ConfigError(f'sweep.objective: got {metric!r}')

    def penalty_value(self, metric, job, maximized):
      return 1e6

  return Bowl()


def make_sweep(**keys):
  return lmhp.SweepConfig(
    **{
      'space': SPACE,
      'search': 'halton',
      'trials': 9,
      'objective': 'eval_bowl',
      'halving': 'successive',
      'first_rung_fraction': 1 / 9,
      'n_calibration_trials': 3,
      'min_rank_correlation': None,
      'execution': 'loop',
      'max_pack_width': 3,
      'confirm_points': 1,
      'confirm_seeds': 2,
      **keys,
    }
  )


def expected_loss(trial, steps=STEPS):
  """Gradient descent by hand, in float64."""
  seed = trial.overrides['seed']
  size = trial.overrides.get('size', 3)
  rate = trial.overrides.get('rate', 0.01)
  w = np.asarray(jax.random.normal(jax.random.key(seed), (size,)), np.float64)
  for step in range(steps):
    w = w - rate * (2 * w + 1e-3 * step)
  return float(np.sum(w**2))


def facts_of(result):
  """Returns the facts of a study that must not depend on the engine."""
  return [
    (t.number, t.status, t.overrides, t.values, dict(t.scores), t.cost.tokens)
    for t in result.trials
  ]


@pytest.fixture(scope='module')
def local(tmp_path_factory):
  """A study of the task in this process, with a report."""
  workdir = tmp_path_factory.mktemp('local') / 'study'
  return lmhp.sweep(make_bowl(), make_sweep(), workdir=workdir, display='none')


def test_trials_are_trained_as_by_hand(local):
  complete = [trial for trial in local.trials if trial.status == 'complete']
  assert {trial.overrides.get('size', 3) for trial in complete} == {3, 5}
  for trial in complete:
    assert trial.values[0] == pytest.approx(expected_loss(trial), rel=1e-3, abs=1e-9)


def test_halving_prunes_trials_and_counts_forks(local):
  pruned = [trial for trial in local.trials if trial.status == 'pruned']
  assert pruned
  for trial in pruned:
    assert trial.cost.cooldown_steps > 0
    assert trial.cost.tokens == 4 * (trial.cost.steps + trial.cost.cooldown_steps)


def test_the_winner_is_confirmed(local):
  best, base = local.confirmed
  assert len(best.values) == len(base.values) == 2
  assert best.difference < 0


def test_the_report_names_the_winner(local):
  assert (pathlib.Path(local.workdir) / 'report.html').exists()
  report = json.loads(lmhp.report(local.workdir).text('json'))
  answer = report['findings'][0]
  assert answer['level'] == 'answer'
  assert answer['numbers']['trial'] == local.summary.best_trial


def test_the_manifest_describes_the_task(local):
  with Study.read(local.workdir) as study:
    task = study.manifest.task
  assert task == TaskDescription(
    'bowl', {'rate': 0.01, 'size': 3, 'seed': 0}, {'steps': STEPS}
  )


def test_the_task_has_no_experiment_file(local):
  assert not (pathlib.Path(local.workdir) / 'best.py').exists()


def test_a_study_of_the_task_continues(local, tmp_path):
  make = make_bowl()
  first = lmhp.sweep(
    make, make_sweep(trials=4), workdir=tmp_path / 'w', display='none', report=False
  )
  more = lmhp.sweep(
    make_bowl(), make_sweep(), workdir=tmp_path / 'w', display='none', report=False
  )
  assert len(more.trials) > len(first.trials)
  searched = [t.overrides for t in more.trials if t.cohort.startswith('search')]
  expected = [t.overrides for t in local.trials if t.cohort.startswith('search')]
  assert searched == expected


@pytest.mark.parametrize(
  ('keys', 'path'),
  [({'objective': 'eval_bow'}, 'sweep.objective'), ({'space': {'rat': 0.1}}, 'rat')],
)
def test_the_task_checks_the_sweep(keys, path):
  with pytest.raises(ConfigError) as error:
    lmhp.sweep(make_bowl(), make_sweep(**keys))
  assert str(error.value).startswith(f'{path}: ')


def test_an_override_of_its_base_values_is_refused():
  with pytest.raises(ConfigError) as error:
    lmhp.sweep(make_bowl(), make_sweep(), overrides={'rate': 0.5})
  assert str(error.value).startswith('rate: ')


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings(
  'ignore:os.fork', 'ignore::ResourceWarning', 'ignore::DeprecationWarning'
)
def test_a_ray_cluster_gives_the_same_study(local, tmp_path, monkeypatch):
  pytest.importorskip('ray', reason='needs the extra ray')
  package = str(pathlib.Path(lmhp.__file__).parents[1])
  monkeypatch.setenv('PYTHONPATH', package)
  result = lmhp.sweep(
    make_bowl(), make_sweep(), workdir=tmp_path / 'w', engine='ray', display='none'
  )
  assert facts_of(result) == facts_of(local)
  assert os.path.exists(tmp_path / 'w/report.html')
