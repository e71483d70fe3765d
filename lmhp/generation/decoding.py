"""Sampling of tokens: one after another, with a key/value cache.

T is the number of sampled tokens. Other letters of dimensions are those of `lmhp.model`.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from lmhp.model.batch import Batch
from lmhp.model.layer_inputs import ModelHypers
from lmhp.model.transformer import Model
from lmhp.typing import PyTree


@dataclasses.dataclass(frozen=True)
class SampleSettings:
  """Static settings of `sample`, which is compiled for each combination of their values.

  Attributes:
    n_tokens: Number of tokens to add.
    top_k: Each token is sampled from the `top_k` most likely tokens. None stands for all tokens.
    n_ids: Only token numbers below `n_ids` are sampled, because the model may have more logits
      than the tokenizer has tokens. None stands for all token numbers.
    start_id: First token that the decoder of an encoder-decoder reads. Other models ignore it.
    stop_ids: Tokens that end a text. A row that has one gets no further tokens.
  """

  n_tokens: int
  top_k: int | None = None
  n_ids: int | None = None
  start_id: int = 0
  stop_ids: tuple[int, ...] = ()


@functools.partial(jax.jit, static_argnames=('model', 'settings'))
def sample(
  model: Model,
  params: PyTree,
  prompt_BL: jax.Array,
  key: jax.Array,
  temperature: jax.Array,
  settings: SampleSettings,
  hypers: ModelHypers,
) -> jax.Array:
  """Continues prompts in one compiled program.

  An encoder-decoder reads the prompt with its encoder, and its decoder writes the answer.

  Args:
    model: Network.
    params: Parameters of the network.
    prompt_BL: Tokens of the prompts, (B, L) int32. L is at least 1.
    key: PRNG key.
    temperature: () float32, logits are divided by it. 0 selects the most likely token.
    settings: Number of tokens to add, and the tokens that may be sampled.
    hypers: {key of the section `model`: traced number}.

  Returns:
    The added tokens, (B, n_tokens) int32. A row that ends early is filled with the first of
    `settings.stop_ids`.
  """

  prompt_length = prompt_BL.shape[1]
  tokens_BT = jnp.zeros((prompt_BL.shape[0], 0), jnp.int32)
  is_done_B = jnp.zeros(prompt_BL.shape[0], bool)
  for length in _lengths_read_at_once(model, prompt_length, settings.n_tokens):
    # Read all tokens so far. For an encoder-decoder, these are those of the prompt.
    n_new = length - prompt_length - tokens_BT.shape[1]
    text_BL = jnp.concatenate([prompt_BL, tokens_BT], axis=1)
    first = tokens_BT.shape[1]
    stage = _Stage(model, params, hypers, settings, key, temperature, first, n_new)
    new_BT, is_done_B = stage.run(text_BL, is_done_B)
    tokens_BT = jnp.concatenate([tokens_BT, new_BT], axis=1)
  return tokens_BT


def _lengths_read_at_once(model: Model, length: int, n_tokens: int) -> list[int]:
  """Returns the lengths up to which tokens are sampled with one cache.

  The frequencies of longrope change at the original length of the context. The keys in the cache
  have the frequencies of short sequences, so all tokens are read again, as Phi 3 does in
  Hugging Face transformers.

  Args:
    model: Network.
    length: Number of tokens of the prompt.
    n_tokens: Number of tokens to add.

  >>> from lmhp.model.config import ModelConfig
  >>> from lmhp.model.transformer import build
  >>> model = build(ModelConfig(vocab_size=65, d_model=64, dtype='float32'))
  >>> _lengths_read_at_once(model, 10, 5)
  [15]
  """
  cfg = model.cfg
  # The first token that needs long factors is read with those before it.
  first_long = cfg.rotary_original_max_seq_len + 1
  is_switched = cfg.position == 'rotary' and cfg.rotary_scaling == 'longrope'
  if is_switched and length < first_long < length + n_tokens:
    return [first_long, length + n_tokens]
  return [length + n_tokens]


@dataclasses.dataclass(frozen=True)
class _Stage:
  """Sampling of tokens with one cache.

  Attributes:
    model: Network.
    params: Parameters of the network.
    hypers: {key of the section `model`: traced number}.
    settings: Settings of `sample`.
    key: PRNG key of `sample`.
    temperature: () float32.
    first: Number of tokens that earlier stages have sampled.
    n_new: Number of tokens to sample.
  """

  model: Model
  params: PyTree
  hypers: ModelHypers
  settings: SampleSettings
  key: jax.Array
  temperature: jax.Array
  first: int
  n_new: int

  def run(
    self, text_BL: jax.Array, is_done_B: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Samples tokens until all rows have stopped.

    Args:
      text_BL: Tokens to continue, (B, L) int32.
      is_done_B: (B,) bool, True for rows that have stopped.

    Returns:
      The new tokens, (B, n_new) int32, with the first stop token in place of those after the
      end, and the new `is_done_B`.
    """
    # Read the text, and sample the first token.
    x_BLD, cache = self._read(text_BL)
    token_B, is_done_B = self._next_token(x_BLD[:, -1], 0, is_done_B)
    fill = self.settings.stop_ids[0] if self.settings.stop_ids else 0
    tokens_BT = jnp.full((text_BL.shape[0], self.n_new), fill, jnp.int32)
    tokens_BT = tokens_BT.at[:, 0].set(token_B)

    # Sample the others one after another. The state is (number of sampled tokens, the last
    # one, rows that have stopped, cache, all sampled tokens).
    def is_unfinished(state: PyTree) -> jax.Array:
      return (state[0] < self.n_new) & ~jnp.all(state[2])

    def step(state: PyTree) -> PyTree:
      i, token_B, is_done_B, cache, tokens_BT = state
      batch = Batch(token_B[:, None])
      x_BLD, _, cache = self.model.features(
        self.params, self.hypers, batch, cache=cache
      )
      token_B, is_done_B = self._next_token(x_BLD[:, 0], i, is_done_B)
      return i + 1, token_B, is_done_B, cache, tokens_BT.at[:, i].set(token_B)

    state = (jnp.int32(1), token_B, is_done_B, cache, tokens_BT)
    _, _, is_done_B, _, tokens_BT = jax.lax.while_loop(is_unfinished, step, state)
    return tokens_BT, is_done_B

  def _next_token(
    self, x_BD: jax.Array, i: jax.Array | int, is_done_B: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Samples the token `first + i` of each row, (B,) int32, and returns which rows stop."""
    key = jax.random.fold_in(self.key, self.first + i)
    logits_BV = self.model.logits(self.params, self.hypers, x_BD)
    token_B = _sample_token(logits_BV, key, self.temperature, self.settings)
    stop_ids = self.settings.stop_ids
    if not stop_ids:
      return token_B, is_done_B
    token_B = jnp.where(is_done_B, stop_ids[0], token_B)
    return token_B, is_done_B | jnp.isin(token_B, jnp.asarray(stop_ids))

  def _read(self, text_BL: jax.Array) -> tuple[jax.Array, PyTree]:
    """Returns the features of a text, (B, L, D), and a cache with room for the new tokens.

    For an encoder-decoder, the features are those of the start token, (B, 1, D).
    """
    model = self.model
    n_texts, length = text_BL.shape
    if model.cfg.is_encoder_decoder:
      cache = model.init_cache(n_texts, 1 + self.n_new, length)
      start_B1 = jnp.full((n_texts, 1), self.settings.start_id, jnp.int32)
      batch = Batch(start_B1, encoder_tokens=text_BL)
    else:
      cache = model.init_cache(n_texts, length + self.n_new)
      prefix_lengths = jnp.full(n_texts, length) if model.cfg.prefix_lm else None
      batch = Batch(text_BL, prefix_lengths=prefix_lengths)
    x_BLD, _, cache = model.features(self.params, self.hypers, batch, cache=cache)
    return x_BLD, cache


def _sample_token(
  logits_BV: jax.Array,
  key: jax.Array,
  temperature: jax.Array,
  settings: SampleSettings,
) -> jax.Array:
  """Samples one token for each row of logits, (B,) int32."""
  logits_BV = logits_BV[:, : settings.n_ids]
  top_k = settings.top_k
  if top_k is not None and top_k < logits_BV.shape[-1]:
    kth_largest_B1 = jax.lax.top_k(logits_BV, top_k)[0][:, -1:]
    logits_BV = jnp.where(logits_BV < kth_largest_B1, -jnp.inf, logits_BV)
  # The temperature is traced, so the tokens for temperature > 0 and for 0 are both computed.
  # The bound 1e-6 avoids a division by 0.
  sampled_B = jax.random.categorical(key, logits_BV / jnp.maximum(temperature, 1e-6))
  most_likely_B = jnp.argmax(logits_BV, axis=-1)
  return jnp.where(temperature > 0, sampled_B, most_likely_B).astype(jnp.int32)
