"""Section `data` of the config."""

from __future__ import annotations

from lmhp.data.formats.token_files import DTYPES
from lmhp.declarations import static, traced
from lmhp.sections import (
  Section,
  assign,
  is_none_of,
  is_one_of,
  read_if,
  require,
  section,
)

MIXTURE_BLOCK = 1024
"""Number of training sequences in a block. Each source has a fixed number of them.

A source therefore needs a share of 0, or of at least 1 / MIXTURE_BLOCK.
"""


@section('data')
class DataConfig(Section):
  """Sources of text, tokenizer, validation split, objective and order of the sequences.

  All keys are static, except the seed, the mixture weights and the fractions of masking.
  """

  path: tuple[str, ...] = static(
    ('docstrings',),
    'sources of text or tokens; several make a mixture. Each is docstrings (the built-in '
    'corpus), a .txt, .md, .jsonl, .json, .csv, .tsv or .parquet file (also .gz, .bz2, .xz or '
    '.zst), a directory or a glob of them, .bin or .npy files of tokens (nanoGPT, llm.c, '
    'Megatron-LM), a directory of token shards, or a Hugging Face dataset (hf:NAME, '
    'hf:NAME:SUBSET, hf:NAME:SUBSET:SPLIT or hf:DIRECTORY)',
    aliases=('data_dir', 'dataset', 'dataset_name', 'train_file'),
  )
  validation_path: tuple[str, ...] = static(
    (),
    'sources of the validation split, as in path (such as hf:NAME::validation); () holds out '
    'a part of each source of path. With it, all of path is trained on, except a val.bin',
    aliases=('validation_file', 'val_file', 'eval_file', 'val_data_path'),
  )
  token_dtype: str = static(
    'auto',
    'dtype of the tokens in .bin and .npy files; auto takes it from a header or from the '
    'bytes, and refuses a file that does not show it',
    choices=('auto', *DTYPES),
  )
  tokenizer: str = static(
    'byte',
    'byte, char, bpe (trained on the training text), or the path of a tokenizer.json; '
    'sources that are already tokens keep their own tokenizer',
    aliases=('tokenizer_name',),
  )
  # At least the 256 bytes and the end-of-text token.
  tokenizer_vocab_size: int = static(
    4096, 'largest vocabulary of the bpe tokenizer', unit='tokens', low=257
  )
  text_field: str = static(
    'text',
    'field of a row of .jsonl, .json, .csv, .tsv, .parquet or a Hugging Face dataset that '
    'holds the text; a dot leads to a nested field, as in data.text',
    aliases=('dataset_text_field', 'text_column', 'text_column_name'),
  )
  split: str = static(
    'fraction',
    'the validation split is the last part of the token stream, which may begin within a '
    'document (fraction), or the last documents (document)',
    choices=('fraction', 'document'),
  )
  validation_fraction: float = static(
    0.1,
    'fraction of each source that is held out for validation, if there is no validation_path',
    low=0.0,
    open_low=True,
    high=1.0,
    open_high=True,
    aliases=('test_size', 'val_fraction'),
    # The error message for this name shows the formula.
    converted_aliases={
      'validation_split_percentage': 'validation_split_percentage / 100'
    },
  )
  fraction: float = static(
    1.0,
    'fraction of the training tokens that is used, from the start',
    low=0.0,
    open_low=True,
    high=1.0,
  )
  mixture_weights: tuple[float, ...] = traced(
    (),
    'relative share of training sequences from each source; () gives equal shares',
    low=0.0,
    aliases=('probabilities',),
  )
  objective: str = static(
    'causal',
    'causal predicts the next token, masked predicts masked tokens (encoders), span '
    'predicts removed spans (encoder-decoders), and prefix predicts the tokens after a '
    'given prefix (model.prefix_lm)',
    choices=('causal', 'masked', 'span', 'prefix'),
    converted_aliases={'mlm': "'masked' if mlm is True, else 'causal'"},
    # The error message for a value of another library shows the value to use here.
    value_aliases={
      'clm': "'causal'",
      'mlm': "'masked'",
      'prefix_lm': "'prefix'",
      'span_corruption': "'span'",
    },
  )
  dynamic_masking: bool = static(
    True,
    'True draws new masks, prefixes or spans each time that a sequence is read, False always '
    'the same ones',
    source='arXiv:1907.11692 section 4.1 (RoBERTa)',
  )
  span_fraction: float = static(
    0.15,
    'fraction of the tokens that the span objective removes',
    low=0.0,
    open_low=True,
    high=1.0,
    open_high=True,
    aliases=('noise_density',),
    source='arXiv:1910.10683 section 3.3.4 (T5)',
  )
  span_length: float = static(
    3.0,
    'mean length of a removed span',
    unit='tokens',
    low=1.0,
    aliases=('mean_noise_span_length',),
  )
  mask_fraction: float = traced(
    0.15,
    'probability that a token is a target of the masked objective',
    low=0.0,
    open_low=True,
    high=1.0,
    aliases=('mlm_probability',),
    source='arXiv:1810.04805 (BERT)',
  )
  mask_random_fraction: float = traced(
    0.1,
    'fraction of the targets of the masked objective whose input is a random token',
    low=0.0,
    high=1.0,
    aliases=('random_replace_prob', 'random_token_prob'),
  )
  mask_keep_fraction: float = traced(
    0.1,
    'fraction of the targets of the masked objective whose input is the token itself; the '
    'other targets have the mask token as input',
    low=0.0,
    high=1.0,
    aliases=('leave_unmasked_prob',),
    converted_aliases={
      'mask_replace_prob': '1 - mask_replace_prob - data.mask_random_fraction'
    },
  )
  seed: int = traced(
    0,
    'seed of the order of the sequences and of masking',
    unit='seed',
    low=0,
    high=2**32 - 1,
    aliases=('data_seed',),
  )
  placement: str = static(
    'auto',
    'device keeps all tokens in device memory, host makes each batch on the host; auto '
    'is device for up to 1 GiB of tokens, else host',
    choices=('auto', 'device', 'host'),
  )
  intra_document_attention: bool = static(
    False,
    'if True, attention, positions and targets stay within a document',
    aliases=('reset_attention_mask', 'reset_position_ids'),
  )
  cache_dir: str | None = static(
    None, 'cache of tokens and tokenizers; None is $LMHP_CACHE, or else ~/.cache/lmhp'
  )

  def resolve(self) -> None:
    """Fills in equal mixture weights and checks keys against each other."""
    is_named = bool(self.path) and all(self.path)
    require(self, is_named, 'path', 'at least one source, and no empty name')
    is_named = all(self.validation_path)
    require(self, is_named, 'validation_path', 'no empty name')
    require(
      self,
      self.mask_random_fraction + self.mask_keep_fraction <= 1,
      'mask_keep_fraction',
      'at most 1 together with data.mask_random_fraction',
    )
    weights = self.mixture_weights or (1.0,) * len(self.path)
    assign(self, mixture_weights=weights)
    require(
      self,
      len(weights) == len(self.path),
      'mixture_weights',
      f'{len(self.path)} numbers, one for each source in data.path',
    )
    # Each source must get at least one sequence of a block, unless its weight is 0.
    positive = [weight for weight in weights if weight > 0]
    require(
      self,
      bool(positive) and min(positive) * MIXTURE_BLOCK >= sum(weights),
      'mixture_weights',
      f'each 0 or at least 1/{MIXTURE_BLOCK} of the sum, and not all 0',
    )


READ_RULES = (
  read_if(
    'data',
    'mask_fraction mask_random_fraction mask_keep_fraction',
    'objective',
    is_one_of('masked'),
    'masked',
  ),
  read_if('data', 'span_fraction span_length', 'objective', is_one_of('span'), 'span'),
  read_if(
    'data',
    'dynamic_masking',
    'objective',
    is_none_of('causal'),
    'another value than causal',
  ),
  read_if('data', 'tokenizer_vocab_size', 'tokenizer', is_one_of('bpe'), 'bpe'),
  read_if(
    'data',
    'mixture_weights',
    'path',
    lambda path: len(path) > 1,
    'several sources',
  ),
)
"""Conditions under which keys have an effect."""
