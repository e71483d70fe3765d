"""Stochastic gradient descent, with momentum, with Nesterov momentum, and by signs."""

from __future__ import annotations

import optax

from lmhp.optim.registry import register_optimizer
from lmhp.optim.spec import Numbers, OptimizerSpec
from lmhp.sections import Section


def _sgd(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  return optax.identity()


def _momentum(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  return optax.trace(numbers['momentum'])


def _nesterov(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  return optax.trace(numbers['momentum'], nesterov=True)


def _signum(cfg: Section, numbers: Numbers) -> optax.GradientTransformation:
  return optax.chain(optax.trace(numbers['momentum']), optax.scale_by_sign())


register_optimizer('sgd', OptimizerSpec(_sgd, 'l2', source='Robbins and Monro, 1951'))
register_optimizer(
  'momentum',
  OptimizerSpec(
    _momentum,
    'l2',
    source='Polyak, 1964; as in torch',
    defaults={'momentum': 0.9},
  ),
)
register_optimizer(
  'nesterov',
  OptimizerSpec(
    _nesterov,
    'l2',
    source='Sutskever et al., 2013; as in torch',
    defaults={'momentum': 0.9},
  ),
)
register_optimizer(
  'signum',
  OptimizerSpec(
    _signum,
    'decoupled',
    source='arXiv:1802.04434; with momentum 0 it is signSGD',
    defaults={'momentum': 0.9},
  ),
)
