"""Configs: overrides of every key, all forms of a config, and JSON without loss."""

import copy
import dataclasses
import json
import math
import pathlib
import sys
import typing

from ml_collections import ConfigDict, FrozenConfigDict, config_dict
import numpy as np
import pytest

import lmhp
from lmhp import config_help as help_lib, config_keys
from lmhp.config import complete, from_json, override, resolve, to_config_dict, to_json
from lmhp.config_keys import SECTIONS, parse
from lmhp.errors import ConfigError
from lmhp.experiment import load
from lmhp.hypers import differences, flatten
from lmhp.sections import types_of

# What a key needs beside it to be allowed, where its own value is not enough.
COMPANIONS = {
  'model.sliding_window': {},
  'model.attention_pattern': {'model.sliding_window': 5},
  'model.embedding_projection': {'model.embedding_dim': 8},
  'model.n_encoder_layers': {'model.architecture': 'encoder_decoder'},
  'model.shared_norm': {'model.parallel_residual': True},
  'model.norm_unit_offset': {},
  'model.n_kv_heads': {'model.n_heads': 4},
  'model.rotary_low_frequency_factor': {},
  'data.mixture_weights': {'data.path': ('a', 'b')},
  'train.grad_accumulation_steps': {'train.batch_size': 16},
}

KEYS = config_keys.keys()
HINTS = {name: types_of(cls) for name, cls in config_keys.SECTIONS.items()}


def another(path):
  """Returns a value other than the default that the key allows, and its text."""
  section, _, name = path.partition('.')
  declaration = KEYS[path]
  default = SECTIONS[section].__dataclass_fields__[name].default
  hint = HINTS[section][name]
  options = (
    typing.get_args(hint)
    if typing.get_args(hint) and typing.get_origin(hint) is not tuple
    else (hint,)
  )
  tuples = [o for o in options if typing.get_origin(o) is tuple]
  if tuples:
    element = typing.get_args(tuples[0])[0]
    if declaration.choices:
      value = tuple(c for c in declaration.choices if (c,) != default)[:1]
      value = value + value if (value == default) else value
    else:
      value = {float: (0.5, 0.25), int: (1, 3)}.get(element, ('a', 'b'))
    return value, ','.join(map(str, value))
  if declaration.choices:
    value = next((c for c in declaration.choices if c != default), default)
    return value, value
  if bool in options:
    value = not default
    value = False if path == 'model.final_norm' else value  # None becomes True
    return value, str(value)
  if str in options:
    return 'word', 'word'
  low, high = declaration.low, declaration.high
  if int in options:
    value = max(2 if default != 2 else 4, int(low or 0) + (low == default))
    value = 8 if path in ('model.d_model', 'model.head_dim') else value
    return value, str(value)
  value = 0.625 if high is not None and high <= 1 else max(1.5, (low or 0) + 0.5)
  return value, f'{value:.4e}'


@pytest.mark.parametrize('path', KEYS)
def test_every_override_reaches_the_resolved_config(path):
  value, text = another(path)
  for given in (text, value):
    config = override(lmhp.default_config(), {**COMPANIONS.get(path, {}), path: given})
    assert flatten(resolve(config))[path] == value
  default = flatten(lmhp.RunConfig())[path]
  assert value != default or KEYS[path].choices == (value,)


@pytest.mark.parametrize('path', KEYS)
def test_an_override_changes_nothing_else(path):
  _, text = another(path)
  companions = COMPANIONS.get(path, {})
  base = resolve(override(lmhp.default_config(), companions))
  changed = resolve(override(lmhp.default_config(), {**companions, path: text}))
  derived = {
    'model.d_model': {
      'model.head_dim',
      'model.d_ff',
      'model.embedding_dim',
      'model.attention_scale',
    },
    'model.n_heads': {'model.head_dim', 'model.n_kv_heads', 'model.attention_scale'},
    'model.head_dim': {'model.attention_scale'},
    'model.attention_scale': set(),
    'model.activation': {'model.head_activation'},
    'model.norm_placement': {'model.final_norm'},
    'model.rotary_base': {'model.rotary_base_local'},
    'model.n_experts': {'model.d_ff_expert'},
    'model.kv_latent_dim': {'model.rotary_head_dim', 'model.value_head_dim'},
    'model.mixer_pattern': {'model.mixer_dim', 'model.mixer_head_dim'},
    'model.max_seq_len': {'model.rotary_original_max_seq_len'},
    'optimizer.name': {p for p in KEYS if p.startswith('optimizer.')},
    'optimizer.weight_decay_mode': {'optimizer.weight_decay'},
    'data.path': {'data.mixture_weights'},
  }
  assert set(differences(base, changed)) - {path} <= derived.get(path, set())


