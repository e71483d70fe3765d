"""BERT and RoBERTa (whose positions begin after the padding token's row): encoders with norms after the parts."""

from typing import Any

from lmhp.hub.families.family import CheckpointFamily, Entries, TwoWay
from lmhp.model.config import ModelConfig


def _positions_after_padding(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """RoBERTa's first token has the position after pad_token_id, so the rows up to there serve no text."""
  first = entries.take('pad_token_id', 1, int) + 1
  if not 0 <= first < cfg.max_seq_len:
    raise entries.wrong(
      'pad_token_id', first - 1, 'a token, and a row of the table of positions'
    )
  return {'position_offset': first, 'max_seq_len': cfg.max_seq_len - first}


BERT = CheckpointFamily(
  model_type='bert',
  always=dict(
    architecture='encoder',
    position='learned',
    norm_placement='post',
    embedding_norm=True,
    final_norm=False,
    norm_bias=True,
    qkv_bias=True,
    attention_output_bias=True,
    feed_forward_bias=True,
    head_transform=True,
    head_bias=True,
    init='normal',
  ),
  keys={
    'vocab_size': ('vocab_size', 30_522),
    'hidden_size': ('d_model', 768),
    'num_hidden_layers': ('n_layers', 12),
    'num_attention_heads': ('n_heads', 12),
    'intermediate_size': ('d_ff', 3072),
    'hidden_act': ('activation', 'gelu'),
    'hidden_dropout_prob': ('embedding_dropout residual_dropout', 0.1),
    'attention_probs_dropout_prob': ('attention_dropout', 0.1),
    'max_position_embeddings': ('max_seq_len', 512),
    'type_vocab_size': ('token_types', 2),
    'initializer_range': ('init_scale', 0.02),
    'layer_norm_eps': ('norm_eps', 1e-12),
    'tie_word_embeddings': ('tie_embeddings', True),
  },
  only={'position_embedding_type': ('absolute',), 'is_decoder': (False,)},
  unused=(
    'pooler_fc_size',
    'pooler_num_attention_heads',
    'pooler_num_fc_layers',
    'pooler_size_per_head',
    'pooler_type',
    'directionality',
    'classifier_dropout',
  ),
  layers='bert.encoder.layer.{i}',
  names={
    'embedding': 'bert.embeddings.word_embeddings',
    'positional': 'bert.embeddings.position_embeddings',
    'token_types': 'bert.embeddings.token_type_embeddings',
    'embedding_norm': 'bert.embeddings.LayerNorm',
    'attention/query': '.attention.self.query',
    'attention/key': '.attention.self.key',
    'attention/value': '.attention.self.value',
    'attention/output': '.attention.output.dense',
    'attention_residual_norm': '.attention.output.LayerNorm',
    'feed_forward/up': '.intermediate.dense',
    'feed_forward/down': '.output.dense',
    'feed_forward_residual_norm': '.output.LayerNorm',
    'output/transform': 'cls.predictions.transform.dense',
    'output/transform_norm': 'cls.predictions.transform.LayerNorm',
    'output/bias': 'cls.predictions.bias',
    'output': 'cls.predictions.decoder',
  },
  copies={'cls.predictions.decoder.bias': 'cls.predictions.bias'},
  passed=r'bert\.pooler\..*|cls\.seq_relationship\..*',
)

ROBERTA = BERT.but(
  'roberta',
  defaults={'vocab_size': 50_265},
  always=dict(head_activation='gelu'),
  parts=(
    TwoWay(
      _positions_after_padding,
      lambda cfg: {
        'pad_token_id': cfg.position_offset - 1,
        'max_position_embeddings': cfg.max_seq_len + cfg.position_offset,
      },
    ),
  ),
  layers='roberta.encoder.layer.{i}',
  names={ours: name.replace('bert.', 'roberta.') for ours, name in BERT.names.items()}
  | {
    'output/transform': 'lm_head.dense',
    'output/transform_norm': 'lm_head.layer_norm',
    'output/bias': 'lm_head.bias',
    'output': 'lm_head.decoder',
  },
  copies={'lm_head.decoder.bias': 'lm_head.bias'},
  passed=r'roberta\.pooler\..*',
)
