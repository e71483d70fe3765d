"""Keys of attention: masks, windows, latents and logits."""

from __future__ import annotations

from lmhp.declarations import static
from lmhp.model.config.normalization import NormalizationKeys
from lmhp.model.config.positions import PositionKeys
from lmhp.sections import assign, keys, require_all


@keys
class AttentionKeys(PositionKeys, NormalizationKeys):
  """Attention."""

  # `converted_aliases` and `value_aliases` are {name or value of other libraries: text}. The
  # text is only shown in the error message for that name or value.
  prefix_lm: bool = static(
    False,
    'the tokens of a prefix attend to each other in both directions, the others to earlier '
    'tokens only (prefix language model)',
    source='arXiv:1910.10683 section 3.2.1',
  )
  attention_pattern: tuple[str, ...] = static(
    ('global',),
    'attention of each layer, a pattern that is repeated over the layers: global has no limit '
    'of distance, local is limited by sliding_window or attention_chunk',
    choices=('global', 'local'),
    aliases=('layer_types', 'attention_layers'),
    converted_aliases={
      'sliding_window_pattern': "sliding_window_pattern - 1 times 'local', then 'global'"
    },
    value_aliases={
      'full': "'global'",
      'full_attention': "'global'",
      'sliding': "'local'",
      'sliding_window': "'local'",
      'sliding_attention': "'local'",
      'chunked_attention': "'local' with model.attention_chunk",
    },
  )
  attention_chunk: int | None = static(
    None,
    'local attention is limited to chunks of this length, instead of a sliding window '
    '(Llama 4); None means no chunks',
    low=1,
    unit='tokens',
    aliases=('attention_chunk_size',),
  )

  # Queries of layers without positions.
  attention_temperature: float = static(
    0.0,
    'in layers without positions, queries are multiplied by 1 + attention_temperature * '
    'log(1 + floor((position + 1) / temperature_floor)); 0 means no factor; Llama 4: 0.1',
    low=0.0,
    source='arXiv:2501.19399',
  )
  temperature_floor: int = static(
    8192,
    'number of tokens after which the factor of attention_temperature grows by one step',
    low=1,
    unit='tokens',
    aliases=('floor_scale',),
  )

  # Multi-head latent attention.
  kv_latent_dim: int | None = static(
    None,
    'width of the latent of a token, a vector from which its keys and values are computed; '
    'the latent is cached instead of keys and values (multi-head latent attention); None is '
    'multi-head attention',
    low=1,
    aliases=('kv_lora_rank',),
    source='arXiv:2405.04434 section 2.1',
  )
  query_latent_dim: int | None = static(
    None,
    'with kv_latent_dim: width of the latent from which queries are computed; None computes '
    'queries from the residual stream',
    low=1,
    aliases=('q_lora_rank',),
  )
  rotary_head_dim: int = static(
    None,
    'with kv_latent_dim: number of coordinates of a head that rotate; all heads share this '
    'part of the key; None is half of head_dim',
    low=2,
    aliases=('qk_rope_head_dim',),
    derived=True,
  )
  latent_norm_eps: float | None = static(
    None,
    'number that the normalization of a latent adds to the variance; None is norm_eps',
    low=0.0,
  )
  value_head_dim: int = static(
    None,
    'with kv_latent_dim: size of the value of a head; None is head_dim',
    low=1,
    aliases=('v_head_dim',),
    derived=True,
  )

  # Window of local attention.
  sliding_window: int | None = static(
    None,
    'number of tokens that a token attends to in a layer with local attention, itself '
    'included; in an encoder, this number on each side',
    low=1,
    unit='tokens',
    aliases=('window_size', 'local_window', 'sliding_window_size'),
    converted_aliases={'local_attention': 'local_attention / 2 + 1'},
  )

  # Logits.
  attention_scale: float = static(
    None,
    'factor on the products of queries and keys; None is head_dim ** -0.5',
    low=0.0,
    open_low=True,
    aliases=('softmax_scale', 'attention_multiplier'),
    converted_aliases={'query_pre_attn_scalar': 'query_pre_attn_scalar ** -0.5'},
    derived=True,
  )
  clip_qkv: float | None = static(
    None,
    'upper bound of the absolute values of queries, keys (after qk_norm) and values (OLMo, '
    'MPT); None is no bound',
    low=0.0,
    open_low=True,
  )
  attention_logit_cap: float | None = static(
    None,
    'attention logits become cap * tanh(logits / cap); None means no cap',
    low=0.0,
    open_low=True,
    aliases=('attn_logit_softcapping',),
    source='arXiv:2408.00118 (Gemma 2)',
  )
  attention_sinks: bool = static(
    False,
    'each head has one more logit in the softmax, a learned number without a value (gpt-oss)',
  )

  @property
  def has_latent_attention(self) -> bool:
    """True if keys and values are computed from a latent."""
    return self.kv_latent_dim is not None

  @property
  def rotary_dim(self) -> int:
    """Number of coordinates of a head that rotate."""
    if self.has_latent_attention:
      return self.rotary_head_dim
    return int(self.head_dim * self.rotary_fraction)

  @property
  def windows(self) -> tuple[int | None, ...]:
    """Length of the window or chunk of each layer, in tokens. None for global attention."""
    pattern = self.attention_pattern
    window = self.sliding_window or self.attention_chunk
    return tuple(
      window if pattern[layer % len(pattern)] == 'local' else None
      for layer in range(self.n_layers)
    )

  @property
  def uses_positions(self) -> tuple[bool, ...]:
    """True for each layer that uses positions."""
    # Every `period`-th layer uses no positions. If the period is 0, all layers use them.
    period = 1 if self.position == 'none' else self.no_position_every
    layers = range(1, self.n_layers + 1)
    return tuple(period == 0 or layer % period != 0 for layer in layers)

  def derive_attention(self) -> None:
    """Fills in the scale of attention and the sizes of latent attention."""
    assign(self, attention_scale=self.attention_scale or self.head_dim**-0.5)
    if self.has_latent_attention:
      assign(
        self,
        rotary_head_dim=self.rotary_head_dim or self.head_dim // 2,
        value_head_dim=self.value_head_dim or self.head_dim,
      )

  def check_attention(self) -> None:
    """Checks the keys of attention.

    Raises:
      ConfigError: If they do not fit together.
    """
    has_local = 'local' in self.attention_pattern
    allows_chunks = self.architecture == 'decoder' and not self.sliding_window
    require_all(
      self,
      (
        len(self.attention_pattern) > 0,
        'attention_pattern',
        'at least one of global, local',
      ),
      (
        not has_local or bool(self.sliding_window or self.attention_chunk),
        'sliding_window',
        'a number of tokens (or set model.attention_chunk), since model.attention_pattern has '
        'local layers',
      ),
      (
        not self.attention_chunk or allows_chunks,
        'attention_chunk',
        'None unless model.architecture is decoder and model.sliding_window is None',
      ),
      (
        not self.prefix_lm or self.architecture == 'decoder',
        'prefix_lm',
        'False unless model.architecture is decoder',
      ),
    )
    if self.has_latent_attention:
      self._check_latent_attention()

  def _check_latent_attention(self) -> None:
    required_values = {
      'qk_norm': 'none',
      'clip_qkv': None,
      'n_kv_heads': self.n_heads,
      'attention_sinks': False,
      'attention_temperature': 0.0,
    }
    require_all(
      self,
      (
        self.architecture == 'decoder',
        'kv_latent_dim',
        'None unless model.architecture is decoder',
      ),
      *(
        (getattr(self, key) == value, key, f'{value}, since model.kv_latent_dim is set')
        for key, value in required_values.items()
      ),
      (
        self.position in ('rotary', 'none'),
        'position',
        'rotary or none, since model.kv_latent_dim is set',
      ),
      (
        self.rotary_head_dim < self.head_dim and self.rotary_fraction == 1.0,
        'rotary_head_dim',
        f'below model.head_dim={self.head_dim}, with model.rotary_fraction=1.0',
      ),
      (
        self.position != 'rotary' or self.rotary_head_dim % 2 == 0,
        'rotary_head_dim',
        'an even number, since rotary positions rotate pairs of coordinates',
      ),
    )