@pytest.mark.parametrize(
  'text, hint, value',
  [
    ('5', int, 5),
    ('-5', int, -5),
    ('1e3', int, 1000.0),
    ('1_000', int, 1000),
    ('0x10', int, 16),
    ('007', int, '007'),
    ('.5', float, 0.5),
    ('5.', float, 5.0),
    ('1E-3', float, 1e-3),
    (' 3 ', float, 3),
    ('inf', float, math.inf),
    ('-INF', float, -math.inf),
    ('None', float | None, None),
    ('none', float | None, None),
    ('None', float, None),
    ('none', str, 'none'),
    ('None', str, 'None'),
    ('None', str | None, None),
    ('True', str, 'True'),
    ('5', str, '5'),
    ("'quoted'", str, 'quoted'),
    ('a=b', str, 'a=b'),
    ('', str, ''),
    ('größe', str, 'größe'),
    ('a,b', str, 'a,b'),
    ('True', bool, True),
    ('false', bool, False),
    ('1', bool, True),
    ('0', bool, False),
    ('no', bool, 'no'),
    ('a', tuple[str, ...], ('a',)),
    ('a, b,', tuple[str, ...], ('a', 'b')),
    ('()', tuple[str, ...], ()),
    ('', tuple[str, ...], ()),
    ("('a', 'b,c')", tuple[str, ...], ('a', 'b,c')),
    ('["a"]', tuple[str, ...], ['a']),
    ('2024', tuple[str, ...], ('2024',)),
    ('(a) b.txt', tuple[str, ...], ('(a) b.txt',)),
    ('1,0.5', tuple[float, ...], (1, 0.5)),
    ('3', tuple[float, ...], (3,)),
    ('(1, 2)', tuple[float, ...], (1, 2)),
    ('(' * 500, int, '(' * 500),
    ('9' * 5000, int, '9' * 5000),
    ('{}', int, {}),
    ('1j', float, 1j),
  ],
)
def test_text_is_parsed_by_the_type_of_its_key(text, hint, value):
  parsed = parse(text, hint)
  assert parsed == value and type(parsed) is type(value)


def test_override_may_be_a_value_instead_of_text():
  values = {
    'train.steps': np.int64(7),
    'optimizer.learning_rate': np.float32(0.5),
    'model.gated': np.bool_(True),
    'data.path': ['a', 'b'],
    'data.mixture_weights': np.array([1.0, 3.0]),
  }
  cfg = resolve(override(lmhp.default_config(), values))
  assert (cfg.train.steps, cfg.optimizer.learning_rate, cfg.model.gated) == (
    7,
    0.5,
    True,
  )
  assert (cfg.data.path, cfg.data.mixture_weights) == (('a', 'b'), (1.0, 3.0))


def test_config_with_some_keys_can_be_overridden():
  config = ConfigDict({'model': {'d_model': 32}})
  cfg = resolve(
    override(
      config,
      {'train.steps': '5', 'model.n_layers': '2', 'model.d_model': 'None'}
      | {'model.d_model': '64'},
    )
  )
  assert (cfg.train.steps, cfg.model.n_layers, cfg.model.d_model) == (5, 2, 64)
  with pytest.raises(ConfigError, match='model: got 3, expected a section'):
    override(ConfigDict({'model': 3}), {'model.d_model': 4})


# --- every form of a config ---------------------------------------------------------


def referring():
  """Returns a config in which one key refers to another."""
  config = lmhp.default_config()
  config.train.steps = 100
  with config.schedule.ignore_type():
    config.schedule.warmup_steps = config.train.get_ref('steps') // 10
  return config


def test_references_follow_overrides():
  config = referring()
  changed = override(to_config_dict(config), {'train.steps': 50})
  cfg = resolve(changed)
  assert (cfg.train.steps, cfg.schedule.warmup_steps) == (50, 5.0)
  assert (
    config.train.steps == 100 and config.schedule.warmup_steps == 10
  )  # the user's own is as it was


