"""Each mistake in a space is a ConfigError in one line, before a program runs."""

import math
import pickle

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from lmhp.declarations import Declaration, declared
from lmhp.errors import ConfigError
from lmhp.hypers import flatten
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.schedules.config import ScheduleConfig
from lmhp.sweeping.space import (
  Chain,
  Choice,
  Fixed,
  Float,
  Int,
  Product,
  Subsample,
  When,
  Zip,
  check_space,
)
from lmhp.training.config import TrainConfig

SECTIONS = (OptimizerConfig, ScheduleConfig, TrainConfig)
DECLARATIONS = {
  f'{cls.SECTION}.{name}': declaration
  for cls in SECTIONS
  for name, declaration in declared(cls).items()
}
DEFAULTS = {path: value for cls in SECTIONS for path, value in flatten(cls()).items()}
DEFAULTS['train.steps'] = 1000

LR = 'optimizer.learning_rate'
B2 = 'optimizer.b2'
NAME = 'schedule.name'


def test_a_valid_space_passes():
  space = Product(
    {
      LR: Float(1e-4, 1e-1, log=True),
      'optimizer.weight_decay': Choice(None, 0.0, 0.1),
      B2: Fixed(0.95),
      'optimizer.clip_norm': Choice(1, 0.5, math.inf),
      'optimizer.weight_decay_roles': Choice(
        ('weight',), ('weight', 'table'), 'weight'
      ),
      'optimizer.adafactor_parameter_scale': Choice(True, False),
      NAME: Choice('cosine', 'wsd_linear'),
      'schedule.cooldown_fraction': When(NAME, 'wsd_linear', Float(0.05, 1)),
      'schedule.power': Int(1, 3),
      'train.seed': Int(0, 9),
    },
    Zip({'train.batch_size': (8, 8, 16), 'train.steps': (200, 100, 100)}),
    Chain(
      {'train.z_loss': 1e-4},
      {'train.label_smoothing': Float(0, 0.1)},
      role='nuisance',
    ),
  )
  check_space(space, DECLARATIONS, DEFAULTS)


@pytest.mark.parametrize('space', [{}, Subsample({LR: Float(1e-4, 1e-1)}, 4)], ids=repr)
def test_small_spaces_pass(space):
  check_space(space, DECLARATIONS, DEFAULTS)


