"""Recurrent token mixers: LSTM and GRU, step by step; minGRU and RG-LRU, linear in their state, by an associative scan.

Dimension key besides the model's: I inner width, Z gates, H heads, K head size.
"""

from __future__ import annotations

from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmhp.model.attention.multi_head import LayerFlags, LayerInputs
from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops, parameter_count
from lmhp.model.feed_forward import ACTIVATIONS
from lmhp.model.mixers.convolution import CausalConvolution, parameters_of_taps
from lmhp.model.projection import Projection, product, project, row_major

# --- h_t = a_t h_(t-1) + b_t ------------------------------------------------------------------------------------------


@jax.custom_vjp
def linear_recurrence(
  a_BLI: jax.Array, b_BLI: jax.Array, first_BI: jax.Array
) -> jax.Array:
  """All h_t = a_t h_(t-1) + b_t, h before the first token given: (B, L, I) float32.

  Work grows as L, depth as log L. The gradient is the same recurrence, run backwards, and keeps a and h alone.

  Source: Blelloch 1990, "Prefix sums and their applications"; arXiv:1709.04057.
  """
  b_BLI = b_BLI.at[:, 0].add(a_BLI[:, 0] * first_BI)
  return _scan(a_BLI, b_BLI)


def _scan(a_BLI, b_BLI, reverse: bool = False):
  def join(left, right):
    return right[0] * left[0], right[0] * left[1] + right[1]

  return jax.lax.associative_scan(join, (a_BLI, b_BLI), axis=1, reverse=reverse)[1]


def _recurrence_forward(a_BLI, b_BLI, first_BI):
  h_BLI = linear_recurrence(a_BLI, b_BLI, first_BI)
  return h_BLI, (a_BLI, h_BLI, first_BI)


def _recurrence_backward(saved, g_BLI):
  a_BLI, h_BLI, first_BI = saved
  following = jnp.concatenate([a_BLI[:, 1:], jnp.zeros_like(a_BLI[:, :1])], axis=1)
  dh_BLI = _scan(following, g_BLI, reverse=True)
  before = jnp.concatenate([first_BI[:, None], h_BLI[:, :-1]], axis=1)
  return dh_BLI * before, dh_BLI, dh_BLI[:, 0] * a_BLI[:, 0]


linear_recurrence.defvjp(_recurrence_forward, _recurrence_backward)


def _state(cache, i: int, batch: int, width: int) -> jax.Array:
  """What was remembered, or nothing."""
  return (
    jnp.zeros((batch, width), jnp.float32)
    if cache is None
    else cache[i].astype(jnp.float32)
  )


def _forget(scene: LayerInputs, a_BLI: jax.Array) -> jax.Array:
  """Zero where another text begins."""
  return (
    a_BLI
    if scene.document_start_BL is None
    else a_BLI * (1.0 - scene.document_start_BL[..., None])
  )


class MinGRU(nn.Module):
  """h_t = (1 - z_t) h_(t-1) + z_t input(x_t), z = sigmoid(gate(x)): a GRU whose gate and candidate see the input alone.

  Source: arXiv:2410.01201 section 3.1.
  """

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLD, layer: LayerFlags, scene: LayerInputs, cache=None):
    """(B, L, D) float32, and the cache: the last state."""
    cfg, inner = self.cfg, self.cfg.mixer_dim
    gate, x_BLI = project(
      x_BLD,
      [
        Projection(cfg, (cfg.d_model,), (inner,), bias, name=name)
        for name, bias in (('gate', True), ('input', cfg.mixer_bias))
      ],
    )
    z_BLI = jax.nn.sigmoid(gate)
    first = _state(cache, 0, x_BLD.shape[0], inner)
    h_BLI = linear_recurrence(_forget(scene, 1.0 - z_BLI), z_BLI * x_BLI, first)
    out = Projection(cfg, (inner,), (cfg.d_model,), cfg.mixer_bias, name='output')
    return out(h_BLI), None if cache is None else (h_BLI[:, -1],)


class HeadGate(nn.Module):
  """sigmoid of a linear map of each head by itself."""

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLI: jax.Array) -> jax.Array:
    cfg, (batch, length, inner) = self.cfg, x_BLI.shape
    n_heads, size = cfg.mixer_heads, cfg.mixer_head_dim
    kernel_HKK = self.param(
      'kernel', nn.initializers.zeros_init(), (n_heads, size, size)
    )
    bias_HK = self.param('bias', nn.initializers.zeros_init(), (n_heads, size))
    heads = row_major(jnp.swapaxes(x_BLI.reshape(-1, n_heads, size), 0, 1))
    y = product(heads, kernel_HKK, False, cfg.dtype) + bias_HK[:, None]
    return jax.nn.sigmoid(jnp.swapaxes(y, 0, 1).reshape(batch, length, inner))


