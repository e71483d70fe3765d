"""Reading of config.json: compared with transformers, and wrong or hostile files."""

import copy
import json
import random

from counts_oracle import transformers_config, transformers_counts
from published_configs import PUBLISHED, TOTALS
import pytest

from lmhp.counting.parameters import count
from lmhp.errors import ConfigError
from lmhp.hub.config_json import model_config, parse, read_config
from lmhp.hub.families import FAMILIES

TINY = {
  'model_type': 'llama',
  'vocab_size': 31,
  'hidden_size': 16,
  'num_hidden_layers': 2,
  'num_attention_heads': 4,
  'num_key_value_heads': 4,
}
YARN = {
  'rope_type': 'yarn',
  'factor': 4.0,
  'original_max_position_embeddings': 512,
}

# The class in transformers has no default for this key and does not use it.
NEEDED_KEYS = {'deepseek_v2': {'num_experts_per_tok': 6}}


@pytest.fixture(autouse=True)
def quiet():
  """Switches off the warnings of transformers about unusual keys of published files."""
  try:
    import transformers
  except ImportError:
    return
  transformers.logging.set_verbosity_error()


# --- compared with transformers -----------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize('name', PUBLISHED)
def test_counts_of_published_files_by_kind(name):
  counts = count(model_config(PUBLISHED[name], name))
  nonzero = {kind: n for kind, n in counts.by_kind.items() if n}
  assert nonzero == transformers_counts(PUBLISHED[name])
  assert counts.total == TOTALS.get(name, counts.total)


@pytest.mark.oracle
@pytest.mark.parametrize('name', PUBLISHED)
def test_the_newer_form_reads_as_the_older(name):
  """transformers 5 rewrites a file: rope_parameters, dtype, layer_types, all defaults."""
  newer = transformers_config(PUBLISHED[name]).to_dict()
  assert 'rope_theta' not in newer
  newer = json.loads(json.dumps(newer))
  assert model_config(newer, name) == model_config(PUBLISHED[name], name)


@pytest.mark.oracle
@pytest.mark.parametrize('model_type', FAMILIES)
def test_defaults_are_those_of_transformers(model_type):
  config = {'model_type': model_type} | NEEDED_KEYS.get(model_type, {})
  full_config = transformers_config(config).to_dict()
  assert model_config(config) == model_config(full_config)


# --- fields of published files ------------------------------------------------------

FIELDS = {
  'granite-3.0-2b': {
    'embedding_scale': 12.0,
    'attention_scale': 0.015625,
    'residual_scale': 0.22,
    'logit_scale': 0.125,
  },
  'command-r7b': {
    'no_position_every': 4,
    'logit_scale': 0.25,
    'rotary_interleaved': True,
    'shared_norm': True,
  },
  'smollm3-3b': {'no_position_every': 4, 'rotary_base': 5e6},
  'gemma-2-27b': {
    'attention_scale': 144**-0.5,
    'embedding_scale': 4608**0.5,
    'attention_logit_cap': 50.0,
    'logit_cap': 30.0,
    'norm_placement': 'sandwich',
    'norm_unit_offset': True,
    'activation': 'gelu_tanh',
  },
  'gpt-neo-125m': {
    'attention_scale': 1.0,
    'attention_pattern': ('global', 'local'),
    'sliding_window': 256,
  },
  'gpt-j-6b': {'rotary_dim': 64, 'rotary_interleaved': True, 'head_bias': True},
  'phi-2': {'rotary_dim': 32, 'residual_dropout': 0.1, 'head_bias': True},
  'opt-350m': {
    'norm_placement': 'post',
    'final_norm': False,
    'embedding_dim': 512,
    'position_offset': 2,
  },
  'falcon-40b': {'n_kv_heads': 8, 'shared_norm': False, 'parallel_residual': True},
  'falcon-11b': {'n_kv_heads': 8, 'shared_norm': True},
  'mistral-7b': {'attention_pattern': ('local',), 'sliding_window': 4096},
  'starcoder2-3b': {'init_scale': 0.018042 / 0.02, 'embedding_dropout': 0.1},
  'openai-gpt': {
    'norm_placement': 'post',
    'final_norm': False,
    'activation': 'gelu_tanh',
  },
}


