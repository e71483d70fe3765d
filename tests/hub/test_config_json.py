"""The reader of config.json against transformers: counts, defaults, both forms, frequencies, windows; and bad files."""

import copy
import json
import random

from counts_oracle import transformers_config, transformers_counts
import numpy as np
from published_configs import PUBLISHED, TOTALS
import pytest

from lmhp.counting.parameters import count
from lmhp.errors import ConfigError
from lmhp.hub.config_json import model_config, parse, read_config
from lmhp.hub.families import FAMILIES
from lmhp.hub.families.family import ACTIVATIONS

TINY = dict(
  model_type='llama',
  vocab_size=31,
  hidden_size=16,
  num_hidden_layers=2,
  num_attention_heads=4,
  num_key_value_heads=4,
)
YARN = dict(rope_type='yarn', factor=4.0, original_max_position_embeddings=512)


@pytest.fixture(autouse=True)
def quiet():
  """transformers warns of the odd keys that published files have."""
  try:
    import transformers
  except ImportError:
    return
  transformers.logging.set_verbosity_error()


# --- against transformers -------------------------------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize('name', PUBLISHED)
def test_counts_of_published_files_by_kind(name):
  counted = count(model_config(PUBLISHED[name], name))
  assert {kind: n for kind, n in counted.by_kind.items() if n} == transformers_counts(
    PUBLISHED[name]
  )
  assert counted.total == TOTALS.get(name, counted.total)


@pytest.mark.oracle
@pytest.mark.parametrize('name', PUBLISHED)
def test_the_newer_form_reads_as_the_older(name):
  """transformers 5 writes each published file anew: rope_parameters, dtype, layer_types, every default spelt out."""
  newer = transformers_config(PUBLISHED[name]).to_dict()
  assert 'rope_theta' not in newer
  assert model_config(json.loads(json.dumps(newer)), name) == model_config(
    PUBLISHED[name], name
  )


@pytest.mark.oracle
@pytest.mark.parametrize('model_type', FAMILIES)
def test_defaults_are_those_of_transformers(model_type):
  needed = (
    {'num_experts_per_tok': 6} if model_type == 'deepseek_v2' else {}
  )  # its class has no default, and no use of one
  written_out = transformers_config({'model_type': model_type} | needed).to_dict()
  assert model_config({'model_type': model_type} | needed) == model_config(written_out)


