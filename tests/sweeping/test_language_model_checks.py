"""Keys that a point of a sweep does not read are refused."""

import pytest

import lmhp
from lmhp import Choice, Float, When
from lmhp.errors import ConfigError
from lmhp.sweeping import request
from lmhp.sweeping.language_model_checks import checked_language_model
from lmhp.sweeping.request import build_request
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
  with pytest.raises(
    ConfigError, match="^optimizer.momentum: .*optimizer.name='adamw'"
  ):
    check({'optimizer.momentum': MOMENTUM}, **{'optimizer.name': 'adamw'})


def test_a_varied_key_that_the_schedule_does_not_read_is_refused(check):
  space = {'schedule.cooldown_fraction': Float(0.1, 0.5)}
  with pytest.raises(ConfigError, match="^schedule.cooldown_fraction: .*='cosine'"):
    check(space, **{'schedule.name': 'cosine'})


def test_a_fixed_key_of_the_space_that_nothing_reads_is_refused(check):
  space = {'optimizer.momentum': 0.5, 'optimizer.learning_rate': Float(0.1, 0.2)}
  with pytest.raises(ConfigError, match='^optimizer.momentum'):
    check(space, **{'optimizer.name': 'adamw'})


def test_a_key_that_only_one_of_the_varied_optimizers_reads_needs_a_condition(check):
  space = {
    'optimizer.name': Choice('adamw', 'momentum'),
    'optimizer.momentum': MOMENTUM,
  }
  with pytest.raises(ConfigError, match='^optimizer.momentum: .*lmhp.When\\(') as error:
    check(space)
  proposed = str(error.value).partition('expected ')[2]
  check({**space, 'optimizer.momentum': eval(proposed, {'lmhp': lmhp, 'Float': Float})})


def test_a_chain_has_no_condition_of_its_own(check):
  adamw = {'optimizer.name': 'adamw', 'optimizer.b2': Float(0.9, 0.99)}
  momentum = {'optimizer.name': 'momentum', 'optimizer.momentum': MOMENTUM}
  check(lmhp.Chain(adamw, momentum))
  with pytest.raises(ConfigError, match='^optimizer.momentum'):
    check(lmhp.Chain(momentum, {**adamw, 'optimizer.momentum': MOMENTUM}))


@pytest.mark.parametrize(
  'path,domain',
  [
    ('data.mask_fraction', Float(0.1, 0.3)),
    ('data.span_length', Float(2.0, 5.0)),
    ('data.tokenizer_vocab_size', Choice(300, 400)),
    ('model.experts_per_token', Choice(1, 2)),
    ('model.load_balance_loss', Float(0.1, 0.2)),
    ('optimizer.muon_lr_multiplier', Float(0.1, 2.0)),
    ('optimizer.b3', Float(0.1, 0.9)),
    ('schedule.rex_beta', Float(0.1, 0.9)),
    ('schedule.cycle_steps', Choice(1, 2)),
    ('optimizer.positional_lr_multiplier', Float(0.5, 2.0)),
    ('log.every_steps', Choice(1, 2)),
    ('log.tensorboard', Choice(True, False)),
    ('checkpoint.keep_last', Choice(1, 2)),
    ('evaluate.every_steps', Choice(1, 2)),
  ],
)
def test_a_varied_key_that_nothing_reads_is_refused(check, path, domain):
  with pytest.raises(ConfigError, match=f'^{path}: '):
    check({path: domain})


def test_a_key_that_another_key_switches_on_is_accepted(check):
  check(
    {
      'model.n_experts': Choice(0, 2),
      'model.load_balance_loss': When('model.n_experts', 2, Float(0.1, 0.2)),
    }
  )


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
  momentum = When('optimizer.name', 'momentum', MOMENTUM)
  check(lmhp.Product(Zip(rows), {'optimizer.momentum': momentum}))


def test_a_key_of_the_base_config_that_no_trial_reads_is_refused(check):
  space = {'optimizer.learning_rate': Float(0.1, 0.2)}
  base = {'optimizer.name': 'adamw', 'optimizer.momentum': 0.5}
  with pytest.raises(ConfigError, match='^optimizer.momentum: got 0.5'):
    check(space, **base)


def test_a_key_of_the_base_config_that_a_varied_optimizer_reads_is_accepted(check):
  base = {'optimizer.name': 'adamw', 'optimizer.momentum': 0.5}
  check({'optimizer.name': Choice('adamw', 'momentum')}, **base)


def test_a_multiplier_of_a_kind_without_parameters_is_refused(check):
  space = {'optimizer.learning_rate': Float(0.1, 0.2)}
  with pytest.raises(ConfigError, match='^optimizer.positional_lr_multiplier: got 2'):
    check(space, **{'optimizer.positional_lr_multiplier': 2.0})
  # The model has positions at some points.
  check(
    {'model.position': Choice('learned', 'rotary')},
    **{'optimizer.positional_lr_multiplier': 2.0},
  )


def test_a_key_that_only_train_reads_is_said(small, caplog):
  sweep = lmhp.SweepConfig(space={'optimizer.learning_rate': Float(0.1, 0.2)}, trials=2)
  build_request(small(**{'checkpoint.keep_last': 5}), sweep, {})
  assert [r.message.partition(':')[0] for r in caplog.records] == [
    'checkpoint.keep_last',
    'log.tensorboard',
  ]


def test_a_gpu_without_bfloat16_is_named(small, caplog, monkeypatch):
  monkeypatch.setattr(request, 'missing_bfloat16', lambda dtype: f'T4, {dtype}')
  sweep = lmhp.SweepConfig(space={'optimizer.learning_rate': Float(0.1, 0.2)}, trials=2)
  build_request(small(**{'model.dtype': 'float32'}), sweep, {})
  assert 'T4, float32' in [record.message for record in caplog.records]