class RGLRU(nn.Module):
  """Griffin's recurrent block: a gate beside a convolution and a real-gated linear recurrent unit.

  With r and i the gates, a_t = exp(-8 softplus(decay) r_t) and h_t = a_t h_(t-1) + sqrt(1 - a_t^2) i_t x_t; the first
  token of a text enters whole.

  Source: arXiv:2402.19427 section 2.4.
  """

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLD, layer: LayerFlags, scene: LayerInputs, cache=None):
    """(B, L, D) float32, and the cache: the last inputs of the convolution, and the last state."""
    cfg, inner = self.cfg, self.cfg.mixer_dim
    gate, x_BLI = project(
      x_BLD,
      [
        Projection(cfg, (cfg.d_model,), (inner,), cfg.mixer_bias, name=name)
        for name in ('gate', 'input')
      ],
    )
    x_BLI, past = CausalConvolution(cfg, inner, name='convolution')(
      x_BLI, scene, cache and cache[0]
    )
    decay_I = self.param('decay', nn.initializers.zeros_init(), (inner,))
    r_BLI, i_BLI = (
      HeadGate(cfg, name=name)(x_BLI) for name in ('recurrence_gate', 'input_gate')
    )
    log_a_BLI = -8.0 * r_BLI * jnp.broadcast_to(jax.nn.softplus(decay_I), r_BLI.shape)
    begins_BL1 = ((scene.start + jnp.arange(x_BLD.shape[1])) == 0)[None, :, None]
    if scene.document_start_BL is not None:
      begins_BL1 = begins_BL1 | scene.document_start_BL[..., None]
    begins = jnp.broadcast_to(begins_BL1, log_a_BLI.shape)
    kept = jnp.where(
      begins, 1.0, -jnp.expm1(jnp.where(begins, -1.0, 2.0 * log_a_BLI))
    )  # 1 - a^2, never exactly 0
    first = _state(cache, 1, x_BLD.shape[0], inner)
    a_BLI = jnp.where(begins, 0.0, jnp.exp(log_a_BLI))
    h_BLI = linear_recurrence(
      a_BLI, jnp.sqrt(jnp.maximum(kept, 1e-12)) * i_BLI * x_BLI, first
    )
    out = Projection(cfg, (inner,), (cfg.d_model,), cfg.mixer_bias, name='output')
    return out(h_BLI * ACTIVATIONS['gelu_tanh'](gate)), None if cache is None else (
      past,
      h_BLI[:, -1],
    )


# --- step by step -----------------------------------------------------------------------------------------------------


class Gated(nn.Module):
  """A recurrent mixer whose gates see the state before: L steps one after the other."""

  cfg: ModelConfig

  def gates(self, n_gates: int, x_BLD):
    """The gates' share of the input, (B, L, Z, I), and the matrix for the state's, (I, Z I)."""
    cfg, inner = self.cfg, self.cfg.mixer_dim
    of_input = Projection(cfg, (cfg.d_model,), (n_gates, inner), True, name='input')(
      x_BLD
    )
    recurrent = Projection(cfg, (inner,), (n_gates, inner), name='recurrent')
    return of_input, recurrent.matrix()

  def run(self, step, states: tuple, of_input_BLZI, scene: LayerInputs):
    """States after the last token, and the first of them after each, (B, L, I)."""
    document_start_BL = scene.document_start_BL
    restart = () if document_start_BL is None else (document_start_BL.T[..., None],)

    def body(states, now):
      if len(now) == 2:
        states = tuple(jnp.where(now[1], 0.0, s) for s in states)
      states = step(states, now[0])
      return states, states[0]

    states, h_LBI = jax.lax.scan(
      body, states, (jnp.swapaxes(of_input_BLZI, 0, 1), *restart)
    )
    return states, jnp.swapaxes(h_LBI, 0, 1)

  def out(self, h_BLI):
    cfg = self.cfg
    return Projection(
      cfg, (cfg.mixer_dim,), (cfg.d_model,), cfg.mixer_bias, name='output'
    )(h_BLI)


class LSTM(Gated):
  """Long short-term memory; gates in the order input, forget, candidate, output.

  Source: Hochreiter and Schmidhuber 1997; the forget gate, Gers et al. 2000.
  """

  @nn.compact
  def __call__(self, x_BLD, layer: LayerFlags, scene: LayerInputs, cache=None):
    """(B, L, D) float32, and the cache: hidden and cell state."""
    of_input_BLZI, kernel = self.gates(4, x_BLD)
    inner, dtype = self.cfg.mixer_dim, self.cfg.dtype

    def step(states, of_input_BZI):
      h_BI, c_BI = states
      i, f, g, o = jnp.split(
        of_input_BZI.reshape(-1, 4 * inner) + _dot(h_BI, kernel, dtype), 4, axis=-1
      )
      c_BI = jax.nn.sigmoid(f) * c_BI + jax.nn.sigmoid(i) * jnp.tanh(g)
      return jax.nn.sigmoid(o) * jnp.tanh(c_BI), c_BI

    states = tuple(_state(cache, i, x_BLD.shape[0], inner) for i in range(2))
    states, h_BLI = self.run(step, states, of_input_BLZI, scene)
    return self.out(h_BLI), None if cache is None else states


