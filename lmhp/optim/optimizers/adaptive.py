"""Adaptive optimizers: Adam, its relatives, and the trust ratios of LARS and LAMB.

Adam's direction is u = m' / (sqrt(v') + eps), from the gradient g of a parameter w:

  m = b1 * m + (1 - b1) * g
  v = b2 * v + (1 - b2) * g^2

m' and v' are m and v with bias correction: m' = m / (1 - b1^t) and v' = v / (1 - b2^t) at step t,
counted from 1. The comments in `_OPTIMIZERS` state how each relative differs from Adam.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from lmhp.declarations import static, traced
from lmhp.optim.registry import register_optimizer
from lmhp.optim.spec import Numbers, OptimizerSpec, from_optax
from lmhp.optim.transforms import per_layer
from lmhp.sections import Section, keys, keys_of
from lmhp.typing import PyTree

ADAM_DEFAULTS = {'b1': 0.9, 'b2': 0.95, 'eps': 1e-8}
"""Defaults of Adam and its relatives.

b2 is 0.95, as is usual for language models (GPT-3, arXiv:2005.14165 app. B). Most relatives use
these defaults instead of their own. So a comparison of two of them compares the update rules
alone.
"""

scale_by_adam = from_optax(optax.scale_by_adam, 'b1', 'b2', 'eps')
# Nesterov: m' is replaced by b1 * m / (1 - b1^(t+1)) + (1 - b1) * g / (1 - b1^t) at step t.
scale_by_nadam = from_optax(optax.scale_by_adam, 'b1', 'b2', 'eps', nesterov=True)


# --- keys that an optimizer adds to the section `optimizer` -------------------------


@keys
class AdanKeys:
  """Keys that adan adds to the section `optimizer`."""

  b3: float = traced(
    0.99,
    "decay of the moving average of adan's squared gradient",
    low=0.0,
    high=1.0,
    open_high=True,
    aliases=('beta3',),
  )


@keys
class LarsKeys:
  """Keys that lars adds to the section `optimizer`."""

  trust_coefficient: float = traced(
    0.001, 'factor on the trust ratio of lars', low=0.0, aliases=('eta',)
  )


@keys
class AdafactorKeys:
  """Keys that adafactor adds to the section `optimizer`."""

  adafactor_power: float = traced(
    0.8,
    'exponent: at step t, the moving average of the squared gradient has the decay '
    '1 - t ** -adafactor_power',
    low=0.0,
    aliases=('decay_rate',),
    converted_aliases={'beta2_decay': '-beta2_decay'},
  )
  adafactor_clip_rms: float = traced(
    1.0,
    "largest root mean square of one matrix's update, before the learning rate",
    low=0.0,
    open_low=True,
    neutral=float('inf'),
    aliases=('clip_threshold', 'clipping_threshold'),
  )
  adafactor_min_size: int = static(
    128,
    'a matrix is factored (it stores row and column means of its squared gradient) if both '
    'its sides are at least this long',
    low=1,
    aliases=('min_dim_size_to_factor',),
  )
  adafactor_parameter_scale: bool = static(
    True,
    'multiply each update by the root mean square of its parameter',
    aliases=('multiply_by_parameter_scale', 'scale_parameter'),
  )


# --- directions that Optax does not have --------------------------------------------


class ScaleByRssState(NamedTuple):
  """State of `scale_by_rss`.

  Attributes:
    sum_of_squares: Sum of the squared gradients so far, a tree with the structure of the
      parameters.
  """

  sum_of_squares: PyTree


def scale_by_rss(eps: jax.typing.ArrayLike) -> optax.GradientTransformation:
  """Divides by the root of the sum of squared gradients (rss): g / (sqrt(sum g^2) + eps).

  The sum starts at 0, and `eps` is added after the root, as in torch. In
  `optax.scale_by_rss`, the sum starts at 0.1 by default, and `eps` is added under the root.

  Args:
    eps: Number that is added after the root.

  Source: Duchi et al., 2011, https://jmlr.org/papers/v12/duchi11a.html.

  >>> tx = scale_by_rss(eps=0.0)
  >>> state = tx.init(jnp.zeros(1))
  >>> _, state = tx.update(jnp.array([3.0]), state)
  >>> round(float(tx.update(jnp.array([4.0]), state)[0][0]), 4)
  0.8
  """

  def init(params: PyTree) -> ScaleByRssState:
    return ScaleByRssState(jax.tree.map(jnp.zeros_like, params))

  def update(
    updates: PyTree, state: PyTree, params: PyTree = None
  ) -> tuple[PyTree, ScaleByRssState]:
    del params
    sums = jax.tree.map(lambda s, g: s + g * g, state.sum_of_squares, updates)
    updates = jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + eps), updates, sums)
    return updates, ScaleByRssState(sums)

  return optax.GradientTransformation(init, update)


def _lars(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  trust = optax.scale_by_trust_ratio(trust_coefficient=numbers['trust_coefficient'])
  return optax.chain(per_layer(trust), optax.trace(numbers['momentum']))


def _trust_ratio(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  return per_layer(optax.scale_by_trust_ratio())


def _adafactor(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  # Gradient divided by the root of the moving average of its square. For large matrices, only row
  # and column means of this average are stored.
  adafactor = keys_of(cfg, AdafactorKeys)
  factored_rms = optax.scale_by_factored_rms(
    decay_rate=numbers['adafactor_power'],
    min_dim_size_to_factor=adafactor.adafactor_min_size,
  )
  # Limit the root mean square of the update. Then multiply the update by the root mean square
  # of the parameter.
  clip = optax.clip_by_block_rms(numbers['adafactor_clip_rms'])
  parameter_scale = optax.identity()
  if adafactor.adafactor_parameter_scale:
    parameter_scale = optax.scale_by_param_block_rms()
  return per_layer(optax.chain(factored_rms, clip, parameter_scale))


# --- the entries --------------------------------------------------------------------

# The second argument of `OptimizerSpec` is the default of `weight_decay_mode`.
_OPTIMIZERS = {
  # u = g / (sqrt(v) + eps), with v the sum of g^2
  'adagrad': OptimizerSpec(
    from_optax(scale_by_rss, 'eps'),
    'l2',
    source='Duchi et al., 2011; as in torch',
    defaults={'eps': 1e-10},
  ),
  # v = b2 * v + (1 - b2) * g^2, u = g / (sqrt(v) + eps)
  'rmsprop': OptimizerSpec(
    from_optax(optax.scale_by_rms, 'b2', 'eps', eps_in_sqrt=False),
    'l2',
    source='Tieleman and Hinton, 2012; as in torch',
    defaults={'b2': 0.99, 'eps': 1e-8},
  ),
  'adam': OptimizerSpec(scale_by_adam, 'l2', 'arXiv:1412.6980', ADAM_DEFAULTS),
  'adamw': OptimizerSpec(scale_by_adam, 'decoupled', 'arXiv:1711.05101', ADAM_DEFAULTS),
  'nadam': OptimizerSpec(scale_by_nadam, 'l2', 'Dozat, 2016', ADAM_DEFAULTS),
  'nadamw': OptimizerSpec(
    scale_by_nadam, 'decoupled', 'Dozat, 2016; arXiv:1711.05101', ADAM_DEFAULTS
  ),
  # v' is replaced by its largest value so far, elementwise.
  'amsgrad': OptimizerSpec(
    from_optax(optax.scale_by_amsgrad, 'b1', 'b2', 'eps'),
    'l2',
    source='arXiv:1904.09237',
    defaults=ADAM_DEFAULTS,
  ),
  # v = max(b2 * v, |g| + eps), u = m' / v
  'adamax': OptimizerSpec(
    from_optax(optax.scale_by_adamax, 'b1', 'b2', 'eps'),
    'l2',
    source='arXiv:1412.6980',
    defaults=ADAM_DEFAULTS,
  ),
  # u is multiplied by a rectification factor. In the first steps, in which this factor is not
  # defined, u is m'.
  'radam': OptimizerSpec(
    from_optax(optax.scale_by_radam, 'b1', 'b2', 'eps'),
    'l2',
    source='arXiv:1908.03265',
    defaults=ADAM_DEFAULTS,
  ),
  # v = b2 * v + (1 - b2) * (g - m)^2
  'adabelief': OptimizerSpec(
    from_optax(optax.scale_by_belief, 'b1', 'b2', 'eps'),
    'decoupled',
    source='arXiv:2010.07468',
    defaults={**ADAM_DEFAULTS, 'eps': 1e-16},
  ),
  # u = m, the moving average of g / max(sqrt(v), eps), with the v of the step before.
  'adopt': OptimizerSpec(
    from_optax(contrib.scale_by_adopt, 'b1', 'b2', 'eps'),
    'decoupled',
    source='arXiv:2411.02853',
    defaults={'b1': 0.9, 'b2': 0.9999, 'eps': 1e-6},
  ),
  # m, d and v are bias-corrected means of g, of its change c = g - (g of the step before),
  # and of (g + (1 - b2) * c)^2, with decays b1, b2 and b3:
  # u = (m + (1 - b2) * d) / (sqrt(v) + eps)
  'adan': OptimizerSpec(
    from_optax(optax.scale_by_adan, 'b1', 'b2', 'b3', 'eps'),
    'decoupled',
    source='arXiv:2208.06677',
    defaults={'b1': 0.98, 'b2': 0.92, 'eps': 1e-8},
    keys=AdanKeys,
  ),
  # h = g * trust_coefficient * (norm of w) / (norm of g), for each parameter of each layer.
  # m = momentum * m + h, u = m
  'lars': OptimizerSpec(
    _lars,
    'l2',
    source='arXiv:1708.03888',
    defaults={'momentum': 0.9},
    keys=LarsKeys,
  ),
  # d = u + weight_decay * w is multiplied by (norm of w) / (norm of d), for each parameter of
  # each layer.
  'lamb': OptimizerSpec(
    scale_by_adam,
    'decoupled',
    source='arXiv:1904.00962',
    defaults={**ADAM_DEFAULTS, 'eps': 1e-6},
    after_decay=_trust_ratio,
  ),
  'adafactor': OptimizerSpec(
    _adafactor, 'decoupled', 'arXiv:1804.04235', keys=AdafactorKeys
  ),
}

for _name, _spec in _OPTIMIZERS.items():
  register_optimizer(_name, _spec)
