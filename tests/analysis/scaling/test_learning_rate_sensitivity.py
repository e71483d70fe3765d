"""Tests of learning-rate sensitivity, and of the edge of stability on a quadratic."""

import numpy as np
import pytest

from lmhp.analysis.scaling.learning_rate_sensitivity import (
  edge_of_stability,
  learning_rate_sensitivity,
)
from lmhp.errors import ConfigError

RATES = [1e-3, 1e-2, 1e-1]


@pytest.mark.parametrize(
  'losses, expected',
  [
    ([4.5, 4.0, 9.0], 3.5 / 3),  # the worked example: (0.5 + 0 + 3) / 3
    ([4.5, 4.0, np.nan], 3.5 / 3),
    ([4.5, 4.0, np.inf], 3.5 / 3),
    ([4.0, 4.0, 4.0], 0.0),
    ([9.0, np.nan, np.inf], 0.0),  # all diverged: the best is no better than the start
    ([4.5, 4.0, 5.5], 2.0 / 3),
  ],
)
def test_sensitivity_by_hand(losses, expected):
  assert learning_rate_sensitivity(RATES, losses, 7.0) == pytest.approx(expected)


def test_seeds_of_one_rate_are_one_rate():
  repeated = learning_rate_sensitivity(
    [1e-3, 1e-2, 1e-2, 1e-2, 1e-1], [4.5, 3.9, 4.0, 4.1, 9.0], 7.0
  )
  assert repeated == pytest.approx(3.5 / 3)


def test_sensitivity_does_not_know_order_nor_unit_of_rates():
  rng = np.random.default_rng(0)
  rates, losses = 10 ** rng.uniform(-4, 0, 20), rng.uniform(3, 9, 20)
  found = learning_rate_sensitivity(rates, losses, 7.0)
  order = rng.permutation(20)
  assert learning_rate_sensitivity(
    100 * rates[order], losses[order], 7.0
  ) == pytest.approx(found)
  assert learning_rate_sensitivity(rates, losses + 2, 9.0) == pytest.approx(found)
  assert found == pytest.approx(np.mean(np.minimum(losses, 7)) - losses.min())


@pytest.mark.parametrize(
  'rates, losses, initial',
  [
    ([1e-3], [4.0, 5.0], 7.0),
    ([], [], 7.0),
    ([0.0, 1e-3], [4.0, 5.0], 7.0),
    ([1e-3, np.nan], [4.0, 5.0], 7.0),
    ([1e-3], [4.0], np.nan),
  ],
)
def test_sensitivity_refuses(rates, losses, initial):
  with pytest.raises(ConfigError):
    learning_rate_sensitivity(rates, losses, initial)


# --- the edge -----------------------------------------------------------------------


def grows(optimizer, rate, momentum, sharpness, steps=3000):
  """Returns True if the optimizer diverges on sharpness * w^2 / 2, with second moments of 1."""
  w, m = 1.0, 0.0
  for _ in range(steps):
    g = sharpness * w
    if optimizer in ('adam', 'adamw', 'nadam', 'amsgrad'):
      m = momentum * m + (1 - momentum) * g
      update = momentum * m + (1 - momentum) * g if optimizer == 'nadam' else m
    elif optimizer in ('momentum', 'nesterov'):
      m = momentum * m + g
      update = momentum * m + g if optimizer == 'nesterov' else m
    else:
      update = g
    w -= rate * update
    if abs(w) > 1e6:
      return True
  return False


@pytest.mark.parametrize('momentum', [0.0, 0.5, 0.9])
@pytest.mark.parametrize(
  'optimizer',
  ['sgd', 'rmsprop', 'momentum', 'nesterov', 'adam', 'adamw', 'amsgrad', 'nadam'],
)
def test_training_grows_above_the_edge_and_not_below(optimizer, momentum):
  edge = edge_of_stability(optimizer, 0.03, momentum)
  assert not grows(optimizer, 0.03, momentum, 0.98 * edge)
  assert grows(optimizer, 0.03, momentum, 1.02 * edge)


@pytest.mark.parametrize('name', ['sgd', 'momentum', 'nesterov'])
def test_the_edge_is_that_of_the_optimizers_that_train(name):
  import jax
  import jax.numpy as jnp

  from lmhp.optim.registry import OPTIMIZERS

  def end(sharpness):
    tx = OPTIMIZERS[name].scale(None, {'momentum': jnp.float32(0.8)})

    def step(carry, _):
      w, state = carry
      update, state = tx.update(sharpness * w, state, w)
      return (w - 0.1 * update, state), None

    return abs(
      float(
        jax.lax.scan(step, (jnp.float32(1), tx.init(jnp.float32(1))), None, length=800)[
          0
        ][0]
      )
    )

  edge = edge_of_stability(name, 0.1, 0.8)
  assert end(0.97 * edge) < 1e-2 and not end(1.03 * edge) < 1e3


def test_the_published_number_of_adam():
  assert edge_of_stability('adam', 1e-4, 0.9) == pytest.approx(
    38 / 1e-4
  )  # Cohen et al. 2022
  np.testing.assert_allclose(edge_of_stability('sgd', np.array([0.1, 0.2])), [20, 10])


@pytest.mark.parametrize(
  'arguments',
  [('muon', 0.1), ('lion', 0.1), ('adam', 0.0), ('adam', -1.0), ('adam', 0.1, 1.0)],
)
def test_the_edge_refuses(arguments):
  with pytest.raises(ConfigError):
    edge_of_stability(*arguments)
