"""Keys of the sizes of the network."""

from __future__ import annotations

from lmhp.declarations import static
from lmhp.sections import Section, assign, keys, require, require_all


@keys
class SizeKeys(Section):
  """Architecture, vocabulary, width, depth and heads."""

  # `converted_aliases` and `value_aliases` are {name or value of other libraries: text}. The
  # text is only shown in the error message for that name or value.
  architecture: str = static(
    'decoder',
    'stacks of layers: a decoder attends to earlier tokens, an encoder to all tokens, and an '
    'encoder_decoder is a decoder that also attends to the output of an encoder',
    choices=('decoder', 'encoder', 'encoder_decoder'),
    converted_aliases={'is_encoder_decoder': "'encoder_decoder' if True"},
    value_aliases={
      'decoder_only': "'decoder'",
      'decoder-only': "'decoder'",
      'causal': "'decoder'",
      'encoder_only': "'encoder'",
      'encoder-only': "'encoder'",
      'encoder-decoder': "'encoder_decoder'",
      'seq2seq': "'encoder_decoder'",
    },
  )
  vocab_size: int = static(
    None,
    "vocabulary size, the rows of the embedding table; None is the tokenizer's",
    unit='tokens',
    low=1,
    aliases=('n_vocab', 'padded_vocab_size'),
    derived=True,
  )
  max_seq_len: int = static(
    256,
    'context length: the longest sequence that the model is built for',
    unit='tokens',
    low=1,
    aliases=(
      'block_size',
      'n_ctx',
      'n_positions',
      'max_position_embeddings',
      'context_length',
    ),
  )

  # Width and depth.
  d_model: int = static(
    256,
    'hidden size, the width of the residual stream',
    low=1,
    aliases=('n_embd', 'hidden_size', 'embed_dim', 'dim', 'width'),
  )
  n_layers: int = static(
    4,
    'number of layers; for an encoder_decoder, the number of layers of the decoder',
    low=1,
    aliases=('n_layer', 'num_hidden_layers', 'num_layers', 'depth'),
  )
  n_encoder_layers: int = static(
    None,
    'number of layers of the encoder of an encoder_decoder; None is n_layers',
    low=1,
    aliases=('encoder_layers', 'num_encoder_layers'),
    derived=True,
  )

  # Heads of attention.
  n_heads: int = static(
    4,
    'number of attention heads (query heads)',
    low=1,
    aliases=('n_head', 'num_attention_heads', 'num_heads', 'nhead'),
  )
  n_kv_heads: int = static(
    None,
    'number of key and value heads: n_heads is multi-head attention, 1 is multi-query '
    'attention, a divisor between is grouped-query attention; None is n_heads',
    low=1,
    aliases=('num_key_value_heads', 'num_kv_heads', 'num_query_groups'),
    converted_aliases={'multi_query': '1 if True'},
    source='arXiv:2305.13245',
    derived=True,
  )
  head_dim: int = static(
    None,
    'size of a head; None is d_model / n_heads',
    low=1,
    aliases=('d_head', 'head_size', 'd_kv', 'kv_channels'),
    converted_aliases={'qk_nope_head_dim': 'qk_nope_head_dim + model.rotary_head_dim'},
    derived=True,
  )

  # Feed-forward part.
  d_ff: int = static(
    None,
    'hidden size of the feed-forward part; None is 4 d_model',
    low=1,
    aliases=('intermediate_size', 'n_inner', 'ffn_dim', 'dim_feedforward'),
    converted_aliases={
      'mlp_ratio': 'mlp_ratio * model.d_model',
      'expansion_ratio': 'expansion_ratio * model.d_model',
    },
    derived=True,
  )

  # Tables of the embedding.
  embedding_dim: int = static(
    None,
    'width of the embedding table; if it is below d_model, the embedding is factorized; '
    'None is d_model',
    low=1,
    aliases=('embedding_size', 'word_embed_proj_dim'),
    source='arXiv:1909.11942 (ALBERT)',
    derived=True,
  )
  embedding_projection: str = static(
    'tokens',
    'input of the projection of a factorized embedding: the token embedding (tokens), or the '
    'sum of token, position and token type embeddings (sum, ALBERT); with sum, the projection '
    'has a bias',
    choices=('tokens', 'sum'),
  )
  token_types: int = static(
    0,
    'number of token types (sentence A, sentence B); 0 means that there is no such table; BERT: 2',
    low=0,
    aliases=('type_vocab_size',),
    source='arXiv:1810.04805',
  )

  # Shared parameters.
  share_layers: bool = static(
    False,
    'all layers have the same parameters (ALBERT)',
    converted_aliases={'num_hidden_groups': 'True if 1'},
    source='arXiv:1909.11942',
  )
  tie_embeddings: bool = static(
    True,
    'the head uses the embedding table instead of its own matrix',
    aliases=('tie_word_embeddings', 'tie_weights', 'weight_tying'),
  )

  @property
  def is_causal(self) -> bool:
    """True if tokens do not attend to later ones."""
    return self.architecture != 'encoder'

  @property
  def is_encoder_decoder(self) -> bool:
    """True if a decoder attends to the output of an encoder."""
    return self.architecture == 'encoder_decoder'

  @property
  def is_factorized(self) -> bool:
    """True if the embedding table is narrower than the residual stream."""
    return self.embedding_dim != self.d_model

  @property
  def table_width(self) -> int:
    """Width of the tables of positions and token types, which are added to the embedding."""
    return self.embedding_dim if self.embedding_projection == 'sum' else self.d_model

  def derive_sizes(self) -> None:
    """Fills in the sizes that follow from others."""
    if self.head_dim is None:
      require(
        self,
        self.d_model % self.n_heads == 0,
        'd_model',
        f'a multiple of model.n_heads={self.n_heads} (or set model.head_dim)',
      )
      assign(self, head_dim=self.d_model // self.n_heads)
    assign(
      self,
      n_kv_heads=self.n_kv_heads or self.n_heads,
      d_ff=self.d_ff or 4 * self.d_model,
      embedding_dim=self.embedding_dim or self.d_model,
    )
    if self.is_encoder_decoder and self.n_encoder_layers is None:
      assign(self, n_encoder_layers=self.n_layers)

  def check_sizes(self) -> None:
    """Checks that the sizes fit together.

    Raises:
      ConfigError: If they do not fit together.
    """
    require_all(
      self,
      (
        self.n_heads % self.n_kv_heads == 0,
        'n_kv_heads',
        f'a divisor of model.n_heads={self.n_heads}',
      ),
      (
        self.embedding_dim <= self.d_model,
        'embedding_dim',
        f'at most model.d_model={self.d_model}',
      ),
      (
        self.embedding_projection == 'tokens' or self.is_factorized,
        'embedding_projection',
        'tokens, since model.embedding_dim equals model.d_model, so there is no projection',
      ),
      (
        not self.n_encoder_layers or self.is_encoder_decoder,
        'n_encoder_layers',
        'None unless model.architecture is encoder_decoder',
      ),
    )
