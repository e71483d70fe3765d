"""Unusual checkpoints that transformers loads, with the same logits as an oracle."""

import dataclasses
import json

from counts_oracle import language_model
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_checkpoints import CONFIGS
from transformers_models import inputs_of, random_model

from lmhp.errors import ConfigError
from lmhp.hub.config_json import model_config
from lmhp.hub.pretrained import load_pretrained, save_pretrained
from lmhp.hub.tensor_file import read_tensors, write_tensors
from lmhp.model.transformer import build

L = 9
UNTIED = {'tie_word_embeddings': False}
WINDOWS = {'use_sliding_window': True, 'sliding_window': 3}

# (family, changed keys). transformers loads all of them, and lmhp has to give its logits.
CASES = [
  ('bert', UNTIED),
  ('roberta', UNTIED),
  ('albert', UNTIED),
  ('modernbert', UNTIED),
  ('deepseek_v2', {'n_shared_experts': 0}),
  ('deepseek_v3', {'n_shared_experts': 0, 'n_group': 3, 'topk_group': 2}),
  ('deepseek_v2', {'first_k_dense_replace': 9}),
  ('deepseek_v3', {'first_k_dense_replace': 3}),
  ('qwen3_moe', {'mlp_only_layers': [0, 1, 2]}),
  ('llama4_text', {'moe_layers': []}),
  ('gpt_neox', {'rope_theta': 500.0}),
  ('gpt_oss', {'experts_per_token': 1}),
  ('cohere2', {'use_qk_norm': False, 'use_parallel_embedding': True}),
  ('gemma2', {'sliding_window_size': 3}),
  ('gemma3_text', {'attn_logit_softcapping': 0.5}),
  ('mpt', {'attn_config': {'clip_qkv': 0.2}}),
  ('olmoe', {'clip_qkv': 0.2}),
  ('llama4_text', {'no_rope_layers': [], 'for_llm_compressor': True}),
  ('smollm3', WINDOWS),
  ('smollm3', {'no_rope_layers': [1, 0, 1, 0, 1]}),
  (
    'smollm3',
    WINDOWS | {'layer_types': ['sliding_attention'] * 2 + ['full_attention']},
  ),
]


def logits_of(model, params, tokens):
  encoder_tokens = tokens[:, ::-1] if model.cfg.is_encoder_decoder else None
  apply = jax.jit(lambda p: model.apply(p, tokens, encoder_tokens_BM=encoder_tokens))
  return np.asarray(apply(params))


# torch warns of the empty matrices of no shared experts.
@pytest.mark.filterwarnings('ignore:Initializing zero-element tensors')
@pytest.mark.oracle
@pytest.mark.parametrize('family, changes', CASES)
def test_odd_checkpoints_give_the_logits_of_transformers(family, changes, tmp_path):
  import torch

  oracle = random_model(family, CONFIGS[family][0] | changes)
  oracle.save_pretrained(tmp_path / 'in')
  # The class may drop keys that it does not read.
  path = tmp_path / 'in' / 'config.json'
  config = json.loads(path.read_text()) | changes
  path.write_text(json.dumps(config))
  model, params, _ = load_pretrained(tmp_path / 'in')
  tokens = np.random.default_rng(1).integers(2, model.cfg.vocab_size, (2, L))
  with torch.no_grad():
    expected = oracle(**inputs_of(oracle, tokens)).logits.numpy()
  logits = logits_of(model, params, tokens)
  tolerance = 2e-5 * max(1, np.abs(expected).max())
  np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance)

  save_pretrained(tmp_path / 'out', config, params)
  exported = language_model(family).from_pretrained(
    tmp_path / 'out', attn_implementation='eager'
  )
  exported.set_experts_implementation('eager')
  with torch.no_grad():
    exported_logits = exported(**inputs_of(oracle, tokens)).logits.numpy()
  np.testing.assert_array_equal(exported_logits, expected)


def random_params(config):
  """Returns the model of a config.json, and random parameters."""
  model = build(dataclasses.replace(model_config(config), dtype='float32'))
  params = model.init(jax.random.key(0), {'init_scale': jnp.float32(1)})
  return model, jax.tree.map(np.asarray, params)


