"""`ModelConfig`: every architectural hyperparameter, checked in one place.

One dataclass describes the published decoders, encoders and encoder-decoders; experts, latent attention and other mixers
add fields and rename none. Derived values (`None` below) are filled in by `resolve`.
"""

from __future__ import annotations

from collections.abc import Callable
import copy
import math
from typing import NamedTuple

from lmhp.declarations import static, traced
from lmhp.sections import Section, assign, section, wrong

ACTIVATIONS = (
  'relu',
  'sigmoid',
  'tanh',
  'gelu',
  'gelu_tanh',
  'quick_gelu',
  'silu',
  'relu_squared',
  'identity',
)
POSITIONS = ('learned', 'sinusoidal', 'rotary', 'alibi', 't5', 'none')
PLACEMENTS = ('pre', 'post', 'sandwich', 'output')
ROTARY_SCALINGS = ('none', 'linear', 'dynamic', 'llama3', 'yarn', 'longrope')
REMAT_POLICIES = ('none', 'full', 'dots', 'dots_with_no_batch_dims')

MIXER_NAMES: list[str] = []
"""Names of the token mixers. `lmhp.model.mixers.registry.register_mixer` adds to it."""

PART_RESOLVERS: list[Callable[[ModelConfig], None]] = []
"""Functions that fill in and check the keys of registered parts, such as mixers."""


class LayerSpec(NamedTuple):
  """What a layer's parameters hang on.

  Attributes:
    attention_norm: whether there is a normalization before its token mixer, where the placement has one.
    experts: whether it has experts.
    mixer: what mixes its tokens.
  """

  attention_norm: bool
  experts: bool
  mixer: str