class GRU(Gated):
  """Gated recurrent unit; gates in the order reset, update, candidate, the reset after the candidate's product.

  Source: arXiv:1406.1078; the order of cuDNN, arXiv:1412.3555 as implemented there.
  """

  @nn.compact
  def __call__(self, x_BLD, layer: LayerFlags, scene: LayerInputs, cache=None):
    """(B, L, D) float32, and the cache: the hidden state."""
    of_input_BLZI, kernel = self.gates(3, x_BLD)
    inner, dtype = self.cfg.mixer_dim, self.cfg.dtype
    bias_I = self.param('candidate_bias', nn.initializers.zeros_init(), (inner,))

    def step(states, of_input_BZI):
      (h_BI,) = states
      r_in, z_in, n_in = jnp.split(of_input_BZI.reshape(-1, 3 * inner), 3, axis=-1)
      r_h, z_h, n_h = jnp.split(_dot(h_BI, kernel, dtype), 3, axis=-1)
      r, z = jax.nn.sigmoid(r_in + r_h), jax.nn.sigmoid(z_in + z_h)
      n = jnp.tanh(n_in + r * (n_h + jnp.broadcast_to(bias_I, n_h.shape)))
      return ((1.0 - z) * n + z * h_BI,)

    states, h_BLI = self.run(
      step, (_state(cache, 0, x_BLD.shape[0], inner),), of_input_BLZI, scene
    )
    return self.out(h_BLI), None if cache is None else states


def _dot(h_BI, kernel_IO, dtype):
  return product(h_BI, kernel_IO, False, dtype)


# --- counts -----------------------------------------------------------------------------------------------------------

GATES = {'lstm': 4, 'gru': 3}


def parameter_counts(cfg: ModelConfig, mixer: str) -> Counter:
  """Parameters by kind of one layer's mixer."""
  d, inner, bias = cfg.d_model, cfg.mixer_dim, cfg.mixer_bias
  out = parameter_count(inner, d, bias)
  if mixer == 'mingru':
    return Counter(
      other=parameter_count(d, inner, True) + parameter_count(d, inner, bias) + out
    )
  if mixer == 'rglru':
    gates = 2 * (inner * cfg.mixer_head_dim + inner)
    return Counter(
      other=2 * parameter_count(d, inner, bias)
      + parameters_of_taps(cfg, inner)
      + gates
      + inner
      + out
    )
  n = GATES[mixer]
  return Counter(
    other=parameter_count(d, n * inner, True)
    + n * inner**2
    + (mixer == 'gru') * inner
    + out
  )


def weight_flops(cfg: ModelConfig, mixer: str) -> Counter:
  """Forward matrix-product FLOPs by kind of one layer, for one token; scans, gates and taps are no matrix product."""
  d, inner = cfg.d_model, cfg.mixer_dim
  if mixer == 'mingru':
    return Counter(other=3 * matmul_flops(d, inner))
  if mixer == 'rglru':
    return Counter(
      other=3 * matmul_flops(d, inner) + 2 * matmul_flops(inner, cfg.mixer_head_dim)
    )
  n = GATES[mixer]
  return Counter(
    other=matmul_flops(d, n * inner)
    + matmul_flops(inner, n * inner)
    + matmul_flops(inner, d)
  )


def empty_state(
  cfg: ModelConfig, mixer: str
) -> tuple[tuple[tuple[int, ...], str], ...]:
  """Shape (without the batch) and dtype of what one layer remembers."""
  state = ((cfg.mixer_dim,), 'float32')
  if mixer == 'rglru':
    return ((cfg.conv_width - 1, cfg.mixer_dim), cfg.dtype), state
  return (state, state) if mixer == 'lstm' else (state,)


def initial_gates(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """LSTM's biases: 1 for the forget gate, else 0. Source: Jozefowicz et al. 2015."""
  return jnp.zeros(shape, jnp.float32).at[..., 1, :].set(1.0)


def initial_decay(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """RG-LRU's decay such that a fully open gate keeps a share uniform in [0.9, 0.999] of the state.

  Source: arXiv:2402.19427 section 2.4.
  """
  a = jax.random.uniform(key, shape, jnp.float32, 0.9, 0.999)
  return jnp.log(jnp.expm1(-jnp.log(a) / 8.0))