@pytest.mark.parametrize('name', FIELDS)
def test_fields_of_published_files(name):
  cfg = model_config(PUBLISHED[name])
  for field, value in FIELDS[name].items():
    assert getattr(cfg, field) == value, field


def test_the_language_model_may_be_a_nested_object():
  config = {
    'model_type': 'gemma3',
    'text_config': PUBLISHED['gemma-3-1b'],
    'vision_config': {'hidden_size': 1152},
  }
  assert model_config(config) == model_config(PUBLISHED['gemma-3-1b'])


def test_a_file_is_read_by_its_path_or_its_directory(tmp_path):
  (tmp_path / 'config.json').write_text(json.dumps(TINY))
  assert read_config(tmp_path) == model_config(TINY)
  assert read_config(str(tmp_path / 'config.json')) == model_config(TINY)


# --- wrong values -------------------------------------------------------------------

# (changed keys, key in the message, parts of the message)
WRONG_VALUES = [
  ({'model_type': 'electra'}, 'model_type', ['"electra"', 'albert, bert, ']),
  ({'model_type': 'lama'}, 'model_type', ["'llama'"]),
  ({'model_type': 7}, 'model_type', ['7']),
  ({'hiden_size': 16}, 'hiden_size', ["'hidden_size'"]),
  ({'hidden_size': '16'}, 'hidden_size', ["'16'"]),
  ({'hidden_size': -16}, 'hidden_size', ['-16', '1']),
  ({'hidden_size': 17}, 'hidden_size', ['17', 'num_attention_heads=4']),
  ({'hidden_size': [16]}, 'hidden_size', ['[16]']),
  ({'num_key_value_heads': 3}, 'num_key_value_heads', ['3', 'num_attention_heads=4']),
  ({'num_hidden_layers': 10**7}, 'num_hidden_layers', ['10000000', '100000']),
  (
    {'model_type': 'albert', 'num_hidden_layers': 1e300},
    'num_hidden_layers',
    ['1e+300', '100000'],
  ),
  (
    {'model_type': 't5', 'num_hidden_layers': 10**7},
    'num_layers',
    ['10000000', '100000'],
  ),
  ({'vocab_size': None}, 'vocab_size', ['null', '32000']),
  # In lmhp, null would be 4 * hidden_size.
  ({'intermediate_size': None}, 'intermediate_size', ['null', '11008']),
  (
    {'model_type': 'mixtral', 'num_key_value_heads': None},
    'num_key_value_heads',
    ['8'],
  ),
  (
    {'model_type': 'smollm3', 'no_rope_layer_interval': -2},
    'no_rope_layer_interval',
    ['-2'],
  ),
  ({'hidden_act': 'geglu'}, 'hidden_act', ['"geglu"', 'relu, ']),
  ({'tie_word_embeddings': 'yes'}, 'tie_word_embeddings', ["'yes'", 'True', 'False']),
  ({'attention_dropout': 1.0}, 'attention_dropout', ['1.0']),
  ({'is_encoder_decoder': True}, 'is_encoder_decoder', ['true', 'false']),
  ({'partial_rotary_factor': 0.5}, 'partial_rotary_factor', ['0.5']),
  ({'initializer_range': -1}, 'initializer_range', ['-1']),
  ({'rope_theta': 'big'}, 'rope_theta', ['"big"']),
  ({'rope_scaling': [1]}, 'rope_scaling', ['[1]']),
  ({'rope_scaling': {'type': 'linear'}}, 'rope_scaling.factor', ['null']),
  (
    {'rope_scaling': {'type': 'linear', 'factor': 0.5}},
    'model.rotary_scaling_factor',
    ['0.5'],
  ),
  (
    {'rope_scaling': {'type': 'ntk', 'factor': 2.0}},
    'rope_scaling.rope_type',
    ['"ntk"', 'yarn'],
  ),
  ({'rope_scaling': {'factor': 2.0}}, 'rope_scaling.factor', []),
  (
    {'rope_scaling': {'type': 'llama3', 'factor': 2.0}},
    'rope_scaling.low_freq_factor',
    [],
  ),
  (
    {'rope_scaling': YARN, 'rope_parameters': YARN},
    'rope_scaling',
    ['rope_parameters'],
  ),
  (
    {'rope_scaling': YARN | {'truncate': 'no'}},
    'rope_scaling.truncate',
    ['"no"'],
  ),
  ({'model_type': 'mistral', 'sliding_window': 0}, 'sliding_window', ['0']),
  (
    {'model_type': 'qwen3_moe', 'decoder_sparse_step': 0},
    'decoder_sparse_step',
    ['0', '1'],
  ),
  (
    {'model_type': 'qwen2', 'layer_types': ['full_attention']},
    'layer_types',
    ["['full_attention']", '2'],
  ),
  (
    {'model_type': 'qwen2', 'layer_types': ['linear_attention'] * 2},
    'layer_types',
    ['"linear_attention"', 'sliding_attention'],
  ),
]


