"""Routing against numpy, auxiliary losses, and the load-balancing bias in training."""

import dataclasses

from expert_reference import DEEPSEEK, EXPERTS, N_EXPERTS, route_in_numpy
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.counting.parameters import count
from lmhp.hypers import split
from lmhp.model.batch import Batch
from lmhp.model.experts.routing import Routing, route, routing_metrics
from lmhp.model.transformer import build
from lmhp.optim.config import OptimizerConfig
from lmhp.optim.masks import decay_mask, frozen_mask
from lmhp.params import list_params, walk_arrays
from lmhp.training.config import TrainConfig
from lmhp.training.loss import batch_loss
from lmhp.training.step import make_init, make_update

T = 23
SEGMENT = 'decoder/segment_0'


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


# --- the choice of experts ----------------------------------------------------------


@pytest.mark.parametrize('corrected', [False, True])
@pytest.mark.parametrize(
  'fields',
  [
    {},
    {'router_normalize': False, 'router_scale': 2.5},
    {'router_score': 'sigmoid'},
    {'router_groups': 3, 'router_groups_per_token': 2},
    {
      'router_groups': 3,
      'router_groups_per_token': 1,
      'router_group_score': 'top2',
      'router_score': 'sigmoid',
    },
  ],
)
def test_routing_equals_numpy(tiny, fields, corrected):
  cfg = tiny(**EXPERTS | fields)
  logits = normal(T, N_EXPERTS)
  correction = 0.3 * normal(N_EXPERTS, seed=1) if corrected else None
  routing = route(
    cfg,
    jnp.asarray(logits, jnp.float32),
    jnp.asarray(correction) if corrected else None,
  )
  weights, experts = route_in_numpy(cfg, logits, correction if corrected else 0.0)
  np.testing.assert_array_equal(routing.experts_Tk, experts)
  np.testing.assert_allclose(routing.weights_Tk, weights, rtol=1e-5)


def test_normalized_weights_are_a_softmax_over_the_chosen_logits(tiny):
  logits = jnp.asarray(normal(T, N_EXPERTS), jnp.float32)
  routing = route(tiny(**EXPERTS), logits, None)
  chosen = jnp.take_along_axis(logits, routing.experts_Tk, axis=1)
  np.testing.assert_allclose(routing.weights_Tk, jax.nn.softmax(chosen), rtol=1e-5)


# --- metrics ------------------------------------------------------------------------


def metrics(logits, scores, experts):
  experts = jnp.asarray(experts, jnp.int32)
  return routing_metrics(logits, Routing(scores, jnp.ones(experts.shape), experts))


def test_metrics_of_uniform_routing():
  """Twelve assignments, two for each expert."""
  experts = np.arange(2 * N_EXPERTS).reshape(N_EXPERTS, 2) % N_EXPERTS
  shape = (N_EXPERTS, N_EXPERTS)
  uniform = metrics(jnp.zeros(shape), jnp.full(shape, 1 / N_EXPERTS), experts)
  np.testing.assert_allclose(uniform['expert_load'], 1 / N_EXPERTS, rtol=1e-6)
  np.testing.assert_allclose(uniform['load_balance'], 1, rtol=1e-6)
  np.testing.assert_allclose(uniform['router_z'], np.log(N_EXPERTS) ** 2, rtol=1e-6)


def test_the_balance_loss_is_largest_if_one_expert_has_all_tokens():
  scores = jnp.asarray(np.eye(N_EXPERTS)[np.zeros(T, int)], jnp.float32)
  one_expert = metrics(jnp.zeros((T, N_EXPERTS)), scores, np.zeros((T, 1)))
  assert one_expert['load_balance'] == pytest.approx(N_EXPERTS)


def test_the_balance_loss_pushes_down_the_expert_with_all_tokens():
  def loss(logits):
    scores = jax.nn.softmax(logits)
    return metrics(logits, scores, np.zeros((T, 1)))['load_balance']

  gradient = jax.grad(loss)(jnp.zeros((T, N_EXPERTS)))
  assert (gradient[:, 0] > 0).all()
  assert (gradient[:, 1:] < 0).all()


# --- training -----------------------------------------------------------------------


class Setup:
  """A model, and what one update of it by SGD with a learning rate of 0.1 needs."""

  def __init__(self, cfg, **train):
    optimizer = OptimizerConfig(
      name='sgd', learning_rate=0.1, clip_norm=float('inf'), weight_decay=0.0
    )
    train = TrainConfig(batch_size=4, steps=9, **train)
    _, model_hypers = split(cfg)
    self.optimizer, optimizer_hypers = split(optimizer)
    self.train, train_hypers = split(train)
    self.hypers = {
      'model': model_hypers,
      'optimizer': optimizer_hypers,
      'train': train_hypers,
    }
    self.model = build(cfg)
    tokens = np.random.default_rng(0).integers(0, 31, (4, 6), dtype=np.int32)
    self.batch = Batch(
      jnp.asarray(tokens[:, :-1]), jnp.asarray(tokens[:, 1:]), jnp.ones((4, 5))
    )
    self.state = make_init(self.model, self.optimizer)(self.hypers)
    self.update = make_update(self.model, self.optimizer, self.train)

  def with_numbers(self, **numbers):
    """Returns the hypers with other numbers of the model."""
    return self.hypers | {'model': self.hypers['model'] | numbers}

  def metrics(self, params):
    """Returns the routing metrics of the layers."""
    _, aux, _ = self.model.features(params, self.hypers['model'], self.batch)
    return aux[SEGMENT]


