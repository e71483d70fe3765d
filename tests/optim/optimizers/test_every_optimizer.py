"""One test body over every optimizer: oracles, tracing, vmapping, and the numbers that it reads.

The oracles get each layer's parameter by itself, and a weight as one matrix.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib
import pytest

from lmhp.hypers import split
from lmhp.optim.chain import make_optimizer
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.spec import OPTIMIZERS
from lmhp.optim.transforms import global_norm
from lmhp.params import KINDS, walk_arrays

# Each number differs from its default, each clip has an effect, and eps is large.
NUMBERS = {
  'learning_rate': 0.02,
  'weight_decay': 0.3,
  'clip_norm': 7.0,
  'b1': 0.85,
  'b2': 0.93,
  'b3': 0.97,
  'eps': 1e-2,
  'momentum': 0.8,
  'trust_coefficient': 0.05,
  'adafactor_power': 0.7,
  'adafactor_clip_rms': 0.6,
  'adafactor_min_size': 12,
}
SCHEDULE = 0.7
LR = NUMBERS['learning_rate'] * SCHEDULE
STEPS = 5
TRACES = []
# These programs run for microseconds and compile for a second, so LLVM's optimizations are off.
quick_jit = functools.partial(
  jax.jit, compiler_options={'xla_backend_optimization_level': '0'}
)


def curvature(params):
  return jax.tree.map(lambda p: jnp.linspace(0.5, 2.0, p.size).reshape(p.shape), params)


def descend(structure, numbers, params, start=SCHEDULE, end=SCHEDULE, steps=STEPS):
  """Returns the parameters after `steps` updates on sum(curvature * params^2) / 2.

  The schedule goes linearly from `start` to `end`.
  """
  return _descend(
    structure, numbers, params, np.float32(start), np.float32(end), np.int32(steps)
  )


@functools.partial(quick_jit, static_argnums=0)
def _descend(structure, numbers, params, start, end, steps):
  TRACES.append(structure.name)
  bend = curvature(params)

  def body(i, carry):
    params, state = carry
    grads = jax.tree.map(lambda c, p: c * p, bend, params)
    tx = make_optimizer(structure, numbers, start + (end - start) * i / steps)
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state

  state = make_optimizer(structure, numbers, start).init(params)
  return jax.lax.fori_loop(0, steps, body, (params, state))[0]


def config(name, **values):
  return split(OptimizerConfig(name=name, **{**NUMBERS, **values}))


@pytest.fixture
def params(tree):
  """A table, the matrices of two layers, and their scales.

  There are few leaves, because every optimizer is compiled for them.
  """
  layers = tree()['decoder']['segment_0']
  kept = {
    'attention': {'query': {'kernel': layers['attention']['query']['kernel']}},
    'attention_input_norm': layers['attention_input_norm'],
  }
  return {'embedding': tree()['embedding'], 'decoder': {'segment_0': kept}}


# --- the oracle ---------------------------------------------------------------------

MATRICES = {'attention/query/kernel': (14, 48), 'attention_input_norm/scale': (14,)}


def unstack(tree):
  """Returns {name: matrix or vector}, each layer's parameter by itself."""
  flat = {}
  for path, array in walk_arrays(tree):
    inner = path.removeprefix('decoder/segment_0/')
    for i in range(2 if inner in MATRICES else 0):
      flat[f'{i}/{inner}'] = np.asarray(array[i]).reshape(MATRICES[inner])
    if inner not in MATRICES:
      flat[path] = np.asarray(array)
  return flat


def decays(name):
  return name.endswith(('kernel', 'table'))


def is_hidden(name):
  return name.endswith('kernel')


BETAS = {'b1': NUMBERS['b1'], 'b2': NUMBERS['b2'], 'eps': NUMBERS['eps']}


def decay_mask(params):
  return {name: decays(name) for name in params}


DECAY = {'weight_decay': NUMBERS['weight_decay'], 'mask': decay_mask}