def test_every_form_of_a_config_resolves_to_the_same():
  config = lmhp.default_config()
  config.train.steps, config.model.d_model = 5, 64
  expected = resolve(config)
  as_dict = config.to_dict()
  mixed = {name: FrozenConfigDict(keys) for name, keys in as_dict.items()}
  for form in (
    config,
    FrozenConfigDict(config),
    as_dict,
    mixed,
    expected,
    copy.deepcopy(config),
    config.copy_and_resolve_references(),
    ConfigDict(as_dict, type_safe=False),
    {'train': {'steps': 5}, 'model': {'d_model': 64}},
  ):
    assert resolve(to_config_dict(form)) == expected
    assert resolve(override(to_config_dict(form), {'train.seed': '3'})).train.seed == 3
  assert resolve(expected) is expected and resolve(as_dict) == expected


@pytest.mark.filterwarnings(
  'ignore:the load_module:DeprecationWarning'
)  # ml_collections' own
def test_a_config_of_config_flags(monkeypatch):
  from absl import flags
  from ml_collections import config_flags

  monkeypatch.chdir(pathlib.Path(__file__).parents[1])
  values = flags.FlagValues()
  config_flags.DEFINE_config_file('config', flag_values=values)
  words = [
    'x',
    '--config=experiments/first.py',
    '--config.train.batch_size=3',
    '--config.optimizer.learning_rate=0.25',
  ]
  monkeypatch.setattr(sys, 'argv', words)  # where config_flags looks for overrides
  values(words)
  cfg = resolve(to_config_dict(values.config))
  assert (cfg.train.batch_size, cfg.optimizer.learning_rate, cfg.model.d_model) == (
    3,
    0.25,
    128,
  )


@pytest.mark.parametrize('form', [3, None, 'no.py', [('model', {})], object])
def test_other_object_is_no_config(form):
  with pytest.raises(ConfigError, match='config: got '):
    to_config_dict(form)


def test_unknown_key_suggests_the_nearest():
  config = lmhp.default_config()
  with pytest.raises(AttributeError, match='n_layer'):
    config.model.n_layer = 3
  for tree, said in (
    (
      {'model': {'n_layer': 3}},
      "model.n_layer: no such key; did you mean 'model.n_layers'?",
    ),
    (
      {'optimizer': {'grad_clip': 3}},
      "optimizer.grad_clip: no such key; did you mean 'optimizer.clip_norm'?",
    ),
    ({'optimizr': {}}, "optimizr: no such section; did you mean 'optimizer'?"),
    ({'model': None}, 'model: got None, expected a section of keys'),
    (
      {'train': {'seed': config_dict.placeholder(int)}},
      'train.seed: got None, expected a whole number',
    ),
    (
      {'optimizer': {'eps': 1e-60}},
      'optimizer.eps: got a number that float32 cannot hold',
    ),
    (
      {'train': {'batch_size': 10**400}},
      'train.batch_size: got a number of more than 18 digits',
    ),
    ({'model': {'d_ff': np.ones((3, 3))}}, 'model.d_ff: got ([1.0, 1.0, 1.0], '),
  ):
    with pytest.raises(ConfigError) as error:
      resolve(to_config_dict(tree))
    assert str(error.value).startswith(said) and '\n' not in str(error.value)


# --- completed by the data ----------------------------------------------------------


def finished(vocab_size=50, tokens_per_epoch=3200, dtype='float32', **overrides):
  base = {
    'model.d_model': 12,
    'model.n_heads': 2,
    'model.max_seq_len': 8,
    'train.batch_size': 4,
  }
  overrides = {path.replace('__', '.'): value for path, value in overrides.items()}
  cfg = resolve(override(lmhp.default_config(), base | overrides))
  return complete(
    cfg, vocab_size=vocab_size, tokens_per_epoch=tokens_per_epoch, dtype=dtype
  )