# Space, path that the message begins with, and what the message must contain.
UNKNOWN_PATHS = [
  ({'optimizer.learning_rat': 1e-3}, 'optimizer.learning_rat', [LR]),
  (Zip({LR: (1, 2), 'x': (1, 2)}), 'x', []),
]
INTERVALS = [
  ({LR: Float(0.1, 1e-4)}, LR, ['Float(0.1, 0.0001)']),
  ({LR: Float(0.1, 0.1)}, LR, ['Float(0.1, 0.1)']),
  ({'train.steps': Int(8, 8)}, 'train.steps', ['Int(8, 8)']),
  ({LR: Float(0, 0.1, log=True)}, LR, ['Float(0.0, 0.1, log=True)', 'above 0']),
  ({LR: Float(-1, 0.1, log=True)}, LR, ['Float(-1.0, 0.1, log=True)', 'above 0']),
  ({'train.steps': Int(0, 9, log=True)}, 'train.steps', ['above 0']),
  ({LR: Float(0.1, math.inf)}, LR, ['Float(0.1, inf)', 'finite numbers']),
  ({LR: Float(math.nan, 1)}, LR, ['Float(nan, 1.0)', 'finite numbers']),
  ({LR: Float('1e-4', 1)}, LR, ["Float('1e-4', 1.0)", 'finite numbers']),
  ({LR: Float(1, 10**400)}, LR, ['Float(1.0, 1000', 'finite numbers']),
  ({'train.steps': Int(1.5, 9)}, 'train.steps', ['Int(1.5, 9)', 'whole numbers']),
  ({'train.steps': Int(True, 9)}, 'train.steps', ['Int(True, 9)', 'whole numbers']),
]
VALUES = [
  ({LR: Float(-1, 1)}, LR, ['-1.0 in Float(-1.0, 1.0)', 'at least 0.0']),
  ({B2: Float(0.9, 1.0)}, B2, ['1.0 in Float(0.9, 1.0)', 'below 1.0']),
  ({B2: 2}, B2, ['got 2,', 'at least 0.0 and below 1.0']),
  ({B2: Choice(0.9, 1.5)}, B2, ['1.5 in Choice(0.9, 1.5)', 'below 1.0']),
  ({LR: Choice(1e-3, math.inf)}, LR, ['inf in Choice(0.001, inf)', 'at least 0.0']),
  ({LR: math.nan}, LR, ['got nan', 'at least 0.0']),
  ({'schedule.power': Int(0, 2)}, 'schedule.power', ['0 in Int(0, 2)', 'above 0.0']),
  ({NAME: Choice('wsd_liner')}, NAME, ["'wsd_liner'", 'constant', "'wsd_linear'?"]),
  ({NAME: Float(0, 1)}, NAME, ['Float(0.0, 1.0)', 'Choice of constant']),
  ({NAME: Int(0, 3)}, NAME, ['Int(0, 3)', 'Choice of constant']),
  (
    {'train.batch_size': Float(8, 16)},
    'train.batch_size',
    ['Float(8.0, 16.0)', 'whole numbers', 'Int'],
  ),
  (
    {'train.batch_size': Choice(8, 8.5)},
    'train.batch_size',
    ['8.5 in Choice(8, 8.5)', 'whole numbers'],
  ),
  ({'train.batch_size': True}, 'train.batch_size', ['got True', 'whole numbers']),
  ({LR: Choice('small', 'large')}, LR, ["'small' in Choice", 'numbers']),
  ({LR: Choice(1e-3, (1e-3, 1e-4))}, LR, ['(0.001, 0.0001) in Choice(']),
  (
    {'optimizer.adafactor_parameter_scale': Int(0, 1)},
    'optimizer.adafactor_parameter_scale',
    ['0 in Int(0, 1)', 'True or False'],
  ),
  (
    {'optimizer.weight_decay_roles': Choice(('weight', 'tables'))},
    'optimizer.weight_decay_roles',
    ["'tables' in Choice", "'table'?"],
  ),
  ({LR: np.random.default_rng(0)}, LR, ['Generator(PCG64)']),
  ({LR: Choice()}, LR, ['Choice()']),
  ({LR: Choice(0.1, 0.2, 0.1)}, LR, ['got 0.1 twice in Choice(0.1, 0.2, 0.1)']),
]
ZIPS_AND_CHAINS = [
  (
    Zip({LR: (1, 2), 'train.batch_size': (1, 2, 3)}),
    'train.batch_size',
    ['got 3 values', 'expected 2', LR],
  ),
  (Zip({LR: (), B2: ()}), f'{LR}+{B2}', []),
  (Zip({}), 'zip', []),
  (Zip({LR: (1, 1), B2: (0.9, 0.9)}), f'{LR}+{B2}', ['((1, 0.9), (1, 0.9))']),
  (Zip({LR: (1, -1), B2: (0.9, 0.99)}), LR, ['-1 in Choice(1, -1)', 'at least 0.0']),
  (Chain(), 'chain', []),
]
CONDITIONS = [
  ({B2: When(NAME, 'cosine', 0.9)}, B2, [f'a condition on {NAME}', 'a path of']),
  ({B2: When('schedule.nam', 'cosine', 0.9), NAME: 'cosine'}, B2, [f"'{NAME}'?"]),
  (
    {B2: When(NAME, ('cosine', 'linaer'), 0.9), NAME: Choice('cosine', 'linear')},
    B2,
    [f"{NAME}='linaer'", "Choice('cosine', 'linear')", "'linear'?"],
  ),
  ({B2: When(LR, 0.1, 0.9), LR: Float(0, 1)}, B2, [f'{LR}=0.1', 'Float(0.0, 1.0)']),
  (
    {B2: When(NAME, 'cosine', 0.9), NAME: 'linear'},
    B2,
    [f"{NAME}='cosine'", "Fixed('linear')"],
  ),
  (
    {B2: When(LR, 1, Choice(0.9, 0.95)), LR: When(B2, 0.9, Choice(1, 2))},
    B2,
    [f'({B2} -> {LR} -> {B2})'],
  ),
  ({B2: When(B2, 0.9, 0.9)}, B2, [f'({B2} -> {B2})']),
  (
    Product(
      {NAME: Choice('cosine', 'linear')},
      {B2: When(NAME, 'cosine', When(NAME, 'linear', 0.9))},
    ),
    B2,
    ['exclude each other'],
  ),
  (
    Product({LR: Float(0, 1)}, {LR: 0.1}),
    LR,
    ['Float(0.0, 1.0) and Fixed(0.1) at the same time'],
  ),
  (
    Product(
      {NAME: Choice('cosine', 'linear')},
      {LR: When(NAME, 'cosine', 1)},
      {LR: Float(0, 1)},
    ),
    LR,
    ['Fixed(1) and Float(0.0, 1.0) at the same time'],
  ),
  (
    Product({LR: 1}, Zip({LR: (1, 2), B2: (0.9, 0.8)})),
    LR,
    ['Fixed(1) and Choice(0, 1) at the same time'],
  ),
]
ROLES_AND_SUBSAMPLES = [
  ({LR: Float(0, 1, role='scientifc')}, LR, ["'scientifc'", "'scientific'?"]),
  ({LR: Float(0, 1, role='fixed')}, LR, ["role='fixed'", 'scientific or nuisance']),
  (Chain({LR: 1}, {LR: 2}, role=None), 'chain', ['role=None']),
  (Subsample({LR: Float(0, 1)}, 0), LR, ['Subsample of 0 points', 'at least 1']),
  (Subsample({LR: Float(0, 1)}, 2.5), LR, ['Subsample of 2.5 points']),
]