def with_l2(tx):
  return optax.chain(optax.add_decayed_weights(**DECAY), tx)


def with_decoupled(tx):
  return optax.chain(tx, optax.add_decayed_weights(**DECAY), optax.scale(-LR))


# The same optimizers made of Optax's aliases, with Python floats.
IN_OPTAX = {
  'sgd': lambda h: with_l2(optax.sgd(LR)),
  'momentum': lambda h: with_l2(optax.sgd(LR, h['momentum'])),
  'nesterov': lambda h: with_l2(optax.sgd(LR, h['momentum'], nesterov=True)),
  'signum': lambda h: with_decoupled(
    optax.chain(optax.trace(h['momentum']), optax.scale_by_sign())
  ),
  'lion': lambda h: optax.lion(LR, h['b1'], h['b2'], **DECAY),
  'rmsprop': lambda h: with_l2(optax.rmsprop(LR, h['b2'], h['eps'], eps_in_sqrt=False)),
  'adam': lambda h: with_l2(optax.adam(LR, **BETAS)),
  'adamw': lambda h: optax.adamw(LR, **BETAS, **DECAY),
  'nadam': lambda h: with_l2(optax.nadam(LR, **BETAS)),
  'nadamw': lambda h: optax.nadamw(LR, **BETAS, **DECAY),
  'amsgrad': lambda h: with_l2(optax.amsgrad(LR, **BETAS)),
  'adamax': lambda h: with_l2(optax.adamax(LR, **BETAS)),
  'radam': lambda h: with_l2(optax.radam(LR, **BETAS)),
  'adabelief': lambda h: with_decoupled(optax.adabelief(-1.0, **BETAS)),
  'adopt': lambda h: with_decoupled(contrib.adopt(-1.0, **BETAS)),
  'adan': lambda h: with_decoupled(
    optax.adan(-1.0, h['b1'], h['b2'], h['b3'], h['eps'])
  ),
  'lars': lambda h: optax.lars(
    LR,
    h['weight_decay'],
    decay_mask,
    h['trust_coefficient'],
    momentum=h['momentum'],
  ),
  'lamb': lambda h: optax.lamb(LR, **BETAS, **DECAY),
  'adafactor': lambda h: optax.adafactor(
    LR,
    min_dim_size_to_factor=12,
    decay_rate=h['adafactor_power'],
    clipping_threshold=h['adafactor_clip_rms'],
    weight_decay_rate=LR * h['weight_decay'],
    weight_decay_mask=decay_mask,
  ),
}


def optax_descends(name, params):
  clip = optax.clip_by_global_norm(NUMBERS['clip_norm'])
  tx = optax.chain(clip, IN_OPTAX[name](NUMBERS))
  flat = unstack(params)
  bend = unstack(curvature(params))

  @quick_jit
  def run(flat):
    def body(_, carry):
      flat, state = carry
      updates, state = tx.update({k: bend[k] * p for k, p in flat.items()}, state, flat)
      return optax.apply_updates(flat, updates), state

    return jax.lax.fori_loop(0, STEPS, body, (flat, tx.init(flat)))[0]

  return run(flat)


def torch_optimizer(torch, name, decayed, rest):
  h = NUMBERS
  groups = [
    {'params': decayed, 'weight_decay': h['weight_decay']},
    {'params': rest, 'weight_decay': 0.0},
  ]
  betas = {'betas': (h['b1'], h['b2']), 'eps': h['eps']}
  return {
    'sgd': lambda: torch.optim.SGD(groups, LR),
    'momentum': lambda: torch.optim.SGD(groups, LR, momentum=h['momentum']),
    'nesterov': lambda: torch.optim.SGD(
      groups, LR, momentum=h['momentum'], nesterov=True
    ),
    'adagrad': lambda: torch.optim.Adagrad(groups, LR, eps=h['eps']),
    'rmsprop': lambda: torch.optim.RMSprop(groups, LR, alpha=h['b2'], eps=h['eps']),
    'adam': lambda: torch.optim.Adam(groups, LR, **betas),
    'adamw': lambda: torch.optim.AdamW(groups, LR, **betas),
    'adamax': lambda: torch.optim.Adamax(groups, LR, **betas),
  }[name]()


