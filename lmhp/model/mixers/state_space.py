"""Mamba-2: a state space whose decay is one number a head, computed as attention within chunks and a scan across them.

Source: arXiv:2405.21060 (state space duality). Dimension key besides the model's: I inner width, H heads, P head size,
S state size, G groups that share what writes and reads, c chunks of Q tokens.
"""

from __future__ import annotations

from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.attention.multi_head import LayerFlags, LayerInputs
from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops, norm_size, parameter_count
from lmhp.model.mixers.convolution import CausalConvolution, parameters_of_taps
from lmhp.model.mixers.recurrent import linear_recurrence
from lmhp.model.normalization import Normalization
from lmhp.model.projection import Projection, product, project


class Mamba2(nn.Module):
  """state_t = exp(step_t A) state_(t-1) + step_t write_t x_t, y_t = read_t state_t + skip x_t; gated and normalized."""

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLD, layer: LayerFlags, scene: LayerInputs, cache=None):
    """(B, L, D) float32, and the cache: the last inputs of the convolution, and the state (B, H, P, S)."""
    cfg, inner = self.cfg, self.cfg.mixer_dim
    batch, length, _ = x_BLD.shape
    n_heads, n_groups, size = cfg.mixer_heads, cfg.state_groups, cfg.state_dim
    widths = dict(
      gate=inner, input=inner, write=n_groups * size, read=n_groups * size, step=n_heads
    )
    gate, *mixed, step_BLH = project(
      x_BLD,
      [
        Projection(cfg, (cfg.d_model,), (n,), cfg.mixer_bias, name=name)
        for name, n in widths.items()
      ],
    )
    mixed, past = CausalConvolution(
      cfg, inner + 2 * n_groups * size, name='convolution'
    )(jnp.concatenate(mixed, axis=-1), scene, cache and cache[0])
    x_BLI, write, read = jnp.split(
      jax.nn.silu(mixed), (inner, inner + n_groups * size), axis=-1
    )
    vector = lambda name: self.param(name, nn.initializers.zeros_init(), (n_heads,))
    step_BLH = jax.nn.softplus(
      step_BLH + jnp.broadcast_to(vector('step_bias'), step_BLH.shape)
    )
    log_a_BLH = -step_BLH * jnp.broadcast_to(
      jnp.exp(vector('log_decay')), step_BLH.shape
    )
    x_BLHP = x_BLI.reshape(batch, length, n_heads, -1)
    grouped = lambda x: x.reshape(batch, length, n_groups, size)
    first = (
      jnp.zeros((batch, n_heads, x_BLHP.shape[-1], size), jnp.float32)
      if cache is None
      else cache[1]
    )
    y_BLHP, last = state_space(
      x_BLHP * step_BLH[..., None],
      log_a_BLH,
      grouped(write),
      grouped(read),
      first,
      scene.document_start_BL,
      cfg.state_chunk,
      cfg.dtype,
    )
    y_BLHP = y_BLHP + x_BLHP * jnp.broadcast_to(vector('skip')[:, None], x_BLHP.shape)
    y_BLI = Normalization(cfg, inner, n_groups, name='norm')(
      y_BLHP.reshape(batch, length, inner) * jax.nn.silu(gate)
    )
    out = Projection(cfg, (inner,), (cfg.d_model,), cfg.mixer_bias, name='output')
    return out(y_BLI), None if cache is None else (past, last)


