"""The factors on each term of an update, derived by hand."""

import functools
import math

import jax
import numpy as np
import pytest

from lmhp.hypers import split
from lmhp.optim.chain import make_optimizer
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.transforms import global_norm
from lmhp.params import KINDS, list_params, walk_arrays

SCHEDULE = np.float32(0.7)


@functools.partial(
  jax.jit, static_argnums=0, compiler_options={'xla_backend_optimization_level': '0'}
)
def _last_update(structure, numbers, schedule, grads, params):
  tx = make_optimizer(structure, numbers, schedule)
  state = tx.init(params)
  for g in grads:
    updates, state = tx.update(g, state, params)
  return updates


def update(grads, params, schedule=SCHEDULE, **values):
  """Returns {path: update of the last of several gradients}, float64."""
  grads = grads if isinstance(grads, list) else [grads]
  values = {'clip_norm': math.inf, 'weight_decay': 0.0, **values}
  structure, numbers = split(OptimizerConfig(**values))
  updates = _last_update(structure, numbers, np.float32(schedule), grads, params)
  return {path: np.asarray(u, np.float64) for path, u in walk_arrays(updates)}


def numpy64(tree):
  return {path: np.asarray(x, np.float64) for path, x in walk_arrays(tree)}


def decayed(path):
  return path.endswith(('kernel', 'table'))


def close(got, expected):
  for path in expected:
    np.testing.assert_allclose(
      got[path], expected[path], rtol=2e-5, atol=2e-7, err_msg=path
    )


# --- weight decay -------------------------------------------------------------------


@pytest.mark.parametrize(
  'name,mode,factor',
  [
    ('adamw', 'decoupled', 0.01),
    ('lion', 'decoupled', 0.01),
    ('sgd', 'l2', 0.01),
    ('adamw', 'independent', 1.0),
    ('adafactor', 'independent', 1.0),
    ('lamb', 'independent', 1.0),
  ],
)
def test_decay_adds_minus_schedule_times_its_factor_times_the_parameter(
  name, mode, factor, tree
):
  values = {'name': name, 'weight_decay_mode': mode, 'learning_rate': 0.01}
  with_it = update(tree(1), tree(), weight_decay=0.3, **values)
  without = update(tree(1), tree(), **values)
  for path, w in numpy64(tree()).items():
    if decayed(path):
      np.testing.assert_allclose(
        with_it[path] - without[path], -0.7 * factor * 0.3 * w, rtol=1e-3, atol=1e-6
      )
    else:
      np.testing.assert_array_equal(with_it[path], without[path])


def test_independent_decay_remains_without_a_learning_rate(tree):
  got = update(
    tree(1),
    tree(),
    weight_decay_mode='independent',
    weight_decay=0.3,
    learning_rate=0.0,
  )
  close(
    got,
    {
      path: -0.7 * 0.3 * w if decayed(path) else 0 * w
      for path, w in numpy64(tree()).items()
    },
  )


def test_independent_decay_has_no_lr_multiplier(tree):
  values = {
    'weight_decay_mode': 'independent',
    'weight_decay': 0.3,
    'embedding_lr_multiplier': 0.0,
  }
  close(
    {'embedding/table': update(tree(1), tree(), **values)['embedding/table']},
    {'embedding/table': -0.7 * 0.3 * numpy64(tree())['embedding/table']},
  )


def test_decoupled_decay_has_the_lr_multiplier_of_its_kind(tree):
  values = {'learning_rate': 0.01, 'embedding_lr_multiplier': 3.0}
  difference = (
    update(tree(1), tree(), weight_decay=0.3, **values)['embedding/table']
    - update(tree(1), tree(), **values)['embedding/table']
  )
  np.testing.assert_allclose(
    difference,
    -0.7 * 0.01 * 3 * 0.3 * numpy64(tree())['embedding/table'],
    rtol=1e-3,
    atol=1e-6,
  )


