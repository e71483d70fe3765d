"""ALBERT: BERT whose layers are one, over a table narrower than the model."""

from lmhp.hub.families.bert import BERT
from lmhp.hub.families.family import Entries, TwoWay
from lmhp.model.config import ModelConfig

_LAYER = 'albert.encoder.albert_layer_groups.0.albert_layers.0'


def _projection(entries: Entries, cfg: ModelConfig) -> dict[str, str]:
  if not cfg.factorized:
    raise entries.wrong(
      'embedding_size', cfg.embedding_dim, f'below hidden_size={cfg.d_model}'
    )
  return {'embedding_projection': 'sum'}


ALBERT = BERT.but(
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
  always=dict(share_layers=True),
  keys={'embedding_size': ('embedding_dim', 128)},
  only={'num_hidden_groups': (1,), 'inner_group_num': (1,)},
  unused=BERT.unused
  + (
    'classifier_dropout_prob',
    'down_scale_factor',
    'gap_size',
    'net_structure_type',
    'num_memory_blocks',
  ),
  parts=(TwoWay(_projection, lambda cfg: {}),),
  layers=_LAYER,
  names={
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
  copies={'predictions.decoder.bias': 'predictions.bias'},
  passed=r'albert\.pooler\..*|sop_classifier\..*|predictions\.dropout\..*',
)