def state_space(
  x_BLHP,
  log_a_BLH,
  write_BLGS,
  read_BLGS,
  first_BHPS,
  document_start_BL,
  chunk: int,
  dtype: str,
):
  """y_t = state_t read_t with state_t = exp(log_a_t) state_(t-1) + x_t write_t^T, zero before each restart.

  Args:
    x_BLHP: float32.
    log_a_BLH: at most 0.
    write_BLGS: one for each group of heads.
    read_BLGS: the same.
    first_BHPS: the state before the first token.
    document_start_BL: bool, or None.
    chunk: tokens that are computed as attention; cost grows with it, and with L / chunk the length of the scan.
    dtype: of the operands of products.

  Returns:
    (B, L, H, P) float32, and the state after the last token.
  """
  batch, length, n_heads, width = x_BLHP.shape
  n_groups, size = write_BLGS.shape[2:]
  # Without the barrier, XLA folds an initial state of zeros into a product of a constant.
  # For a single chunk, XLA on CPU (jax 0.10.2) then reads memory that it never wrote, and
  # the gradients of `read_BLGS` are arbitrary numbers.
  first_BHPS = jax.lax.optimization_barrier(first_BHPS)
  n = chunk_length(length, chunk)
  pad = -length % n
  padded = lambda x: jnp.pad(x, ((0, 0), (0, pad)) + ((0, 0),) * (x.ndim - 2))
  heads_first = lambda x: jnp.moveaxis(
    padded(x).reshape(batch, -1, n, *x.shape[2:]), 3, 2
  )  # B c (H or G) Q ...
  x, write, read = heads_first(x_BLHP), heads_first(write_BLGS), heads_first(read_BLGS)
  decay_BcHQ = jnp.cumsum(
    jnp.moveaxis(padded(log_a_BLH).reshape(batch, -1, n, n_heads), 3, 2), axis=-1
  )
  text_BcQ = jnp.zeros((1, decay_BcHQ.shape[1], n), jnp.int32)
  if document_start_BL is not None:
    text_BcQ = jnp.cumsum(padded(document_start_BL.astype(jnp.int32)), axis=1).reshape(
      batch, -1, n
    )
  of_heads = lambda x: jnp.repeat(x, n_heads // n_groups, axis=2)

  # within a chunk: attention whose weight falls with the distance
  pairs = product(read, write, True, dtype)  # B c G Q Q
  see = (text_BcQ[..., :, None] == text_BcQ[..., None, :]) & jnp.tri(n, dtype=bool)[
    None, None
  ]
  fall = jnp.where(
    see[:, :, None], decay_BcHQ[..., :, None] - decay_BcHQ[..., None, :], -jnp.inf
  )
  y = product(of_heads(pairs) * jnp.exp(fall), x, False, dtype)

  # across chunks: what each leaves behind, carried on by the scan
  last_text = text_BcQ[..., -1:]
  left = jnp.where(
    (text_BcQ == last_text)[:, :, None], jnp.exp(decay_BcHQ[..., -1:] - decay_BcHQ), 0.0
  )
  states = product(
    jnp.swapaxes(x * left[..., None], -1, -2), of_heads(write), False, dtype
  )  # B c H P S
  text_before = jnp.concatenate(
    [jnp.zeros_like(last_text[:, :1]), last_text[:, :-1]], axis=1
  )
  through = jnp.where((last_text == text_before), 1.0, 0.0) * jnp.exp(
    decay_BcHQ[..., -1]
  )
  flat = lambda x: x.reshape(batch, x.shape[1], -1)
  after = linear_recurrence(
    flat(jnp.broadcast_to(through[..., None, None], states.shape)),
    flat(states),
    first_BHPS.reshape(batch, -1),
  ).reshape(states.shape)
  before = jnp.concatenate([first_BHPS[:, None], after[:, :-1]], axis=1)
  kept = jnp.where((text_BcQ == text_before)[:, :, None], jnp.exp(decay_BcHQ), 0.0)
  y = y + product(of_heads(read), before, True, dtype) * kept[..., None]
  return jnp.moveaxis(y, 2, 3).reshape(batch, -1, n_heads, width)[:, :length], after[
    :, -1
  ]


def chunk_length(length: int, chunk: int) -> int:
  """Tokens of a chunk: no more than there are."""
  return min(length, chunk)


def parameter_counts(cfg: ModelConfig) -> Counter:
  """Parameters by kind of one layer's Mamba-2; its normalization counts as normalization."""
  inner, shared, heads = (
    cfg.mixer_dim,
    2 * cfg.state_groups * cfg.state_dim,
    cfg.mixer_heads,
  )
  into = parameter_count(cfg.d_model, 2 * inner + shared + heads, cfg.mixer_bias)
  out = parameter_count(inner, cfg.d_model, cfg.mixer_bias)
  return Counter(
    other=into + parameters_of_taps(cfg, inner + shared) + 3 * heads + out,
    normalization=norm_size(cfg, inner),
  )


def weight_flops(cfg: ModelConfig) -> Counter:
  """Forward matrix-product FLOPs by kind of one layer's projections, for one token."""
  inner, shared = cfg.mixer_dim, 2 * cfg.state_groups * cfg.state_dim
  return Counter(
    other=matmul_flops(cfg.d_model, 2 * inner + shared + cfg.mixer_heads)
    + matmul_flops(inner, cfg.d_model)
  )


def sequence_flops(cfg: ModelConfig, seq_len: int) -> int:
  """Forward FLOPs of one layer's state space for one sequence: chunks are filled up, and multiplied whole."""
  n, size, inner = chunk_length(seq_len, cfg.state_chunk), cfg.state_dim, cfg.mixer_dim
  chunks = -(-seq_len // n)
  return (
    chunks * n * (2 * n * size * cfg.state_groups + 2 * n * inner + 4 * size * inner)
  )


def empty_state(cfg: ModelConfig) -> tuple[tuple[tuple[int, ...], str], ...]:
  """Shape (without the batch) and dtype of what one layer remembers."""
  channels = cfg.mixer_dim + 2 * cfg.state_groups * cfg.state_dim
  return (
    ((cfg.conv_width - 1, channels), cfg.dtype),
    ((cfg.mixer_heads, cfg.mixer_head_dim, cfg.state_dim), 'float32'),
  )


def initial_log_decay(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """A uniform in [1, 16]. Source: arXiv:2405.21060, the authors' code."""
  return jnp.log(jax.random.uniform(key, shape, jnp.float32, 1.0, 16.0))


def initial_step_bias(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Steps log-uniform in [0.001, 0.1], through the inverse of softplus. Source: arXiv:2312.00752 section 3.6."""
  step = jnp.exp(
    jax.random.uniform(key, shape, jnp.float32, jnp.log(0.001), jnp.log(0.1))
  )
  return jnp.log(jnp.expm1(step))
