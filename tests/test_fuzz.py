"""Mutated configs are refused in one line, or can be built, counted and trained.

10,000 configs are resolved. Of these, 250 are built and 8 are trained. With LMHP_FUZZ=full in
the environment, 1,000 are built and 100 are trained.
"""

import dataclasses
import itertools
import json
import math
import os
import re

import jax
import numpy as np
import pytest
from traced_counts import count_tree

import lmhp
from lmhp import config as config_lib, config_keys
from lmhp.counting.parameters import count
from lmhp.errors import ConfigError
from lmhp.hypers import split
from lmhp.model.transformer import build
from lmhp.optim.masks import frozen_mask
from lmhp.training.step import make_init

ONE_LINE = re.compile(r'[a-z]+(\.[a-z0-9_]+)?: \S.*')
FULL = os.environ.get('LMHP_FUZZ') == 'full'
BASE = {
  'model': {'d_model': 12, 'n_heads': 2, 'n_layers': 2, 'max_seq_len': 8},
  'train': {'batch_size': 4},
}
DTYPE = 'bfloat16'  # what 'auto' stands for here: the harder of the two
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24)
ABSURD = (
  None,
  True,
  '',
  'é\n\x00',
  'None',
  'rotary',
  -1,
  0,
  10**30,
  10**5000,
  -(2**63),
  1e300,
  -1e-300,
  math.inf,
  -math.inf,
  math.nan,
  1j,
  b'bytes',
  (),
  [],
  {},
  {'a': 1},
  ((1,),),
  (None,),
  ('',),
  [math.nan],
  object,
  lambda: 0,
  np.ones((2, 2)),
  np.float32(0.5),
  np.int64(3),
  np.array(2),
  range(3),
  {1},
  ('a',) * 1000,
  Ellipsis,
)


def plausible(rng, path, default):
  """Returns a random value of the type of the key: a choice, a small size, or a number within
  or at its bounds.
  """
  declaration, hint = (
    config_keys.keys()[path],
    str(config_keys.type_of(path)),
  )
  if declaration.choices:
    pick = [
      str(c) for c in rng.choice(declaration.choices, size=int(rng.integers(1, 4)))
    ]
    return tuple(pick) if 'tuple' in hint else pick[0]
  if 'bool' in hint:
    return bool(rng.integers(2))
  edges = [
    v for v in (declaration.low, declaration.high, declaration.neutral) if v is not None
  ]
  if edges and rng.random() < 0.3:
    edge = edges[rng.integers(len(edges))]
    return edge + [0, 1, -1, 1e-6][rng.integers(4)]
  if 'int' in hint:
    return int(rng.choice(SIZES))
  if 'float' in hint:
    low, high = declaration.low or 0.0, declaration.high or 10.0
    numbers = [float(x) for x in rng.uniform(low, high, size=int(rng.integers(1, 4)))]
    return tuple(numbers) if 'tuple' in hint else numbers[0]
  return default


def mutations(seed):
  """Returns {dotted path: value} of one to six keys."""
  rng = np.random.default_rng(seed)
  paths = rng.choice(
    list(config_keys.keys()), size=int(rng.integers(1, 7)), replace=False
  )
  if rng.random() < 0.02:
    paths[0] = 'model.n_layer'
  defaults = {
    f'{s}.{f.name}': f.default
    for s, cls in config_lib.SECTIONS.items()
    for f in dataclasses.fields(cls)
  }
  absurd = rng.random(len(paths)) < rng.choice([0.0, 0.3])
  return {
    str(path): ABSURD[rng.integers(len(ABSURD))]
    if is_absurd or path not in defaults
    else plausible(rng, str(path), defaults[path])
    for path, is_absurd in zip(paths, absurd)
  }


def resolved(changes, route):
  """Returns the completed config.

  None if it was refused, in one line that starts with a dotted path.
  """
  tree = {name: dict(BASE.get(name, {})) for name in config_lib.SECTIONS}
  try:
    if route == 'mapping':
      for path, value in changes.items():
        section, _, key = path.partition('.')
        tree[section][key] = value
      cfg = config_lib.resolve(tree)
    else:
      cfg = config_lib.resolve(
        config_lib.override(config_lib.to_config_dict(tree), changes)
      )
    return config_lib.complete(cfg, vocab_size=31, tokens_per_epoch=3000, dtype=DTYPE)
  except ConfigError as error:
    assert ONE_LINE.fullmatch(str(error)) and len(str(error)) < 800, str(error)
    return None


