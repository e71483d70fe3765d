"""ALBERT: BERT whose layers share one set of parameters, with a factorized embedding.

Source: transformers 5, `models/albert`.
"""

from lmhp.hub.families.bert import BERT
from lmhp.hub.families.config_reader import ConfigReader
from lmhp.hub.families.converters import FunctionConverter, ModelFields
from lmhp.hub.families.registry import register_family
from lmhp.model.config import ModelConfig


def _read_projection(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Checks that the embedding is factorized. transformers always has the projection."""
  if not cfg.is_factorized:
    accepted = f'below hidden_size={cfg.d_model}'
    raise reader.error('embedding_size', cfg.embedding_dim, accepted)
  return {'embedding_projection': 'sum'}


ALBERT = register_family(
  BERT.derive(
    'albert',
    defaults={
      'vocab_size': 30_000,
      'hidden_size': 4096,
      'num_attention_heads': 64,
      'intermediate_size': 16_384,
      'hidden_act': 'gelu_new',
      'hidden_dropout_prob': 0.0,
      'attention_probs_dropout_prob': 0.0,
    },
    fixed_fields={'share_layers': True},
    keys={'embedding_size': ('embedding_dim', 128)},
    accepted_values={'num_hidden_groups': (1,), 'inner_group_num': (1,)},
    ignored_keys=(
      *BERT.ignored_keys,
      'classifier_dropout_prob',
      'down_scale_factor',
      'gap_size',
      'net_structure_type',
      'num_memory_blocks',
    ),
    converters=(FunctionConverter(_read_projection),),
    # All layers share the parameters of the one layer in the one group.
    layer_name='albert.encoder.albert_layer_groups.0.albert_layers.0',
    tensor_names={
      'embedding': 'albert.embeddings.word_embeddings',
      'positional': 'albert.embeddings.position_embeddings',
      'token_types': 'albert.embeddings.token_type_embeddings',
      'embedding_norm': 'albert.embeddings.LayerNorm',
      'embedding/project': 'albert.encoder.embedding_hidden_mapping_in',
      'attention/query': '.attention.query',
      'attention/key': '.attention.key',
      'attention/value': '.attention.value',
      'attention/output': '.attention.dense',
      'attention_residual_norm': '.attention.LayerNorm',
      'feed_forward/up': '.ffn',
      'feed_forward/down': '.ffn_output',
      'feed_forward_residual_norm': '.full_layer_layer_norm',
      'output/transform': 'predictions.dense',
      'output/transform_norm': 'predictions.LayerNorm',
      'output/bias': 'predictions.bias',
      'output': 'predictions.decoder',
    },
    tied_tensors={'predictions.decoder.bias': 'predictions.bias'},
    # The pooler and the classifier of the order of sentences are for other tasks.
    ignored_tensors=r'albert\.pooler\..*|sop_classifier\..*|predictions\.dropout\..*',
  )
)