@section('model')
class ModelConfig(Section):
  """The network. All fields are structure but the dropout rates and the init scale."""

  # sizes
  architecture: str = static(
    'decoder',
    'which stacks there are: a decoder sees what came before, an encoder all; '
    'with both, the decoder attends to what the encoder read',
    choices=('decoder', 'encoder', 'encoder_decoder'),
  )
  vocab_size: int = static(
    None,
    "rows of the embedding; None takes the tokenizer's",
    unit='tokens',
    low=1,
    derived=True,
  )
  max_seq_len: int = static(
    256,
    'context: longest sequence the model is built for',
    unit='tokens',
    low=1,
    aliases=('block_size', 'n_ctx', 'n_positions', 'max_position_embeddings'),
  )
  d_model: int = static(
    256, 'width of the residual stream', low=1, aliases=('n_embd', 'hidden_size')
  )
  n_layers: int = static(
    4, 'blocks', low=1, aliases=('n_layer', 'num_hidden_layers', 'depth')
  )
  n_encoder_layers: int = static(
    None,
    "blocks of an encoder-decoder's encoder; None is n_layers",
    low=1,
    derived=True,
  )
  n_heads: int = static(
    4, 'query heads', low=1, aliases=('n_head', 'num_attention_heads')
  )
  n_kv_heads: int = static(
    None,
    'key and value heads; None is n_heads (MHA), 1 is MQA, between is GQA',
    low=1,
    aliases=('num_key_value_heads',),
    source='arXiv:2305.13245',
    derived=True,
  )
  head_dim: int = static(
    None, 'size of a head; None is d_model / n_heads', low=1, derived=True
  )
  d_ff: int = static(
    None,
    'hidden size of the feed-forward part; None is 4 d_model',
    low=1,
    aliases=('intermediate_size', 'n_inner'),
    derived=True,
  )
  embedding_dim: int = static(
    None,
    'width of the embedding table where factorized; None is d_model',
    low=1,
    source='arXiv:1909.11942 (ALBERT)',
    derived=True,
  )
  embedding_projection: str = static(
    'tokens',
    "what a factorized embedding's projection widens: rows of tokens, or "
    'their sum with positions and segments, normalized, with a bias (ALBERT)',
    choices=('tokens', 'sum'),
  )
  token_types: int = static(
    0,
    'rows of the table of segments, sentence A and B; 0 is none (BERT: 2)',
    low=0,
    aliases=('type_vocab_size',),
    source='arXiv:1810.04805',
  )
  share_layers: bool = static(
    False,
    'all layers are one, applied n_layers times (ALBERT)',
    source='arXiv:1909.11942',
  )
  tie_embeddings: bool = static(
    True, 'the head is the embedding table transposed', aliases=('tie_word_embeddings',)
  )

  # feed-forward
  activation: str = static(
    'gelu',
    'nonlinearity of the feed-forward part',
    choices=ACTIVATIONS,
    aliases=('hidden_act',),
  )
  gated: bool = static(
    False,
    'down(act(gate(x)) * up(x)) instead of down(act(up(x)))',
    source='arXiv:2002.05202',
  )

  gate_clip: float | None = static(
    None,
    'upper bound of what goes into a gate, both bounds of what it multiplies '
    '(gpt-oss: 7)',
    low=0.0,
    open_low=True,
    aliases=('swiglu_limit',),
  )
  gate_offset: float = static(0.0, 'added to what a gate multiplies (gpt-oss: 1)')

  # experts
  n_experts: int = static(
    0,
    'feed-forward parts of a layer between which a router chooses; 0 is none',
    low=0,
    aliases=('num_experts', 'num_local_experts', 'n_routed_experts'),
    source='arXiv:1701.06538',
  )
  experts_per_token: int = static(
    2,
    'experts that a token goes through',
    low=1,
    aliases=('num_experts_per_tok', 'moe_topk'),
  )
  d_ff_expert: int = static(
    None,
    'hidden size of an expert; None is d_ff',
    low=1,
    aliases=('moe_intermediate_size',),
    derived=True,
  )
  n_shared_experts: int = static(
    0, 'experts that all tokens go through besides', low=0, source='arXiv:2401.06066'
  )
  n_dense_layers: int = static(
    0,
    'first layers that have one feed-forward part instead of experts',
    low=0,
    aliases=('first_k_dense_replace',),
  )
  dense_layers: tuple[int, ...] = static(
    (),
    'further layers that have one, by their number from 0',
    aliases=('mlp_only_layers',),
  )
  experts_every: int = static(
    1, 'every n-th layer has experts', low=1, aliases=('interleave_moe_layer_step',)
  )
  router_score: str = static(
    'softmax', 'what scores experts', choices=('softmax', 'sigmoid')
  )
  router_normalize: bool = static(
    True,
    'shares of the chosen experts sum to 1: the same as a softmax over them alone',
    aliases=('norm_topk_prob',),
  )
  router_scale: float = static(
    1.0,
    'factor on the shares',
    low=0.0,
    open_low=True,
    aliases=('routed_scaling_factor',),
  )
  router_bias: bool = static(False, 'bias of the router')
  router_groups: int = static(
    1,
    'groups of experts, of which the best alone take part',
    low=1,
    aliases=('n_group',),
  )
  router_groups_per_token: int = static(
    1, 'groups that take part', low=1, aliases=('topk_group',)
  )
  router_group_score: str = static(
    'max',
    'what ranks groups: their best score, or the sum of their two best',
    choices=('max', 'top2'),
  )
  router_correction: bool = static(
    False,
    'scores are corrected where experts are chosen, against the load, instead of '
    'by a loss',
    source='arXiv:2408.15664',
  )
  expert_input_scaled: bool = static(
    False, 'shares multiply what experts read, not what they give (Llama 4)'
  )
  expert_backend: str = static(
    'auto',
    "how rows meet their experts' matrices; auto is blocks on CPU, else ragged",
    choices=('auto', 'blocks', 'ragged', 'dense'),
  )

  # normalization
  norm: str = static(
    'layernorm', 'kind of normalization', choices=('layernorm', 'rmsnorm')
  )
  norm_eps: float = static(1e-5, 'added to the variance', low=0.0)
  norm_affine: bool = static(True, 'normalizations have a learned scale (OLMo: no)')
  norm_bias: bool = static(False, 'normalizations have a learned bias')
  norm_unit_offset: bool = static(
    False, 'the learned scale is 1 + w, w starting at 0 (Gemma, Nemotron)'
  )
  norm_placement: str = static(
    'pre',
    'x + f(norm x) | norm(x + f x) | x + norm f(norm x) | x + norm f x',
    choices=PLACEMENTS,
  )
  embedding_norm: bool = static(False, 'a normalization after the embedding (BLOOM)')
  final_norm: bool = static(
    None,
    'a normalization before the head; None is True unless placement is post',
    derived=True,
  )
  first_attention_norm: bool = static(
    True, 'the first layer has a normalization before its attention (ModernBERT: no)'
  )
  parallel_residual: bool = static(
    False, 'attention and feed-forward read the same x and are added together'
  )
  shared_norm: bool = static(
    False,
    'with parallel_residual, one normalization feeds both (GPT-J, Falcon-7B, Phi-2)',
  )
  qk_norm: str = static(
    'none',
    'normalization of queries and keys: of each head with weights that heads share, of each '
    'with its own (and no bias), of all heads as one, or without weights',
    choices=('none', 'head', 'each_head', 'full', 'l2'),
    source='arXiv:2302.05442',
  )

  # biases
  qkv_bias: bool = static(False, 'bias of query, key and value')
  attention_output_bias: bool = static(False, 'bias of the attention output')
  feed_forward_bias: bool = static(False, 'bias of the feed-forward matrices')
  head_bias: bool = static(False, 'bias of the head')
  head_transform: bool = static(
    False,
    "a dense layer, the activation and a normalization before the head: BERT's "
    'masked-language-model head',
  )
  head_activation: str = static(
    None,
    'the activation of that transform; None is model.activation',
    choices=(None, *ACTIVATIONS),
    derived=True,
  )
  head_transform_bias: bool = static(True, 'bias of that dense layer')

  # positions
  position: str = static('rotary', 'how order is known', choices=POSITIONS)
  position_offset: int = static(
    0, 'unused first rows of a learned or sinusoidal table (OPT, XGLM: 2)', low=0
  )
  rotary_fraction: float = static(
    1.0,
    'share of each head that rotates',
    low=0.0,
    open_low=True,
    high=1.0,
    aliases=('rotary_pct', 'partial_rotary_factor'),
  )
  rotary_base: float = static(
    10_000.0,
    'base of the rotation frequencies',
    low=1.0,
    open_low=True,
    aliases=('rope_theta',),
    source='arXiv:2104.09864',
  )
  rotary_base_local: float = static(
    None,
    'base in windowed layers; None is rotary_base (Gemma 3)',
    low=1.0,
    open_low=True,
    aliases=('rope_local_base_freq',),
    derived=True,
  )
  rotary_interleaved: bool = static(
    False, 'rotate neighbours (GPT-J) instead of halves'
  )
  rotary_scaling: str = static(
    'none',
    'how frequencies stretch beyond the trained context',
    choices=ROTARY_SCALINGS,
  )
  rotary_scaling_factor: float = static(1.0, 'stretch', low=1.0)
  rotary_scaling_local: bool = static(
    True, 'windowed layers are scaled too (Gemma 3: no)'
  )
  rotary_original_max_seq_len: int = static(
    None,
    'context before the stretch; None is max_seq_len',
    low=1,
    unit='tokens',
    derived=True,
  )
  rotary_low_frequency_factor: float = static(
    1.0, 'llama3 scaling', low=0.0, open_low=True
  )
  rotary_high_frequency_factor: float = static(
    4.0, 'llama3 scaling', low=0.0, open_low=True
  )
  rotary_beta_fast: float = static(
    32.0, 'yarn scaling', low=0.0, open_low=True, source='arXiv:2309.00071'
  )
  rotary_beta_slow: float = static(1.0, 'yarn scaling', low=0.0, open_low=True)
  rotary_truncate: bool = static(
    True, 'yarn scaling: the bounds of the ramp are whole numbers (gpt-oss: no)'
  )
  rotary_attention_factor: float | None = static(
    None,
    "factor on rotated queries and keys; None is the scaling's own",
    low=0.0,
    open_low=True,
  )
  rotary_short_factor: tuple[float, ...] = static(
    (), 'longrope: a factor for each frequency, within the trained context'
  )
  rotary_long_factor: tuple[float, ...] = static(
    (), 'longrope: a factor for each frequency, beyond it'
  )
  no_position_every: int = static(
    0,
    'every n-th layer has no positions (SmolLM3: 4); 0 is none',
    low=0,
    source='arXiv:2501.18795',
  )
  alibi_scale: float = static(
    1.0,
    'factor on the ALiBi bias (Falcon-RW: head_dim ** -0.5)',
    low=0.0,
    open_low=True,
    source='arXiv:2108.12409',
  )
  relative_buckets: int = static(
    32, 'rows of the T5 bias table', low=2, source='arXiv:1910.10683'
  )
  relative_max_distance: int = static(
    128, 'distance beyond which T5 buckets are one', low=2, unit='tokens'
  )

  # attention
  prefix_lm: bool = static(
    False,
    'the beginning that is given is seen from both sides (prefix-LM)',
    source='arXiv:1910.10683 section 3.2.1',
  )
  attention_pattern: tuple[str, ...] = static(
    ('global',),
    'repeated over the layers: global, or local (windowed)',
    choices=('global', 'local'),
    aliases=('layer_types',),
  )
  attention_chunk: int | None = static(
    None,
    'local layers see the tokens of their own chunk of this length instead of '
    'a sliding window (Llama 4)',
    low=1,
    unit='tokens',
  )
  attention_temperature: float = static(
    0.0,
    'queries of layers without positions grow by this times the log of how '
    'many temperature_floors lie behind them (Llama 4: 0.1)',
    low=0.0,
    source='arXiv:2501.19399',
  )
  temperature_floor: int = static(
    8192, 'tokens over which that factor is constant', low=1, unit='tokens'
  )
  kv_latent_dim: int | None = static(
    None,
    'keys and values are made of a latent this wide, which alone is cached '
    '(multi-head latent attention); None is plain attention',
    low=1,
    aliases=('kv_lora_rank',),
    source='arXiv:2405.04434 section 2.1',
  )
  query_latent_dim: int | None = static(
    None,
    'queries are made of a latent too; None is of the residual stream',
    low=1,
    aliases=('q_lora_rank',),
  )
  rotary_head_dim: int = static(
    None,
    'with a latent: coordinates of a head that rotate, their keys shared by '
    'all heads; None is half of head_dim',
    low=2,
    aliases=('qk_rope_head_dim',),
    derived=True,
  )
  latent_norm_eps: float | None = static(
    None, 'added to the variance of latents; None is norm_eps', low=0.0
  )
  value_head_dim: int = static(
    None,
    "with a latent: size of a head's value; None is head_dim",
    low=1,
    aliases=('v_head_dim',),
    derived=True,
  )
  sliding_window: int | None = static(
    None,
    'tokens that a local layer sees, itself included; of an encoder, on each side',
    low=1,
    unit='tokens',
  )
  attention_scale: float = static(
    None,
    'factor on q.k; None is head_dim ** -0.5',
    low=0.0,
    open_low=True,
    derived=True,
  )
  clip_qkv: float | None = static(
    None,
    'queries, keys and values are clipped to plus or minus this (OLMo, MPT)',
    low=0.0,
    open_low=True,
  )
  attention_logit_cap: float | None = static(
    None,
    'attention logits become cap * tanh(logits / cap)',
    low=0.0,
    open_low=True,
    source='arXiv:2408.00118 (Gemma 2)',
  )
  attention_sinks: bool = static(
    False, 'a learned logit per head joins the softmax and has no value (gpt-oss)'
  )

  # token mixers
  mixer_pattern: tuple[str, ...] = static(
    ('attention',),
    'token mixers of the layers, a pattern that is repeated',
    choices=MIXER_NAMES,
    aliases=('layers_block_type', 'block_types'),
    value_aliases={
      'conv': "'convolution'",
      'recurrent': "'rglru'",
      'full_attention': "'attention'",
    },
  )

  # scales
  embedding_scale: float = static(
    None,
    'factor on the embedding; None is 1 (Gemma: d_model ** 0.5)',
    low=0.0,
    open_low=True,
    derived=True,
  )
  residual_scale: float = static(
    1.0,
    'factor on what each part adds to the residual stream (Granite)',
    low=0.0,
    open_low=True,
  )
  logit_scale: float = static(
    1.0, 'factor on the logits (Cohere)', low=0.0, open_low=True
  )
  logit_cap: float | None = static(
    None, 'logits become cap * tanh(logits / cap)', low=0.0, open_low=True
  )

  # numbers
  embedding_dropout: float = traced(
    0.0,
    'probability that an embedding coordinate is dropped',
    low=0.0,
    high=1.0,
    open_high=True,
    neutral=0.0,
    static_when_neutral=True,
  )
  attention_dropout: float = traced(
    0.0,
    'probability that an attention weight is dropped',
    low=0.0,
    high=1.0,
    open_high=True,
    neutral=0.0,
    static_when_neutral=True,
  )
  residual_dropout: float = traced(
    0.0,
    'probability that a coordinate of what a part adds is dropped',
    low=0.0,
    high=1.0,
    open_high=True,
    neutral=0.0,
    static_when_neutral=True,
  )
  load_balance_loss: float = traced(
    0.01,
    'with experts: coefficient of the loss that evens out their load',
    low=0.0,
    aliases=('router_aux_loss_coef',),
    source='arXiv:2101.03961',
  )
  router_z_loss: float = traced(
    0.001,
    'with experts: coefficient of the squared log partition of the router',
    low=0.0,
    source='arXiv:2202.08906',
  )
  router_correction_rate: float = traced(
    0.001,
    'step by which a router_correction moves each update',
    low=0.0,
    source='arXiv:2412.19437 section 4.2',
  )
  init: str = static(
    'gpt2',
    'standard deviation of weights: 0.02, 0.02 with residual outputs / sqrt(2 n_layers), '
    'or fan_in ** -0.5 (the head: 0.02)',
    choices=('normal', 'gpt2', 'fan_in'),
  )
  init_scale: float = traced(
    1.0, 'factor on the standard deviation of every weight and table', low=0.0
  )

  # how it is computed
  dtype: str = static(
    'auto',
    'operands of matrix products; auto is bfloat16 where the processor multiplies it faster',
    choices=('auto', 'float32', 'bfloat16'),
  )
  scan_layers: bool = static(
    True, 'alike layers run as one scanned block: compile time does not grow with depth'
  )
  remat: str = static(
    'none',
    'what the backward pass computes again',
    choices=REMAT_POLICIES,
    aliases=('gradient_checkpointing',),
  )

  def resolve(self) -> None:
    """Fills in derived sizes and checks what involves several fields."""
    if self.head_dim is None:
      if self.d_model % self.n_heads:
        raise wrong(
          self,
          'd_model',
          f'a multiple of model.n_heads={self.n_heads} (or set model.head_dim)',
        )
      assign(self, head_dim=self.d_model // self.n_heads)
    assign(
      self,
      n_kv_heads=self.n_kv_heads or self.n_heads,
      d_ff=self.d_ff or 4 * self.d_model,
      embedding_dim=self.embedding_dim or self.d_model,
      n_encoder_layers=self.n_encoder_layers
      or (self.n_layers if self.is_encoder_decoder else None),
      final_norm=self.norm_placement != 'post'
      if self.final_norm is None
      else self.final_norm,
      attention_scale=self.attention_scale or self.head_dim**-0.5,
      embedding_scale=self.embedding_scale or 1.0,
      head_activation=self.head_activation or self.activation,
      rotary_base_local=self.rotary_base_local or self.rotary_base,
      rotary_original_max_seq_len=self.rotary_original_max_seq_len or self.max_seq_len,
    )
    if self.n_experts:
      assign(self, d_ff_expert=self.d_ff_expert or self.d_ff)
    if self.latent:
      assign(
        self,
        rotary_head_dim=self.rotary_head_dim or self.head_dim // 2,
        value_head_dim=self.value_head_dim or self.head_dim,
      )
    self._check()
    for resolve_part in PART_RESOLVERS:
      resolve_part(self)

  def _check(self) -> None:
    if self.n_heads % self.n_kv_heads:
      raise wrong(self, 'n_kv_heads', f'a divisor of model.n_heads={self.n_heads}')
    if not self.attention_pattern:
      raise wrong(self, 'attention_pattern', 'at least one of global, local')
    if (
      'local' in self.attention_pattern
      and self.sliding_window is None
      and self.attention_chunk is None
    ):
      raise wrong(
        self,
        'sliding_window',
        'a number of tokens, since model.attention_pattern has local layers',
      )
    if self.attention_chunk and (self.sliding_window or self.architecture != 'decoder'):
      raise wrong(
        self,
        'attention_chunk',
        'None unless model.architecture is decoder and model.sliding_window is None',
      )
    if self.n_experts:
      self._check_experts()
    if self.latent:
      self._check_latent()
    if not self.mixer_pattern:
      raise wrong(self, 'mixer_pattern', f'at least one of {", ".join(MIXER_NAMES)}')
    if self.shared_norm and not self.parallel_residual:
      raise wrong(self, 'shared_norm', 'False unless model.parallel_residual is True')
    if self.shared_norm and self.norm_placement == 'output':
      raise wrong(
        self,
        'shared_norm',
        'False where model.norm_placement is output: there is no norm at the input',
      )
    if self.parallel_residual and self.norm_placement == 'post':
      raise wrong(self, 'parallel_residual', 'False where model.norm_placement is post')
    if self.norm_unit_offset and not self.norm_affine:
      raise wrong(self, 'norm_unit_offset', 'False where model.norm_affine is False')
    if self.norm_bias and not self.norm_affine:
      raise wrong(self, 'norm_bias', 'False where model.norm_affine is False')
    if self.embedding_dim > self.d_model:
      raise wrong(self, 'embedding_dim', f'at most model.d_model={self.d_model}')
    if self.prefix_lm and self.architecture != 'decoder':
      raise wrong(self, 'prefix_lm', 'False unless model.architecture is decoder')
    if self.n_encoder_layers and not self.is_encoder_decoder:
      raise wrong(
        self, 'n_encoder_layers', 'None unless model.architecture is encoder_decoder'
      )
    if self.parallel_residual and self.is_encoder_decoder:
      raise wrong(
        self, 'parallel_residual', 'False where model.architecture is encoder_decoder'
      )
    if self.embedding_projection == 'sum' and not self.factorized:
      raise wrong(
        self,
        'embedding_projection',
        'tokens where model.embedding_dim is model.d_model',
      )
    if self.share_layers and not (
      self.uniform and (not self.is_encoder_decoder or self.encoder.uniform)
    ):
      raise wrong(self, 'share_layers', 'False where layers differ in their parameters')
    if not self.first_attention_norm and (
      self.norm_placement not in ('pre', 'sandwich') or self.shared_norm
    ):
      raise wrong(
        self,
        'first_attention_norm',
        'True unless model.norm_placement is pre or sandwich, and not shared',
      )
    if self.position in ('rotary', 'sinusoidal'):
      self._check_rotary()
    if (
      self.position == 't5'
      and self.architecture != 'decoder'
      and self.relative_buckets % 4
    ):
      raise wrong(
        self,
        'relative_buckets',
        'a multiple of 4 where there is an encoder: half are for each side',
      )
    if (
      self.position == 't5' and self.relative_max_distance <= self.relative_buckets // 2
    ):
      raise wrong(
        self,
        'relative_max_distance',
        f'above half of model.relative_buckets={self.relative_buckets}',
      )

  def _check_experts(self) -> None:
    if self.experts_per_token > self.n_experts:
      raise wrong(
        self, 'experts_per_token', f'at most model.n_experts={self.n_experts}'
      )
    if self.n_experts % self.router_groups:
      raise wrong(
        self, 'router_groups', f'a divisor of model.n_experts={self.n_experts}'
      )
    if self.router_groups_per_token > self.router_groups:
      raise wrong(
        self,
        'router_groups_per_token',
        f'at most model.router_groups={self.router_groups}',
      )
    in_group = self.n_experts // self.router_groups
    if self.router_group_score == 'top2' and in_group < 2:
      raise wrong(self, 'router_group_score', 'max where a group is one expert')
    if self.router_groups_per_token * in_group < self.experts_per_token:
      raise wrong(
        self,
        'experts_per_token',
        f'at most the {self.router_groups_per_token * in_group} experts of '
        'model.router_groups_per_token groups',
      )
    if not self.has_experts(range(self.n_layers)):
      raise wrong(
        self,
        'n_experts',
        '0 where no layer has experts (n_dense_layers, dense_layers, experts_every)',
      )

  def _check_latent(self) -> None:
    if self.architecture != 'decoder':
      raise wrong(self, 'kv_latent_dim', 'None unless model.architecture is decoder')
    for field, plain in (
      ('qk_norm', 'none'),
      ('clip_qkv', None),
      ('n_kv_heads', self.n_heads),
      ('attention_sinks', False),
      ('attention_temperature', 0.0),
    ):
      if getattr(self, field) != plain:
        raise wrong(self, field, f'{plain} where model.kv_latent_dim is given')
    if self.position not in ('rotary', 'none'):
      raise wrong(self, 'position', 'rotary or none where model.kv_latent_dim is given')
    if self.rotary_head_dim >= self.head_dim or self.rotary_fraction != 1.0:
      raise wrong(
        self,
        'rotary_head_dim',
        f'below model.head_dim={self.head_dim}, with model.rotary_fraction 1',
      )

  def _check_rotary(self) -> None:
    if self.position == 'sinusoidal':
      if self.table_width % 2:
        name = 'd_model' if self.table_width == self.d_model else 'embedding_dim'
        raise wrong(self, name, 'an even number where model.position is sinusoidal')
      return
    if self.rotary_dim < 2 or self.rotary_dim % 2:
      raise wrong(
        self,
        'rotary_fraction',
        f'one whose share of model.head_dim={self.head_dim} is even and at least 2',
      )
    if self.rotary_scaling == 'longrope':
      if self.rotary_original_max_seq_len < 2:
        raise wrong(
          self,
          'rotary_original_max_seq_len',
          'at least 2 where model.rotary_scaling is longrope',
        )
      for field in ('rotary_short_factor', 'rotary_long_factor'):
        if len(getattr(self, field)) != self.rotary_dim // 2 or not all(
          f > 0 for f in getattr(self, field)
        ):
          raise wrong(
            self,
            field,
            f'{self.rotary_dim // 2} positive numbers, one for each frequency',
          )
    if (
      self.rotary_scaling == 'llama3'
      and self.rotary_high_frequency_factor < self.rotary_low_frequency_factor
    ):
      raise wrong(
        self,
        'rotary_high_frequency_factor',
        'at least model.rotary_low_frequency_factor',
      )
    if self.rotary_scaling == 'yarn' and self.rotary_beta_fast <= self.rotary_beta_slow:
      raise wrong(self, 'rotary_beta_fast', 'above model.rotary_beta_slow')

  # --- what each layer is ---------------------------------------------------------------------------------------

  @property
  def rotary_dim(self) -> int:
    """Coordinates of a head that rotate."""
    return (
      self.rotary_head_dim if self.latent else int(self.head_dim * self.rotary_fraction)
    )

  @property
  def latent(self) -> bool:
    """Whether keys and values are made of a latent."""
    return self.kv_latent_dim is not None

  def has_experts(self, layers) -> bool:
    """Whether any of these layers (numbers) has experts."""
    return any(
      self.n_experts
      and i >= self.n_dense_layers
      and (i + 1) % self.experts_every == 0
      and i not in self.dense_layers
      for i in layers
    )

  @property
  def windows(self) -> tuple[int | None, ...]:
    """For each layer, how many tokens it sees at most (itself included), None where all."""
    pattern, local = self.attention_pattern, self.sliding_window or self.attention_chunk
    return tuple(
      local if pattern[i % len(pattern)] == 'local' else None
      for i in range(self.n_layers)
    )

  @property
  def uses_positions(self) -> tuple[bool, ...]:
    """For each layer, whether it knows positions."""
    every = self.no_position_every
    return tuple(
      self.position != 'none' and not (every and (i + 1) % every == 0)
      for i in range(self.n_layers)
    )

  @property
  def causal(self) -> bool:
    """Whether a token sees only what came before it."""
    return self.architecture != 'encoder'

  @property
  def is_encoder_decoder(self) -> bool:
    """Whether the decoder attends to an encoder."""
    return self.architecture == 'encoder_decoder'

  @property
  def encoder(self) -> ModelConfig:
    """What an encoder-decoder's encoder is: the same sizes, seen from both sides."""
    out = copy.copy(self)
    assign(out, architecture='encoder', n_layers=self.n_encoder_layers)
    return out

  @property
  def mixers(self) -> tuple[str, ...]:
    """For each layer, what mixes its tokens."""
    return tuple(
      self.mixer_pattern[i % len(self.mixer_pattern)] for i in range(self.n_layers)
    )

  @property
  def other_mixers(self) -> bool:
    """Whether any layer mixes tokens by something else than attention."""
    return any(name != 'attention' for name in self.mixer_pattern)

  @property
  def layer_specs(self) -> tuple[LayerSpec, ...]:
    """For each layer, what its parameters hang on: alike ones next to each other are stacked."""
    return tuple(
      LayerSpec(self.first_attention_norm or i > 0, self.has_experts([i]), name)
      for i, name in enumerate(self.mixers)
    )

  @property
  def uniform(self) -> bool:
    """Whether all layers have the same parameters."""
    return len(set(self.layer_specs)) == 1

  @property
  def segments(self) -> tuple[tuple[int, int], ...]:
    """Runs of alike layers: the first of each, and how many."""
    kinds = self.layer_specs
    starts = [i for i in range(self.n_layers) if i == 0 or kinds[i] != kinds[i - 1]]
    return tuple((a, b - a) for a, b in zip(starts, [*starts[1:], self.n_layers]))

  @property
  def table_width(self) -> int:
    """Width of the tables of positions and segments."""
    return self.embedding_dim if self.embedding_projection == 'sum' else self.d_model

  @property
  def group_size(self) -> int:
    """Query heads that share one key and value head."""
    return self.n_heads // self.n_kv_heads

  @property
  def learned_positions(self) -> int:
    """Rows of the learned positional table, 0 where there is none."""
    return self.max_seq_len + self.position_offset if self.position == 'learned' else 0

  @property
  def factorized(self) -> bool:
    """Whether the embedding is narrower than the residual stream."""
    return self.embedding_dim != self.d_model

  @property
  def default_init_std(self) -> float:
    """Standard deviation of a weight before `init_scale`, where it does not depend on the weight's shape."""
    return 0.02

  @property
  def residual_init_factor(self) -> float:
    """Factor on the standard deviation of weights that write into the residual stream (GPT-2)."""
    return 1 / math.sqrt(2 * self.n_layers) if self.init == 'gpt2' else 1.0
