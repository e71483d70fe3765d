"""The optimizer of a step: an Optax chain whose hyperparameters JAX may trace.

The order of the chain defines which factors multiply which term. Let g be the gradient of a
parameter w, s the value of the schedule (peak 1), and m the learning-rate multiplier of the
parameter's kind (such as `attention_lr_multiplier`):

==  =====================  ==============================================================
 1  clipping               g * min(1, clip_norm / global norm of the gradient)
 2  L2 decay               g + weight_decay * w, if `weight_decay_mode` is l2. The moments
                           and norms below include it
 3  the optimizer `name`   u, the direction: a momentum, Adam's ratio, a sign, ...
 4  decoupled decay        u + weight_decay * w, if it is decoupled (AdamW). All factors
                           below multiply it
 5  trust ratio            u * (norm of w) / (norm of u), per layer. Only lamb has this
                           row, because its paper includes the decay in the ratio
 6  learning rate          u * learning_rate * m
 7  independent decay      u + weight_decay * w, if it is independent. The learning rate
                           and m do not multiply it
 8  schedule               -s * u, which is added to w
==  =====================  ==============================================================

Only the parameters that `lmhp.optim.masks.decay_mask` selects decay. The norm in row 1 is over all
parameters. All other norms, the factored moments (adafactor) and the orthogonal matrices (muon)
are computed for each parameter of each layer separately (see
`lmhp.optim.transforms.per_layer`).

The optimizer state contains no hyperparameters, so `init` does not depend on their values.
"""

from __future__ import annotations

import jax
import optax

from lmhp.optim.config import OptimizerConfig
from lmhp.optim.masks import decay_mask
from lmhp.optim.spec import OPTIMIZERS, Numbers
from lmhp.optim.transforms import clip_by_global_norm, scale_by_learning_rates
from lmhp.typing import PyTree


def make_optimizer(
  structure: OptimizerConfig,
  numbers: Numbers,
  schedule_value: jax.Array | float,
  grad_norm: jax.Array | None = None,
) -> optax.GradientTransformation:
  """Makes the transformation from gradients to updates for one step.

  It is called each time that JAX traces the step function. The tree structure of the optimizer
  state depends only on the static keys of the section. So each of these transformations can
  continue with a state that another one made.

  Args:
    structure: The section `optimizer`, as `lmhp.hypers.split` returns it: with placeholders
      instead of the traced numbers.
    numbers: Traced numbers of the section by key. Scalars.
    schedule_value: Learning rate at this step as a ratio to its peak, 0 to 1. Scalar.
    grad_norm: Global norm of the gradient, if the caller has it. If None, it is computed.

  Returns:
    A transformation. Its `update` needs the parameters as its third argument. Parameters and
    gradients are float32.

  >>> import jax.numpy as jnp
  >>> from lmhp.hypers import split
  >>> cfg = OptimizerConfig(name='sgd', learning_rate=0.5, weight_decay=0.0)
  >>> structure, numbers = split(cfg)
  >>> params = {'final_norm': {'scale': jnp.ones(2)}}
  >>> grads = {'final_norm': {'scale': jnp.array([0.3, 0.4])}}
  >>> tx = make_optimizer(structure, numbers, schedule_value=0.1)
  >>> updates, _ = tx.update(grads, tx.init(params), params)
  >>> [round(float(u), 4) for u in updates['final_norm']['scale']]
  [-0.015, -0.02]
  """
  spec = OPTIMIZERS[structure.name]

  def mask(params: PyTree) -> PyTree:
    return decay_mask(params, structure)

  decay = optax.add_decayed_weights(numbers['weight_decay'], mask=mask)
  mode = structure.weight_decay_mode

  # A comment gives the row of the table at the top of this file.
  steps = [clip_by_global_norm(numbers['clip_norm'], grad_norm)]  # 1
  if mode == 'l2':
    steps.append(decay)  # 2
  steps.append(spec.scale(structure, numbers))  # 3
  if mode == 'decoupled':
    steps.append(decay)  # 4
  if spec.after_decay is not None:
    steps.append(spec.after_decay(structure, numbers))  # 5
  steps.append(scale_by_learning_rates(numbers))  # 6
  if mode == 'independent':
    steps.append(decay)  # 7
  steps.append(optax.scale(-schedule_value))  # 8
  return optax.chain(*steps)
