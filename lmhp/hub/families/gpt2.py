"""GPT-2, GPT-BigCode and GPT-1.

GPT-BigCode (SantaCoder, StarCoder) has one key/value head. GPT-1 has a normalization after
each residual addition.

Source: transformers 5, `models/gpt2`, `models/gpt_bigcode` and `models/openai`.
"""

from lmhp.hub.families.common_keys import SUMMARY_KEYS
from lmhp.hub.families.converters import (
  TANH_GELU,
  ConfigKeys,
  ConfigReader,
  FlagConverter,
  FunctionConverter,
  ModelFields,
)
from lmhp.hub.families.family import CheckpointFamily, register_family
from lmhp.model.config import ModelConfig


def _read_kv_heads(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  is_multi_query = reader.take('multi_query', True, bool)
  return {'n_kv_heads': 1 if is_multi_query else cfg.n_heads}


def _write_kv_heads(cfg: ModelConfig) -> ConfigKeys:
  return {'multi_query': cfg.n_kv_heads == 1}


# None stands for 1 / sqrt(head_dim).
ATTENTION_SCALE = FlagConverter(
  key='scale_attn_weights',
  default=True,
  field='attention_scale',
  if_true=None,
  if_false=1.0,
)

GPT2 = register_family(
  CheckpointFamily(
    model_type='gpt2',
    fixed_fields={
      'position': 'learned',
      'norm_bias': True,
      'qkv_bias': True,
      'attention_output_bias': True,
      'feed_forward_bias': True,
      'init': 'gpt2',
    },
    keys={
      'vocab_size': ('vocab_size', 50_257),
      'n_positions': ('max_seq_len', 1024),
      'n_embd': ('d_model', 768),
      'n_layer': ('n_layers', 12),
      'n_head': ('n_heads', 12),
      'n_inner': ('d_ff', None),
      'activation_function': ('activation', 'gelu_new'),
      'embd_pdrop': ('embedding_dropout', 0.1),
      'attn_pdrop': ('attention_dropout', 0.1),
      'resid_pdrop': ('residual_dropout', 0.1),
      'layer_norm_epsilon': ('norm_eps', 1e-5),
      'initializer_range': ('init_scale', 0.02),
      'tie_word_embeddings': ('tie_embeddings', True),
    },
    accepted_values={'scale_attn_by_inverse_layer_idx': (False,)},
    ignored_keys=('n_ctx', 'reorder_and_upcast_attn', *SUMMARY_KEYS),
    aliases={
      'hidden_size': 'n_embd',
      'max_position_embeddings': 'n_positions',
      'num_attention_heads': 'n_head',
      'num_hidden_layers': 'n_layer',
    },
    converters=(ATTENTION_SCALE,),
    layer_name='transformer.h.{i}',
    tensor_names={
      'embedding': 'transformer.wte',
      'positional': 'transformer.wpe',
      'attention_input_norm': '.ln_1',
      'attention/query attention/key attention/value': '.attn.c_attn',
      'attention/output': '.attn.c_proj',
      'feed_forward_input_norm': '.ln_2',
      'feed_forward/up': '.mlp.c_fc',
      'feed_forward/down': '.mlp.c_proj',
      'final_norm': 'transformer.ln_f',
      'output': 'lm_head',
    },
    # The linear layer of GPT-2 (`Conv1D`) stores its matrix as (inputs, outputs).
    has_transposed_weights=True,
  )
)

GPT_BIGCODE = register_family(
  GPT2.derive(
    'gpt_bigcode',
    defaults={'activation_function': 'gelu_pytorch_tanh'},
    ignored_keys=(
      *GPT2.ignored_keys,
      'attention_softmax_in_fp32',
      'scale_attention_softmax_in_fp32',
      'inference_runner',
      'max_batch_size',
      'max_sequence_length',
      'pad_key_length',
      'pre_allocate_kv_cache',
      'validate_runner_input',
      'num_key_value_heads',
    ),
    converters=(
      ATTENTION_SCALE,
      FunctionConverter(_read_kv_heads, _write_kv_heads),
    ),
    # Without multi_query, c_attn holds the query, key and value rows of each head together.
    has_grouped_qkv=True,
    has_transposed_weights=False,
  )
)

OPENAI_GPT = register_family(
  GPT2.derive(
    'openai-gpt',
    defaults={'vocab_size': 40_478, 'n_positions': 512},
    without=('activation_function', 'n_inner'),
    fixed_fields={'norm_placement': 'post', 'init': 'normal'},
    keys={'afn': ('activation', 'gelu')},
    ignored_keys=(*GPT2.ignored_keys, 'n_special', 'predict_special_tokens'),
    # The model class computes the tanh form of GELU under the name 'gelu'.
    converters=(TANH_GELU,),
    tensor_names={
      'embedding': 'transformer.tokens_embed',
      'positional': 'transformer.positions_embed',
      # These normalizations follow the residual additions. Those of GPT-2 precede the parts.
      'attention_residual_norm': '.ln_1',
      'feed_forward_residual_norm': '.ln_2',
    },
  )
)
