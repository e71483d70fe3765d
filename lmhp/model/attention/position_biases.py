"""Biases on the attention logits that depend on the distance of query and key: ALiBi, T5."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from lmhp.model.config import ModelConfig

# --- ALiBi --------------------------------------------------------------------------


def alibi_slopes(n_heads: int) -> npt.NDArray[np.float64]:
  """Returns the slopes of ALiBi's heads, (H,).

  If H is a power of two, the slopes are r, r^2, ..., r^H with r = 2^(-8 / H). Otherwise, the
  slopes of the next lower power of two come first. The others are the first, third, fifth, ...
  slope of the next higher power of two.

  Source: arXiv:2108.12409 section 3, and the authors' code for other numbers of heads.
  """
  # Slopes of the next lower power of two.
  power = 2 ** math.floor(math.log2(n_heads))
  slopes = [2.0 ** (-8.0 * (i + 1) / power) for i in range(power)]

  # Every other slope of the next higher power of two, 2^(-8 (i + 1) / (2 power)).
  n_more = n_heads - power
  slopes += [2.0 ** (-4.0 * (i + 1) / power) for i in range(0, 2 * n_more, 2)]
  return np.array(slopes)


def alibi_bias(
  n_heads: int, distance_LM: jax.Array, scale: float = 1.0, both_sides: bool = False
) -> jax.Array:
  """Returns ALiBi's bias, -scale * slope * distance, (1, H, L, M) float32.

  Args:
    n_heads: H.
    distance_LM: (L, M) int32, query position minus key position.
    scale: Factor on the bias.
    both_sides: If True, the absolute value of the distance is used, as in an encoder. If
      False, the bias of a later key would be positive, so the mask has to hide later keys.
  """
  slopes = (scale * alibi_slopes(n_heads)).astype(np.float32).reshape(1, -1, 1, 1)
  if both_sides:
    distance_LM = jnp.abs(distance_LM)
  return distance_LM.astype(jnp.float32)[None, None] * -slopes


# --- T5 -----------------------------------------------------------------------------


def relative_bucket(
  distance: jax.Array, buckets: int, max_distance: int, both_sides: bool = False
) -> jax.Array:
  """Returns T5's bucket of a distance, int32.

  Buckets of the first half hold one distance each: 0, 1, 2 and so on. Buckets of the second
  half hold ranges of distances, which get longer in proportion to the distance.

  Args:
    distance: int32, query position minus key position.
    buckets: Number of buckets.
    max_distance: All distances from this one on are in the last bucket.
    both_sides: If True, as in an encoder, earlier keys use the first `buckets` / 2 buckets and
      later keys the others, and each half is divided as above. If False, later keys count as
      distance 0.

  Source: arXiv:1910.10683 section 2.1.
  """
  if both_sides:
    first_bucket = jnp.where(distance < 0, buckets // 2, 0)
    return first_bucket + relative_bucket(jnp.abs(distance), buckets // 2, max_distance)

  # The first half of the buckets: one distance each.
  distance = jnp.maximum(distance, 0)
  n_exact = buckets // 2

  # The second half, in which the ratio runs from 0 to 1:
  # ratio = log(distance / n_exact) / log(max_distance / n_exact)
  log_distance = jnp.log(jnp.maximum(distance, 1).astype(jnp.float32) / n_exact)
  ratio = log_distance / math.log(max_distance / n_exact)
  large = n_exact + (ratio * (buckets - n_exact)).astype(jnp.int32)
  return jnp.where(distance < n_exact, distance, jnp.minimum(large, buckets - 1))


class RelativeBias(nn.Module):
  """T5's learned bias on the attention logits, one number for each bucket and head.

  All layers of a decoder share one table, and so do all layers of an encoder.
  """

  cfg: ModelConfig

  @nn.compact
  def __call__(self, distance_LM: jax.Array) -> jax.Array:
    """Returns (1, H, L, M) float32 for (L, M) int32 distances."""
    cfg = self.cfg
    table_UH = self.param(
      'table', nn.initializers.zeros_init(), (cfg.relative_buckets, cfg.n_heads)
    )
    bucket_LM = relative_bucket(
      distance_LM, cfg.relative_buckets, cfg.relative_max_distance, not cfg.is_causal
    )
    return jnp.transpose(table_UH[bucket_LM], (2, 0, 1))[None]
