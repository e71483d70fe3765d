"""The section `optimizer` of the config.

Each optimizer adds its own keys to the section.
"""

from __future__ import annotations

from lmhp.declarations import declared, static, traced
from lmhp.optim.spec import DECAY_MODES, OPTIMIZERS
from lmhp.params import KINDS, ROLES
from lmhp.sections import Section, assign, is_none_of, read_if, section

UNREAD_DEFAULTS = {'b1': 0.9, 'b2': 0.95, 'eps': 1e-8, 'momentum': 0.95}
"""Values of keys that default to None, if the chosen optimizer does not read them.

If the optimizer reads one of them, `OptimizerSpec.defaults` has its value instead.
"""

_OPTIMIZER_ALIASES = {
  'adamw_hf': "'adamw'",
  'adamw_torch': "'adamw'",
  'adamw_torch_fused': "'adamw'",
  'heavy_ball': "'momentum'",
  'nag': "'nesterov'",
  'sgd_momentum': "'momentum'",
  'signsgd': "'signum' with optimizer.momentum=0",
}
"""{name of an optimizer in other libraries: the name in lmhp, as text for messages}."""


@section('optimizer')
class OptimizerConfig(Section):
  """Optimizer, weight decay, clipping, and a learning-rate multiplier for each kind."""

  name: str = static(
    'adamw',
    'update rule',
    choices=OPTIMIZERS,
    aliases=('optim',),
    converted_aliases={
      'amsgrad': "amsgrad=True is 'amsgrad'",
      'nesterov': "nesterov=True is 'nesterov'",
    },
    value_aliases=_OPTIMIZER_ALIASES,
  )
  learning_rate: float = traced(
    1e-3,
    'learning rate at the peak of the schedule',
    low=0.0,
    aliases=('lr', 'max_lr', 'peak_lr', 'peak_value'),
    source='nanoGPT: 1e-3 for small networks',
  )
  # Weight decay and clipping.
  weight_decay: float = traced(
    None,
    'coefficient of the weight decay; weight_decay_mode chooses the factors that multiply it; '
    'None is 0.1 if the mode is decoupled, else 1e-4',
    low=0.0,
    neutral=0.0,
    aliases=('wd', 'lambda'),
    source='arXiv:2005.14165 app. B: 0.1; arXiv:2309.14322: 1e-4 independent',
    derived=True,
  )
  weight_decay_mode: str = static(
    None,
    'l2 adds weight_decay * parameter to the gradient; decoupled subtracts weight_decay * '
    'parameter * learning rate * schedule from the parameter; independent is decoupled without '
    "the learning rate; None is the optimizer's default",
    choices=DECAY_MODES,
    value_aliases={'adamw': "'decoupled'", 'coupled': "'l2'"},
    source='arXiv:1711.05101; arXiv:2309.14322 sec. 3.2',
    derived=True,
  )
  weight_decay_roles: tuple[str, ...] = static(
    ('weight', 'table'),
    'roles of the parameters that decay (weight: matrices, table: embeddings); their kind must '
    'be in weight_decay_kinds, too',
    choices=ROLES,
    source='nanoGPT: parameters of two dimensions or more',
  )
  weight_decay_kinds: tuple[str, ...] = static(
    KINDS,
    'kinds of the parameters that decay; their role must be in weight_decay_roles, too',
    choices=KINDS,
  )
  clip_norm: float = traced(
    1.0,
    'largest global norm of the gradient; a gradient with a larger norm is scaled down to it',
    low=0.0,
    open_low=True,
    neutral=float('inf'),
    aliases=('grad_clip', 'gradient_clip_val', 'max_grad_norm', 'max_norm'),
    source='arXiv:2005.14165 app. B',
  )

  # Numbers that several optimizers share. Each optimizer has its own defaults.
  b1: float = traced(
    None,
    "decay of the moving average of the gradient; None is the optimizer's default",
    low=0.0,
    high=1.0,
    open_high=True,
    aliases=('beta1', 'beta_1', 'adam_beta1'),
    converted_aliases={'betas': 'betas[0]; betas[1] is optimizer.b2'},
    derived=True,
  )
  b2: float = traced(
    None,
    'decay of the moving average of the squared gradient (lion: of the gradient, adan: of the '
    "change of the gradient); None is the optimizer's default",
    low=0.0,
    high=1.0,
    open_high=True,
    aliases=('beta2', 'beta_2', 'adam_beta2', 'alpha', 'decay'),
    derived=True,
  )
  eps: float = traced(
    None,
    "added to the root of the mean squared gradient; None is the optimizer's default",
    low=0.0,
    aliases=('epsilon', 'adam_epsilon'),
    derived=True,
  )
  momentum: float = traced(
    None,
    "decay of the sum of past gradients; None is the optimizer's default",
    low=0.0,
    high=1.0,
    open_high=True,
    aliases=('beta',),
    derived=True,
  )

  # One multiplier for each kind of parameter.
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
    1.0, 'factor on the learning rate of feed-forward layers', low=0.0
  )
  normalization_lr_multiplier: float = traced(
    1.0, 'factor on the learning rate of normalizations', low=0.0
  )
  output_lr_multiplier: float = traced(
    1.0, 'factor on the learning rate of the output layer', low=0.0
  )
  other_lr_multiplier: float = traced(
    1.0, 'factor on the learning rate of all other parameters', low=0.0
  )
  # Parameters that are not trained.
  freeze: tuple[str, ...] = static(
    (),
    'kinds of parameters, or paths with * and **, that keep their initial values',
    aliases=('frozen',),
  )

  def resolve(self) -> None:
    """Fills in the defaults of the optimizer."""
    spec = OPTIMIZERS[self.name]
    # A decoupled decay is multiplied by the learning rate, which is small. So the default of the
    # decay is larger.
    mode = self.weight_decay_mode or spec.weight_decay_mode
    defaults = {
      **UNREAD_DEFAULTS,
      **spec.defaults,
      'weight_decay': 0.1 if mode == 'decoupled' else 1e-4,
    }
    unset = {
      key: value for key, value in defaults.items() if getattr(self, key) is None
    }
    assign(self, weight_decay_mode=mode, **unset)

  def keys_read(self) -> frozenset[str]:
    """Returns the names of the keys that have an effect with this optimizer."""
    # A key that is in the `keys_read` of no optimizer, such as clip_norm, is used by all.
    read_by_some = frozenset().union(*(spec.keys_read for spec in OPTIMIZERS.values()))
    names = frozenset(declared(type(self)))
    return names - read_by_some | OPTIMIZERS[self.name].keys_read


READ_RULES = (
  read_if(
    'optimizer',
    'weight_decay_mode weight_decay_roles weight_decay_kinds',
    'weight_decay',
    is_none_of(0),
    'a number above 0',
  ),
)
"""Conditions under which keys have an effect, for keys that all optimizers share."""