@pytest.mark.slow
@pytest.mark.parametrize(
  'coefficient, metric',
  [('load_balance_loss', 'load_balance'), ('router_z_loss', 'router_z')],
)
def test_a_routing_loss_adds_its_gradient_to_the_update(tiny, jit, coefficient, metric):
  """The gradient is that of the mean over layers."""
  setup = Setup(tiny(**EXPERTS))
  update = jit(setup.update)

  def updated(**numbers):
    zeros = {'load_balance_loss': jnp.float32(0), 'router_z_loss': jnp.float32(0)}
    hypers = setup.with_numbers(**zeros | numbers)
    return update(setup.state, hypers, setup.batch, jnp.float32(1.0))[0].params

  def mean_metric(params):
    return jnp.mean(setup.metrics(params)[metric])

  gradient = dict(walk_arrays(jit(jax.grad(mean_metric))(setup.state.params)))
  without = dict(walk_arrays(updated()))
  for path, array in walk_arrays(updated(**{coefficient: jnp.float32(0.7)})):
    np.testing.assert_allclose(
      array - without[path],
      -0.1 * 0.7 * gradient[path],
      rtol=1e-3,
      atol=1e-6,
      err_msg=path,
    )
  assert any(np.abs(array).max() > 1e-3 for array in gradient.values())


def correction_of(params):
  return params['decoder']['segment_0']['experts']['correction']


def test_a_correction_is_a_state_and_no_parameter(tiny):
  setup = Setup(tiny(**DEEPSEEK))
  params = setup.state.params
  states = [param for param in list_params(params) if param.role == 'state']
  assert len(states) == 1
  assert (correction_of(params) == 0).all()
  assert correction_of(frozen_mask(params, setup.optimizer))
  assert not correction_of(decay_mask(params, OptimizerConfig()))
  n_elements = sum(param.size for param in list_params(params))
  assert count(setup.model.cfg).total == n_elements - states[0].size


@pytest.mark.slow
def test_a_correction_moves_against_the_load_in_each_update(tiny, jit):
  setup = Setup(tiny(**DEEPSEEK))
  update = jit(setup.update)
  state = setup.state
  for _ in range(3):
    load = setup.metrics(state.params)['expert_load']
    expected = correction_of(state.params) + 0.001 * np.sign(1 / N_EXPERTS - load)
    state = update(state, setup.hypers, setup.batch, jnp.float32(1.0))[0]
    np.testing.assert_allclose(correction_of(state.params), expected, atol=1e-7)


@pytest.mark.slow
def test_corrections_even_out_the_load(tiny, jit):
  """All tokens choose the first expert at first. Nothing learns but the corrections."""
  setup = Setup(tiny(**DEEPSEEK))
  update = jit(setup.update)
  hypers = setup.with_numbers(router_correction_rate=jnp.float32(0.01))
  params = jax.tree.map(lambda array: array, setup.state.params)
  unbalanced = jnp.zeros((2, N_EXPERTS)).at[:, 0].set(0.4)
  params['decoder']['segment_0']['experts']['correction'] = unbalanced
  state = dataclasses.replace(setup.state, params=params)

  before = np.std(setup.metrics(state.params)['expert_load'])
  for _ in range(60):
    state = update(state, hypers, setup.batch, jnp.float32(0.0))[0]
  assert np.std(setup.metrics(state.params)['expert_load']) < 0.5 * before


@pytest.mark.slow
def test_the_objective_of_microbatches_is_the_mean_of_theirs(tiny, jit):
  """Each microbatch has its own loads."""
  setup = Setup(tiny(**EXPERTS), grad_accumulation_steps=2)
  _, step_metrics = jit(setup.update)(
    setup.state, setup.hypers, setup.batch, jnp.float32(1.0)
  )[:2]
  total = 0.0
  for rows in (slice(0, 2), slice(2, 4)):
    half = jax.tree.map(lambda array, rows=rows: array[rows], setup.batch)
    loss = batch_loss(setup.model, setup.train, setup.state.params, setup.hypers, half)
    total += loss.objective
  np.testing.assert_allclose(step_metrics['objective_nats'], total / 20, rtol=1e-5)


@pytest.mark.slow
def test_members_with_their_own_coefficients_train_as_alone(tiny, jit):
  setup = Setup(tiny(**DEEPSEEK))

  def updated(coefficient):
    hypers = setup.with_numbers(load_balance_loss=coefficient)
    state, *_ = setup.update(setup.state, hypers, setup.batch, jnp.float32(1.0))
    return state.params

  coefficients = jnp.asarray([0.0, 0.03, 0.5])
  together = dict(walk_arrays(jit(jax.vmap(updated))(coefficients)))
  for i, coefficient in enumerate(coefficients):
    for path, alone in walk_arrays(jit(updated)(coefficient)):
      np.testing.assert_allclose(
        together[path][i], alone, rtol=1e-4, atol=1e-6, err_msg=path
      )
