"""Every mistake in a space is a ConfigError in one line, before anything runs."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from lmhp.declarations import declared
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
  check,
)
from lmhp.training.config import TrainConfig

SECTIONS = (OptimizerConfig, ScheduleConfig, TrainConfig)
DECLARATIONS = {
  f'{cls.SECTION}.{name}': d for cls in SECTIONS for name, d in declared(cls).items()
}
DEFAULTS = {k: v for cls in SECTIONS for k, v in flatten(cls()).items()} | {
  'train.steps': 1000
}
LR, B2, NAME = 'optimizer.learning_rate', 'optimizer.b2', 'schedule.name'


def test_a_sound_space_passes():
  check(
    Product(
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
    ),
    DECLARATIONS,
    DEFAULTS,
  )
  check(Subsample({LR: Float(1e-4, 1e-1)}, 4), DECLARATIONS, DEFAULTS)
  check({}, DECLARATIONS, DEFAULTS)


MISTAKES = [
  (
    {'optimizer.learning_rat': 1e-3},
    "optimizer.learning_rat: no such key; did you mean 'optimizer.learning_rate'?",
  ),
  (Zip({LR: (1, 2), 'x': (1, 2)}), 'x: no such key'),
  (
    {LR: Float(0.1, 1e-4)},
    f'{LR}: got Float(0.1, 0.0001), expected the lower bound below the upper',
  ),
  (
    {LR: Float(0.1, 0.1)},
    f'{LR}: got Float(0.1, 0.1), expected the lower bound below the upper',
  ),
  (
    {'train.steps': Int(8, 8)},
    'train.steps: got Int(8, 8), expected the lower bound below the upper',
  ),
  (
    {LR: Float(0, 0.1, log=True)},
    f'{LR}: got Float(0.0, 0.1, log=True), expected a lower bound above 0, since its '
    'logarithm is taken',
  ),
  (
    {LR: Float(-1, 0.1, log=True)},
    f'{LR}: got Float(-1.0, 0.1, log=True), expected a lower bound above 0, since',
  ),
  (
    {'train.steps': Int(0, 9, log=True)},
    'train.steps: got Int(0, 9, log=True), expected a lower bound above 0',
  ),
  (
    {LR: Float(0.1, math.inf)},
    f'{LR}: got Float(0.1, inf), expected finite numbers as its bounds',
  ),
  (
    {LR: Float(math.nan, 1)},
    f'{LR}: got Float(nan, 1.0), expected finite numbers as its bounds',
  ),
  (
    {LR: Float('1e-4', 1)},
    f"{LR}: got Float('1e-4', 1.0), expected finite numbers as its bounds",
  ),
  ({LR: Float(1, 10**400)}, f'{LR}: got Float(1.0, 1000'),
  (
    {'train.steps': Int(1.5, 9)},
    'train.steps: got Int(1.5, 9), expected whole numbers as its bounds',
  ),
  (
    {'train.steps': Int(True, 9)},
    'train.steps: got Int(True, 9), expected whole numbers as its bounds',
  ),
  ({LR: Float(-1, 1)}, f'{LR}: got -1.0 in Float(-1.0, 1.0), expected at least 0.0'),
  (
    {B2: Float(0.9, 1.0)},
    f'{B2}: got 1.0 in Float(0.9, 1.0), expected at least 0.0 and below 1.0',
  ),
  ({B2: 2}, f'{B2}: got 2, expected at least 0.0 and below 1.0'),
  (
    {B2: Choice(0.9, 1.5)},
    f'{B2}: got 1.5 in Choice(0.9, 1.5), expected at least 0.0 and below 1.0',
  ),
  (
    {LR: Choice(1e-3, math.inf)},
    f'{LR}: got inf in Choice(0.001, inf), expected at least 0.0',
  ),
  ({LR: math.nan}, f'{LR}: got nan, expected at least 0.0'),
  (
    {'schedule.power': Int(0, 2)},
    'schedule.power: got 0 in Int(0, 2), expected above 0.0',
  ),
  (
    {NAME: Choice('wsd_liner')},
    f"{NAME}: got 'wsd_liner' in Choice('wsd_liner'), expected one of constant, step,",
  ),
  (
    {NAME: Float(0, 1)},
    f'{NAME}: got Float(0.0, 1.0), expected a Choice of constant, step',
  ),
  ({NAME: Int(0, 3)}, f'{NAME}: got Int(0, 3), expected a Choice of constant, step'),
  (
    {'train.batch_size': Float(8, 16)},
    'train.batch_size: got Float(8.0, 16.0), expected whole numbers, as Int or ',
  ),
  (
    {'train.batch_size': Choice(8, 8.5)},
    'train.batch_size: got 8.5 in Choice(8, 8.5), expected whole numbers',
  ),
  ({'train.batch_size': True}, 'train.batch_size: got True, expected whole numbers'),
  (
    {LR: Choice('small', 'large')},
    f"{LR}: got 'small' in Choice('small', 'large'), expected numbers",
  ),
  ({LR: Choice(1e-3, (1e-3, 1e-4))}, f'{LR}: got (0.001, 0.0001) in Choice('),
  (
    {'optimizer.adafactor_parameter_scale': Int(0, 1)},
    'optimizer.adafactor_parameter_scale: got 0 in Int(0, 1), expected True or False',
  ),
  (
    {'optimizer.weight_decay_roles': Choice(('weight', 'tables'))},
    "optimizer.weight_decay_roles: got 'tables' in Choice(('weight', ",
  ),
  ({LR: np.random.default_rng(0)}, f'{LR}: got Generator(PCG64)'),
  ({LR: Choice()}, f'{LR}: got Choice(), expected at least one value'),
  (
    {LR: Choice(0.1, 0.2, 0.1)},
    f'{LR}: got 0.1 twice in Choice(0.1, 0.2, 0.1), expected values that differ',
  ),
  (
    Zip({LR: (1, 2), 'train.batch_size': (1, 2, 3)}),
    f'train.batch_size: got 3 values zipped with 2 of {LR}, expected as',
  ),
  (
    Zip({LR: (), B2: ()}),
    f'{LR}+{B2}: got a Zip of nothing, expected at least one value of each path',
  ),
  (Zip({}), 'zip: got a Zip of nothing'),
  (
    Zip({LR: (1, 1), B2: (0.9, 0.9)}),
    f'{LR}+{B2}: got ((1, 0.9), (1, 0.9)), expected rows that differ',
  ),
  (
    Zip({LR: (1, -1), B2: (0.9, 0.99)}),
    f'{LR}: got -1 in Choice(1, -1), expected at least 0.0',
  ),
  (Chain(), 'chain: got no spaces, expected at least one'),
  (
    {B2: When(NAME, 'cosine', 0.9)},
    f'{B2}: got a condition on {NAME}, expected a path of the space',
  ),
  (
    {B2: When('schedule.nam', 'cosine', 0.9), NAME: 'cosine'},
    f"{B2}: got a condition on schedule.nam, expected a path of the space; did you mean '{NAME}'?",
  ),
  (
    {B2: When(NAME, ('cosine', 'linaer'), 0.9), NAME: Choice('cosine', 'linear')},
    f"{B2}: got a condition on {NAME}='linaer', expected a value that it takes, of Choice('cosine', 'linear'); did "
    "you mean 'linear'?",
  ),
  (
    {B2: When(LR, 0.1, 0.9), LR: Float(0, 1)},
    f'{B2}: got a condition on {LR}=0.1, expected a value that it takes, of ',
  ),
  (
    {B2: When(NAME, 'cosine', 0.9), NAME: 'linear'},
    f"{B2}: got a condition on {NAME}='cosine', expected a value that it takes, of Fixed('linear')",
  ),
  (
    {B2: When(LR, 1, Choice(0.9, 0.95)), LR: When(B2, 0.9, Choice(1, 2))},
    f'{B2}: got conditions that go in a circle ({B2} -> {LR} -> {B2}), expected a first',
  ),
  (
    {B2: When(B2, 0.9, 0.9)},
    f'{B2}: got conditions that go in a circle ({B2} -> {B2})',
  ),
  (
    Product(
      {NAME: Choice('cosine', 'linear')},
      {B2: When(NAME, 'cosine', When(NAME, 'linear', 0.9))},
    ),
    f'{B2}: got conditions that exclude each other, expected some that hold together',
  ),
  (
    Product({LR: Float(0, 1)}, {LR: 0.1}),
    f'{LR}: got Float(0.0, 1.0) and Fixed(0.1) at the same time, expected one of ',
  ),
  (
    Product(
      {NAME: Choice('cosine', 'linear')},
      {LR: When(NAME, 'cosine', 1)},
      {LR: Float(0, 1)},
    ),
    f'{LR}: got Fixed(1) and Float(0.0, 1.0) at the same time',
  ),
  (
    Product({LR: 1}, Zip({LR: (1, 2), B2: (0.9, 0.8)})),
    f'{LR}: got Fixed(1) and Choice(0, 1) at the same time',
  ),
  (
    {LR: Float(0, 1, role='scientifc')},
    f"{LR}: got role='scientifc', expected scientific or nuisance or fixed; did you mean 'scientific'?",
  ),
  (
    {LR: Float(0, 1, role='fixed')},
    f"{LR}: got role='fixed' for Float(0.0, 1.0, role='fixed'), expected scientific or ",
  ),
  (
    Chain({LR: 1}, {LR: 2}, role=None),
    'chain: got role=None, expected scientific or nuisance or fixed',
  ),
  (
    Subsample({LR: Float(0, 1)}, 0),
    f'{LR}: got a Subsample of 0 points, expected a whole number, at least 1',
  ),
  (Subsample({LR: Float(0, 1)}, 2.5), f'{LR}: got a Subsample of 2.5 points'),
]


@pytest.mark.parametrize(
  'space, message', MISTAKES, ids=[message[:60] for _, message in MISTAKES]
)
def test_mistakes(space, message):
  with pytest.raises(ConfigError) as error:
    check(space, DECLARATIONS, DEFAULTS)
  assert str(error.value).startswith(message)
  assert '\n' not in str(error.value)


WORDS = st.sampled_from(['', 'cosine', 'weight', 'scientific', LR])
NUMBERS = st.one_of(
  st.none(),
  st.booleans(),
  st.integers(),
  st.floats(),
  st.just(10**400),
  WORDS,
  st.tuples(st.integers(), st.just('a')),
)
DOMAINS = st.one_of(
  NUMBERS,
  st.builds(Float, NUMBERS, NUMBERS, st.booleans()),
  st.builds(Int, NUMBERS, NUMBERS),
  st.builds(lambda values: Choice(*values), st.lists(NUMBERS, max_size=3)),
)
PATHS = st.sampled_from([*DECLARATIONS])


@settings(deadline=None)
@given(
  st.dictionaries(
    PATHS, st.one_of(DOMAINS, st.builds(When, PATHS, NUMBERS, DOMAINS)), max_size=4
  )
)
def test_any_space_passes_or_is_refused_with_its_reason(space):
  try:
    check(space, DECLARATIONS, DEFAULTS)
  except ConfigError as error:
    assert any(path in str(error) for path in space)
