"""Search methods from outside the package: a toy method runs a study, and resumes it."""

import json
import pathlib
import sys
import textwrap

import jax.numpy as jnp
import pytest

import lmhp
from lmhp.errors import ConfigError
from lmhp.registry import importable_plugin_modules
from lmhp.sweeping.execution import pack_run
from lmhp.sweeping.request import override
from lmhp.sweeping.search.method import SEARCH_METHODS, SearchState, preview_points
from lmhp.sweeping.space import as_space

PLUGIN = '''
"""Golden section points: each cohort continues around the best point so far."""

from lmhp.declarations import static
from lmhp.sections import keys, keys_of
from lmhp.sweeping.config import register_search
from lmhp.sweeping.search.method import CohortPlan, SearchMethod
from lmhp.sweeping.space import CompiledSpace


@keys
class ToyKeys:
  toy_batch_size: int = static(2, 'points of a cohort', low=1)
  toy_width: float = static(0.25, 'first distance from the best point', low=0.0)


def next_cohort(state):
  n_missing = state.n_planned - state.first_point
  return CohortPlan('toy', min(n_missing, keys_of(state.sweep, ToyKeys).toy_batch_size))


def propose(state, n_points):
  space = CompiledSpace(state.space)
  (parameter,) = space.parameters
  ended = [trial for trial in state.trials if trial.values is not None]
  best = min(ended, key=lambda trial: trial.values[0], default=None)
  center = 0.5
  if best is not None:
    center = parameter.domain.unit_value(best.parameters[parameter.name])
  width = keys_of(state.sweep, ToyKeys).toy_width / (1 + state.first_point)
  points = []
  for i in range(n_points):
    place = min(max(center + width * (-1) ** i / (1 + i), 0.0), 1.0)
    points.append(space.point_at({parameter.name: place}))
  return points


register_search(
  'toy',
  SearchMethod(
    propose=propose,
    next_cohort=next_cohort,
    keys=ToyKeys,
    changeable_keys=('toy_batch_size',),
    depends_on_results=True,
  ),
)
'''


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
  """Imports a plugin that registers the method 'toy'."""
  folder = tmp_path_factory.mktemp('plugin')
  (folder / 'toy_search_plugin.py').write_text(textwrap.dedent(PLUGIN))
  sys.path.insert(0, str(folder))
  try:
    import toy_search_plugin  # pyright: ignore[reportMissingImports]

    yield toy_search_plugin
  finally:
    sys.path.remove(str(folder))


def init(hypers):
  return jnp.zeros(())


def step(x, hypers, i):
  loss = (jnp.log10(hypers['rate']) + 1.0) ** 2 + 1.0 / (1.0 + i)
  return x + 1, {'loss': loss}


SPACE = {'rate': lmhp.Float(1e-3, 1.0, log=True)}


@pytest.fixture
def sweep(tmp_path):
  def run(workdir='study', trials=7, **keys):
    task = lmhp.FunctionTask(init, step, {'rate': 0.5}, steps=4)
    config = lmhp.SweepConfig(
      space=SPACE,
      search='toy',
      trials=trials,
      objective='loss',
      execution='loop',
      confirm_points=0,
      **keys,
    )
    return lmhp.sweep(
      task, config, workdir=tmp_path / workdir, display='none', report=False
    )

  return run


def points_of(result):
  return [(trial.cohort, trial.parameters['rate']) for trial in result.trials]


def trials_file(result):
  lines = pathlib.Path(result.workdir, 'trials.jsonl').read_text().splitlines()
  trials = [json.loads(line) for line in lines]
  for trial in trials:
    del trial['seconds'], trial['device']
  return trials


def test_a_method_from_outside_runs_a_study(toy, sweep):
  result = sweep(toy_batch_size=3)
  cohorts = [trial.cohort for trial in result.trials]
  assert cohorts == ['search-0'] * 3 + ['search-1'] * 3 + ['search-2']
  assert result.best['rate'] == pytest.approx(0.1, rel=0.5)


def test_its_study_resumes_with_the_same_points(toy, sweep, monkeypatch):
  whole = sweep('whole')
  run = pack_run.PackRun.run
  n_packs = 0

  def stop_after_three(self, *arguments):
    nonlocal n_packs
    n_packs += 1
    if n_packs > 3:
      raise KeyboardInterrupt
    return run(self, *arguments)

  monkeypatch.setattr(pack_run.PackRun, 'run', stop_after_three)
  with pytest.raises(KeyboardInterrupt):
    sweep()
  monkeypatch.setattr(pack_run.PackRun, 'run', run)
  assert trials_file(sweep()) == trials_file(whole)


def test_its_study_is_extended_and_keeps_the_keys_of_its_cohorts(toy, sweep):
  first = sweep(trials=4, toy_batch_size=2)
  extended = sweep(trials=9, toy_batch_size=5)
  assert points_of(extended)[:4] == points_of(first)
  assert [cohort for cohort, _ in points_of(extended)[4:]] == ['search-2'] * 5


def test_its_keys_that_must_not_change_are_compared(toy, sweep):
  sweep(trials=4)
  with pytest.raises(ConfigError, match='^sweep.toy_width: got 0.1'):
    sweep(trials=6, toy_width=0.1)


def test_its_keys_are_checked_and_suggested(toy):
  with pytest.raises(ConfigError, match='^sweep.toy_batch_size: got 0'):
    lmhp.SweepConfig(search='toy', trials=3, toy_batch_size=0)
  with pytest.raises(ConfigError, match="'sweep.toy_batch_size'"):
    lmhp.SweepConfig(search='toy', trials=3, toy_batch_siz=2)
  sweep = lmhp.SweepConfig(search='toy', trials=3)
  assert override(sweep, {'toy_batch_size': '7'}).toy_batch_size == 7


def test_its_module_is_known(toy):
  assert 'toy_search_plugin' in importable_plugin_modules()


@pytest.mark.parametrize('name', list(SEARCH_METHODS))
def test_each_method_previews_points_without_results(name):
  if SEARCH_METHODS[name].packages:
    pytest.importorskip(next(iter(SEARCH_METHODS[name].packages)))
  needs_budget = SEARCH_METHODS[name].n_points is None
  config = lmhp.SweepConfig(
    space=SPACE, search=name, trials=4 if needs_budget else None
  )
  state = SearchState(sweep=config, space=as_space(SPACE), seed=0, n_planned=4)
  points = preview_points(name, state, 3)
  assert len(points) == 3
  assert all(point.parameters['rate'] in SPACE['rate'] for point in points)


def test_a_wrong_method_is_refused_with_the_nearest_name():
  with pytest.raises(ConfigError, match="^sweep.search: .*'halton'"):
    lmhp.SweepConfig(search='haltn', trials=3)
