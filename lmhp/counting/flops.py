"""FLOPs of matrix products: in closed form, and from a program's own jaxpr.

Conventions, each named where it is used:
  - a multiply-add is two FLOPs; only matrix products count (no embedding lookup, bias, norm, softmax, activation);
  - the head counts V * D, tied or not;
  - *full* attention multiplies every pair of tokens, as a dense product does; *causal* counts the pairs that the mask
    keeps, windows honoured;
  - training is three times forward: the gradient needs two products for each one. What remat computes again is extra.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
import dataclasses
from fractions import Fraction
import math
from typing import Any

import jax

from lmhp.model import embedding, feed_forward, output
from lmhp.model.attention import counts as attention
from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops
from lmhp.model.experts import counts as experts
from lmhp.model.mixers.registry import mixer_spec
from lmhp.params import KINDS


@dataclasses.dataclass(frozen=True)
class Flops:
  """Mean FLOPs per token at one sequence length.

  Attributes:
    forward: of one token's forward pass.
    by_kind: forward FLOPs of weights by kind.
    attention_pairs: forward FLOPs of attention logits and weighted values, and of Mamba-2's products within chunks and
      with its state.
  """

  forward: int | float
  by_kind: dict[str, int]
  attention_pairs: int | float

  @property
  def train(self) -> int | float:
    """Of one token's forward and backward pass."""
    return 3 * self.forward


def weight_flops(cfg: ModelConfig) -> Counter:
  """Forward FLOPs by kind of the products with weights, for one token; of an encoder-decoder, one of each side."""
  flops = _stack(cfg)
  if cfg.is_encoder_decoder:
    flops += _stack(cfg.encoder) + _times(attention.weight_flops(cfg), cfg.n_layers)
  return flops + embedding.weight_flops(cfg) + output.weight_flops(cfg)


def _stack(cfg: ModelConfig) -> Counter:
  """Of all layers of one stack."""
  flops = Counter()
  for kind, n in Counter(cfg.layer_specs).items():
    layer = mixer_spec(cfg, kind.mixer).weight_flops(cfg)
    flops += _times(
      layer
      + (experts.weight_flops(cfg) if kind.experts else feed_forward.weight_flops(cfg)),
      n,
    )
  return flops


def _times(counter: Counter, n: int) -> Counter:
  return Counter({kind: n * flops for kind, flops in counter.items()})


def flops_per_token(cfg: ModelConfig, seq_len: int, causal: bool) -> Flops:
  """Forward FLOPs, mean over the tokens of a sequence.

  Of an encoder-decoder: of a sequence that long on each side, for each token of one side.

  Args:
    cfg: the model.
    seq_len: tokens in the sequence.
    causal: count the pairs that the mask keeps; else all, as a dense product multiplies them.

  >>> flops_per_token(
  ...   ModelConfig(vocab_size=65, d_model=128, n_layers=4), seq_len=64, causal=False
  ... ).forward
  1720576
  """
  weights = weight_flops(cfg)
  products = _sequence_flops(cfg, seq_len, causal)
  if cfg.is_encoder_decoder:
    products += _sequence_flops(cfg.encoder, seq_len, causal)
    products += cfg.n_layers * seq_len**2 * attention.pair_flops(cfg)
  attended = plain(Fraction(products, seq_len))
  return Flops(
    sum(weights.values()) + attended, {kind: weights[kind] for kind in KINDS}, attended
  )


def encoder_decoder_flops(
  cfg: ModelConfig, decoder_len: int, encoder_len: int, causal: bool
) -> int:
  """Forward FLOPs of one sequence of an encoder-decoder, whose sides differ in length as span corruption makes them.

  Args:
    cfg: the model.
    decoder_len: tokens that the decoder reads.
    encoder_len: tokens that the encoder reads.
    causal: as in `flops_per_token`.

  >>> cfg = ModelConfig(
  ...   architecture='encoder_decoder', vocab_size=65, d_model=128, n_layers=4
  ... )
  >>> encoder_decoder_flops(cfg, 64, 64, False) == 64 * flops_per_token(
  ...   cfg, 64, False
  ... ).forward
  True
  """
  heads = cfg.n_heads * cfg.head_dim, cfg.n_kv_heads * cfg.head_dim
  of_query, of_key = (
    4 * cfg.d_model * width for width in heads
  )  # with the output; with the value
  side = cfg.factorized * matmul_flops(cfg.embedding_dim, cfg.d_model)
  total = lambda counter: sum(counter.values())
  decoder = (
    total(_stack(cfg))
    + cfg.n_layers * of_query
    + total(output.weight_flops(cfg))
    + (side * (1 + (not cfg.head_transform)))
  )
  encoder = total(_stack(cfg.encoder)) + cfg.n_layers * of_key + side
  products = (
    _sequence_flops(cfg, decoder_len, causal)
    + _sequence_flops(cfg.encoder, encoder_len, causal)
    + cfg.n_layers * decoder_len * encoder_len * attention.pair_flops(cfg)
  )
  return decoder_len * decoder + encoder_len * encoder + products


def _sequence_flops(cfg: ModelConfig, seq_len: int, causal: bool) -> int:
  """Returns the FLOPs of all products without weights of one stack, for one sequence."""
  flops = 0
  for (mixer, window), n in Counter(zip(cfg.mixers, cfg.windows, strict=True)).items():
    flops += n * mixer_spec(cfg, mixer).sequence_flops(cfg, seq_len, window, causal)
  return flops


def plain(x: Fraction) -> int | float:
  """An int where it is whole, else a float."""
  return x.numerator if x.denominator == 1 else float(x)


def traced_flops(function: Callable[..., Any], *args: Any) -> int:
  """FLOPs of every product in a function's jaxpr, scans times their length, for arguments of these shapes.

  XLA's own `cost_analysis` counts the body of a scan once; this does not. A branch counts as its dearest, and a loop of
  unknown length as one pass.

  Args:
    function: traceable.
    *args: arrays or `jax.ShapeDtypeStruct`s.

  >>> import jax.numpy as jnp
  >>> traced_flops(lambda a, b: a @ b, jnp.ones((3, 5)), jnp.ones((5, 7)))
  210
  """
  return _of_jaxpr(jax.make_jaxpr(function)(*args).jaxpr)


def _of_jaxpr(jaxpr: Any) -> int:
  return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
  if equation.primitive.name == 'dot_general':
    (contracted, _), _ = equation.params['dimension_numbers']
    lhs, out = equation.invars[0].aval, equation.outvars[0].aval
    return 2 * math.prod(out.shape) * math.prod(lhs.shape[i] for i in contracted)
  if equation.primitive.name == 'ragged_dot_general':
    rows, kernel, out = (
      equation.invars[0].aval,
      equation.invars[1].aval,
      equation.outvars[0].aval,
    )
    return (
      2
      * math.prod(rows.shape)
      * (out.shape[-1] if kernel.ndim == 3 else kernel.shape[-1])
    )
  inner = [_of_jaxpr(j) for j in _inner_jaxprs(equation.params)]
  if equation.primitive.name == 'cond':
    return max(inner)
  return sum(inner) * (
    equation.params['length'] if equation.primitive.name == 'scan' else 1
  )


def _inner_jaxprs(params: dict) -> list:
  found = []
  for value in params.values():
    for item in value if isinstance(value, (tuple, list)) else (value,):
      if hasattr(item, 'eqns'):
        found.append(item)
      elif hasattr(item, 'jaxpr') and hasattr(item.jaxpr, 'eqns'):
        found.append(item.jaxpr)
  return found
