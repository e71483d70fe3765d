"""FLOPs of matrix products, in closed form from the config of a model.

Conventions:

- A multiply-add is two FLOPs. Only matrix products are counted. Embedding lookups, biases,
  normalizations, softmax and activations are not.
- The product with the output matrix (vocabulary x d_model) is counted, also if the matrix is
  tied to the embedding.
- Attention has two counts. The *full* count has all pairs of tokens, as a dense product
  multiplies them. The *causal* count has only the pairs that the mask keeps, with sliding
  windows.
- Training costs three times the forward pass, because the backward pass needs two products for
  each product of the forward pass. Products that rematerialization repeats are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
import dataclasses

from lmhp.counting.parameters import multiply
from lmhp.model import embedding, output
from lmhp.model.config import ModelConfig
from lmhp.model.counts import feed_forward_flops, matmul_flops
from lmhp.model.mixers import attention
from lmhp.model.mixers.registry import mixer_spec
from lmhp.params import KINDS
from lmhp.typing import Number


@dataclasses.dataclass(frozen=True)
class Flops:
  """Mean FLOPs per token at one sequence length.

  Attributes:
    forward: FLOPs of the forward pass.
    by_kind: {kind of `lmhp.params.KINDS`: forward FLOPs of the products with weights}.
    attention_pairs: Forward FLOPs of the products without weights. In attention, these are
      the logits and the weighted sums of values. In Mamba-2, they are the products within
      chunks and with the state.
  """

  forward: Number
  by_kind: Mapping[str, int]
  attention_pairs: Number

  @property
  def train(self) -> Number:
    """FLOPs of the forward and the backward pass."""
    return 3 * self.forward


def weight_flops(cfg: ModelConfig) -> Counter[str]:
  """Returns {kind: forward FLOPs of the products with weights for one token}.

  For an encoder-decoder, these are the FLOPs of one encoder token and one decoder token together.

  Args:
    cfg: Config of the model. `vocab_size` is set.

  >>> cfg = ModelConfig(vocab_size=65, d_model=128, n_layers=4)
  >>> weight_flops(cfg)['output']
  16640
  """
  flops = _stack_flops(cfg)
  if cfg.is_encoder_decoder:
    # The encoder, and the cross-attention of each layer of the decoder.
    flops += _stack_flops(cfg.encoder)
    flops += multiply(attention.weight_flops(cfg), cfg.n_layers)
  return flops + embedding.weight_flops(cfg) + output.weight_flops(cfg)


def _stack_flops(cfg: ModelConfig) -> Counter[str]:
  """Returns {kind: FLOPs of the products with weights for one token} of a stack of layers.

  An encoder-decoder has two stacks, the encoder and the decoder.
  """
  # Count each kind of layer once and multiply, so that a deep model takes no longer.
  flops: Counter[str] = Counter()
  for spec, n_layers in Counter(cfg.layer_specs).items():
    mixer = mixer_spec(cfg, spec.mixer).weight_flops(cfg)
    flops += multiply(mixer + feed_forward_flops(cfg, spec.experts), n_layers)
  return flops


def flops_per_token(cfg: ModelConfig, seq_len: int, causal: bool) -> Flops:
  """Returns the FLOPs per token, as the mean over the tokens of a sequence.

  For an encoder-decoder, encoder and decoder both have a sequence of `seq_len` tokens. The sum
  of their FLOPs is divided by `seq_len`.

  Args:
    cfg: Config of the model. `vocab_size` is set.
    seq_len: Number of tokens in the sequence.
    causal: If True, only the pairs of tokens that the mask keeps are counted. If False, all
      pairs are counted.

  >>> cfg = ModelConfig(vocab_size=65, d_model=128, n_layers=4)
  >>> flops_per_token(cfg, seq_len=64, causal=False).forward
  1720576
  """
  # Products with weights cost the same for each token. Products of pairs of tokens do not, so
  # they are summed over the sequence and divided by its length.
  weights = weight_flops(cfg)
  sequence = _sequence_flops(cfg, seq_len, causal)
  if cfg.is_encoder_decoder:
    # The encoder, and the cross-attention between all tokens of the decoder and the encoder.
    sequence += _sequence_flops(cfg.encoder, seq_len, causal)
    sequence += cfg.n_layers * seq_len**2 * attention.pair_flops(cfg)
  attention_pairs = mean(sequence, seq_len)
  return Flops(
    forward=sum(weights.values()) + attention_pairs,
    by_kind={kind: weights[kind] for kind in KINDS},
    attention_pairs=attention_pairs,
  )


@dataclasses.dataclass(frozen=True)
class TorchtitanFlops:
  """Training FLOPs per token in the convention of torchtitan, and its distance to `Flops`.

  Attributes:
    train: 6 FLOPs for each active parameter without the input embedding, and the pairs of tokens
      in the windows, without a causal mask.
    without_product: FLOPs of parameters that are no matrix product (norms, biases, sinks), which
      the full count leaves out.
    outside_windows: FLOPs of pairs outside the windows, which the full count has.
  """

  train: int
  without_product: int
  outside_windows: int


def torchtitan_flops(
  cfg: ModelConfig, n_active: int, seq_len: int
) -> TorchtitanFlops | None:
  """Returns the training FLOPs per token as torchtitan counts them.

  It holds that train = 3 * full forward FLOPs + without_product - outside_windows.

  Args:
    cfg: Config of the model. `vocab_size` is set.
    n_active: Number of active parameters without the input embedding. A tied matrix is the
      output matrix too, and counts.
    seq_len: Number of tokens in the sequence.

  Returns:
    The FLOPs. None for an encoder-decoder and for layers without attention, which the
    convention does not cover.

  Source: pytorch/torchtitan, `get_nparams_and_flops` of the models.

  >>> cfg = ModelConfig(vocab_size=65, d_model=128, n_layers=4, tie_embeddings=False)
  >>> torchtitan_flops(cfg, n_active=800_000, seq_len=64).train
  5193216
  """
  if cfg.is_encoder_decoder or set(cfg.mixers) != {'attention'}:
    return None
  per_pair = 3 * attention.pair_flops(cfg)
  seen = sum(min(window or seq_len, seq_len) for window in cfg.windows)
  products = 3 * sum(weight_flops(cfg).values())
  return TorchtitanFlops(
    train=6 * n_active + per_pair * seen,
    without_product=6 * n_active - products,
    outside_windows=per_pair * (cfg.n_layers * seq_len - seen),
  )


def encoder_decoder_flops(
  cfg: ModelConfig, decoder_len: int, encoder_len: int, causal: bool
) -> int:
  """Returns the forward FLOPs of one sequence of an encoder-decoder.

  The sides may differ in length, as in span corruption.

  Args:
    cfg: Config of the model. `vocab_size` is set.
    decoder_len: Number of tokens that the decoder reads.
    encoder_len: Number of tokens that the encoder reads.
    causal: As in `flops_per_token`.

  >>> cfg = ModelConfig(
  ...   architecture='encoder_decoder', vocab_size=65, d_model=128, n_layers=4
  ... )
  >>> per_token = flops_per_token(cfg, seq_len=64, causal=False).forward
  >>> encoder_decoder_flops(cfg, 64, 64, causal=False) == 64 * per_token
  True
  """
  # Products with the weights of cross-attention in one layer. A decoder token has two (query and
  # output), and an encoder token has two (key and value). Each weight takes two FLOPs, so the
  # factor is 4.
  query_flops = 4 * cfg.d_model * cfg.n_heads * cfg.head_dim
  key_flops = 4 * cfg.d_model * cfg.n_kv_heads * cfg.head_dim

  # A factorized embedding (narrower than d_model) is projected to d_model in the encoder and in
  # the decoder. The decoder also projects back before the output layer, unless the linear map
  # of `model.head_transform` does this.
  projection = cfg.is_factorized * matmul_flops(cfg.embedding_dim, cfg.d_model)
  n_decoder_projections = 1 + (not cfg.head_transform)

  # Products with weights, for each token of either side.
  per_decoder_token = (
    sum(_stack_flops(cfg).values())
    + cfg.n_layers * query_flops
    + sum(output.weight_flops(cfg).values())
    + n_decoder_projections * projection
  )
  per_encoder_token = (
    sum(_stack_flops(cfg.encoder).values()) + cfg.n_layers * key_flops + projection
  )
  # Products of pairs of tokens: in the decoder, in the encoder, and between them.
  pairs = (
    _sequence_flops(cfg, decoder_len, causal)
    + _sequence_flops(cfg.encoder, encoder_len, causal)
    + cfg.n_layers * decoder_len * encoder_len * attention.pair_flops(cfg)
  )
  return decoder_len * per_decoder_token + encoder_len * per_encoder_token + pairs


def _sequence_flops(cfg: ModelConfig, seq_len: int, causal: bool) -> int:
  """Returns the FLOPs of all products without weights of a stack of layers, for one sequence."""
  flops = 0
  kinds = Counter(zip(cfg.mixers, cfg.windows, strict=True))
  for (mixer, window), n_layers in kinds.items():
    per_layer = mixer_spec(cfg, mixer).sequence_flops(cfg, seq_len, window, causal)
    flops += n_layers * per_layer
  return flops


def mean(total: int, n: int) -> Number:
  """Returns total / n, as an int if it is whole, and as a float otherwise.

  >>> mean(6, 3), mean(6, 4)
  (2, 1.5)
  """
  return total // n if total % n == 0 else total / n
