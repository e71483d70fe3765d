"""The optimizer: an Optax chain built inside the trace, so that every number in it may be an array.

The order of the chain defines what each number multiplies. From a gradient g of a parameter w, with s the schedule
(peak 1) and r the rate of the parameter's kind:

==  =====================  ===========================================================================================
 1  clip                   g * min(1, clip_norm / norm of all gradients together)
 2  L2 decay               g + weight_decay * w, where `weight_decay_mode` is l2: moments and norms below see it
 3  the family             u = what `name` makes of it: momentum, Adam's ratio, a sign, an orthogonal matrix, ...
 4  decoupled decay        u + weight_decay * w, where it is decoupled (AdamW): multiplied by all that follows
 5  trust ratio            u * norm of w / norm of u, for each layer: lamb alone, whose paper has the decay inside it
 6  rates                  u * learning_rate * r
 7  independent decay      u + weight_decay * w, where it is independent: not multiplied by learning rate or r
 8  schedule               -s * u, to be added to w
==  =====================  ===========================================================================================

Decay touches the parameters of :func:`~lmhp.optim.masks.decay_mask` alone. Norms, factors and orthogonal matrices are
for each parameter of each layer (:func:`~lmhp.optim.transforms.per_layer`); the norm that clips is over everything.
No state holds a hyperparameter: one `init` serves all values.
"""

from __future__ import annotations

from typing import Mapping

import jax
import optax

from lmhp.declarations import static, traced
from lmhp.optim.masks import decay_mask, lr_multipliers
from lmhp.optim.registry import OPTIMIZERS, UNUSED_DEFAULTS
from lmhp.optim.transforms import clip_by_global_norm, scale_by_learning_rates
from lmhp.params import KINDS, ROLES
from lmhp.sections import Section, assign, section

DECAYS = ('l2', 'decoupled', 'independent')


@section('optimizer')
class OptimizerConfig(Section):
  """How a gradient becomes an update. Fields that are None take the family's own value (`lmhp.optim.registry`)."""

  name: str = static(
    'adamw', 'the family', choices=tuple(OPTIMIZERS), aliases=('optim',)
  )
  learning_rate: float = traced(
    1e-3,
    'factor on every update: the peak of the schedule',
    low=0.0,
    aliases=('lr',),
    source='nanoGPT: 1e-3 for small networks',
  )
  weight_decay: float = traced(
    None,
    'factor on the parameter in what is subtracted from it; None is 0.1 where '
    'decoupled, else 1e-4',
    low=0.0,
    neutral=0.0,
    aliases=('wd', 'lambda'),
    source='arXiv:2005.14165 app. B: 0.1; arXiv:2309.14322: 1e-4 independent',
    derived=True,
  )
  weight_decay_mode: str = static(
    None,
    'l2: in the gradient; decoupled: times the learning rate; independent: '
    "times the schedule alone; None is as the family's paper or torch has it",
    choices=DECAYS,
    source='arXiv:1711.05101; arXiv:2309.14322 sec. 3.2',
    derived=True,
  )
  weight_decay_roles: tuple[str, ...] = static(
    ('weight', 'table'),
    'roles that decay',
    choices=ROLES,
    source='nanoGPT: what has two dimensions or more',
  )
  weight_decay_kinds: tuple[str, ...] = static(KINDS, 'kinds that decay', choices=KINDS)
  clip_norm: float = traced(
    1.0,
    'largest global norm of the gradient that is let through',
    low=0.0,
    open_low=True,
    neutral=float('inf'),
    aliases=('grad_clip', 'max_grad_norm'),
    source='arXiv:2005.14165 app. B',
  )

  b1: float = traced(
    None,
    'decay of the mean gradient',
    low=0.0,
    high=1.0,
    open_high=True,
    aliases=('beta1', 'adam_beta1'),
    derived=True,
  )
  b2: float = traced(
    None,
    'decay of the mean squared gradient (of the mean gradient: lion; of gradient '
    'differences: adan)',
    low=0.0,
    high=1.0,
    open_high=True,
    aliases=('beta2', 'adam_beta2', 'alpha', 'decay'),
    derived=True,
  )
  b3: float = traced(
    None,
    'decay of the mean squared gradient in adan',
    low=0.0,
    high=1.0,
    open_high=True,
    derived=True,
  )
  eps: float = traced(
    None,
    'added to the root of the mean squared gradient',
    low=0.0,
    aliases=('epsilon', 'adam_epsilon'),
    derived=True,
  )
  momentum: float = traced(
    None,
    'decay of the sum of past gradients',
    low=0.0,
    high=1.0,
    open_high=True,
    derived=True,
  )
  trust_coefficient: float = traced(
    None, 'factor on the trust ratio of lars', low=0.0, aliases=('eta',), derived=True
  )
  adafactor_power: float = traced(
    None,
    'the mean squared gradient decays by 1 - step ** -power',
    low=0.0,
    aliases=('decay_rate',),
    derived=True,
  )
  adafactor_clip_rms: float = traced(
    None,
    "largest root mean square of one matrix's update",
    low=0.0,
    open_low=True,
    neutral=float('inf'),
    aliases=('clip_threshold',),
    derived=True,
  )
  adafactor_min_size: int = static(
    128,
    'matrices with a smaller side keep their mean squared gradient whole',
    low=1,
    aliases=('min_dim_size_to_factor',),
  )
  adafactor_parameter_scale: bool = static(
    True,
    'updates are multiplied by the root mean square of their parameter',
    aliases=('multiply_by_parameter_scale',),
  )
  muon_lr_multiplier: float = traced(
    None,
    'factor on the learning rate of the matrices that muon orthogonalizes; the '
    'rest has AdamW',
    low=0.0,
    derived=True,
  )
  muon_newton_schulz_steps: int = static(
    5, 'Newton-Schulz iterations', low=1, aliases=('ns_steps',)
  )
  muon_scaling: str = static(
    'rms',
    "rms: updates as large as AdamW's; width: sqrt(max(1, fan_out / fan_in))",
    choices=('rms', 'width'),
    source='arXiv:2502.16982',
  )

  embedding_lr_multiplier: float = traced(
    1.0, 'factor on the learning rate of embeddings', low=0.0
  )
  positional_lr_multiplier: float = traced(
    1.0, 'factor on the learning rate of positional tables', low=0.0
  )
  attention_lr_multiplier: float = traced(
    1.0, 'factor on the learning rate of attention', low=0.0
  )
  feed_forward_lr_multiplier: float = traced(
    1.0, 'factor on the learning rate of feed-forward parts', low=0.0
  )
  normalization_lr_multiplier: float = traced(
    1.0, 'factor on the learning rate of normalizations', low=0.0
  )
  output_lr_multiplier: float = traced(
    1.0, 'factor on the learning rate of the head', low=0.0
  )
  other_lr_multiplier: float = traced(
    1.0, 'factor on the learning rate of everything else', low=0.0
  )
  freeze: tuple[str, ...] = static(
    (), 'kinds, or paths with * and **, that keep their initial values'
  )

  def resolve(self) -> None:
    """Fills in the family's own numbers."""
    family = OPTIMIZERS[self.name]
    mode = self.weight_decay_mode or family.decay
    defaults = {
      **UNUSED_DEFAULTS,
      **family.numbers,
      'weight_decay': 0.1 if mode == 'decoupled' else 1e-4,
    }
    assign(self, weight_decay_mode=mode)
    assign(
      self,
      **{
        name: value for name, value in defaults.items() if getattr(self, name) is None
      },
    )


