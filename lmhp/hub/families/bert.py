"""BERT, RoBERTa and ALBERT: encoders with a normalization after each residual addition.

The layers of ALBERT share one set of parameters, and its embedding is factorized: a narrow table
and a projection to the hidden size.

Source: transformers 5, `models/bert`, `models/roberta` and `models/albert`.
"""

from collections.abc import Callable, Mapping
import dataclasses
import re

from lmhp.hub.families.converters import (
  ConfigKeys,
  ConfigReader,
  FunctionConverter,
  ModelFields,
)
from lmhp.hub.families.family import CheckpointFamily, TensorNames, register_family
from lmhp.model.config import ModelConfig
from lmhp.typing import JSON


def _read_position_offset(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns `position_offset`, and `max_seq_len` without the unused rows.

  The first token of a text has row pad_token_id + 1 of the table of positions. The rows up to
  pad_token_id are not used. `cfg.max_seq_len` is the number of all rows.
  """
  offset = reader.take('pad_token_id', 1, int) + 1
  is_row = 0 <= offset < cfg.max_seq_len
  n_rows = cfg.max_seq_len
  accepted = f'a whole number from -1 to {n_rows - 2}, for {n_rows} rows of positions'
  reader.require(is_row, 'pad_token_id', offset - 1, accepted)
  return {'position_offset': offset, 'max_seq_len': cfg.max_seq_len - offset}


def _write_position_offset(cfg: ModelConfig) -> ConfigKeys:
  return {
    'pad_token_id': cfg.position_offset - 1,
    'max_position_embeddings': cfg.max_seq_len + cfg.position_offset,
  }


def _read_projection(reader: ConfigReader, cfg: ModelConfig) -> ModelFields:
  """Returns `embedding_projection`, after a check of embedding_size.

  ALBERT projects the sum of token, position and token type embeddings. transformers always has
  this projection, lmhp only if embedding_size is below hidden_size.
  """
  accepted = f'below hidden_size={cfg.d_model}'
  reader.require(cfg.is_factorized, 'embedding_size', cfg.embedding_dim, accepted)
  return {'embedding_projection': 'sum'}


_BERT_NAMES = {
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
}
_ROBERTA_NAMES = {
  **_BERT_NAMES,
  'embedding': 'roberta.embeddings.word_embeddings',
  'positional': 'roberta.embeddings.position_embeddings',
  'token_types': 'roberta.embeddings.token_type_embeddings',
  'embedding_norm': 'roberta.embeddings.LayerNorm',
  'output/transform': 'lm_head.dense',
  'output/transform_norm': 'lm_head.layer_norm',
  'output/bias': 'lm_head.bias',
  'output': 'lm_head.decoder',
}
# The name of a layer has no {i}, because all layers share one set of parameters.
_ALBERT_NAMES = {
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
}


@dataclasses.dataclass(frozen=True)
class _HeadNames:
  """Tensor names of a model, which depend on the tying of the head.

  The bias of the head has two names, predictions.bias and predictions.decoder.bias. If the head
  is tied to the embedding, the two biases are one as well. Otherwise, transformers uses the
  second, and never the first.

  Attributes:
    names: Tensor names for a tied head.
  """

  names: TensorNames

  def of(self, cfg: ModelConfig) -> TensorNames:
    """Returns the names for a model."""
    if cfg.tie_embeddings:
      return self.names
    return {**self.names, 'output/bias': f'{self.names["output"]}.bias'}

  def ignored(self, others: str) -> Callable[[Mapping[str, JSON]], str]:
    """Returns a function for `CheckpointFamily.ignored_tensors`.

    Args:
      others: Pattern for the tensors that the model never uses.
    """
    bias = re.escape(self.names['output/bias'])

    def pattern(config: Mapping[str, JSON]) -> str:
      return others if config.get('tie_word_embeddings', True) else f'{others}|{bias}'

    return pattern


_BERT = _HeadNames(_BERT_NAMES)
_ROBERTA = _HeadNames(_ROBERTA_NAMES)
_ALBERT = _HeadNames(_ALBERT_NAMES)

BERT = register_family(
  CheckpointFamily(
    model_type='bert',
    fixed_fields={
      'architecture': 'encoder',
      'position': 'learned',
      'norm_placement': 'post',
      'embedding_norm': True,
      'final_norm': False,
      'norm_bias': True,
      'qkv_bias': True,
      'attention_output_bias': True,
      'feed_forward_bias': True,
      'head_transform': True,
      'head_bias': True,
      'init': 'normal',
    },
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
    accepted_values={'position_embedding_type': ('absolute',), 'is_decoder': (False,)},
    ignored_keys=(
      'pooler_fc_size',
      'pooler_num_attention_heads',
      'pooler_num_fc_layers',
      'pooler_size_per_head',
      'pooler_type',
      'directionality',
      'classifier_dropout',
    ),
    layer_name='bert.encoder.layer.{i}',
    tensor_names=_BERT.of,
    # A file may have the bias of the head under both names.
    tied_tensors={'cls.predictions.decoder.bias': 'cls.predictions.bias'},
    # The pooler and the classifier for next sentences are not used for masked tokens.
    ignored_tensors=_BERT.ignored(r'bert\.pooler\..*|cls\.seq_relationship\..*'),
  )
)

ROBERTA = register_family(
  BERT.derive(
    'roberta',
    defaults={'vocab_size': 50_265},
    # The transform before the head always has the exact GELU, not hidden_act.
    fixed_fields={'head_activation': 'gelu'},
    converters=(FunctionConverter(_read_position_offset, _write_position_offset),),
    layer_name='roberta.encoder.layer.{i}',
    tensor_names=_ROBERTA.of,
    tied_tensors={'lm_head.decoder.bias': 'lm_head.bias'},
    ignored_tensors=_ROBERTA.ignored(r'roberta\.pooler\..*'),
  )
)

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
    layer_name='albert.encoder.albert_layer_groups.0.albert_layers.0',
    tensor_names=_ALBERT.of,
    tied_tensors={'predictions.decoder.bias': 'predictions.bias'},
    # The pooler and the classifier for sentence order are not used for masked tokens.
    ignored_tensors=_ALBERT.ignored(
      r'albert\.pooler\..*|sop_classifier\..*|predictions\.dropout\..*'
    ),
  )
)
