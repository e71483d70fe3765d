"""Sampling of text: one token after another, with a key/value cache.

T is the number of sampled tokens. Other letters of dimensions are those of `lmhp.model`.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from lmhp.data.dataset import start_token
from lmhp.data.tokenizer import Tokenizer
from lmhp.errors import ConfigError
from lmhp.model.batch import Batch
from lmhp.model.layer_inputs import ModelHypers
from lmhp.model.transformer import Model
from lmhp.typing import PyTree

DEFAULT_N_TOKENS = 200
"""Default number of tokens that `generate` adds."""


@dataclasses.dataclass(frozen=True)
class TextModel:
  """A trained model that reads and writes text.

  Attributes:
    model: Network.
    params: Parameters of the network.
    tokenizer: Tokenizer with which the model was trained.
    hypers: {key of the section `model`: traced number}, such as the rate of a dropout. Empty for
      a pretrained model.
  """

  model: Model
  params: PyTree
  tokenizer: Tokenizer
  hypers: ModelHypers = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class SampleSettings:
  """Static settings of `sample`, which is compiled for each combination of their values.

  Attributes:
    n_tokens: Number of tokens to add.
    top_k: Each token is sampled from the `top_k` most likely tokens. None stands for all tokens.
    n_ids: Only token numbers below `n_ids` are sampled, because the model may have more logits
      than the tokenizer has tokens. None stands for all token numbers.
    start_id: First token that the decoder of an encoder-decoder reads. Other models ignore it.
  """

  n_tokens: int
  top_k: int | None = None
  n_ids: int | None = None
  start_id: int = 0


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
    The added tokens, (B, n_tokens) int32.
  """

  def next_token(x_BD: jax.Array, key: jax.Array) -> jax.Array:
    logits_BV = model.logits(params, hypers, x_BD)
    return _sample_token(logits_BV, key, temperature, settings)

  def step(
    carry: tuple[jax.Array, PyTree], i: jax.Array
  ) -> tuple[tuple[jax.Array, PyTree], jax.Array]:
    """Reads token i - 1 from the carry, and samples token i for the next carry.

    Returns the next carry, and token i - 1 as the output of the scan.
    """
    token_B, cache = carry
    batch = Batch(token_B[:, None])
    x_BLD, _, cache = model.features(params, hypers, batch, cache=cache)
    following_B = next_token(x_BLD[:, 0], jax.random.fold_in(key, i))
    return (following_B, cache), token_B

  # Read the prompt, and sample the first token.
  x_BLD, cache = _read_prompt(model, params, hypers, prompt_BL, settings)
  first_B = next_token(x_BLD[:, -1], jax.random.fold_in(key, 0))

  # Sample the others one after another.
  steps = jnp.arange(1, settings.n_tokens)
  (last_B, _), tokens_TB = jax.lax.scan(step, (first_B, cache), steps)
  return jnp.concatenate([tokens_TB.T, last_B[:, None]], axis=1)


def _read_prompt(
  model: Model,
  params: PyTree,
  hypers: ModelHypers,
  prompt_BL: jax.Array,
  settings: SampleSettings,
) -> tuple[jax.Array, PyTree]:
  """Returns the features of the prompt, (B, L, D), and a cache with room for the new tokens.

  For an encoder-decoder, the features are those of the start token, (B, 1, D).
  """
  n_prompts, length = prompt_BL.shape
  n_tokens = settings.n_tokens
  if model.cfg.is_encoder_decoder:
    cache = model.init_cache(n_prompts, 1 + n_tokens, length)
    start_B1 = jnp.full((n_prompts, 1), settings.start_id, jnp.int32)
    batch = Batch(start_B1, encoder_tokens=prompt_BL)
  else:
    cache = model.init_cache(n_prompts, length + n_tokens)
    prefix_lengths = jnp.full(n_prompts, length) if model.cfg.prefix_lm else None
    batch = Batch(prompt_BL, prefix_lengths=prefix_lengths)
  x_BLD, _, cache = model.features(params, hypers, batch, cache=cache)
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