def test_l2_decay_is_added_to_the_clipped_gradient_before_the_moments(tree):
  grads = [tree(1), tree(2)]
  params = tree()
  scaled = []
  for g in grads:
    factor = 2.0 / global_norm(g)
    mask = {path: decayed(path) for path, _ in walk_arrays(params)}
    flat = {
      path: factor * x + 0.3 * mask[path] * w
      for (path, x), (_, w) in zip(walk_arrays(g), walk_arrays(params))
    }
    scaled.append(jax.tree.unflatten(jax.tree.structure(g), list(flat.values())))
  close(
    update(grads, params, name='adam', weight_decay=0.3, clip_norm=2.0),
    update(scaled, params, name='adam'),
  )


def test_lamb_has_the_decay_inside_the_trust_ratio(tree):
  got = update(tree(1), tree(), name='lamb', weight_decay=0.3, learning_rate=0.01)
  kernel = numpy64(tree())
  path = 'decoder/segment_0/attention/query/kernel'
  for layer in range(2):  # every layer moves by the rate times its own norm
    np.testing.assert_allclose(
      np.linalg.norm(got[path][layer]),
      0.7 * 0.01 * np.linalg.norm(kernel[path][layer]),
      rtol=1e-4,
    )
  assert not np.allclose(
    got[path], update(tree(1), tree(), name='lamb', learning_rate=0.01)[path], rtol=1e-2
  )


# --- learning rates, schedule, clipping ---------------------------------------------


@pytest.mark.parametrize('name', ['sgd', 'adamw', 'lion', 'muon', 'lamb', 'adafactor'])
def test_learning_rate_and_schedule_multiply_the_update(name, tree):
  baseline = update(
    tree(1), tree(), name=name, weight_decay=0.1, weight_decay_mode='decoupled'
  )
  doubled = {path: 2 * u for path, u in baseline.items()}
  close(
    update(
      tree(1),
      tree(),
      name=name,
      weight_decay=0.1,
      weight_decay_mode='decoupled',
      learning_rate=2e-3,
    ),
    doubled,
  )
  close(
    update(
      tree(1),
      tree(),
      2 * SCHEDULE,
      name=name,
      weight_decay=0.1,
      weight_decay_mode='decoupled',
    ),
    doubled,
  )


@pytest.mark.parametrize('kind', KINDS)
def test_lr_multiplier_multiplies_its_kind_alone(kind, tree):
  baseline = update(tree(1), tree(), weight_decay=0.1)
  got = update(tree(1), tree(), weight_decay=0.1, **{f'{kind}_lr_multiplier': 4.0})
  for param in list_params(tree()):
    np.testing.assert_array_equal(
      got[param.path], baseline[param.path] * (4 if param.kind == kind else 1)
    )


def test_clip_norm_scales_the_gradient_of_all_parameters(tree):
  norm = np.linalg.norm(np.concatenate([g.ravel() for g in numpy64(tree(1)).values()]))
  got = update(tree(1), tree(), name='sgd', learning_rate=0.1, clip_norm=3.0)
  close(got, {path: -0.7 * 0.1 * 3 / norm * g for path, g in numpy64(tree(1)).items()})


def test_a_given_grad_norm_replaces_the_computed_one(tree):
  structure, numbers = split(
    OptimizerConfig(name='sgd', clip_norm=3.0, weight_decay=0.0, learning_rate=1.0)
  )
  for norm, factor in ((6.0, 0.5), (2.0, 1.0)):
    tx = make_optimizer(structure, numbers, 1.0, grad_norm=norm)
    got, _ = tx.update(tree(1), tx.init(tree()), tree())
    close(numpy64(got), {path: -factor * g for path, g in numpy64(tree(1)).items()})


# --- numbers of single optimizers ---------------------------------------------------


def test_momentum_multiplies_the_previous_gradient(tree):
  first = numpy64(tree(1))
  second = numpy64(tree(2))
  got = update(
    [tree(1), tree(2)], tree(), name='momentum', momentum=0.6, learning_rate=0.1
  )
  close(got, {path: -0.07 * (second[path] + 0.6 * first[path]) for path in first})


