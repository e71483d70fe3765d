"""The optimizers: for each, how it scales a gradient, the numbers it reads with its own defaults, and how it decays.

An entry of `FAMILIES` builds only the scaling of the gradient; clipping, weight decay, rates and the schedule are the
same for all and stand in :mod:`lmhp.optim.chain`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Mapping

import jax
import optax
from optax import contrib

from lmhp.optim.muon import muon_labels, scale_by_muon
from lmhp.optim.transforms import per_layer, scale_by_rss

Numbers = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class OptimizerSpec:
  """One optimizer.

  Attributes:
    scale: `(cfg, h) -> tx`, from the structure and the traced numbers, what it makes of a gradient.
    numbers: the traced numbers that `scale` reads, and this family's default of each.
    decay: its own kind of weight decay.
    after_decay: `(cfg, h) -> tx`, what it does to the sum of update and decoupled decay.
    source: the paper, and whose defaults.
  """

  scale: Callable[[Any, Numbers], optax.GradientTransformation]
  numbers: Mapping[str, float]
  decay: str
  source: str
  after_decay: Callable[[Any, Numbers], optax.GradientTransformation] | None = None


def _adam(**switches) -> Callable[[Any, Numbers], optax.GradientTransformation]:
  return lambda cfg, h: optax.scale_by_adam(h['b1'], h['b2'], h['eps'], **switches)


def _rmsprop(cfg: Any, h: Numbers) -> optax.GradientTransformation:
  return optax.scale_by_rms(h['b2'], h['eps'], eps_in_sqrt=False)


def _lars(cfg: Any, h: Numbers) -> optax.GradientTransformation:
  trust = optax.scale_by_trust_ratio(trust_coefficient=h['trust_coefficient'])
  return optax.chain(per_layer(trust), optax.trace(h['momentum']))


def _adafactor(cfg: Any, h: Numbers) -> optax.GradientTransformation:
  return per_layer(
    optax.chain(
      optax.scale_by_factored_rms(
        decay_rate=h['adafactor_power'], min_dim_size_to_factor=cfg.adafactor_min_size
      ),
      optax.clip_by_block_rms(h['adafactor_clip_rms']),
      optax.scale_by_param_block_rms()
      if cfg.adafactor_parameter_scale
      else optax.identity(),
    )
  )


def _muon(cfg: Any, h: Numbers) -> optax.GradientTransformation:
  matrix = optax.chain(
    scale_by_muon(h['momentum'], cfg.muon_newton_schulz_steps, cfg.muon_scaling),
    optax.scale(h['muon_lr_multiplier']),
  )
  return optax.partition({'matrix': matrix, 'rest': _adam()(cfg, h)}, muon_labels)


# The second decay is 0.95 in every relative of Adam, as language models are trained (GPT-3, arXiv:2005.14165 app. B),
# so that two of them differ in one thing.
_ADAM = {'b1': 0.9, 'b2': 0.95, 'eps': 1e-8}

OPTIMIZERS: dict[str, OptimizerSpec] = {
  'sgd': OptimizerSpec(
    lambda cfg, h: optax.identity(), {}, 'l2', 'Robbins and Monro, 1951'
  ),
  'momentum': OptimizerSpec(
    lambda cfg, h: optax.trace(h['momentum']),
    {'momentum': 0.9},
    'l2',
    'Polyak, 1964; as in torch',
  ),
  'nesterov': OptimizerSpec(
    lambda cfg, h: optax.trace(h['momentum'], nesterov=True),
    {'momentum': 0.9},
    'l2',
    'Sutskever et al., 2013; as in torch',
  ),
  'signum': OptimizerSpec(
    lambda cfg, h: optax.chain(optax.trace(h['momentum']), optax.scale_by_sign()),
    {'momentum': 0.9},
    'decoupled',
    'arXiv:1802.04434; momentum 0 is signSGD',
  ),
  'lion': OptimizerSpec(
    lambda cfg, h: optax.scale_by_lion(h['b1'], h['b2']),
    {'b1': 0.9, 'b2': 0.99},
    'decoupled',
    'arXiv:2302.06675',
  ),
  'adagrad': OptimizerSpec(
    lambda cfg, h: scale_by_rss(h['eps']),
    {'eps': 1e-10},
    'l2',
    'Duchi et al., 2011; as in torch',
  ),
  'rmsprop': OptimizerSpec(
    _rmsprop, {'b2': 0.99, 'eps': 1e-8}, 'l2', 'Tieleman and Hinton, 2012; as in torch'
  ),
  'adam': OptimizerSpec(_adam(), _ADAM, 'l2', 'arXiv:1412.6980'),
  'adamw': OptimizerSpec(_adam(), _ADAM, 'decoupled', 'arXiv:1711.05101'),
  'nadam': OptimizerSpec(_adam(nesterov=True), _ADAM, 'l2', 'Dozat, 2016'),
  'nadamw': OptimizerSpec(
    _adam(nesterov=True), _ADAM, 'decoupled', 'Dozat, 2016; arXiv:1711.05101'
  ),
  'amsgrad': OptimizerSpec(
    lambda cfg, h: optax.scale_by_amsgrad(h['b1'], h['b2'], h['eps']),
    _ADAM,
    'l2',
    'arXiv:1904.09237',
  ),
  'adamax': OptimizerSpec(
    lambda cfg, h: optax.scale_by_adamax(h['b1'], h['b2'], h['eps']),
    _ADAM,
    'l2',
    'arXiv:1412.6980',
  ),
  'radam': OptimizerSpec(
    lambda cfg, h: optax.scale_by_radam(h['b1'], h['b2'], h['eps']),
    _ADAM,
    'l2',
    'arXiv:1908.03265',
  ),
  'adabelief': OptimizerSpec(
    lambda cfg, h: optax.scale_by_belief(h['b1'], h['b2'], h['eps']),
    {**_ADAM, 'eps': 1e-16},
    'decoupled',
    'arXiv:2010.07468',
  ),
  'adopt': OptimizerSpec(
    lambda cfg, h: contrib.scale_by_adopt(h['b1'], h['b2'], h['eps']),
    {'b1': 0.9, 'b2': 0.9999, 'eps': 1e-6},
    'decoupled',
    'arXiv:2411.02853',
  ),
  'adan': OptimizerSpec(
    lambda cfg, h: optax.scale_by_adan(h['b1'], h['b2'], h['b3'], h['eps']),
    {'b1': 0.98, 'b2': 0.92, 'b3': 0.99, 'eps': 1e-8},
    'decoupled',
    'arXiv:2208.06677',
  ),
  'lars': OptimizerSpec(
    _lars, {'momentum': 0.9, 'trust_coefficient': 0.001}, 'l2', 'arXiv:1708.03888'
  ),
  'lamb': OptimizerSpec(
    _adam(),
    {**_ADAM, 'eps': 1e-6},
    'decoupled',
    'arXiv:1904.00962',
    after_decay=lambda cfg, h: per_layer(optax.scale_by_trust_ratio()),
  ),
  'adafactor': OptimizerSpec(
    _adafactor,
    {'adafactor_power': 0.8, 'adafactor_clip_rms': 1.0},
    'decoupled',
    'arXiv:1804.04235',
  ),
  'muon': OptimizerSpec(
    _muon,
    {'momentum': 0.95, 'muon_lr_multiplier': 1.0, **_ADAM},
    'decoupled',
    'Jordan et al., 2024; arXiv:2502.16982',
  ),
}
# What the numbers are where the family reads none of that name: they have no effect.
UNUSED_DEFAULTS = {
  name: value
  for family in OPTIMIZERS.values()
  for name, value in family.numbers.items()
}
