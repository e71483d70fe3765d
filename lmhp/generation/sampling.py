"""Generation of text with a trained or pretrained model.

T is the number of sampled tokens. Other letters of dimensions are those of `lmhp.model`.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.data.dataset import start_token
from lmhp.data.tokenizer import Tokenizer
from lmhp.errors import ConfigError
from lmhp.generation.decoding import SampleSettings, sample
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
    stop_ids: Tokens that end a text. Empty if only the end-of-text token of the tokenizer does.
    start_id: First token that the decoder of an encoder-decoder reads. None stands for the one
      with which lmhp trains.
    is_pretrained: True for a checkpoint of Hugging Face, whose prompts have the special tokens
      that its tokenizer adds. False for a run, which was trained on text without them.
  """

  model: Model
  params: PyTree
  tokenizer: Tokenizer
  hypers: ModelHypers = dataclasses.field(default_factory=dict)
  stop_ids: tuple[int, ...] = ()
  start_id: int | None = None
  is_pretrained: bool = False

  def encode(self, prompt: str) -> np.ndarray:
    """Returns the ids of a prompt, (n,) uint32."""
    if self.is_pretrained:
      return self.tokenizer.encode(prompt)
    return next(iter(self.tokenizer.encode_all([prompt])))

  def settings(self, n_tokens: int, top_k: int | None) -> SampleSettings:
    """Returns the settings of `sample` for a text of `n_tokens` tokens."""
    end = self.tokenizer.end_of_text
    stop_ids = self.stop_ids or (() if end is None else (end,))
    start_id = self.start_id
    if start_id is None:
      is_read = self.model.cfg.is_encoder_decoder
      start_id = start_token(self.tokenizer) if is_read else 0
    return SampleSettings(
      n_tokens=n_tokens,
      top_k=top_k,
      n_ids=self.tokenizer.vocab_size,
      start_id=start_id,
      stop_ids=stop_ids,
    )


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
  ids_L = _encode_prompt(text_model, prompt)
  room = model.cfg.max_seq_len - ids_L.size
  if n_tokens is None:
    n_tokens = min(DEFAULT_N_TOKENS, room)
  _check_numbers(ids_L.size, room, n_tokens, temperature, top_k)

  settings = text_model.settings(n_tokens, top_k)
  new_BT = sample(
    model,
    text_model.params,
    jnp.asarray(ids_L[None], jnp.int32),
    jax.random.key(seed),
    jnp.float32(temperature),
    settings,
    text_model.hypers,
  )
  # The text ends before the first stop token.
  new_T = np.asarray(new_BT[0])
  ends = np.flatnonzero(np.isin(new_T, settings.stop_ids))
  new_T = new_T[: ends[0]] if ends.size else new_T
  if model.cfg.is_encoder_decoder:
    return tokenizer.decode(new_T)
  return prompt + _continuation(tokenizer, ids_L, new_T)


def _continuation(tokenizer: Tokenizer, ids_L: np.ndarray, new_T: np.ndarray) -> str:
  """Returns the text of new tokens, with a space at its beginning if it has one.

  Many tokenizers write the space before a word, and leave it out at the beginning of a text. So
  the new tokens are decoded together with the prompt.
  """
  before = tokenizer.decode(ids_L)
  text = tokenizer.decode(np.concatenate([ids_L, new_T]))
  return (
    text.removeprefix(before) if text.startswith(before) else tokenizer.decode(new_T)
  )


def _encode_prompt(text_model: TextModel, prompt: str) -> np.ndarray:
  """Returns the ids of a prompt, (L,) uint32.

  Raises:
    ConfigError: If the tokenizer or the prompt has ids that the model does not have, if the
      prompt is not valid Unicode, if it has no tokens, or if it has `model.max_seq_len` tokens
      or more, so that none can be added.
  """
  try:
    prompt.encode()
  except UnicodeEncodeError as error:
    raise ConfigError(
      f'prompt: got the lone surrogate {prompt[error.start]!r}, expected Unicode text'
    ) from None
  cfg = text_model.model.cfg
  tokenizer = text_model.tokenizer
  n_ids = tokenizer.n_ordinary_ids
  if cfg.vocab_size is not None and n_ids > cfg.vocab_size:
    raise ConfigError(
      f'tokenizer: got {n_ids} ids, expected at most model.vocab_size={cfg.vocab_size}, the '
      'number of rows of the embedding: it is the tokenizer of another model'
    )
  # Added tokens may have ids beyond the embedding, if no text has them.
  ids_L = text_model.encode(prompt)
  if not 0 < ids_L.size < cfg.max_seq_len:
    raise ConfigError(
      f'prompt: got {ids_L.size} tokens, expected at least 1 and fewer than '
      f'model.max_seq_len={cfg.max_seq_len}'
    )
  largest = int(ids_L.max())
  if cfg.vocab_size is not None and largest >= cfg.vocab_size:
    raise ConfigError(
      f'prompt: got a token with the id {largest}, expected ids below '
      f'model.vocab_size={cfg.vocab_size}'
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