@pytest.mark.parametrize('changes, key, parts', WRONG_VALUES)
def test_a_wrong_value_is_an_error_of_one_line(changes, key, parts):
  with pytest.raises(ConfigError) as caught:
    model_config(TINY | changes, 'some/config.json')
  message = str(caught.value)
  start = f'some/config.json: {key}: '
  assert message.startswith(start)
  for part in parts:
    assert part in message.removeprefix(start)
  assert '\n' not in message
  assert len(message) < 700


ODD_VALUES = [
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


def test_any_value_of_any_key_gives_a_model_or_an_error():
  rng = random.Random(0)
  n_errors = 0
  for _ in range(4000):
    config = copy.deepcopy(rng.choice(list(PUBLISHED.values())))
    objects = [c for c in (config, *config.values()) if isinstance(c, dict) and c]
    target = rng.choice(objects)
    keys = [key for key in target if key != 'model_type']
    target[rng.choice(keys or ['x'])] = rng.choice(ODD_VALUES)
    try:
      model_config(parse(json.dumps(config), 'c'), 'c')
    except ConfigError as error:
      n_errors += 1
      assert '\n' not in str(error)
      assert str(error).startswith('c: ')
  assert n_errors > 1000


# --- hostile text -------------------------------------------------------------------

LLAMA_KEY = b'{"model_type": "llama", '

# {case: (text, part of the message)}
HOSTILE_TEXTS = {
  'empty': (b'', 'JSON'),
  'cut short': (b'{"model_type": "llama"', 'JSON'),
  'a list': (b'[1, 2]', 'list'),
  'no text': (b'\xff\xfe\x00', 'JSON'),
  'lists nested too deeply': (b'[' * 100_000, '20'),
  'objects nested too deeply': (b'{"a":' * 50 + b'1' + b'}' * 50, '20'),
  'a number of many digits': (
    LLAMA_KEY + b'"vocab_size": 1' + b'0' * 5000 + b'}',
    '10000',
  ),
  'a large number': (
    LLAMA_KEY + b'"vocab_size": 9007199254740993}',
    '9007199254740993',
  ),
  'NaN': (LLAMA_KEY + b'"vocab_size": NaN}', 'NaN'),
  'infinity': (LLAMA_KEY + b'"rms_norm_eps": 1e999}', '1e999'),
  'infinity in a list': (
    b'{"model_type": "qwen2", "layer_types": [Infinity]}',
    'Infinity',
  ),
  'a key twice': (b'{"vocab_size": 1, "vocab_size": 2}', 'vocab_size'),
}


@pytest.mark.parametrize('case', HOSTILE_TEXTS)
def test_hostile_text_is_an_error_of_one_line(tmp_path, case):
  text, part = HOSTILE_TEXTS[case]
  path = tmp_path / 'config.json'
  path.write_bytes(text)
  with pytest.raises(ConfigError) as caught:
    read_config(tmp_path)
  message = str(caught.value)
  assert message.startswith(f'{path}: ')
  assert part in message.removeprefix(f'{path}: ')
  assert '\n' not in message


def test_a_missing_file_is_an_error(tmp_path):
  with pytest.raises(ConfigError, match=str(tmp_path)):
    read_config(tmp_path)


def test_an_enormous_file_is_an_error(tmp_path):
  with open(tmp_path / 'config.json', 'wb') as file:
    file.truncate(100_000_000)
  with pytest.raises(ConfigError, match='100000000.*4000000'):
    read_config(tmp_path)