@pytest.mark.oracle
@pytest.mark.parametrize(
  'rope',
  [
    dict(rope_theta=500.0),
    dict(rope_scaling={'type': 'linear', 'factor': 3.0}),
    dict(
      rope_parameters={
        'rope_type': 'llama3',
        'rope_theta': 1e5,
        'factor': 8.0,
        'low_freq_factor': 1.0,
        'high_freq_factor': 4.0,
        'original_max_position_embeddings': 64,
      }
    ),
    dict(rope_scaling=YARN, rope_theta=1e4),
    dict(
      rope_scaling=YARN
      | dict(beta_fast=16, beta_slow=2, mscale=0.7, mscale_all_dim=0.3)
    ),
    dict(rope_parameters=YARN | dict(rope_theta=1e4, attention_factor=1.3)),
    dict(
      rope_scaling={
        'rope_type': 'longrope',
        'short_factor': [1.0 + i for i in range(8)],
        'factor': 2.5,
        'long_factor': [2.0 + i for i in range(8)],
        'original_max_position_embeddings': 64,
      }
    ),
  ],
)
def test_rotary_frequencies(rope):
  from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

  from lmhp.model.positional import rotary_frequencies

  config = dict(TINY, hidden_size=64, max_position_embeddings=2048, **rope)
  rotary, cfg = LlamaRotaryEmbedding(transformers_config(config)), model_config(config)
  frequencies, factor = rotary_frequencies(cfg, cfg.rotary_base, 32)
  np.testing.assert_allclose(frequencies, rotary.inv_freq.numpy(), rtol=1e-5)
  np.testing.assert_allclose(factor, rotary.attention_scaling, rtol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize(
  'config',
  [
    dict(
      PUBLISHED['qwen2.5-0.5b'],
      use_sliding_window=True,
      sliding_window=100,
      max_window_layers=10,
    ),
    dict(
      PUBLISHED['qwen3-0.6b'],
      use_sliding_window=True,
      sliding_window=100,
      layer_types=['full_attention', 'sliding_attention'] * 14,
    ),
    PUBLISHED['gemma-2-2b'],
    PUBLISHED['gemma-3-1b'],
    dict(
      PUBLISHED['gemma-3-1b'],
      layer_types=['full_attention'] * 13 + ['sliding_attention'] * 13,
    ),
    PUBLISHED['command-r7b'],
    PUBLISHED['olmo-3-base-style'],
  ],
)
def test_windows_of_each_layer(config):
  theirs = transformers_config(config)
  windows = [
    theirs.sliding_window if kind == 'sliding_attention' else None
    for kind in theirs.layer_types
  ]
  assert list(model_config(config).windows) == windows


@pytest.mark.oracle
@pytest.mark.parametrize('name', ACTIVATIONS)
def test_activations_are_the_functions_they_are_named_for(name):
  import torch
  import torch.nn.functional as F
  from transformers.activations import ACT2FN

  ours = {
    'relu': F.relu,
    'sigmoid': torch.sigmoid,
    'tanh': torch.tanh,
    'gelu': F.gelu,
    'silu': F.silu,
    'gelu_tanh': lambda x: F.gelu(x, approximate='tanh'),
    'quick_gelu': lambda x: x * torch.sigmoid(1.702 * x),
    'relu_squared': lambda x: F.relu(x) ** 2,
    'identity': lambda x: x,
  }
  x = torch.linspace(-4, 4, 101, dtype=torch.float64)
  torch.testing.assert_close(
    ours[ACTIVATIONS[name]](x), ACT2FN[name](x), rtol=1e-5, atol=1e-6
  )


# --- what a field becomes -------------------------------------------------------------------------------------------


def test_gemma_3_reads_the_base_of_windowed_layers_and_its_text_config():
  cfg = model_config(PUBLISHED['gemma-3-1b'])
  assert (cfg.rotary_base, cfg.rotary_base_local, cfg.sliding_window) == (1e6, 1e4, 512)
  inside = {
    'model_type': 'gemma3',
    'text_config': PUBLISHED['gemma-3-1b'],
    'vision_config': {'hidden_size': 1152},
  }
  assert model_config(inside) == cfg


def test_rotary_parameters_by_layer_type():
  nested = {
    'full_attention': {'rope_type': 'default', 'rope_theta': 5e5},
    'sliding_attention': {'rope_type': 'default', 'rope_theta': 7e3},
  }
  cfg = model_config({'model_type': 'gemma3_text', 'rope_parameters': nested})
  assert (cfg.rotary_base, cfg.rotary_base_local) == (5e5, 7e3)


def test_su_is_the_first_name_of_longrope():
  older = copy.deepcopy(PUBLISHED['phi-3-mini-128k'])
  older['rope_scaling']['type'] = 'su'
  assert model_config(older) == model_config(PUBLISHED['phi-3-mini-128k'])
  assert model_config(older).rotary_scaling == 'longrope'


@pytest.mark.parametrize(
  'name, expected',
  {
    'granite-3.0-2b': dict(
      embedding_scale=12.0,
      attention_scale=0.015625,
      residual_scale=0.22,
      logit_scale=0.125,
    ),
    'command-r7b': dict(
      no_position_every=4, logit_scale=0.25, rotary_interleaved=True, shared_norm=True
    ),
    'smollm3-3b': dict(no_position_every=4, rotary_base=5e6),
    'gemma-2-27b': dict(
      attention_scale=144**-0.5,
      embedding_scale=4608**0.5,
      attention_logit_cap=50.0,
      logit_cap=30.0,
      norm_placement='sandwich',
      norm_unit_offset=True,
      activation='gelu_tanh',
    ),
    'gpt-neo-125m': dict(
      attention_scale=1.0, attention_pattern=('global', 'local'), sliding_window=256
    ),
    'gpt-j-6b': dict(rotary_dim=64, rotary_interleaved=True, head_bias=True),
    'phi-2': dict(rotary_dim=32, residual_dropout=0.1, head_bias=True),
    'opt-350m': dict(
      norm_placement='post', final_norm=False, embedding_dim=512, position_offset=2
    ),
    'falcon-40b': dict(n_kv_heads=8, shared_norm=False, parallel_residual=True),
    'falcon-11b': dict(n_kv_heads=8, shared_norm=True),
    'mistral-7b': dict(attention_pattern=('local',), sliding_window=4096),
    'starcoder2-3b': dict(init_scale=0.018042 / 0.02, embedding_dropout=0.1),
    'openai-gpt': dict(norm_placement='post', final_norm=False, activation='gelu_tanh'),
  }.items(),
)
def test_fields_of_published_files(name, expected):
  cfg = model_config(PUBLISHED[name])
  assert {field: getattr(cfg, field) for field in expected} == expected


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
  'change, words',
  [
    ({'model_type': 'electra'}, 'model_type: got "electra", expected one of albert, '),
    ({'model_type': 'lama'}, "did you mean 'llama'?"),
    ({'model_type': 7}, 'model_type: got 7'),
    (
      {'hiden_size': 16},
      'hiden_size: a key that lmhp does not know for this model, so it cannot tell what it changes; '
      "did you mean 'hidden_size'?",
    ),
    ({'quantization_config': {'bits': 4}}, 'quantization_config: a key'),
    ({'hidden_size': '16'}, "hidden_size: got '16', expected a whole number"),
    ({'hidden_size': -16}, 'hidden_size: got -16, expected at least 1'),
    (
      {'hidden_size': 17},
      'hidden_size: got 17, expected a multiple of num_attention_heads=4',
    ),
    ({'hidden_size': [16]}, 'hidden_size: got [16], expected a single value'),
    (
      {'num_key_value_heads': 3},
      'num_key_value_heads: got 3, expected a divisor of num_attention_heads=4',
    ),
    (
      {'num_hidden_layers': 10**7},
      'num_hidden_layers: got 10000000, expected at most 100000',
    ),
    ({'vocab_size': None}, 'vocab_size: got None, expected a whole number'),
    ({'hidden_act': 'geglu'}, 'hidden_act: got "geglu", expected one of relu, '),
    (
      {'tie_word_embeddings': 'yes'},
      "tie_word_embeddings: got 'yes', expected True or False",
    ),
    ({'attention_dropout': 1.0}, 'attention_dropout: got 1.0'),
    ({'is_encoder_decoder': True}, 'is_encoder_decoder: got true, expected false'),
    ({'partial_rotary_factor': 0.5}, 'partial_rotary_factor: got 0.5'),
    ({'initializer_range': -1}, 'initializer_range: got -1'),
    ({'rope_theta': 'big'}, 'rope_theta: got "big", expected a number'),
    ({'rope_scaling': [1]}, 'rope_scaling: got [1], expected an object or null'),
    ({'rope_scaling': {'type': 'linear'}}, 'rope_scaling.factor: got null'),
    (
      {'rope_scaling': {'type': 'linear', 'factor': 0.5}},
      'model.rotary_scaling_factor: got 0.5',
    ),
    (
      {'rope_scaling': {'type': 'ntk', 'factor': 2.0}},
      'rope_scaling.rope_type: got "ntk"',
    ),
    ({'rope_scaling': {'factor': 2.0}}, 'rope_scaling.factor: a key'),
    (
      {'rope_scaling': {'type': 'llama3', 'factor': 2.0}},
      'rope_scaling.low_freq_factor: missing, expected a number',
    ),
    ({'rope_scaling': YARN, 'rope_parameters': YARN}, 'rope_scaling: stands beside'),
    ({'rope_scaling': YARN | {'truncate': 'no'}}, 'rope_scaling.truncate: got "no"'),
    ({'model_type': 'mistral', 'sliding_window': 0}, 'sliding_window: got 0'),
    (
      {'model_type': 'qwen2', 'layer_types': ['full_attention']},
      "layer_types: got ['full_attention'], expected",
    ),
    (
      {'model_type': 'qwen2', 'layer_types': ['linear_attention'] * 2},
      'layer_types: got "linear_attention"',
    ),
  ],
)
def test_one_clear_line(change, words):
  with pytest.raises(ConfigError) as error:
    model_config({**TINY, **change}, 'some/config.json')
  assert str(error.value).startswith('some/config.json: ') and words in str(error.value)
  assert '\n' not in str(error.value) and len(str(error.value)) < 700