# --- text ---------------------------------------------------------------------------


def generate(
  text_model: TextModel,
  prompt: str,
  *,
  n_tokens: int | None = None,
  temperature: float = 0.8,
  top_k: int | None = None,
  seed: int = 0,
) -> str:
  """Continues a text, or answers it with an encoder-decoder.

  Args:
    text_model: Trained model.
    prompt: Text of at least one token.
    n_tokens: Number of tokens to add. The prompt and the added tokens together must fit into
      `model.max_seq_len`. None stands for 200, or for fewer if 200 do not fit.
    temperature: Logits are divided by it. 0 selects the most likely token.
    top_k: Each token is sampled from the `top_k` most likely tokens. None stands for all tokens.
    seed: Seed of the samples.

  Returns:
    The prompt and its continuation. For an encoder-decoder, the answer alone.

  Raises:
    ConfigError: If the model is an encoder, if the prompt has no tokens or too many, or if an
      option is out of bounds.
  """
  model = text_model.model
  tokenizer = text_model.tokenizer
  if not model.cfg.is_causal:
    raise ConfigError(
      'generate: got a model with model.architecture=encoder, which fills in masked tokens, '
      'expected decoder or encoder_decoder'
    )
  ids_L = _encode_prompt(tokenizer, prompt, model.cfg.max_seq_len)
  room = model.cfg.max_seq_len - ids_L.size
  if n_tokens is None:
    n_tokens = min(DEFAULT_N_TOKENS, room)
  _check_numbers(ids_L.size, room, n_tokens, temperature, top_k)

  start_id = start_token(tokenizer) if model.cfg.is_encoder_decoder else 0
  new_BT = sample(
    model,
    text_model.params,
    ids_L[None],
    jax.random.key(seed),
    jnp.float32(temperature),
    SampleSettings(n_tokens, top_k, n_ids=tokenizer.vocab_size, start_id=start_id),
    text_model.hypers,
  )
  text = tokenizer.decode(new_BT[0])
  return text if model.cfg.is_encoder_decoder else prompt + text


def _encode_prompt(tokenizer: Tokenizer, prompt: str, max_seq_len: int) -> jax.Array:
  """Returns the token numbers of a prompt, (L,) int32.

  Raises:
    ConfigError: If the prompt is not valid Unicode, has no tokens, or has `max_seq_len` tokens or
      more, so that none can be added.
  """
  try:
    ids_L = jnp.asarray(tokenizer.encode(prompt), jnp.int32)
  except UnicodeEncodeError as error:
    raise ConfigError(
      f'prompt: got the lone surrogate {prompt[error.start]!r}, expected Unicode text'
    ) from None
  if not 0 < ids_L.size < max_seq_len:
    raise ConfigError(
      f'prompt: got {ids_L.size} tokens, expected at least 1 and fewer than '
      f'model.max_seq_len={max_seq_len}'
    )
  return ids_L


def _check_numbers(
  n_prompt: int, room: int, n_tokens: int, temperature: float, top_k: int | None
) -> None:
  """Checks the options of `generate`.

  Args:
    n_prompt: Number of tokens of the prompt.
    room: Number of tokens that fit into the context after the prompt.
    n_tokens: Number of tokens to add.
    temperature: Divisor of the logits.
    top_k: Number of tokens among which one is sampled. None stands for all tokens.

  Raises:
    ConfigError: If a number is out of bounds.
  """
  if not 1 <= n_tokens <= room:
    raise ConfigError(
      f'n_tokens: got {n_tokens} after a prompt of {n_prompt} tokens, expected at least 1 '
      f'and at most {room}, so that both fit into model.max_seq_len={n_prompt + room}'
    )
  if not 0 <= temperature < float('inf'):
    raise ConfigError(
      f'temperature: got {temperature!r}, expected a finite number of at least 0'
    )
  if top_k is not None and top_k < 1:
    raise ConfigError(f'top_k: got {top_k!r}, expected at least 1 or None')