def change_tensors(path, change):
  """Replaces the tensors of a directory by `change({name: array})`."""
  tensors = read_tensors(path / 'model.safetensors')
  tensors = {name: np.array(array) for name, array in tensors.items()}
  write_tensors(path / 'model.safetensors', change(tensors))


def assert_same(tree, other):
  jax.tree.map(np.testing.assert_array_equal, tree, other)


def test_tied_embeddings_may_be_stored_as_the_head_alone(saved, tmp_path):
  config = saved.config | {'tie_word_embeddings': True}
  params = {name: x for name, x in saved.params.items() if name != 'output'}
  save_pretrained(tmp_path / 'tied', config, params)

  def rename(tensors):
    tensors['lm_head.weight'] = tensors.pop('model.embed_tokens.weight')
    return tensors

  change_tensors(tmp_path / 'tied', rename)
  assert_same(load_pretrained(tmp_path / 'tied')[1], params)


@pytest.mark.parametrize(
  'family, name',
  [
    ('bert', 'cls.predictions.bias'),
    ('roberta', 'lm_head.bias'),
    ('albert', 'predictions.bias'),
  ],
)
def test_a_tied_bias_of_the_head_may_have_either_name(family, name, tmp_path):
  config = {'model_type': family} | CONFIGS[family][0]
  _, params = random_params(config)
  params['output']['bias'] = np.arange(31, dtype=np.float32)
  save_pretrained(tmp_path / 'm', config, params)

  def rename(tensors):
    tensors[name.replace('bias', 'decoder.bias')] = tensors.pop(name)
    return tensors

  change_tensors(tmp_path / 'm', rename)
  assert_same(load_pretrained(tmp_path / 'm')[1], params)


@pytest.fixture
def deepseek(tmp_path):
  """A DeepSeek V3 of 3 layers, as a directory, and its parameters."""
  config = {'model_type': 'deepseek_v3'} | CONFIGS['deepseek_v3'][0]
  _, params = random_params(config)
  save_pretrained(tmp_path / 'm', config, params)
  return tmp_path / 'm', params


@pytest.mark.parametrize('n_layers', [1, 2])
def test_layers_that_predict_further_tokens_are_ignored_by_their_number(
  deepseek, n_layers
):
  path, params = deepseek
  config = json.loads((path / 'config.json').read_text())
  config['num_nextn_predict_layers'] = n_layers
  (path / 'config.json').write_text(json.dumps(config))
  names = ['model.layers.3.eh_proj.weight', 'model.layers.4.eh_proj.weight']

  def add(tensors):
    return tensors | {name: np.ones((2, 2), np.float32) for name in names[:n_layers]}

  change_tensors(path, add)
  assert_same(load_pretrained(path)[1], params)

  # A further layer is none of them.
  unknown = f'model.layers.{3 + n_layers}.eh_proj.weight'
  change_tensors(path, lambda tensors: tensors | {unknown: np.ones((2, 2), np.float32)})
  with pytest.raises(ConfigError, match=unknown):
    load_pretrained(path)


@pytest.mark.parametrize(
  'key', ['quantization_config', 'quantization', 'compression_config']
)
def test_weights_of_a_quantized_model_are_refused(saved, key):
  config = saved.config | {key: {'quant_method': 'gptq', 'bits': 4}}
  (saved.path / 'config.json').write_text(json.dumps(config))
  with pytest.raises(ConfigError, match=f'{key}: .*lmhp count'):
    load_pretrained(saved.path)


def test_an_encoder_decoder_without_encoder_tokens_is_an_error_of_one_line(tmp_path):
  model, params = random_params({'model_type': 't5'} | CONFIGS['t5'][0])
  with pytest.raises(ConfigError, match='encoder_tokens_BM: got none') as caught:
    model.apply(params, jnp.ones((1, 3), jnp.int32))
  assert '\n' not in str(caught.value)


def test_one_object_of_rotary_positions_for_two_kinds_of_layers_is_refused():
  rope = {'rope_type': 'linear', 'factor': 4.0, 'rope_theta': 5.0}
  for family in ('olmo3', 'gemma3_text', 'modernbert'):
    config = {'model_type': family} | CONFIGS[family][1] | {'rope_parameters': rope}
    with pytest.raises(ConfigError, match='rope_parameters: got one object'):
      model_config(config)