def test_a_scaling_may_be_for_layers_without_window_alone():
  config = dict(
    PUBLISHED['gemma-3-1b'], rope_scaling={'factor': 8.0, 'rope_type': 'linear'}
  )
  cfg = model_config(config)
  assert (cfg.rotary_scaling, cfg.rotary_scaling_factor, cfg.rotary_scaling_local) == (
    'linear',
    8.0,
    False,
  )
  assert (cfg.rotary_base, cfg.rotary_base_local) == (1e6, 10_000.0)


@pytest.mark.parametrize(
  'text, words',
  [
    (b'', 'not JSON'),
    (b'{"model_type": "llama"', 'not JSON'),
    (b'[1, 2]', 'got a list, expected a JSON object'),
    (b'\xff\xfe\x00', 'not JSON'),
    (b'[' * 100_000, 'too deep'),
    (b'{"a":' * 50 + b'1' + b'}' * 50, 'too deep'),
    (b'{"vocab_size": 1' + b'0' * 5000 + b'}', 'is too large'),
    (b'{"vocab_size": NaN}', 'NaN is not finite'),
    (b'{"rms_norm_eps": 1e999}', '1e999 is not finite'),
    (b'{"vocab_size": 1, "vocab_size": 2}', 'vocab_size: stands there twice'),
  ],
)
def test_hostile_text(tmp_path, text, words):
  (tmp_path / 'config.json').write_bytes(text)
  with pytest.raises(ConfigError) as error:
    read_config(tmp_path)
  assert words in str(error.value) and str(tmp_path / 'config.json') in str(error.value)
  assert '\n' not in str(error.value)


