"""StarCoder 2: layer normalization, a bias in every linear map, the tanh form of GELU.

All layers have a window, if sliding_window is not null.

Source: transformers 5, `models/starcoder2`.
"""

from lmhp.hub.families.family import register_family
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.rotary import Rotary
from lmhp.hub.families.windows import WindowInAllLayers

STARCODER2 = register_family(
  LLAMA.derive(
    'starcoder2',
    defaults={
      'vocab_size': 49_152,
      'hidden_size': 3072,
      'intermediate_size': 12_288,
      'num_hidden_layers': 30,
      'num_attention_heads': 24,
      'num_key_value_heads': 2,
      'hidden_act': 'gelu_pytorch_tanh',
      'max_position_embeddings': 4096,
      'initializer_range': 0.018042,
      'tie_word_embeddings': True,
    },
    without=('rms_norm_eps', 'attention_bias', 'mlp_bias'),
    fixed_fields={'norm': 'layernorm', 'norm_bias': True, 'gated': False},
    keys={
      'norm_epsilon': ('norm_eps', 1e-5),
      'use_bias': ('qkv_bias attention_output_bias feed_forward_bias', True),
      'embedding_dropout': ('embedding_dropout', 0.0),
      'residual_dropout': ('residual_dropout', 0.0),
    },
    accepted_values={'mlp_type': ('default',), 'norm_type': ('layer_norm',)},
    ignored_keys=('activation_function', 'layer_norm_epsilon'),
    tensor_names={'feed_forward/up': '.mlp.c_fc', 'feed_forward/down': '.mlp.c_proj'},
    converters=(WindowInAllLayers(), Rotary()),
  )
)