def torch_descends(params, make):
  """Returns the parameters after five updates by torch in float64.

  `make(torch, tensors)` returns the optimizers.
  """
  import torch

  tensors = {
    k: torch.tensor(v, dtype=torch.float64, requires_grad=True)
    for k, v in unstack(params).items()
  }
  bend = {
    k: torch.tensor(v, dtype=torch.float64)
    for k, v in unstack(curvature(params)).items()
  }
  optimizers = make(torch, tensors)
  for _ in range(STEPS):
    for k, p in tensors.items():
      p.grad = bend[k] * p.detach()
    torch.nn.utils.clip_grad_norm_(tensors.values(), NUMBERS['clip_norm'])
    for optimizer in optimizers:
      optimizer.step()
  return {k: p.detach().numpy() for k, p in tensors.items()}


def assert_close(ours, theirs, start, tolerance):
  """Checks the error of each parameter's movement, relative to the movement."""
  start = unstack(start)
  for name, value in unstack(ours).items():
    moved = value - start[name]
    expected = np.asarray(theirs[name]) - start[name]
    error = np.linalg.norm(moved - expected) / np.linalg.norm(expected)
    assert error < tolerance, (name, error)


@pytest.mark.parametrize('name', IN_OPTAX)
def test_moves_as_in_optax_layer_by_layer(name, params):
  ours = descend(*config(name), params)
  assert_close(ours, optax_descends(name, params), params, 2e-5)


@pytest.mark.oracle
@pytest.mark.parametrize(
  'name',
  ['sgd', 'momentum', 'nesterov', 'adagrad', 'rmsprop', 'adam', 'adamw', 'adamax'],
)
def test_moves_as_in_torch(name, params):
  def make(torch, tensors):
    decayed = [p for k, p in tensors.items() if decays(k)]
    return [
      torch_optimizer(
        torch, name, decayed, [p for k, p in tensors.items() if not decays(k)]
      )
    ]

  ours = descend(*config(name), params)
  assert_close(ours, torch_descends(params, make), params, 2e-5)


@pytest.mark.oracle
@pytest.mark.parametrize(
  'scaling,theirs', [('rms', 'match_rms_adamw'), ('width', 'original')]
)
def test_muon_moves_as_in_torch(scaling, theirs, params):
  h = NUMBERS

  def make(torch, tensors):
    # In torch the output axis of a linear layer's weight comes first. Torch orthogonalizes in
    # bfloat16, hence the loose tolerance.
    matrices = [
      (p, torch.nn.Parameter(p.detach().T.contiguous()))
      for k, p in tensors.items()
      if is_hidden(k)
    ]
    rest = {k: p for k, p in tensors.items() if not is_hidden(k)}
    muon = torch.optim.Muon(
      [q for _, q in matrices],
      2 * LR,
      weight_decay=h['weight_decay'] / 2,
      momentum=h['momentum'],
      adjust_lr_fn=theirs,
    )
    groups = [
      {
        'params': [p for k, p in rest.items() if decays(k)],
        'weight_decay': h['weight_decay'],
      },
      {'params': [p for k, p in rest.items() if not decays(k)], 'weight_decay': 0.0},
    ]
    adamw = torch.optim.AdamW(groups, LR, betas=(h['b1'], h['b2']), eps=h['eps'])

    class Transposed:
      def step(self):
        for p, q in matrices:
          q.grad = p.grad.T
        muon.step()
        for p, q in matrices:
          p.data = q.data.T

    return [Transposed(), adamw]

  ours = descend(*config('muon', muon_lr_multiplier=2.0, muon_scaling=scaling), params)
  expected = torch_descends(params, make)
  assert_close(ours, expected, params, 2e-2)
  exact = {k: v for k, v in expected.items() if not is_hidden(k)}
  for name, value in unstack(ours).items():
    if name in exact:
      np.testing.assert_allclose(value, exact[name], rtol=1e-4, atol=1e-5)


