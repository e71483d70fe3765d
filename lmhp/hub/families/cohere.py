"""Command R and R+ (cohere), and Command R7B (cohere2).

In both, the attention and feed-forward parts of a layer are parallel, and share one
normalization. In Command R7B, most layers have a window, and the others have no positions.

Source: transformers 5, `models/cohere` and `models/cohere2`.
"""

from lmhp.hub.families.converters import (
  ConfigReader,
  FlagConverter,
  FunctionConverter,
  ModelFields,
)
from lmhp.hub.families.family import register_family
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import WindowByLayer, layers_with_positions
from lmhp.model.config import ModelConfig


def _read_layers_without_positions(
  reader: ConfigReader, cfg: ModelConfig
) -> ModelFields:
  """Returns the period of the layers without positions, which are those without a window.

  The period is 4 if these are the layers 4, 8 and so on, and 0 if all layers have a window.
  """
  has_positions = [window is not None for window in cfg.windows]
  period = 0 if all(has_positions) else 1 + has_positions.index(False)
  is_periodic = has_positions == layers_with_positions(cfg.n_layers, period)
  accepted = 'full_attention in every n-th layer, and sliding_attention in all others'
  reader.require(is_periodic, 'layer_types', cfg.attention_pattern, accepted)
  return {'no_position_every': period}


COHERE = register_family(
  LLAMA.derive(
    'cohere',
    defaults={
      'vocab_size': 256_000,
      'hidden_size': 8192,
      'intermediate_size': 22_528,
      'num_hidden_layers': 40,
      'num_attention_heads': 64,
      'max_position_embeddings': 8192,
      'tie_word_embeddings': True,
    },
    without=('rms_norm_eps', 'mlp_bias'),
    fixed_fields={
      'norm': 'layernorm',
      'parallel_residual': True,
      'shared_norm': True,
      'rotary_interleaved': True,
    },
    keys={'layer_norm_eps': ('norm_eps', 1e-5), 'logit_scale': ('logit_scale', 0.0625)},
    ignored_keys=('model_max_length',),
    converters=(
      # Command R+ normalizes queries and keys, with a separate scale for each head.
      FlagConverter(
        key='use_qk_norm',
        default=False,
        field='qk_norm',
        if_true='each_head',
        if_false='none',
        accepts_null=True,
      ),
      Rotary(500_000.0),
    ),
  )
)

COHERE2 = register_family(
  COHERE.derive(
    'cohere2',
    accepted_values={
      'use_qk_norm': (False,),
      'use_gated_activation': (True,),
      'use_parallel_block': (True,),
      'use_embedding_sharing': (True,),
      'position_embedding_type': ('rope_gptj',),
      'rotary_pct': (1.0,),
      'order_of_interleaved_layers': ('local_attn_first',),
    },
    # The class in transformers does not split the embedding, whatever this key is.
    ignored_keys=(*COHERE.ignored_keys, 'use_parallel_embedding'),
    converters=(
      WindowByLayer(4, period_keys=('sliding_window_pattern', 'layer_switch')),
      FunctionConverter(_read_layers_without_positions),
      Rotary(),
    ),
  )
)
