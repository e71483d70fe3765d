"""Keys of normalizations, and of the residual connections around which they are placed."""

from __future__ import annotations

from lmhp.declarations import static
from lmhp.model.config.sizes import SizeKeys
from lmhp.sections import assign, keys, require_all

NORM_PLACEMENTS = ('pre', 'post', 'sandwich', 'output')
"""Values of `model.norm_placement`, which explains them."""


@keys
class NormalizationKeys(SizeKeys):
  """Normalizations and residual connections."""

  # `converted_aliases` and `value_aliases` are {name or value of other libraries: text}. The
  # text is only shown in the error message for that name or value.
  norm: str = static(
    'layernorm',
    'kind of normalization',
    choices=('layernorm', 'rmsnorm'),
    aliases=('norm_type', 'normalization', 'normalization_type', 'layernorm_type'),
    value_aliases={
      'layernorm': "'layernorm'",
      'layer_norm': "'layernorm'",
      'ln': "'layernorm'",
      'rmsnorm': "'rmsnorm'",
      'rms_norm': "'rmsnorm'",
      'rms': "'rmsnorm'",
    },
  )
  norm_eps: float = static(
    1e-5,
    'number that is added to the variance (layernorm), or to the mean square (rmsnorm)',
    low=0.0,
    aliases=(
      'layer_norm_eps',
      'layer_norm_epsilon',
      'layernorm_epsilon',
      'rms_norm_eps',
    ),
  )
  norm_affine: bool = static(
    True,
    'normalizations have a learned scale; OLMo: False',
    aliases=('elementwise_affine',),
  )
  norm_bias: bool = static(False, 'normalizations have a learned bias')
  norm_unit_offset: bool = static(
    False,
    'the scale is 1 + w with a learned w that starts at 0 (Gemma, Nemotron)',
    aliases=('layernorm_1p', 'apply_layernorm_1p', 'zero_centered_gamma'),
  )

  # Places of normalizations.
  norm_placement: str = static(
    'pre',
    'place of the normalization n around a part f: pre is x + f(n(x)), post is n(x + f(x)), '
    'sandwich is x + n(f(n(x))), output is x + n(f(x))',
    choices=NORM_PLACEMENTS,
    aliases=('norm_position',),
    converted_aliases={
      'norm_first': "'pre' if True, 'post' if False",
      'normalize_before': "'pre' if True, 'post' if False",
      'do_layer_norm_before': "'pre' if True, 'post' if False",
    },
    value_aliases={
      'pre_ln': "'pre'",
      'pre-ln': "'pre'",
      'prenorm': "'pre'",
      'pre_norm': "'pre'",
      'post_ln': "'post'",
      'post-ln': "'post'",
      'postnorm': "'post'",
      'post_norm': "'post'",
    },
  )
  embedding_norm: bool = static(
    False,
    'a normalization follows the embedding (BLOOM, BERT)',
    aliases=('embedding_layernorm', 'embed_norm'),
  )
  final_norm: bool = static(
    None,
    'a normalization precedes the head; None is True unless norm_placement is post',
    derived=True,
  )
  first_attention_norm: bool = static(
    True,
    'the first layer has a normalization before its attention; ModernBERT: False',
  )

  # Parallel blocks.
  parallel_residual: bool = static(
    False,
    'the token mixer (attention) and the feed-forward part read the same x, and both outputs '
    'are added to x',
    aliases=('use_parallel_residual', 'parallel_attn', 'parallel_block'),
  )
  shared_norm: bool = static(
    False,
    'with parallel_residual, attention and the feed-forward part share a normalization '
    '(GPT-J, Falcon-7B, Phi-2)',
  )

  # Queries and keys.
  qk_norm: str = static(
    'none',
    'normalization of queries and keys: head normalizes each head, with weights that all heads '
    'share; each_head does so with separate weights for each head and no bias; full normalizes '
    'all heads as one vector; l2 normalizes each head without weights, after the rotation',
    choices=('none', 'head', 'each_head', 'full', 'l2'),
    converted_aliases={
      'use_qk_norm': "'head' if True",
      'qk_layernorm': "'head' if True",
    },
    source='arXiv:2302.05442',
  )

  def derive_normalization(self) -> None:
    """Fills in `final_norm`."""
    if self.final_norm is None:
      assign(self, final_norm=self.norm_placement != 'post')

  def check_normalization(self) -> None:
    """Checks the keys of normalizations.

    Raises:
      ConfigError: If they do not fit together.
    """
    # True if the first layer has a normalization that serves its attention alone.
    has_first_norm = self.norm_placement in ('pre', 'sandwich') and not self.shared_norm
    require_all(
      self,
      (
        not self.shared_norm or self.parallel_residual,
        'shared_norm',
        'False unless model.parallel_residual is True',
      ),
      (
        not self.shared_norm or self.norm_placement != 'output',
        'shared_norm',
        'False, since model.norm_placement is output, which does not normalize inputs',
      ),
      (
        not self.parallel_residual or self.norm_placement != 'post',
        'parallel_residual',
        'False, since model.norm_placement is post',
      ),
      (
        not self.parallel_residual or not self.is_encoder_decoder,
        'parallel_residual',
        'False, since model.architecture is encoder_decoder',
      ),
      (
        not self.norm_unit_offset or self.norm_affine,
        'norm_unit_offset',
        'False, since model.norm_affine is False',
      ),
      (
        not self.norm_bias or self.norm_affine,
        'norm_bias',
        'False, since model.norm_affine is False',
      ),
      (
        self.first_attention_norm or has_first_norm,
        'first_attention_norm',
        'True unless model.norm_placement is pre or sandwich and model.shared_norm is False',
      ),
    )
