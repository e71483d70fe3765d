"""Sampling: one token after another, with the keys and values of those before kept."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from lmhp.data.dataset import start_token
from lmhp.errors import ConfigError
from lmhp.model.batch import Batch
from lmhp.model.transformer import Model


@functools.partial(jax.jit, static_argnames=('model', 'n_tokens', 'top_k', 'n_words'))
def sample(
  model: Model,
  params: Any,
  prompt_BL: jax.Array,
  key: jax.Array,
  temperature: jax.Array,
  n_tokens: int,
  top_k: int | None = None,
  n_words: int | None = None,
  start_token: int = 0,
) -> jax.Array:
  """Continues prompts, all in one program; an encoder-decoder reads them and writes an answer.

  Args:
    model: the network.
    params: its parameters.
    prompt_BL: (B, L) int32, L at least 1.
    key: PRNG key.
    temperature: logits are divided by it; 0 takes the likeliest token.
    n_tokens: how many to add.
    top_k: only the likeliest k are drawn from; None is all.
    n_words: only ids below it are drawn: a vocabulary may have more rows than its tokenizer has tokens. None is all.
    start_token: what an encoder-decoder's decoder reads first.

  Returns:
    (B, n_tokens) int32.
  """
  n_prompts, length = prompt_BL.shape
  if model.cfg.is_encoder_decoder:
    cache = model.init_cache(n_prompts, 1 + n_tokens, length)
    batch = Batch(
      jnp.full((n_prompts, 1), start_token, jnp.int32), encoder_tokens=prompt_BL
    )
  else:
    cache = model.init_cache(n_prompts, length + n_tokens)
    batch = Batch(
      prompt_BL,
      prefix_lengths=jnp.full(n_prompts, length) if model.cfg.prefix_lm else None,
    )
  x_BLD, _, cache = model.features(params, {}, batch, cache=cache)

  def next_token(x_BD, key):
    logits_BV = model.logits(params, {}, x_BD)[:, :n_words]
    if top_k is not None and top_k < logits_BV.shape[-1]:
      least = jax.lax.top_k(logits_BV, top_k)[0][:, -1:]
      logits_BV = jnp.where(logits_BV < least, -jnp.inf, logits_BV)
    drawn = jax.random.categorical(key, logits_BV / jnp.maximum(temperature, 1e-6))
    return jnp.where(temperature > 0, drawn, jnp.argmax(logits_BV, axis=-1)).astype(
      jnp.int32
    )

  def body(carry, i):
    token_B, cache = carry
    x_BLD, _, cache = model.features(params, {}, Batch(token_B[:, None]), cache=cache)
    following_B = next_token(x_BLD[:, 0], jax.random.fold_in(key, i))
    return (following_B, cache), token_B

  first_B = next_token(x_BLD[:, -1], jax.random.fold_in(key, 0))
  (last_B, _), tokens_TB = jax.lax.scan(body, (first_B, cache), jnp.arange(1, n_tokens))
  return jnp.concatenate([tokens_TB.T, last_B[:, None]], axis=1)


def generate(
  model: Model,
  params: Any,
  tokenizer: Any,
  prompt: str,
  *,
  n_tokens: int | None = None,
  temperature: float = 0.8,
  top_k: int | None = None,
  seed: int = 0,
) -> str:
  """Continues a text; an encoder-decoder reads it and writes an answer, which alone is returned.

  Args:
    model: the network.
    params: its parameters.
    tokenizer: what it was trained with.
    prompt: at least one token long.
    n_tokens: tokens to add; with the prompt at most the model's context. None is 200, or what the context holds.
    temperature: logits are divided by it; 0 takes the likeliest token.
    top_k: only the likeliest k are drawn from; None is all.
    seed: of the draws.

  Raises:
    ConfigError: for an empty prompt, a text longer than the context, or a number out of bounds.
  """
  if not model.cfg.causal:
    raise ConfigError(
      'generate: an encoder fills in and does not continue, expected a model whose model.architecture is '
      'decoder'
    )
  try:
    ids, context = (
      jnp.asarray(tokenizer.encode(prompt), jnp.int32),
      model.cfg.max_seq_len,
    )
  except UnicodeEncodeError as error:
    raise ConfigError(
      f'prompt: not Unicode text (lone surrogate {prompt[error.start]!r})'
    ) from None
  if not 0 < ids.size < context:
    raise ConfigError(
      f'prompt: got {ids.size} tokens, expected at least 1 and fewer than model.max_seq_len={context}'
    )
  n_tokens = min(200, context - ids.size) if n_tokens is None else n_tokens
  if not 1 <= n_tokens <= context - ids.size:
    raise ConfigError(
      f'n_tokens: got {n_tokens} after a prompt of {ids.size}, expected at least 1 and together at '
      f'most model.max_seq_len={context}'
    )
  if not 0 <= temperature < float('inf'):
    raise ConfigError(f'temperature: got {temperature!r}, expected at least 0')
  if top_k is not None and top_k < 1:
    raise ConfigError(f'top_k: got {top_k!r}, expected at least 1')
  key = jax.random.key(seed)
  new = sample(
    model,
    params,
    ids[None],
    key,
    jnp.float32(temperature),
    n_tokens,
    top_k,
    tokenizer.vocab_size,
    start_token(tokenizer) if model.cfg.is_encoder_decoder else 0,
  )
  return (
    tokenizer.decode(new[0])
    if model.cfg.is_encoder_decoder
    else prompt + tokenizer.decode(new[0])
  )