def numbers_read_by_optimizer(name: str) -> tuple[str, ...]:
  """The numbers of `OptimizerConfig` that a family reads; the others have no effect on it.

  >>> set(numbers_read_by_optimizer('lion')) - set(
  ...   numbers_read_by_optimizer('sgd')
  ... ) == {
  ...   'b1',
  ...   'b2',
  ... }
  True
  """
  rates = (f'{kind}_lr_multiplier' for kind in KINDS)
  return (
    'learning_rate',
    'weight_decay',
    'clip_norm',
    *OPTIMIZERS[name].numbers,
    *rates,
  )


def make_optimizer(
  structure: OptimizerConfig,
  hypers_optimizer: Mapping[str, jax.Array],
  schedule_value: jax.Array,
  grad_norm: jax.Array | None = None,
) -> optax.GradientTransformation:
  """The transformation of this step, from gradients to what is added to the parameters.

  Made anew inside every traced step (making it computes nothing); its state's form depends on the structure alone.

  Args:
    structure: the section's structure; its traced fields are not read.
    hypers_optimizer: the section's traced numbers, scalars.
    schedule_value: the schedule at this step, as a share of its peak.
    grad_norm: the gradient's global norm where the step has it already; None computes it.

  Returns:
    A transformation whose `update` wants the parameters, float32 as the gradients.

  >>> import jax.numpy as jnp
  >>> from lmhp.hypers import split
  >>> structure, numbers = split(
  ...   OptimizerConfig(name='sgd', learning_rate=0.5, weight_decay=0.0)
  ... )
  >>> params = {'final_norm': {'scale': jnp.ones(2)}}
  >>> tx = make_optimizer(structure, numbers, schedule_value=0.1)
  >>> updates, _ = tx.update(
  ...   {'final_norm': {'scale': jnp.array([0.3, 0.4])}}, tx.init(params), params
  ... )
  >>> [round(float(u), 4) for u in updates['final_norm']['scale']]
  [-0.015, -0.02]
  """
  h, family = hypers_optimizer, OPTIMIZERS[structure.name]
  decay = optax.add_decayed_weights(
    h['weight_decay'], mask=lambda tree: decay_mask(tree, structure)
  )
  decay_where = lambda mode: [decay] * (structure.weight_decay_mode == mode)
  rates = lambda tree: jax.tree.map(
    lambda rate: h['learning_rate'] * rate, lr_multipliers(tree, h)
  )
  return optax.chain(
    clip_by_global_norm(h['clip_norm'], grad_norm),
    *decay_where('l2'),
    family.scale(structure, h),
    *decay_where('decoupled'),
    *([family.after_decay(structure, h)] if family.after_decay else []),
    scale_by_learning_rates(rates),
    *decay_where('independent'),
    optax.scale(-schedule_value),
  )
