"""Intervals of a schedule in steps, tokens, epochs and tokens per parameter."""

import pytest

from lmhp.errors import ConfigError
from lmhp.hypers import split
from lmhp.optim.schedules.config import ScheduleConfig, in_fractions
from lmhp.optim.schedules.shapes import unit_schedule


def test_intervals_given_in_steps_are_exact_at_any_length():
  for total in (997, 20_001, 1_000_003):
    cfg = in_fractions(
      ScheduleConfig(
        name='step',
        warmup_steps=7,
        cycle_steps=331,
        decay_factor=0.5,
        final_lr_ratio=0.0,
      ),
      total,
      1,
      1,
      1,
    )
    h = split(cfg)[1]
    steps = (7 + 331 - 1, 7 + 331, 7 + 2 * 331 - 1, 7 + 2 * 331)
    values = [float(unit_schedule(h, step, total)) for step in steps]
    assert values == [1.0, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(
  'field,value,fraction',
  [
    ('warmup_steps', 50, 0.25),
    ('warmup_tokens', 64_000, 0.5),
    ('warmup_epochs', 0.5, 0.2),
    ('warmup_tokens_per_parameter', 4, 0.125),
    ('cooldown_steps', 200, 1.0),
    ('cooldown_tokens', 64_000, 0.5),
    ('cooldown_epochs', 2, 0.8),
    ('cooldown_tokens_per_parameter', 8, 0.25),
    ('cycle_steps', 30, 0.15),
    ('cycle_tokens', 64, 0.0005),
    ('cycle_epochs', 1, 0.4),
    ('cycle_tokens_per_parameter', 1, 0.03125),
  ],
)
def test_intervals_in_other_units(field, value, fraction):
  # 200 steps of 640 tokens; 80 steps an epoch; 4,000 parameters
  cfg = in_fractions(ScheduleConfig(**{field: value}), 200, 640, 80, 4_000)
  interval = field.split('_')[0]
  assert getattr(cfg, f'{interval}_fraction') == pytest.approx(fraction)
  assert getattr(cfg, field) is None
  for other in {'warmup', 'cooldown', 'cycle'} - {interval}:
    assert getattr(cfg, f'{other}_fraction') == getattr(
      ScheduleConfig(), f'{other}_fraction'
    )


def test_structure_does_not_depend_on_the_unit_of_an_interval():
  one = in_fractions(ScheduleConfig(warmup_steps=50), 200, 640, 80, 4_000)
  assert split(one)[0] == split(ScheduleConfig(warmup_fraction=0.3))[0]


@pytest.mark.parametrize(
  'field,value,most',
  [
    ('warmup_steps', 201, '200'),
    ('cooldown_tokens', 128_001, '128000'),
    ('cycle_epochs', 3, '2.5'),
    ('warmup_tokens_per_parameter', 33, '32'),
  ],
)
def test_interval_longer_than_training_is_an_error(field, value, most):
  with pytest.raises(ConfigError, match=rf'schedule.{field}: got .*\b{most}\b'):
    in_fractions(ScheduleConfig(**{field: value}), 200, 640, 80, 4_000)


def test_cooldown_in_steps_that_overlaps_the_warmup_is_an_error():
  with pytest.raises(ConfigError, match='cooldown_fraction'):
    in_fractions(
      ScheduleConfig(name='wsd_linear', warmup_steps=150, cooldown_steps=60),
      200,
      640,
      80,
      4_000,
    )
