"""Keys that are set although another key switches them off."""

import fnmatch

import jax
from jax.interpreters import partial_eval
import numpy as np
import pytest

from lmhp.config import from_json, resolve, to_json
from lmhp.config_keys import (
  READ_RULES,
  check_set_keys_are_read,
  keys,
  reason_unread,
  unread_set_keys,
)
from lmhp.errors import ConfigError
from lmhp.hypers import flatten
from lmhp.model.presets import PRESETS
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.spec import OPTIMIZERS, SCHEDULES
from lmhp.sweeping.tasks.language_model import LanguageModel
from lmhp.training.chunks import NO_STEPS
from lmhp.training.config import RunConfig


def unread(**sections):
  return tuple(unread_set_keys(resolve(sections)))


@pytest.mark.parametrize(
  'values,expected',
  [
    ({}, ()),
    ({'b1': 0.8}, ()),
    ({'name': 'adamw', 'momentum': 0.5}, ('optimizer.momentum',)),
    ({'name': 'momentum', 'momentum': 0.5}, ()),
    ({'name': 'lion', 'eps': 1e-3}, ('optimizer.eps',)),
    ({'name': 'sgd', 'b1': 0.1, 'b2': 0.2}, ('optimizer.b1', 'optimizer.b2')),
    ({'name': 'adamw', 'adafactor_min_size': 7}, ('optimizer.adafactor_min_size',)),
    ({'name': 'adafactor', 'adafactor_min_size': 7}, ()),
    ({'name': 'adamw', 'muon_scaling': 'width'}, ('optimizer.muon_scaling',)),
    ({'name': 'sgd', 'clip_norm': 3.0, 'freeze': ('output',), 'weight_decay': 0.0}, ()),
    (
      {'weight_decay': 0.0, 'weight_decay_roles': ('weight',)},
      ('optimizer.weight_decay_roles',),
    ),
  ],
)
def test_unread_keys_of_the_optimizer(values, expected):
  assert unread(optimizer=values) == expected


@pytest.mark.parametrize(
  'values,expected',
  [
    ({}, ()),
    ({'name': 'cosine', 'cooldown_fraction': 0.3}, ('schedule.cooldown_fraction',)),
    ({'name': 'wsd_linear', 'cooldown_fraction': 0.3}, ()),
    ({'name': 'cosine', 'cycle_tokens': 30}, ('schedule.cycle_tokens',)),
    ({'name': 'step', 'cycle_tokens': 30, 'decay_factor': 0.9}, ()),
    ({'name': 'constant', 'final_lr_ratio': 0.0}, ('schedule.final_lr_ratio',)),
    ({'name': 'constant', 'warmup_steps': 3, 'initial_lr_ratio': 0.5}, ()),
    ({'warmup_fraction': 0.0, 'initial_lr_ratio': 0.5}, ('schedule.initial_lr_ratio',)),
    ({'name': 'linear', 'power': 3.0}, ('schedule.power',)),
    ({'name': 'polynomial', 'power': 3.0}, ()),
  ],
)
def test_unread_keys_of_the_schedule(values, expected):
  assert unread(schedule=values) == expected