# --- every optimizer ----------------------------------------------------------------


def moved(structure, numbers, params, **changed):
  numbers = {**numbers, **{k: np.float32(v) for k, v in changed.items()}}
  return descend(structure, numbers, params, steps=12)


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_reads_the_declared_numbers_and_compiles_once(name, params):
  structure, numbers = config(name, learning_rate=0.2)
  TRACES.clear()
  baseline = moved(structure, numbers, params)
  changed = {
    field: math.inf if field == 'clip_norm' else 0.9 * value + 0.05
    for field, value in numbers.items()
  }
  read = {
    field
    for field, value in changed.items()
    if not jax.tree.all(
      jax.tree.map(
        jnp.array_equal, baseline, moved(structure, numbers, params, **{field: value})
      )
    )
  }
  absent = {
    f'{kind}_lr_multiplier'
    for kind in set(KINDS) - {'embedding', 'attention', 'normalization'}
  }
  keys_read = OptimizerConfig(name=name).keys_read()
  assert read == keys_read & set(numbers) - absent
  assert len(TRACES) <= 1


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_vmap_over_four_members_equals_four_runs(name, params):
  structure, numbers = config(name)
  clips = (1.0, 5.0, 9.0, math.inf)
  values = [
    {
      'learning_rate': 0.01 * i,
      'clip_norm': clips[i],
      'weight_decay': 0.1 * i,
      'b2': 0.9 + 0.02 * i,
    }
    for i in range(4)
  ]
  members = [
    {**numbers, **{field: np.float32(v) for field, v in value.items()}}
    for value in values
  ]
  stacked = jax.tree.map(lambda *x: np.stack(x), *members)
  packed = jax.vmap(lambda numbers: descend(structure, numbers, params))(stacked)
  alone = [descend(structure, member, params) for member in members]
  expected = jax.tree.map(lambda *x: np.stack(x), *alone)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5),
    packed,
    expected,
  )


LEARNING_RATES = {
  'sgd': 0.5,
  'momentum': 0.1,
  'nesterov': 0.1,
  'adagrad': 1.0,
  'lars': 2.0,
  'lamb': 0.1,
  'adafactor': 0.2,
}


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_descends_a_quadratic(name, params):
  structure, numbers = config(
    name, learning_rate=LEARNING_RATES.get(name, 0.05), weight_decay=0.0
  )
  end = descend(structure, numbers, params, 1.0, 0.0, 300)
  assert global_norm(end) < 0.05 * global_norm(params)


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_state_holds_no_hyperparameter(name, params):
  one, other = (
    make_optimizer(*config(name, **values), 1.0).init(params)
    for values in (
      {},
      {
        'b1': 0.1,
        'b2': 0.2,
        'b3': 0.3,
        'eps': 0.5,
        'momentum': 0.1,
        'adafactor_power': 0.3,
        'weight_decay': 0.0,
      },
    )
  )
  jax.tree.map(np.testing.assert_array_equal, one, other)
  assert jax.tree.structure(one) == jax.tree.structure(other)


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_frozen_parameters_hold_no_state(name, params):
  full_size = sum(
    x.size
    for x in jax.tree.leaves(
      jax.eval_shape(make_optimizer(*config(name), 1.0).init, params)
    )
  )
  params['embedding']['table'] = params['decoder']['segment_0']['attention_input_norm'][
    'scale'
  ] = None
  tx = make_optimizer(*config(name), 1.0)
  state = jax.eval_shape(tx.init, params)
  updates, _ = jax.eval_shape(tx.update, params, state, params)
  assert jax.tree.structure(updates) == jax.tree.structure(params)
  assert sum(x.size for x in jax.tree.leaves(state)) < full_size or name == 'sgd'
