"""Keys of optimizers and schedules that no trial of a sweep reads are refused."""

import pytest

import lmhp
from lmhp import Choice, Float, When
from lmhp.errors import ConfigError
from lmhp.sweeping.language_model_checks import checked_language_model
from lmhp.sweeping.space import Zip


@pytest.fixture
def check(tmp_path):
  """Checks a space with a base config that has these values."""
  text = tmp_path / 'text.txt'
  text.write_text('a tree grows ' * 200)

  def run(space, **values):
    config = lmhp.default_config()
    config.data.path = (str(text),)
    config.data.tokenizer = 'char'
    config.data.cache_dir = str(tmp_path / 'cache')
    config.model.max_seq_len = 8
    config.train.steps = 4
    config.train.batch_size = 2
    for path, value in values.items():
      section, _, key = path.partition('.')
      config[section][key] = value
    sweep = lmhp.SweepConfig(space=space, trials=2, match_budget='steps')
    return checked_language_model(config, sweep)

  return run


MOMENTUM = Float(0.5, 0.9)


def test_a_varied_key_that_the_optimizer_does_not_read_is_refused(check):
  with pytest.raises(ConfigError, match='^optimizer.momentum: .*optimizer.name=adamw'):
    check({'optimizer.momentum': MOMENTUM}, **{'optimizer.name': 'adamw'})


def test_a_varied_key_that_the_schedule_does_not_read_is_refused(check):
  space = {'schedule.cooldown_fraction': Float(0.1, 0.5)}
  with pytest.raises(ConfigError, match='^schedule.cooldown_fraction: .*=cosine'):
    check(space, **{'schedule.name': 'cosine'})


def test_a_fixed_key_of_the_space_that_nothing_reads_is_refused(check):
  space = {'optimizer.momentum': 0.5, 'optimizer.learning_rate': Float(0.1, 0.2)}
  with pytest.raises(ConfigError, match='^optimizer.momentum'):
    check(space, **{'optimizer.name': 'adamw'})


def test_a_key_that_one_of_the_varied_optimizers_reads_is_accepted(check):
  check({'optimizer.name': Choice('adamw', 'momentum'), 'optimizer.momentum': MOMENTUM})


def test_a_key_under_a_condition_is_compared_with_the_names_of_the_condition(check):
  names = Choice('adamw', 'momentum')
  for name, is_read in (('momentum', True), ('adamw', False)):
    space = {
      'optimizer.name': names,
      'optimizer.momentum': When('optimizer.name', name, MOMENTUM),
    }
    if is_read:
      check(space)
    else:
      with pytest.raises(ConfigError, match='^optimizer.momentum'):
        check(space)


def test_the_names_of_a_zip_count(check):
  rows = {'optimizer.name': ('adamw', 'momentum'), 'optimizer.learning_rate': (0.1, 1)}
  check(lmhp.Product(Zip(rows), {'optimizer.momentum': MOMENTUM}))


def test_a_key_of_the_base_config_that_no_trial_reads_is_refused(check):
  space = {'optimizer.learning_rate': Float(0.1, 0.2)}
  base = {'optimizer.name': 'adamw', 'optimizer.momentum': 0.5}
  with pytest.raises(ConfigError, match='^optimizer.momentum: got 0.5'):
    check(space, **base)


def test_a_key_of_the_base_config_that_a_varied_optimizer_reads_is_accepted(check):
  base = {'optimizer.name': 'adamw', 'optimizer.momentum': 0.5}
  check({'optimizer.name': Choice('adamw', 'momentum')}, **base)
