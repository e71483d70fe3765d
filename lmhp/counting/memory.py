"""Bytes: parameters, gradients, optimizer state, activations by remat policy, keys and values.

Activations are read off `jax.eval_shape` of the program that training differentiates, so that what is predicted is what
runs, whatever the structure; nothing is allocated.
"""

from __future__ import annotations

from collections import Counter
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from lmhp.counting.parameters import Count
from lmhp.model.batch import Batch
from lmhp.model.config import REMAT_POLICIES, ModelConfig
from lmhp.model.mixers.registry import mixer_spec
from lmhp.model.transformer import Model, build

MOMENTS = {
  'sgd': 0,
  'momentum': 1,
  'nesterov': 1,
  'lion': 1,
  'rmsprop': 1,
  'adagrad': 1,
  'adam': 2,
  'adamw': 2,
  'lamb': 2,
}
"""Float32 numbers that an optimizer keeps for each parameter; of other families, measure the state itself."""


def tree_bytes(tree: Any) -> int:
  """Bytes of all arrays (or shapes) of a tree.

  >>> tree_bytes({'w': jax.ShapeDtypeStruct((3, 5), 'float32')})
  60
  """
  return sum(
    math.prod(x.shape) * jnp.dtype(x.dtype).itemsize for x in jax.tree.leaves(tree)
  )


def parameter_bytes(counts: Count, bytes_per_number: int = 4) -> int:
  """Bytes of the parameters; the gradients take as many again."""
  return bytes_per_number * counts.total


def optimizer_bytes(counts: Count, optimizer: str = 'adamw') -> int:
  """Bytes of an optimizer's state, one of `MOMENTS`."""
  return 4 * MOMENTS[optimizer] * counts.total


def activation_bytes(cfg: ModelConfig, batch_size: int, seq_len: int) -> int:
  """Bytes kept from the forward pass for the backward pass, under the config's remat policy.

  They are the residuals of `jax.vjp` of the model's loss without its parameters. XLA may keep less (it fuses) or, while
  a layer is computed again, more.

  Args:
    cfg: `remat` is the policy.
    batch_size: sequences.
    seq_len: tokens in each.
  """
  model = build(
    cfg if cfg.dtype != 'auto' else dataclasses.replace(cfg, dtype='bfloat16')
  )
  tokens = jax.ShapeDtypeStruct((batch_size, seq_len), jnp.int32)

  def residuals(params, tokens_BL):
    return jax.vjp(lambda p: jnp.sum(_log_partition(model, p, tokens_BL)), params)[1]

  kept = tree_bytes(jax.eval_shape(residuals, model.shapes, tokens))
  return max(kept - tree_bytes(model.shapes), 0)


def _log_partition(model: Model, params: Any, tokens_BL: jax.Array) -> jax.Array:
  batch = Batch(
    tokens_BL, encoder_tokens=tokens_BL if model.cfg.is_encoder_decoder else None
  )
  x_BLD, _, _ = model.features(params, {}, batch)
  return jax.nn.logsumexp(model.logits(params, {}, x_BLD), axis=-1)


def activation_bytes_by_policy(
  cfg: ModelConfig, batch_size: int, seq_len: int
) -> dict[str, int]:
  """`activation_bytes` under each remat policy."""
  return {
    policy: activation_bytes(
      dataclasses.replace(cfg, remat=policy), batch_size, seq_len
    )
    for policy in REMAT_POLICIES
  }


def cache_bytes_per_token(
  cfg: ModelConfig, seq_len: int, bytes_per_number: int = 2
) -> int | float:
  """Mean bytes of keys and values for each token of one sequence; a windowed layer keeps its window alone."""
  total = cache_bytes(cfg, seq_len, bytes_per_number)
  return total // seq_len if total % seq_len == 0 else total / seq_len


def cache_bytes(cfg: ModelConfig, length: int, bytes_per_number: int = 2) -> int:
  """Returns the bytes of the keys and values that are cached for one sequence.

  A windowed layer keeps only its window. A state of fixed size is not counted.

  Args:
    cfg: Config of the model.
    length: Number of tokens, and of tokens of the encoder if there is one.
    bytes_per_number: Bytes of one element.
  """
  n_elements = 0
  for (mixer, window), n in Counter(zip(cfg.mixers, cfg.windows, strict=True)).items():
    kept = min(length, window or length)
    for array in mixer_spec(cfg, mixer).cache_arrays(cfg):
      if array.tokens:
        n_elements += n * math.prod(array.full_shape(kept, length))
  return n_elements * bytes_per_number
