"""Training of a byte-level BPE tokenizer."""

from __future__ import annotations

from collections.abc import Iterable

import tokenizers

from lmhp.data.special_tokens import END_OF_TEXT
from lmhp.data.tokenizer import JsonTokenizer


def train_bpe(texts: Iterable[str], vocab_size: int) -> JsonTokenizer:
  """Trains a byte-level BPE tokenizer with an end-of-text token.

  Args:
    texts: Training text, in pieces of any size.
    vocab_size: Largest size of the vocabulary. A short text gives a smaller vocabulary.

  Source: GPT-2 (Radford et al. 2019).
  """
  tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
  byte_level = tokenizers.pre_tokenizers.ByteLevel
  tokenizer.pre_tokenizer = byte_level(add_prefix_space=False)
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=vocab_size,
    special_tokens=[END_OF_TEXT],
    show_progress=False,
    # All 256 bytes, so that any text can be encoded.
    initial_alphabet=sorted(byte_level.alphabet()),
  )
  tokenizer.train_from_iterator(texts, trainer)
  return JsonTokenizer(tokenizer.to_str())
