"""Attention of a decoder to the output of an encoder."""

from __future__ import annotations

import flax.linen as nn
import jax

from lmhp.model.attention.multi_head import Attention, AttentionContext
from lmhp.model.layer_inputs import LayerFlags, LayerInputs
from lmhp.model.projection import project
from lmhp.model.rng import named_key


class CrossAttention(Attention):
  """Multi-head attention whose keys and values come from the encoder.

  This attention has no positions, and its mask hides only padding.

  Source: arXiv:1706.03762 section 3.2.3.
  """

  @nn.compact
  def __call__(
    self,
    x_BLD: jax.Array,
    flags: LayerFlags,
    inputs: LayerInputs,
    cache: tuple[jax.Array, jax.Array] | None = None,
  ) -> tuple[jax.Array, tuple[jax.Array, jax.Array] | None]:
    """Attends to the encoder's tokens.

    Args:
      x_BLD: (B, L, D) float32, tokens of the decoder.
      flags: Properties of this layer.
      inputs: Inputs that all layers share. `encoder_features_BMD` is None while the cache
        holds the keys and values.
      cache: Keys and values of the encoder's tokens, each (B, M, G, K), or None.

    Returns:
      (B, L, D) float32, and the cache. None if there was no cache.
    """
    # Keys and values of the encoder's tokens: from its output, or from the cache.
    cfg = self.cfg
    q_BLHK = self._projection_to_heads('query', cfg.n_heads)(x_BLD)
    if inputs.encoder_features_BMD is not None:
      k_BMGK, v_BMGK = project(
        inputs.encoder_features_BMD,
        [
          self._projection_to_heads('key', cfg.n_kv_heads),
          self._projection_to_heads('value', cfg.n_kv_heads),
        ],
      )
      q_BLHK = self._normalize_heads('query_norm', q_BLHK)
      k_BMGK = self._normalize_heads('key_norm', k_BMGK)
      if cache is not None:
        cache = (k_BMGK.astype(cache[0].dtype), v_BMGK.astype(cache[1].dtype))
    else:
      # The network checks that there is a cache. Its keys are normalized already.
      assert cache is not None
      k_BMGK, v_BMGK = cache
      q_BLHK = self._normalize_heads('query_norm', q_BLHK)

    # Attention. Its dropout has another name than that of the self-attention.
    assert inputs.encoder_mask_BLM is not None
    key = None if inputs.key is None else named_key(inputs.key, 'cross_attention')
    context = self._with_dropout(
      AttentionContext(inputs.encoder_mask_BLM), key, inputs.hypers, flags
    )
    return self._output(self._attend(q_BLHK, k_BMGK, v_BMGK, context)), cache