def test_betas_and_eps_of_adam(tree):
  g1 = numpy64(tree(1))
  g2 = numpy64(tree(2))
  b1 = 0.8
  b2 = 0.6
  eps = 0.05
  expected = {}
  for path in g1:
    mean = ((1 - b1) * b1 * g1[path] + (1 - b1) * g2[path]) / (1 - b1**2)
    square = ((1 - b2) * b2 * g1[path] ** 2 + (1 - b2) * g2[path] ** 2) / (1 - b2**2)
    expected[path] = -0.07 * mean / (np.sqrt(square) + eps)
  close(
    update(
      [tree(1), tree(2)], tree(), name='adamw', learning_rate=0.1, b1=b1, b2=b2, eps=eps
    ),
    expected,
  )


def test_trust_coefficient_multiplies_lars(tree):
  baseline = update(tree(1), tree(), name='lars', trust_coefficient=0.01)
  close(
    update(tree(1), tree(), name='lars', trust_coefficient=0.03),
    {path: 3 * u for path, u in baseline.items()},
  )


def test_muon_lr_multiplier_multiplies_hidden_matrices_alone(tree):
  baseline = update(tree(1), tree(), name='muon')
  got = update(tree(1), tree(), name='muon', muon_lr_multiplier=3.0)
  close(
    got,
    {
      param.path: baseline[param.path] * (3 if param.is_hidden_matrix else 1)
      for param in list_params(tree())
    },
  )


def test_muon_trains_other_parameters_with_adamw(tree):
  muon, adamw = (
    update([tree(1), tree(2)], tree(), name=name, weight_decay=0.1)
    for name in ('muon', 'adamw')
  )
  for param in list_params(tree()):
    assert np.array_equal(muon[param.path], adamw[param.path]) != param.is_hidden_matrix


def test_adafactor_clips_the_rms_of_each_layer(tree):
  values = {
    'name': 'adafactor',
    'learning_rate': 1.0,
    'adafactor_parameter_scale': False,
    'adafactor_min_size': 4,
  }
  grads = [tree(1), jax.tree.map(lambda g: 5 * g, tree(2))]

  def rms(u):
    return np.sqrt(np.mean(u**2))

  loose = update(grads, tree(), adafactor_clip_rms=math.inf, **values)
  tight = update(grads, tree(), adafactor_clip_rms=0.9, **values)
  path = 'decoder/segment_0/feed_forward/down/kernel'
  for layer in range(2):
    assert rms(loose[path][layer]) > 0.7 * 0.9
    np.testing.assert_allclose(rms(tight[path][layer]), 0.7 * 0.9, rtol=1e-5)


def test_adafactor_scales_by_the_rms_of_each_layers_parameter(tree):
  values = {'name': 'adafactor', 'adafactor_min_size': 4}
  baseline = update(tree(1), tree(), adafactor_parameter_scale=False, **values)
  path = 'decoder/segment_0/feed_forward/down/kernel'
  rms = np.sqrt(np.mean(numpy64(tree())[path] ** 2, axis=(1, 2), keepdims=True))
  close({path: update(tree(1), tree(), **values)[path]}, {path: baseline[path] * rms})


def test_adafactor_power_is_the_decay_of_its_second_step(tree):
  g1 = numpy64(tree(1))
  g2 = numpy64(tree(2))
  decay = 1 - 2**-0.5
  got = update(
    [tree(1), tree(2)],
    tree(),
    name='adafactor',
    adafactor_power=0.5,
    adafactor_clip_rms=math.inf,
    adafactor_parameter_scale=False,
  )
  close(
    got,
    {
      path: -0.7
      * 1e-3
      * g2[path]
      / np.sqrt(decay * g1[path] ** 2 + (1 - decay) * g2[path] ** 2)
      for path in g1
    },
  )