@pytest.mark.parametrize(
  'space, path, fragments',
  [
    *UNKNOWN_PATHS,
    *INTERVALS,
    *VALUES,
    *ZIPS_AND_CHAINS,
    *CONDITIONS,
    *ROLES_AND_SUBSAMPLES,
  ],
)
def test_a_mistake_is_refused(space, path, fragments):
  with pytest.raises(ConfigError) as error:
    check_space(space, DECLARATIONS, DEFAULTS)
  message = str(error.value)
  assert message.startswith(f'{path}: ')
  assert all(fragment in message for fragment in fragments), message
  assert '\n' not in message


def test_the_suggestion_for_an_unknown_path_may_come_from_outside():
  with pytest.raises(ConfigError, match='no such key, but beta2 is'):
    check_space(
      {'beta2': 0.9},
      DECLARATIONS,
      DEFAULTS,
      lambda path: f', but {path} is optimizer.b2',
    )


WORDS = st.sampled_from(['', 'cosine', 'weight', 'scientific', LR])
ANY_VALUE = st.one_of(
  st.none(),
  st.booleans(),
  st.integers(),
  st.floats(),
  st.just(10**400),
  WORDS,
  st.tuples(st.integers(), st.just('a')),
)
ANY_DOMAIN = st.one_of(
  ANY_VALUE,
  st.builds(Float, ANY_VALUE, ANY_VALUE, st.booleans()),
  st.builds(Int, ANY_VALUE, ANY_VALUE),
  st.lists(ANY_VALUE, max_size=3).map(lambda values: Choice(*values)),
)
ANY_PATH = st.sampled_from([*DECLARATIONS])
ANY_ITEM = st.one_of(ANY_DOMAIN, st.builds(When, ANY_PATH, ANY_VALUE, ANY_DOMAIN))


@settings(deadline=None)
@given(st.dictionaries(ANY_PATH, ANY_ITEM, max_size=4))
def test_any_space_passes_or_is_refused_with_its_path(space):
  try:
    check_space(space, DECLARATIONS, DEFAULTS)
  except ConfigError as error:
    assert any(path in str(error) for path in space)


@pytest.mark.parametrize(
  'value,named',
  [
    ([0.1, 0.2, 0.3], r'lmhp.Choice\(0.1, 0.2, 0.3\)'),
    ({'values': [0.1, 0.2]}, 'lmhp.Choice'),
    ({'min': 0.1, 'max': 0.2}, 'lmhp.Float'),
    (Float(0.1, 0.2, 'linear'), 'log=True'),
  ],
)
def test_spaces_of_other_libraries_are_answered_with_the_class(value, named):
  path = 'optimizer.learning_rate'
  with pytest.raises(ConfigError, match=f'^{path}: .*{named}'):
    check_space({path: value}, {path: Declaration()}, {path: 0.1})


@pytest.mark.parametrize('domain', [Float, Int])
def test_a_step_is_answered_with_a_choice(domain):
  with pytest.raises(ConfigError, match='step=2.*lmhp.Choice'):
    domain(2, 8, step=2)
  assert pickle.loads(pickle.dumps(domain(2, 8))) == domain(2, 8)


@pytest.mark.parametrize(
  'make, choice',
  [
    (lambda: Int(64, 256, step=64), r'Choice\(64, 128, 192, 256\)'),
    (lambda: Int(1, 9, step=3), r'Choice\(1, 4, 7\)'),
    (lambda: Float(0.0, 0.3, step=0.1), r'Choice\(0\.0, 0\.1, 0\.2, 0\.3\)'),
    (lambda: Float(0.0, high=1.0, step=0.01), r'Choice\(\*.* range\(101\)\)\)'),
    (lambda: Int(1, 2, step='a'), r'Choice\(LOW, .*\)'),
  ],
)
def test_an_interval_with_a_step_is_answered_with_the_choice_of_its_values(
  make, choice
):
  with pytest.raises(ConfigError, match=f'expected no step; write lmhp.{choice}$'):
    make()
