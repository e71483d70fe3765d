"""Keys of positions: tables, rotary positions, ALiBi and T5's biases."""

from __future__ import annotations

from lmhp.declarations import static
from lmhp.model.config.sizes import SizeKeys
from lmhp.sections import assign, keys, require, require_all

POSITIONS = ('learned', 'sinusoidal', 'rotary', 'alibi', 't5', 'none')
"""Values of `model.position`, which explains them."""

ROTARY_SCALINGS = ('none', 'linear', 'dynamic', 'llama3', 'yarn', 'longrope')
"""Values of `model.rotary_scaling`. `lmhp.model.attention.rotary` has their formulas."""


@keys
class PositionKeys(SizeKeys):
  """Positions of tokens."""

  # `converted_aliases` and `value_aliases` are {name or value of other libraries: text}. The
  # text is only shown in the error message for that name or value.
  position: str = static(
    'rotary',
    'kind of positions: tables that are added to the embedding (learned, sinusoidal), '
    'rotation of queries and keys (rotary), biases on the attention logits (alibi, t5), or none',
    choices=POSITIONS,
    aliases=(
      'position_embedding_type',
      'position_embedding',
      'pos_emb',
      'positional_encoding',
    ),
    converted_aliases={
      'alibi': "'alibi' if True",
      'use_rope': "'rotary' if True",
    },
    value_aliases={
      'rope': "'rotary'",
      'rotary_embedding': "'rotary'",
      'absolute': "'learned'",
      'learned_absolute': "'learned'",
      'sincos': "'sinusoidal'",
      'sine': "'sinusoidal'",
      'relative': "'t5'",
      't5_bias': "'t5'",
      'relative_bias': "'t5'",
      'nope': "'none'",
    },
  )
  position_offset: int = static(
    0,
    'number of rows at the start of a learned or sinusoidal table that are not used (OPT, '
    'XGLM: 2)',
    low=0,
  )

  # Rotary positions.
  rotary_fraction: float = static(
    1.0,
    'fraction of the coordinates of a head that rotate',
    low=0.0,
    open_low=True,
    high=1.0,
    aliases=('rotary_pct', 'partial_rotary_factor'),
    converted_aliases={'rotary_dim': 'rotary_dim / model.head_dim'},
  )
  rotary_base: float = static(
    10_000.0,
    'base of the geometric sequence of rotation frequencies',
    low=1.0,
    open_low=True,
    aliases=('rope_theta', 'rope_base', 'rotary_emb_base'),
    source='arXiv:2104.09864',
  )
  rotary_base_local: float = static(
    None,
    'base in layers with local attention (Gemma 3); None is rotary_base',
    low=1.0,
    open_low=True,
    aliases=('rope_local_base_freq', 'local_rope_theta'),
    derived=True,
  )
  rotary_interleaved: bool = static(
    False,
    'the rotating coordinates 2i and 2i + 1 are a pair (GPT-J); if False, coordinate i of their '
    'first half and coordinate i of their second half are a pair (GPT-NeoX, Llama)',
    aliases=('rope_interleave',),
  )

  # Rotary positions beyond the trained context.
  rotary_scaling: str = static(
    'none',
    'change of the rotation frequencies for longer contexts than the trained one',
    choices=ROTARY_SCALINGS,
    aliases=('rope_type', 'rope_scaling'),
    value_aliases={'default': "'none'", 'ntk': "'dynamic'", 'su': "'longrope'"},
  )
  rotary_scaling_factor: float = static(
    1.0,
    'factor by which rotary_scaling extends the context',
    low=1.0,
    aliases=('rope_scaling_factor',),
  )
  rotary_scaling_local: bool = static(
    True,
    'rotary_scaling also changes layers with local attention; Gemma 3: False',
  )
  rotary_original_max_seq_len: int = static(
    None,
    'original context: the length that the model was trained with, before rotary_scaling '
    'extended it; None is max_seq_len',
    low=1,
    unit='tokens',
    aliases=('original_max_position_embeddings',),
    derived=True,
  )
  rotary_low_frequency_factor: float = static(
    1.0,
    'llama3 scaling: a frequency that makes fewer full turns than this within the original '
    'context is divided by rotary_scaling_factor',
    low=0.0,
    open_low=True,
    aliases=('low_freq_factor',),
  )
  rotary_high_frequency_factor: float = static(
    4.0,
    'llama3 scaling: a frequency that makes more full turns than this within the original '
    'context is kept',
    low=0.0,
    open_low=True,
    aliases=('high_freq_factor',),
  )
  rotary_beta_fast: float = static(
    32.0,
    'yarn scaling: a frequency that makes more full turns than this within the original '
    'context is kept',
    low=0.0,
    open_low=True,
    aliases=('beta_fast',),
    source='arXiv:2309.00071',
  )
  rotary_beta_slow: float = static(
    1.0,
    'yarn scaling: a frequency that makes fewer full turns than this within the original '
    'context is divided by rotary_scaling_factor',
    low=0.0,
    open_low=True,
    aliases=('beta_slow',),
  )
  rotary_truncate: bool = static(
    True,
    'yarn scaling: the interpolation between kept and divided frequencies starts and ends at '
    'rounded indices of frequencies; gpt-oss: False',
  )
  rotary_attention_factor: float | None = static(
    None,
    'factor on rotated queries and keys; None is the factor that rotary_scaling defines, 1 '
    'unless it is yarn or longrope',
    low=0.0,
    open_low=True,
    aliases=('attention_factor',),
  )
  rotary_short_factor: tuple[float, ...] = static(
    (),
    'longrope scaling: divisor of each frequency for sequences within the original context',
    aliases=('short_factor',),
  )
  rotary_long_factor: tuple[float, ...] = static(
    (),
    'longrope scaling: divisor of each frequency for longer sequences',
    aliases=('long_factor',),
  )

  # Layers without positions.
  no_position_every: int = static(
    0,
    'period of layers without positions: 4 means every fourth layer (SmolLM3), 0 means no such '
    'layer',
    low=0,
    aliases=('no_rope_layer_interval',),
    source='arXiv:2501.18795',
  )

  # Biases on the attention logits.
  alibi_scale: float = static(
    1.0,
    'factor on the bias of ALiBi; Falcon-RW: head_dim ** -0.5',
    low=0.0,
    open_low=True,
    source='arXiv:2108.12409',
  )
  relative_buckets: int = static(
    32,
    "number of buckets of distances, the rows of T5's table of biases",
    low=2,
    aliases=('relative_attention_num_buckets',),
    source='arXiv:1910.10683',
  )
  relative_max_distance: int = static(
    128,
    'distance from which on all keys are in the last T5 bucket',
    low=2,
    unit='tokens',
    aliases=('relative_attention_max_distance',),
  )

  @property
  def n_table_positions(self) -> int:
    """Rows of the learned table of positions. 0 if there is none."""
    is_learned = self.position == 'learned'
    return self.max_seq_len + self.position_offset if is_learned else 0

  def derive_positions(self) -> None:
    """Fills in the keys of rotary positions that follow from others."""
    assign(
      self,
      rotary_base_local=self.rotary_base_local or self.rotary_base,
      rotary_original_max_seq_len=self.rotary_original_max_seq_len or self.max_seq_len,
    )

  def check_positions(self, rotary_dim: int) -> None:
    """Checks the keys of the chosen kind of positions.

    Args:
      rotary_dim: Number of coordinates of a head that rotate.

    Raises:
      ConfigError: If they do not fit together.
    """
    require(
      self,
      self.position != 'sinusoidal' or self.table_width % 2 == 0,
      'd_model' if self.table_width == self.d_model else 'embedding_dim',
      'an even number, since model.position is sinusoidal',
    )
    if self.position == 'rotary':
      self._check_rotary(rotary_dim)
    if self.position == 't5':
      self._check_t5()

  def _check_rotary(self, rotary_dim: int) -> None:
    scaling = self.rotary_scaling
    n_frequencies = rotary_dim // 2
    accepted_factors = f'{n_frequencies} positive numbers, one for each frequency'
    require_all(
      self,
      (
        rotary_dim >= 2 and rotary_dim % 2 == 0,
        'rotary_fraction',
        f'a value whose product with model.head_dim={self.head_dim} is even and at least 2',
      ),
      (
        scaling != 'llama3'
        or self.rotary_high_frequency_factor >= self.rotary_low_frequency_factor,
        'rotary_high_frequency_factor',
        f'at least model.rotary_low_frequency_factor={self.rotary_low_frequency_factor}',
      ),
      (
        scaling != 'yarn' or self.rotary_beta_fast > self.rotary_beta_slow,
        'rotary_beta_fast',
        f'above model.rotary_beta_slow={self.rotary_beta_slow}',
      ),
      (
        scaling != 'longrope' or self.rotary_original_max_seq_len >= 2,
        'rotary_original_max_seq_len',
        'at least 2, since model.rotary_scaling is longrope',
      ),
      (
        scaling != 'longrope' or _are_positive(self.rotary_short_factor, n_frequencies),
        'rotary_short_factor',
        accepted_factors,
      ),
      (
        scaling != 'longrope' or _are_positive(self.rotary_long_factor, n_frequencies),
        'rotary_long_factor',
        accepted_factors,
      ),
    )

  def _check_t5(self) -> None:
    require_all(
      self,
      (
        self.architecture == 'decoder' or self.relative_buckets % 4 == 0,
        'relative_buckets',
        'a multiple of 4, since an encoder uses half of the buckets for each direction',
      ),
      (
        self.relative_max_distance > self.relative_buckets // 2,
        'relative_max_distance',
        f'above half of model.relative_buckets={self.relative_buckets}',
      ),
    )


def _are_positive(numbers: tuple[float, ...], length: int) -> bool:
  return len(numbers) == length and all(number > 0 for number in numbers)
