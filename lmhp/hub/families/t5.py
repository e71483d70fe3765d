"""T5 and T5 v1.1 (and their kin: Flan-T5, ByT5's text model): encoder-decoders with bucketed relative positions."""

from typing import Any

from lmhp.hub.families.family import ACTIVATIONS, CheckpointFamily, Entries, TwoWay
from lmhp.model.config import ModelConfig

_GATED = 'gated-'


def _feed_forward(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """relu, or gated-gelu and the like; transformers takes gated-gelu for the tanh form."""
  word = entries.take('feed_forward_proj', 'relu', str)
  gated, name = word.startswith(_GATED), word.removeprefix(_GATED)
  if name not in ACTIVATIONS:
    raise entries.wrong(
      'feed_forward_proj',
      word,
      'an activation, or gated- and one: ' + ', '.join(ACTIVATIONS),
    )
  return {
    'gated': gated,
    'activation': 'gelu_tanh' if word == 'gated-gelu' else ACTIVATIONS[name],
  }


def _write_feed_forward(cfg: ModelConfig) -> dict[str, Any]:
  words = {
    'gelu_tanh': 'gelu' if cfg.gated else 'gelu_new',
    'gelu': 'gelu_python' if cfg.gated else 'gelu',
  }
  name = words.get(cfg.activation) or next(
    word for word, ours in ACTIVATIONS.items() if ours == cfg.activation
  )
  return {'feed_forward_proj': _GATED * cfg.gated + name}


def _head(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  """The first T5 ties its head and divides what it reads by sqrt(d_model); v1.1 does neither.

  transformers 5 writes tie_word_embeddings as true always, and tells v1.1 by scale_decoder_outputs.
  """
  tied = entries.take('tie_word_embeddings', True, bool)
  scaled = entries.take('scale_decoder_outputs', tied, bool)
  return {
    'tie_embeddings': tied and scaled,
    'logit_scale': cfg.d_model**-0.5 if scaled else 1.0,
  }


def _write_head(cfg: ModelConfig) -> dict[str, Any]:
  return {
    'tie_word_embeddings': cfg.tie_embeddings,
    'scale_decoder_outputs': cfg.logit_scale != 1.0,
  }


def _depth(entries: Entries, cfg: ModelConfig) -> dict[str, Any]:
  depth = entries.take('num_decoder_layers', None, int, None)
  return {'n_layers': cfg.n_encoder_layers if depth is None else depth}


def _stack(name: str, feed_forward: int) -> dict[str, str]:
  """The names of one stack, whose feed-forward part is a layer's last part."""
  layer = f'{name}.block.{{i}}.layer'
  own = {
    f'attention/{ours}': f'{layer}.0.SelfAttention.{theirs}'
    for ours, theirs in _PROJECTIONS.items()
  }
  parts = {
    'attention_input_norm': f'{layer}.0.layer_norm',
    'feed_forward_input_norm': f'{layer}.{feed_forward}.layer_norm',
    'feed_forward/gate': f'{layer}.{feed_forward}.DenseReluDense.wi_0',
    'feed_forward/down': f'{layer}.{feed_forward}.DenseReluDense.wo',
  }
  return {f'{name}/{ours}': theirs for ours, theirs in (own | parts).items()} | {
    f'{name}/relative_bias': f'{name}.block.0.layer.0.SelfAttention.relative_attention_bias'
  }


def _names(cfg: ModelConfig) -> dict[str, str]:
  up = 'wi_1' if cfg.gated else 'wi'
  cross = 'decoder.block.{i}.layer.1'
  return {
    'embedding': 'shared',
    **_stack('encoder', 1),
    **_stack('decoder', 2),
    'encoder/feed_forward/up': f'encoder.block.{{i}}.layer.1.DenseReluDense.{up}',
    'decoder/feed_forward/up': f'decoder.block.{{i}}.layer.2.DenseReluDense.{up}',
    'cross_attention_input_norm': f'{cross}.layer_norm',
    **{
      f'cross_attention/{ours}': f'{cross}.EncDecAttention.{theirs}'
      for ours, theirs in _PROJECTIONS.items()
    },
    'encoder_final_norm': 'encoder.final_layer_norm',
    'final_norm': 'decoder.final_layer_norm',
    'output': 'lm_head',
  }


_PROJECTIONS = {'query': 'q', 'key': 'k', 'value': 'v', 'output': 'o'}

T5 = CheckpointFamily(
  model_type='t5',
  always=dict(
    architecture='encoder_decoder',
    position='t5',
    norm='rmsnorm',
    attention_scale=1.0,
    init='fan_in',
  ),
  keys={
    'vocab_size': ('vocab_size', 32_128),
    'd_model': ('d_model', 512),
    'd_kv': ('head_dim', 64),
    'd_ff': ('d_ff', 2048),
    'num_layers': ('n_encoder_layers', 6),
    'num_heads': ('n_heads', 8),
    'n_positions': ('max_seq_len', 512),
    'relative_attention_num_buckets': ('relative_buckets', 32),
    'relative_attention_max_distance': ('relative_max_distance', 128),
    'dropout_rate': ('embedding_dropout attention_dropout residual_dropout', 0.1),
    'layer_norm_epsilon': ('norm_eps', 1e-6),
  },
  only={'is_encoder_decoder': (True,), 'is_decoder': (False,)},
  unused=('initializer_factor', 'dense_act_fn', 'is_gated_act', 'output_past'),
  aliases={
    'hidden_size': 'd_model',
    'num_attention_heads': 'num_heads',
    'num_hidden_layers': 'num_layers',
    'head_dim': 'd_kv',
  },
  parts=(
    TwoWay(_depth, lambda cfg: {'num_decoder_layers': cfg.n_layers}),
    TwoWay(_feed_forward, _write_feed_forward),
    TwoWay(_head, _write_head),
  ),
  names=_names,
  copies={
    'encoder.embed_tokens.weight': 'shared.weight',
    'decoder.embed_tokens.weight': 'shared.weight',
  },
  passed=r'decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight',
  head_by_weights=True,
)
