"""Bytes of parameters, gradients, optimizer state, activations, and the key/value cache.

The bytes of the activations are found by tracing the forward pass of training, so they follow
every architecture. No array is allocated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
import dataclasses
import math

import jax
import jax.numpy as jnp

from lmhp.counting.flops import mean
from lmhp.counting.parameters import Count
from lmhp.model.config import REMAT_POLICIES, ModelConfig
from lmhp.model.mixers.registry import mixer_spec
from lmhp.model.transformer import build
from lmhp.typing import Number, PyTree


@dataclasses.dataclass(frozen=True)
class TrainingMemory:
  """Memory of one update on one device: state, gradients, activations and buffers, in bytes.

  Attributes:
    estimated: {rematerialization policy: estimate}. See `lmhp.counting.liveness`.
    optimizer: Name of the optimizer.
    dtype: Data type of the activations.
    remat: Rematerialization policy of the compiled program.
    compiled: Memory that XLA plans for the compiled program. None if it was not compiled.
    platform: Platform of the compiled program, such as `cpu`. None if it was not compiled.
  """

  estimated: Mapping[str, int]
  optimizer: str
  dtype: str
  remat: str
  compiled: int | None
  platform: str | None


def tree_bytes(tree: PyTree) -> int:
  """Returns the bytes of all arrays of a tree.

  Args:
    tree: Pytree of arrays or of `jax.ShapeDtypeStruct`.

  >>> tree_bytes({'w': jax.ShapeDtypeStruct((3, 5), 'float32')})
  60
  """
  return sum(
    math.prod(leaf.shape) * jnp.dtype(leaf.dtype).itemsize
    for leaf in jax.tree.leaves(tree)
  )


def parameter_bytes(counts: Count, bytes_per_number: int = 4) -> int:
  """Returns the bytes of the parameters. The gradients have the same size.

  Args:
    counts: Number of parameters.
    bytes_per_number: Size of one parameter: 4 for float32, 2 for bfloat16.

  >>> parameter_bytes(Count({'attention': 10}))
  40
  """
  return bytes_per_number * counts.total


def optimizer_bytes(counts: Count) -> int:
  """Returns the bytes of AdamW's state: two float32 moments for each parameter.

  Args:
    counts: Number of parameters.

  >>> optimizer_bytes(Count({'attention': 10}))
  80
  """
  return 2 * 4 * counts.total


def activation_bytes(cfg: ModelConfig, batch_size: int, seq_len: int) -> int:
  """Returns the bytes that the forward pass keeps for the backward pass.

  These are the arrays that `jax.vjp` of the loss keeps (its residuals), without the parameters
  themselves. It is an estimate: XLA may need less memory, because it fuses operations. With
  rematerialization it may need more, while it computes a layer again.

  Args:
    cfg: Config of the model. `cfg.remat` is the rematerialization policy.
    batch_size: Number of sequences.
    seq_len: Number of tokens in each sequence.

  >>> cfg = ModelConfig(vocab_size=31, d_model=14, n_heads=1, n_layers=2, remat='full')
  >>> activation_bytes(cfg, batch_size=4, seq_len=5) > activation_bytes(cfg, 2, 5)
  True
  """
  # On accelerators, for which memory is planned, 'auto' is bfloat16.
  if cfg.dtype == 'auto':
    cfg = dataclasses.replace(cfg, dtype='bfloat16')
  model = build(cfg)
  tokens_BL = jax.ShapeDtypeStruct((batch_size, seq_len), jnp.int32)

  def residuals(params: PyTree, tokens_BL: jax.Array) -> PyTree:
    encoder_tokens = tokens_BL if cfg.is_encoder_decoder else None

    # The cross-entropy. The logit of the target is left out: its residuals are only indices.
    def loss(params: PyTree) -> jax.Array:
      logits_BLV = model.apply(params, tokens_BL, encoder_tokens_BM=encoder_tokens)
      return jnp.sum(jax.nn.logsumexp(logits_BLV, axis=-1))

    # The function that `jax.vjp` returns is a pytree of the residuals.
    return jax.vjp(loss, params)[1]

  # Leave out residuals that are parameters, which take no memory of their own. Copies of
  # parameters in another dtype or layout do.
  traced = jax.make_jaxpr(residuals)(model.shapes, tokens_BL).jaxpr
  inputs = {id(variable) for variable in traced.invars}
  kept = {id(each): each.aval for each in traced.outvars if id(each) not in inputs}
  return tree_bytes(
    [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in kept.values()]
  )


def activation_bytes_by_policy(
  cfg: ModelConfig, batch_size: int, seq_len: int
) -> dict[str, int]:
  """Returns `activation_bytes` for each rematerialization policy.

  Args:
    cfg: Config of the model.
    batch_size: Number of sequences.
    seq_len: Number of tokens in each sequence.

  >>> cfg = ModelConfig(vocab_size=31, d_model=14, n_heads=1, n_layers=8)
  >>> by_policy = activation_bytes_by_policy(cfg, batch_size=2, seq_len=5)
  >>> by_policy['full'] < by_policy['none']
  True
  """
  return {
    policy: activation_bytes(
      dataclasses.replace(cfg, remat=policy), batch_size, seq_len
    )
    for policy in REMAT_POLICIES
  }


def cache_bytes_per_token(
  cfg: ModelConfig, seq_len: int, bytes_per_number: int = 2
) -> Number:
  """Returns the mean bytes of the key/value cache for each token of one sequence.

  A layer with a sliding window caches only the tokens of its window.

  Args:
    cfg: Config of the model.
    seq_len: Number of tokens of the sequence.
    bytes_per_number: Size of one number of the cache: 2 for bfloat16.

  >>> cfg = ModelConfig(vocab_size=31, d_model=14, n_heads=7, head_dim=2, n_layers=3)
  >>> cache_bytes_per_token(cfg, seq_len=5)
  168
  """
  return mean(cache_bytes(cfg, seq_len, bytes_per_number), seq_len)


def cache_bytes(cfg: ModelConfig, length: int, bytes_per_number: int = 2) -> int:
  """Returns the bytes of the keys and values that are cached for one sequence.

  A layer with a sliding window caches only the tokens of its window. A recurrent state, whose
  size is fixed, is not counted.

  Args:
    cfg: Config of the model.
    length: Number of tokens of the sequence. The encoder, if there is one, has as many.
    bytes_per_number: Size of one number of the cache: 2 for bfloat16.

  >>> cfg = ModelConfig(vocab_size=31, d_model=14, n_heads=7, head_dim=2, n_layers=3)
  >>> cache_bytes(cfg, length=5)
  840
  """
  # Count layers with the same mixer and window once, and multiply.
  n_numbers = 0
  kinds = Counter(zip(cfg.mixers, cfg.windows, strict=True))
  for (mixer, window), n_layers in kinds.items():
    n_kept = min(length, window or length)
    for array in mixer_spec(cfg, mixer).cache_arrays(cfg):
      # `tokens` is 'decoder' or 'encoder' for keys and values, and empty for a recurrent state.
      if array.tokens:
        n_numbers += n_layers * math.prod(array.full_shape(n_kept, length))
  return n_numbers * bytes_per_number
