"""Keys of a sweep: their aliases, and the errors for names and values of other libraries."""

import collections

import pytest

from lmhp.errors import ConfigError
from lmhp.sweeping.config import SweepConfig, sweep_keys
from lmhp.sweeping.request import override


def test_each_alias_belongs_to_one_key():
  counts = collections.Counter()
  for declaration in sweep_keys().values():
    counts.update([*declaration.aliases, *declaration.converted_aliases])
  assert [alias for alias, n in counts.items() if n > 1] == []


@pytest.mark.parametrize(
  ('name', 'key'),
  [
    ('n_trials', 'sweep.trials'),
    ('num_samples', 'sweep.trials'),
    ('timeout', 'sweep.seconds'),
    ('sampler', 'sweep.search'),
    ('pruner', 'sweep.halving'),
    ('reduction_factor', 'sweep.eta'),
    ('n_jobs', 'sweep.max_pack_width'),
    ('search_space', 'sweep.space'),
    ('held_equal', 'sweep.match_budget'),
    ('trails', 'sweep.trials'),
  ],
)
def test_a_name_of_another_library_or_an_old_name_suggests_the_key(name, key):
  with pytest.raises(ConfigError, match=f"^sweep.{name}: no such key.*'{key}'"):
    SweepConfig(**{name: 1})


@pytest.mark.parametrize('name', ['direction', 'n_startup_trials', 'min_resource'])
def test_a_name_with_another_meaning_suggests_a_conversion(name):
  with pytest.raises(ConfigError, match=rf'^sweep.{name}: no such key.*\(') as error:
    SweepConfig(**{name: 1})
  assert 'sweep.' in str(error.value).partition('no such key')[2]


def test_an_override_of_the_budget_replaces_the_old_budget():
  sweep = override(SweepConfig(trials=5), {'tokens': '1e6'})
  assert sweep.trials is None
  assert sweep.tokens == 1e6


@pytest.mark.parametrize(
  'objective,directions',
  [
    ('eval_accuracy', ('maximize',)),
    ('eval_loss_nats', ('minimize',)),
    ('eval_bits_per_byte', ('minimize',)),
    ('latency_seconds', ('minimize',)),
    ('parameters', ('minimize',)),
    ('reward', ('maximize',)),
    ('val/f1', ('maximize',)),
    (('eval_accuracy', 'parameters'), ('maximize', 'minimize')),
  ],
)
def test_the_direction_of_an_objective_follows_its_name(objective, directions):
  sweep = SweepConfig(space={}, trials=1, objective=objective)
  assert sweep.directions == directions
  # A sweep that gets another objective has its direction.
  other = override(SweepConfig(space={}, trials=1), {'objective': objective})
  assert other.directions == directions


def test_a_direction_that_is_stated_counts():
  sweep = SweepConfig(space={}, trials=1, objective='eval_accuracy', maximize=())
  assert sweep.directions == ('minimize',)
  sweep = SweepConfig(space={}, trials=1, objective='loss', maximize='loss')
  assert sweep.signs == (-1.0,)
