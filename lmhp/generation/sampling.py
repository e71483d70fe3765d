"""Sampling: one token after another, with the keys and values of those before kept."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from lmhp.hypers import ConfigError
from lmhp.model.transformer import Model, Tokens


@functools.partial(jax.jit, static_argnames=('model', 'n_tokens', 'top_k'))
def sample(model: Model, params: Any, prompt_BL: jax.Array, key: jax.Array, temperature: jax.Array, n_tokens: int,
           top_k: int | None = None) -> jax.Array:
  """Continues prompts, all in one program.

  Args:
    model: the network.
    params: its parameters.
    prompt_BL: (B, L) int32, L at least 1.
    key: PRNG key.
    temperature: logits are divided by it; 0 takes the likeliest token.
    n_tokens: how many to add.
    top_k: only the likeliest k are drawn from; None is all.

  Returns:
    (B, n_tokens) int32.
  """
  cache = model.init_cache(prompt_BL.shape[0], prompt_BL.shape[1] + n_tokens)
  x_BLD, _, cache = model.features(params, {}, Tokens(prompt_BL), cache=cache)

  def next_token(x_BD, key):
    logits_BV = model.logits(params, {}, x_BD)
    if top_k is not None and top_k < logits_BV.shape[-1]:
      least = jax.lax.top_k(logits_BV, top_k)[0][:, -1:]
      logits_BV = jnp.where(logits_BV < least, -jnp.inf, logits_BV)
    drawn = jax.random.categorical(key, logits_BV / jnp.maximum(temperature, 1e-6))
    return jnp.where(temperature > 0, drawn, jnp.argmax(logits_BV, axis=-1)).astype(jnp.int32)

  def body(carry, i):
    token_B, cache = carry
    x_BLD, _, cache = model.features(params, {}, Tokens(token_B[:, None]), cache=cache)
    following_B = next_token(x_BLD[:, 0], jax.random.fold_in(key, i))
    return (following_B, cache), token_B

  first_B = next_token(x_BLD[:, -1], jax.random.fold_in(key, 0))
  (last_B, _), tokens_TB = jax.lax.scan(body, (first_B, cache), jnp.arange(1, n_tokens))
  return jnp.concatenate([tokens_TB.T, last_B[:, None]], axis=1)


def generate(model: Model, params: Any, tokenizer: Any, prompt: str, *, n_tokens: int = 200, temperature: float = 0.8,
             top_k: int | None = None, seed: int = 0) -> str:
  """Continues a text.

  Args:
    model: the network.
    params: its parameters.
    tokenizer: what it was trained with.
    prompt: at least one token long.
    n_tokens: tokens to add; with the prompt at most the model's context.
    temperature: logits are divided by it; 0 takes the likeliest token.
    top_k: only the likeliest k are drawn from; None is all.
    seed: of the draws.

  Raises:
    ConfigError: for an empty prompt, or a text longer than the context.
  """
  ids = jnp.asarray(tokenizer.encode(prompt), jnp.int32)
  if not ids.size:
    raise ConfigError("prompt: got '', expected at least one token")
  if n_tokens < 1 or ids.size + n_tokens > model.cfg.max_seq_len:
    raise ConfigError(f'n_tokens: got {n_tokens} after a prompt of {ids.size}, expected at least 1 and together at most '
                      f'model.max_seq_len={model.cfg.max_seq_len}')
  new = sample(model, params, ids[None], jax.random.key(seed), jnp.float32(temperature), n_tokens, top_k)
  return prompt + tokenizer.decode(new[0])
