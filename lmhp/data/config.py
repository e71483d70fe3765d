"""`DataConfig`: which text, which tokenizer, which part is held out, in which order it is read."""

from __future__ import annotations

from lmhp.declarations import static, traced
from lmhp.sections import Section, assign, section, wrong

BLOCK = 1024
"""Sequences in a mixture block: the finest share a source can have is one in this many."""


@section('data')
class DataConfig(Section):
  """The data. All fields are structure but the seed and the mixture weights."""

  path: tuple[str, ...] = static(
    ('docstrings',),
    'sources; several are a mixture: docstrings (embedded), a .txt, .jsonl or .parquet file or a '
    'directory of them, a .bin of uint16 tokens (nanoGPT), a directory of token shards, hf:NAME, hf:NAME:SUBSET or '
    'hf:DIRECTORY',
  )
  tokenizer: str = static(
    'byte',
    'how text becomes tokens: byte, char, bpe (made from the training text), or the path '
    'of a tokenizer.json; sources that are tokens already keep theirs',
  )
  tokenizer_vocab_size: int = static(
    4096, 'largest vocabulary of the bpe tokenizer', unit='tokens', low=257
  )
  text_field: str = static(
    'text', 'the field of a .jsonl line, the column of a .parquet or Hugging Face table'
  )
  split: str = static(
    'fraction',
    'validation is the last part of the token stream, or the last whole documents',
    choices=('fraction', 'document'),
  )
  validation_fraction: float = static(
    0.1,
    'share of each source that is held out',
    low=0.0,
    open_low=True,
    high=1.0,
    open_high=True,
  )
  fraction: float = static(
    1.0,
    'share of the training tokens that is used: the first part',
    low=0.0,
    open_low=True,
    high=1.0,
  )
  mixture_weights: tuple[float, ...] = traced(
    (),
    'share of training sequences from each source, up to their sum; () is equal shares',
    low=0.0,
  )
  objective: str = static(
    'causal',
    'what is learnt: the next token; tokens that are hidden (for encoders); spans '
    'that are taken out (for encoder-decoders); or what follows a given beginning (for '
    'model.prefix_lm)',
    choices=('causal', 'masked', 'span', 'prefix'),
  )
  dynamic_masking: bool = static(
    True,
    'a sequence is masked anew each time it is read; False masks it always alike',
    source='arXiv:1907.11692 section 4.1 (RoBERTa)',
  )
  span_fraction: float = static(
    0.15,
    'share of the tokens that the span objective takes out',
    low=0.0,
    open_low=True,
    high=1.0,
    open_high=True,
    source='arXiv:1910.10683 section 3.3.4 (T5)',
  )
  span_length: float = static(3.0, 'mean length of such a span', unit='tokens', low=1.0)
  mask_fraction: float = traced(
    0.15,
    'probability that a token is a target of the masked objective',
    low=0.0,
    open_low=True,
    high=1.0,
    aliases=('mlm_probability',),
    source='arXiv:1810.04805',
  )
  mask_random_fraction: float = traced(
    0.1, 'share of those targets that a random token stands for', low=0.0, high=1.0
  )
  mask_keep_fraction: float = traced(
    0.1, 'share of those targets that are shown as they are', low=0.0, high=1.0
  )
  seed: int = traced(
    0,
    'draws the order of sequences, and what is masked',
    unit='seed',
    low=0,
    high=2**32 - 1,
  )
  placement: str = static(
    'auto',
    'tokens live on the device and batches are gathered inside the program, or they '
    'stream from the host; auto is device up to one GiB',
    choices=('auto', 'device', 'host'),
  )
  intra_document_attention: bool = static(
    False, 'attention, positions and targets stay within a document'
  )
  cache_dir: str | None = static(
    None, 'where shards are kept; None is $LMHP_CACHE, or ~/.cache/lmhp'
  )

  def resolve(self) -> None:
    """Fills in equal mixture weights and checks what involves several fields."""
    if not self.path or not all(self.path):
      raise wrong(self, 'path', 'at least one source, none of them empty')
    if self.mask_random_fraction + self.mask_keep_fraction > 1:
      raise wrong(
        self, 'mask_keep_fraction', 'at most 1 together with data.mask_random_fraction'
      )
    if not self.mixture_weights:
      assign(self, mixture_weights=(1.0,) * len(self.path))
    weights = self.mixture_weights
    if len(weights) != len(self.path):
      raise wrong(
        self, 'mixture_weights', f'{len(self.path)} numbers, one for each of data.path'
      )
    smallest = min((w for w in weights if w > 0), default=0.0)
    if not smallest or smallest * BLOCK < sum(weights):
      raise wrong(
        self,
        'mixture_weights',
        f'each 0 or at least 1/{BLOCK} of their sum, and not all 0',
      )