@pytest.mark.parametrize(
  'sections,expected',
  [
    ({'data': {'mask_fraction': 0.3}}, ('data.mask_fraction',)),
    ({'data': {'mask_fraction': 0.3, 'objective': 'masked'}}, ()),
    ({'data': {'span_length': 5.0}}, ('data.span_length',)),
    ({'data': {'tokenizer_vocab_size': 300}}, ('data.tokenizer_vocab_size',)),
    ({'data': {'tokenizer_vocab_size': 300, 'tokenizer': 'bpe'}}, ()),
    ({'model': {'experts_per_token': 4}}, ('model.experts_per_token',)),
    ({'model': {'experts_per_token': 4, 'n_experts': 8}}, ()),
    ({'model': {'rotary_base': 5e5, 'position': 'none'}}, ('model.rotary_base',)),
    ({'model': {'rotary_base': 5e5, 'position': 'rotary'}}, ()),
    ({'model': {'sliding_window': 4}}, ('model.sliding_window',)),
    ({'model': {'conv_width': 3}}, ('model.conv_width',)),
    ({'model': {'conv_width': 3, 'mixer_pattern': ('lstm',)}}, ('model.conv_width',)),
    (
      {'model': {'mixer_head_dim': 8, 'mixer_pattern': ('convolution', 'attention')}},
      ('model.mixer_head_dim',),
    ),
    ({'model': {'conv_width': 3, 'mixer_pattern': ('attention', 'rglru')}}, ()),
    # A checkpoint may have keys without an effect.
    ({'model': {'sliding_window': 4}, 'train': {'init_from': 'directory'}}, ()),
  ],
)
def test_unread_keys_of_the_other_sections(sections, expected):
  assert unread(**sections) == expected


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_the_defaults_of_every_optimizer_count_as_not_set(name):
  assert unread(optimizer={'name': name}) == ()


@pytest.mark.parametrize('name', SCHEDULES)
def test_the_defaults_of_every_schedule_count_as_not_set(name):
  assert unread(schedule={'name': name}) == ()


@pytest.mark.parametrize('name', sorted(PRESETS)[::5])
def test_presets_set_no_key_without_an_effect(name):
  assert unread(model=PRESETS[name]) == ()


def test_a_stored_config_has_no_unread_keys():
  cfg = from_json(to_json(resolve({'optimizer': {'name': 'lion'}})))
  assert not unread_set_keys(cfg)


def test_check_names_the_key_and_the_optimizer():
  check_set_keys_are_read(
    RunConfig(optimizer=OptimizerConfig(name='momentum', momentum=0.5))
  )
  with pytest.raises(
    ConfigError, match="optimizer.momentum: got 0.5.*optimizer.name='adamw'"
  ):
    check_set_keys_are_read(RunConfig(optimizer=OptimizerConfig(momentum=0.5)))


def test_rules_are_about_keys_that_exist():
  for rule in READ_RULES:
    assert {*rule.paths, rule.decider} <= set(keys())


# The programs decide which traced numbers have an effect: JAX removes the operations whose
# results are not used, and the arguments that nothing reads.


def traced_numbers_read(task):
  """Returns the paths of the traced numbers that an update reads."""
  job = task.job({})
  programs = task.programs(job)
  _, data = next(task.feed(job, [job.hypers], False, 0, iter([1, 1])))
  state = jax.tree.map(
    lambda x: np.zeros(x.shape, x.dtype), programs.abstract_state(job.hypers)
  )

  def update(hypers):
    return programs.chunk_function()(state, hypers, data, NO_STEPS)

  jaxpr = jax.make_jaxpr(update)(job.hypers).jaxpr
  _, used = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
  leaves = jax.tree_util.tree_leaves_with_path(job.hypers)
  return {
    '.'.join(part.key for part in path)
    for (path, _), is_used in zip(leaves, used, strict=True)
    if is_used
  }


EXEMPT = (
  'schedule.*',  # the program contains all schedules
  '*_lr_multiplier',  # the model may have no parameters of a kind
  'model.*_dropout',  # a rate of 0 is static
  '*.seed',
  'data.mixture_weights',
  'model.init_scale',  # read before the first update
)


@pytest.mark.parametrize('name', ['adamw', 'sgd', 'lion', 'muon'])
@pytest.mark.parametrize('n_experts', [0, 2])
def test_rules_agree_with_the_programs(small, name, n_experts):
  config = small(**{'optimizer.name': name, 'model.n_experts': n_experts})
  task = LanguageModel(config)
  values = flatten(task.base)
  read = traced_numbers_read(task)
  for path, key in keys().items():
    if key.traced and not any(fnmatch.fnmatch(path, pattern) for pattern in EXEMPT):
      assert (path in read) == (reason_unread(path, values) is None), path
