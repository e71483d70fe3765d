"""Keys of constant factors, dropout, losses of the router, and initial values."""

from __future__ import annotations

import math

from lmhp.declarations import static, traced
from lmhp.model.config.sizes import SizeKeys
from lmhp.sections import assign, keys


@keys
class ScaleKeys(SizeKeys):
  """Factors, dropout and initial values."""

  # `converted_aliases` and `value_aliases` are {name or value of other libraries: text}. The
  # text is only shown in the error message for that name or value.
  embedding_scale: float = static(
    None,
    'factor on the embedding; None is 1; Gemma: d_model ** 0.5',
    low=0.0,
    open_low=True,
    aliases=('embedding_multiplier',),
    converted_aliases={'scale_embedding': 'model.d_model ** 0.5 if True'},
    derived=True,
  )
  residual_scale: float = static(
    1.0,
    'factor on the output of each token mixer and feed-forward part before it is added to the '
    'residual stream (Granite)',
    low=0.0,
    open_low=True,
    aliases=('residual_multiplier',),
  )
  logit_scale: float = static(
    1.0,
    'factor on the logits (Cohere, Granite, T5)',
    low=0.0,
    open_low=True,
    converted_aliases={'logits_scaling': '1 / logits_scaling'},
  )
  logit_cap: float | None = static(
    None,
    'logits become cap * tanh(logits / cap); None means no cap',
    low=0.0,
    open_low=True,
    aliases=('final_logit_softcapping',),
    source='arXiv:2408.00118 (Gemma 2)',
  )

  # Dropout. If a rate is 0 for all models that a program trains, the program has no such dropout.
  embedding_dropout: float = traced(
    0.0,
    'probability that a coordinate of the embedding is dropped',
    low=0.0,
    high=1.0,
    open_high=True,
    neutral=0.0,
    static_when_neutral=True,
    aliases=('embd_pdrop', 'embed_dropout'),
  )
  attention_dropout: float = traced(
    0.0,
    'probability that an attention weight is dropped',
    low=0.0,
    high=1.0,
    open_high=True,
    neutral=0.0,
    static_when_neutral=True,
    aliases=('attn_pdrop', 'attention_probs_dropout_prob'),
  )
  residual_dropout: float = traced(
    0.0,
    'probability that a coordinate is dropped from the output of a token mixer or feed-forward '
    'part, before it is added to the residual stream',
    low=0.0,
    high=1.0,
    open_high=True,
    neutral=0.0,
    static_when_neutral=True,
    aliases=('resid_pdrop', 'hidden_dropout_prob', 'hidden_dropout'),
    converted_aliases={
      'dropout': 'together with model.attention_dropout and model.embedding_dropout'
    },
  )

  # Routing.
  load_balance_loss: float = traced(
    0.01,
    'with experts: coefficient of the loss that balances their load',
    low=0.0,
    aliases=('router_aux_loss_coef', 'aux_loss_alpha'),
    source='arXiv:2101.03961',
  )
  router_z_loss: float = traced(
    0.001,
    "with experts: coefficient of the mean square of logsumexp of the router's logits",
    low=0.0,
    aliases=('router_z_loss_coef',),
    source='arXiv:2202.08906',
  )
  router_correction_rate: float = traced(
    0.001,
    "with router_correction: size of the change of each expert's correction in each update",
    low=0.0,
    aliases=('moe_router_bias_update_rate',),
    source='arXiv:2412.19437 section 4.2',
  )

  # Initial values.
  init: str = static(
    'gpt2',
    'initial standard deviation of weights: normal is 0.02; gpt2 is 0.02, divided by '
    'sqrt(2 n_layers) for weights that write into the residual stream; fan_in is '
    'fan_in ** -0.5, and 0.02 for the head',
    choices=('normal', 'gpt2', 'fan_in'),
    aliases=('init_type',),
    value_aliases={'lecun': "'fan_in'", 'lecun_normal': "'fan_in'"},
  )
  init_scale: float = traced(
    1.0,
    'factor on the initial standard deviation of all weights and tables',
    low=0.0,
    converted_aliases={
      'initializer_range': 'initializer_range / 0.02',
      'init_std': 'init_std / 0.02',
    },
  )

  @property
  def residual_init_factor(self) -> float:
    """Factor on the initial standard deviation of weights that write into the residual stream.

    Source: GPT-2.
    """
    return 1 / math.sqrt(2 * self.n_layers) if self.init == 'gpt2' else 1.0

  def derive_scales(self) -> None:
    """Fills in `embedding_scale`."""
    assign(self, embedding_scale=self.embedding_scale or 1.0)