def test_length_can_be_given_in_every_unit():
  parameters = 50 * 12 + 4 * (4 * 12 * 12 + 2 * 12 * 48 + 2 * 12) + 12

  def steps(**said):
    return finished(**said).train.steps

  assert steps() == 1000
  assert steps(train__steps=7) == 7
  assert (
    steps(train__tokens=32 * 7) == 7
    and steps(train__tokens=32 * 7 + 1) == 8
    and steps(train__tokens=1) == 1
  )
  assert steps(train__epochs=1.5) == 150 and steps(train__epochs=0.001) == 1
  assert steps(train__tokens_per_parameter=20) == math.ceil(20 * parameters / 32)
  assert finished(train__seq_len=4, train__tokens=32 * 7).train.steps == 14
  done = finished(train__epochs=2)
  assert (done.train.epochs, done.train.tokens, done.train.seq_len) == (None, None, 8)
  for said in (
    {'train__tokens': 1e15},
    {'train__epochs': 1e18},
    {'train__tokens_per_parameter': 1e18},
  ):
    with pytest.raises(ConfigError, match='a length of at most'):
      finished(**said)


def test_intervals_can_be_given_in_every_unit():
  parameters = 50 * 12 + 4 * (4 * 12 * 12 + 2 * 12 * 48 + 2 * 12) + 12
  for unit, value in (
    ('steps', 25),
    ('tokens', 25 * 32),
    ('epochs', 0.25),
    ('tokens_per_parameter', 25 * 32 / parameters),
  ):
    for interval in ('warmup', 'cooldown', 'cycle'):
      cfg = finished(train__steps=100, **{f'schedule__{interval}_{unit}': value})
      assert getattr(cfg.schedule, f'{interval}_fraction') == pytest.approx(
        0.25, abs=1e-12
      )
      assert getattr(cfg.schedule, f'{interval}_{unit}') is None


def test_vocabulary_and_precision_are_completed():
  assert (
    finished().model.vocab_size == 50
    and finished(model__vocab_size=64).model.vocab_size == 64
  )
  with pytest.raises(
    ConfigError, match='model.vocab_size: got 49, expected at least the 50 tokens'
  ):
    finished(model__vocab_size=49)
  assert finished(dtype='bfloat16').model.dtype == 'bfloat16'
  assert finished(dtype='bfloat16', model__dtype='float32').model.dtype == 'float32'


@pytest.mark.parametrize(
  'said, message',
  [
    (
      {'model__position': 'learned', 'train__seq_len': 9},
      'train.seq_len: got 9, expected at most model.max_seq_len=8',
    ),
    ({'train__loss_chunks': 5}, 'train.loss_chunks: got 5, expected a divisor of 32'),
    (
      {'train__steps': 10, 'schedule__warmup_tokens': 321},
      'schedule.warmup_tokens: got 321.0, expected at most 320',
    ),
  ],
)
def test_keys_that_contradict_each_other_are_refused(said, message):
  with pytest.raises(ConfigError, match=message):
    finished(**said)


# --- in words -----------------------------------------------------------------------


def test_json_loses_nothing():
  rng = np.random.default_rng(0)
  for _ in range(50):
    paths = [
      p
      for p in rng.permutation(list(KEYS))[:8]
      if p not in ('model.d_model', 'model.head_dim')
    ]
    changes = {}
    for path in map(str, paths):
      changes |= {**COMPANIONS.get(path, {}), path: another(path)[0]}
    try:
      cfg = resolve(override(lmhp.default_config(), changes))
    except ConfigError:
      continue
    text = json.dumps(to_json(cfg), allow_nan=False)
    assert from_json(json.loads(text)) == cfg
    assert resolve(to_config_dict(cfg)) == cfg
  endless = dataclasses.replace(
    lmhp.RunConfig(),
    optimizer=dataclasses.replace(lmhp.RunConfig().optimizer, clip_norm=math.inf),
  )
  assert (
    to_json(endless)['optimizer']['clip_norm'] == 'inf'
    and from_json(to_json(endless)) == endless
  )
  for rubbish in (3, [], {'model': 3}, {'model': {'d_model': 'inf'}}, {'x': {}}):
    with pytest.raises(ConfigError):
      from_json(rubbish)


EXPERIMENTS = sorted(pathlib.Path(__file__).parents[1].glob('experiments/*.py'))


@pytest.mark.parametrize('file', EXPERIMENTS, ids=lambda path: path.stem)
def test_the_experiments_resolve(file):
  config, module = load(file)
  assert resolve(config).train.steps and '--config=experiments/' in module.__doc__


def test_help_names_every_key_once():
  lines = help_lib.format_config_help().splitlines()
  keys = [
    line.split(':')[0].strip()
    for line in lines
    if line.startswith('  ') and line[2] != ' '
  ]
  assert keys == list(config_keys.keys())