def small_enough(cfg):
  """Returns True if a config is cheap to trace.

  Sizes that other keys multiply are only known after the config is resolved.
  """
  tokens = cfg.train.batch_size * cfg.train.seq_len
  return cfg.model.n_layers <= 8 and tokens <= 4096 and count(cfg.model).total < 10**6


def check_shapes(cfg):
  """Checks the count against the parameter tree, and the size of the optimizer's state.

  The optimizer has state for trained parameters alone.
  """
  structure, hypers = split(cfg)
  counted = count_tree(build(structure.model).shapes)
  assert counted == dataclasses.replace(count(cfg.model), inactive=0)
  try:
    state = jax.eval_shape(
      make_init(build(structure.model), structure.optimizer), hypers
    )
  except ConfigError as error:
    assert str(error).startswith('optimizer.freeze: ')
    return
  frozen = [
    shape
    for is_frozen, shape in zip(
      jax.tree.leaves(frozen_mask(state.params, structure.optimizer)),
      jax.tree.leaves(state.params),
    )
    if is_frozen
  ]
  trained = counted.total - sum(math.prod(shape.shape) for shape in frozen)
  numbers = sum(math.prod(x.shape) for x in jax.tree.leaves(state.opt_state))
  most = (
    4 if cfg.optimizer.name == 'adan' else 3
  )  # three moments and the gradient before
  assert numbers <= most * trained + 100 + 10 * len(jax.tree.leaves(state.params)), (
    numbers,
    trained,
  )


def trained(changes, config, workdir):
  """Trains two steps. Returns False if data, schedule or machine refuse the config in one line."""
  fixed = ('steps', 'tokens', 'tokens_per_parameter', 'epochs', 'path', 'cache_dir')
  changes = {
    path: value
    for path, value in changes.items()
    if path.partition('.')[2] not in fixed
  }
  try:
    run = lmhp.train(config, workdir=workdir, overrides=changes, display='none')
  except ConfigError as error:
    assert ONE_LINE.fullmatch(str(error)), str(error)
    assert not (workdir / 'config.json').exists()
    return False
  result = json.loads((workdir / 'result.json').read_text())
  assert run.complete and 1 <= result['steps'] <= 2
  assert result['steps'] == 2 or result['diverged_at'] is not None
  assert result['parameters'] == sum(x.size for x in jax.tree.leaves(run.params))
  assert (
    config_lib.from_json(
      json.loads((workdir / 'config.json').read_text())['config']
    ).train.steps
    == 2
  )
  return True


def survivors():
  """Mutations whose configs resolve and are small, with the configs."""
  for seed in range(10_000):
    cfg = resolved(mutations(seed), 'mapping')
    if cfg is not None and small_enough(cfg):
      yield mutations(seed), cfg


@pytest.mark.slow
def test_a_config_resolves_or_is_refused_in_one_line():
  kept = sum(
    resolved(mutations(seed), ('mapping', 'overrides')[seed % 2]) is not None
    for seed in range(10_000)
  )
  assert 2_000 < kept < 8_000  # mutations are neither harmless nor hopeless


@pytest.mark.slow
def test_resolved_config_is_counted_as_it_is_built():
  n = 1000 if FULL else 250
  assert (
    sum(check_shapes(cfg) is None for _, cfg in itertools.islice(survivors(), n)) == n
  )


@pytest.mark.slow
def test_resolved_config_can_be_trained(small, tmp_path, monkeypatch):
  monkeypatch.setattr('lmhp.api.fastest_dtype', lambda: DTYPE)
  n = 100 if FULL else 8
  done = 0
  for i, (changes, _) in enumerate(survivors()):
    config = small()
    config.model.dtype, config.train.steps, config.train.batch_size = 'auto', 2, 4
    done += trained(changes, config, tmp_path / str(i))
    if done == n:
      break
  assert done == n