def test_read_config_takes_a_file_or_its_directory(tmp_path):
  (tmp_path / 'config.json').write_text(json.dumps(TINY))
  assert (
    read_config(tmp_path)
    == read_config(str(tmp_path / 'config.json'))
    == model_config(TINY)
  )


def test_a_missing_or_an_enormous_file(tmp_path):
  with pytest.raises(ConfigError, match='no such file'):
    read_config(tmp_path)
  with open(tmp_path / 'config.json', 'wb') as file:
    file.truncate(100_000_000)
  with pytest.raises(
    ConfigError, match='100000000 bytes, expected a config.json of at most'
  ):
    read_config(tmp_path)


def test_mutated_files_resolve_or_give_one_line():
  """Any key of any published file at an odd value: a `ModelConfig` or a `ConfigError`, nothing else."""
  odd = [
    None,
    True,
    False,
    0,
    -1,
    3,
    2**53,
    0.0,
    -0.5,
    1e-300,
    1e300,
    '',
    'x',
    [],
    [1],
    {},
    {'a': 1},
    [[['local'], 2**53]],
  ]
  draw = random.Random(0)
  errors = 0
  for _ in range(4000):
    config = copy.deepcopy(draw.choice(list(PUBLISHED.values())))
    inside = [c for c in (config, *config.values()) if isinstance(c, dict) and c]
    target = draw.choice(inside)
    target[draw.choice([k for k in target if k != 'model_type'] or ['x'])] = (
      draw.choice(odd)
    )
    try:
      model_config(parse(json.dumps(config), 'c'), 'c')
    except ConfigError as error:
      errors += 1
      assert '\n' not in str(error) and str(error).startswith('c: ')
  assert errors > 1000


def test_every_table_names_real_fields():
  from lmhp.model.config import ModelConfig

  for family in FAMILIES.values():
    named = set(family.always) | {
      name for names, _ in family.keys.values() for name in names.split()
    }
    assert named <= set(ModelConfig.__dataclass_fields__), family.model_type
    assert not set(family.keys) & set(family.only), family.model_type
