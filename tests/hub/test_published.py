"""Counts of config.json files as their owners publish them, compared with transformers."""

import copy
import dataclasses
import json

from counts_oracle import language_model, transformers_config
import pytest
from small_checkpoints import CONFIGS

from lmhp import api, cli
from lmhp.errors import ConfigError
from lmhp.hub.config_json import model_config
from lmhp.hub.families import FAMILIES
from lmhp.hub.published import published_model, read_published
from lmhp.model.presets import PRESETS, preset
from lmhp.model.presets.hub_ids import HUB_IDS

LLAMA = {'model_type': 'llama'} | CONFIGS['llama'][1]


def total(config):
  return published_model(config, 'x').parameters().total


def notes(config):
  return ' '.join(published_model(config, 'x').notes)


# --- keys ---------------------------------------------------------------------------


def class_keys(model_type):
  """Returns {key: default} of the config class of transformers."""
  config = transformers_config({'model_type': model_type})
  names = {field.name for field in dataclasses.fields(config)}
  names |= {*config.to_dict(), *config.attribute_map}
  return {name: getattr(config, name, None) for name in sorted(names)}


OTHER_VALUES = {bool: lambda x: not x, int: lambda x: x + 2, float: lambda x: x + 0.25}


@pytest.mark.oracle
@pytest.mark.parametrize('model_type', FAMILIES)
def test_every_key_of_the_class_in_transformers_is_known(model_type):
  """A key sets a field, is listed as one without effect, or is refused by its name."""
  base = {'model_type': model_type}
  if model_type == 'deepseek_v2':
    base['num_experts_per_tok'] = 6  # The class has no default for this key.
  for key, default in class_keys(model_type).items():
    if isinstance(default, (bool, int, float, str, type(None))) and key not in base:
      # The default is always accepted.
      assert model_config(base | {key: default}) == model_config(base), key
    change = OTHER_VALUES.get(type(default))
    if change and not key.startswith('_'):
      try:
        model_config(base | {key: change(default)})
      except ConfigError as error:
        assert 'unknown key' not in str(error), key


@pytest.mark.oracle
@pytest.mark.parametrize('family', CONFIGS)
def test_null_is_refused_where_transformers_refuses_it(family):
  config = {'model_type': family} | CONFIGS[family][0]
  for key, (fields, default) in FAMILIES[family].keys.items():
    if default is None or fields.endswith('dropout'):
      continue
    try:
      transformers_config(config | {key: None})
    except Exception:  # huggingface_hub raises its own class of errors.
      with pytest.raises(ConfigError, match=f'{key}: got null'):
        model_config(config | {key: None})


# Keys that transformers does not read, with values of published files or of random checkpoints.
WITHOUT_EFFECT = {
  'bert': {
    'position_embedding_type': 'absolute',
    'pooler_type': 'first_token_transform',
  },
  'cohere2': {'use_qk_norm': False, 'use_parallel_embedding': True, 'layer_switch': 4},
  'gemma2': {'sliding_window_size': 3, 'hidden_act': 'gelu_pytorch_tanh'},
  'gpt_neox': {'rope_theta': 500.0, 'attention_probs_dropout_prob': 0.1},
  'gpt_oss': {'experts_per_token': 2, 'initial_context_length': 512},
  'llama': {'is_llama_config': True, 'rope_interleaved': False, 'pretraining_tp': 2},
  'mpt': {'tokenizer_name': 'EleutherAI/gpt-neox-20b', 'fc_type': 'torch'},
  'opt': {'learned_embeddings': True, 'scale_embeddings': False},
  'phi': {'attention_probs_dropout_prob': 0.1, 'hidden_dropout_prob': 0.1},
  'qwen2': {'transformers.js_config': {'dtype': 'q4'}, 'num_key_value_heads': None},
  'mistral': {'attention_bias': None, 'use_flash_attention': True, 'is_causal': True},
  'qwen3': {'quantization_config': None, 'qkv_bias': False, 'attention_dropout': None},
}


@pytest.mark.parametrize('family', WITHOUT_EFFECT)
def test_keys_without_effect_change_nothing(family):
  config = {'model_type': family} | CONFIGS[family][0]
  if family == 'qwen2':
    config['num_key_value_heads'] = config['num_attention_heads']
  assert model_config(config | WITHOUT_EFFECT[family]) == model_config(config)


REFUSED = {
  'llama': {'rope_interleaved': True},
  'cohere2': {'use_qk_norm': True},
  'opt': {'learned_embeddings': False},
  'qwen2': {'is_causal': False},
}


@pytest.mark.parametrize('family', REFUSED)
def test_the_same_keys_with_another_meaning_are_refused(family):
  ((key, value),) = REFUSED[family].items()
  config = {'model_type': family} | CONFIGS[family][0] | {key: value}
  with pytest.raises(ConfigError, match=f'{key}: got'):
    model_config(config)


@pytest.mark.parametrize('family', ['olmo', 'olmoe', 'mpt'])
def test_clip_qkv_is_a_bound_on_queries_keys_and_values(family):
  keys = {'attn_config': {'clip_qkv': 0.3}} if family == 'mpt' else {'clip_qkv': 0.3}
  config = {'model_type': family} | CONFIGS[family][0] | keys
  assert model_config(config).clip_qkv == 0.3
  assert (
    model_config(FAMILIES[family].write_config(model_config(config))).clip_qkv == 0.3
  )


def test_expansion_ratio_is_the_width_of_the_feed_forward_part():
  assert (
    model_config(
      {'model_type': 'mpt'} | CONFIGS['mpt'][0] | {'expansion_ratio': 3}
    ).d_ff
    == 3 * CONFIGS['mpt'][0]['d_model']
  )


def test_layers_of_smollm3_without_positions_may_have_a_window():
  config = {'model_type': 'smollm3'} | CONFIGS['smollm3'][0]
  config |= {'use_sliding_window': True, 'sliding_window': 5}
  assert model_config(config).windows == (None, 5, None)


def test_an_unknown_key_is_counted_with_a_note_and_not_loaded():
  config = LLAMA | {'hiden_size': 7}
  assert total(config) == total(LLAMA)
  assert "hiden_size; did you mean 'hidden_size'" in notes(config)
  with pytest.raises(ConfigError, match='hiden_size: unknown key'):
    model_config(config)


def test_numbers_that_are_not_finite_matter_only_where_they_are_read(tmp_path):
  text = json.dumps({'model_type': 'mamba2', 'time_step_limit': [0.0, float('inf')]})
  (tmp_path / 'config.json').write_text(text)
  with pytest.raises(ConfigError, match='model_type: got "mamba2"'):
    read_published(tmp_path)
  text = json.dumps(LLAMA | {'model_max_length': 10**30})
  (tmp_path / 'config.json').write_text(text)
  assert read_published(tmp_path).parameters().total == total(LLAMA)


# --- quantized, vision-language and classifying models -------------------------------


def test_a_quantized_model_is_counted_as_before_quantization(tmp_path):
  config = LLAMA | {'quantization_config': {'quant_method': 'fp8'}}
  assert total(config) == total(LLAMA)
  assert 'quantization_config' in notes(config)
  assert not notes(LLAMA)


@pytest.mark.parametrize('model_type', ['gemma3', 'llava', 'mistral3'])
def test_the_text_part_is_counted_with_a_note(model_type):
  text = {'model_type': 'gemma3_text'} | CONFIGS['gemma3_text'][0]
  if model_type != 'gemma3':
    text = LLAMA
  config = {'model_type': model_type, 'text_config': text, 'vision_config': {'x': 1}}
  assert total(config) == total(text)
  assert f'{model_type}: only the language model' in notes(config)


def test_a_text_part_of_an_unknown_type_is_refused():
  config = {'model_type': 'kimi', 'text_config': {'model_type': 'kimi_text'}}
  with pytest.raises(ConfigError, match='model_type: got "kimi"'):
    published_model(config, 'x')


CLASSES = (
  'AutoModel',
  'AutoModelForSequenceClassification',
  'AutoModelForTokenClassification',
  'AutoModelForQuestionAnswering',
)


@pytest.mark.oracle
@pytest.mark.parametrize('family', sorted(set(FAMILIES) - {'gemma3', 't5'}))
def test_heads_of_other_classes_are_those_of_transformers(family):
  import torch
  import transformers

  config = {'model_type': family} | CONFIGS[family][0]
  labels = {
    'id2label': {'0': 'a', '1': 'b', '2': 'c'},
    'label2id': {'a': 0, 'b': 1, 'c': 2},
  }
  for name in CLASSES:
    full_config = transformers_config(config | copy.deepcopy(labels))
    try:
      with torch.device('meta'):
        model = getattr(transformers, name).from_config(full_config)
    except ValueError:
      continue  # The family has no such class.
    expected = sum(parameter.numel() for parameter in model.parameters())
    counted = published_model(
      config | labels | {'architectures': [type(model).__name__]}, 'x'
    )
    assert counted.parameters().total == expected, type(model).__name__
    assert counted.notes


def test_a_class_that_transformers_has_not_is_counted_with_a_vocabulary_head():
  config = LLAMA | {'architectures': ['DraftModel']}
  assert total(config) == total(LLAMA)
  assert 'DraftModel is no known class' in notes(config)


def test_a_model_without_a_head_has_fewer_flops():
  config = LLAMA | {'architectures': ['LlamaModel']}
  model = published_model(config, 'x')
  head = 2 * LLAMA['hidden_size'] * LLAMA['vocab_size']
  full = published_model(LLAMA, 'x').flops(8, causal=True).forward
  assert full - model.flops(8, causal=True).forward == head


@pytest.mark.oracle
def test_language_models_have_a_vocabulary_head():
  for family in set(FAMILIES) - {'gemma3'}:
    config = {'model_type': family} | CONFIGS[family][0]
    name = language_model(family)._model_mapping[type(transformers_config(config))]
    assert not notes(config | {'architectures': [name.__name__]}), name


def test_an_encoder_alone_is_not_counted_as_both_stacks():
  config = {'model_type': 't5'} | CONFIGS['t5'][0]
  with pytest.raises(ConfigError, match='architectures: got'):
    total(config | {'architectures': ['T5EncoderModel']})


# --- targets ------------------------------------------------------------------------

OTHER_FORMATS = {
  'adapter_config.json': 'PEFT',
  'model.Q4_K_M.gguf': 'GGUF',
  'pytorch_model.bin': 'pickle',
  'model.pth': 'pickle',
  'model_index.json': 'diffusers',
  'params.json': 'original format',
}


@pytest.mark.parametrize('name', OTHER_FORMATS)
def test_other_formats_are_named(tmp_path, name, capsys):
  (tmp_path / name).write_text('{}')
  path = str(tmp_path)
  commands = [['count', path], ['import', path], ['generate', path]]
  for command in (*commands, ['count', str(tmp_path / name)]):
    assert cli.main(command) == 2
    error = capsys.readouterr().err
    assert OTHER_FORMATS[name] in error
    assert name in error
    assert error.count('\n') == 1


@pytest.mark.parametrize('name', ['pytorch_model.bin', 'tf_model.h5', 'model.q8.gguf'])
def test_weights_in_other_formats_are_named_beside_a_config(tmp_path, name, capsys):
  (tmp_path / 'config.json').write_text(json.dumps(LLAMA))
  (tmp_path / name).write_text('x')
  for command in ('import', 'generate'):
    assert cli.main([command, str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f': {name} is a' in error
    assert error.count('\n') == 1


def test_a_file_of_tensors_is_no_target(tmp_path, capsys):
  (tmp_path / 'model.safetensors').write_bytes(b'x')
  assert cli.main(['count', str(tmp_path / 'model.safetensors')]) == 2
  assert 'expected a config.json' in capsys.readouterr().err


@pytest.mark.parametrize('command', ['count', 'import', 'generate'])
@pytest.mark.parametrize('url', ['https://huggingface.co/a/b', 'hf://a/b'])
def test_an_address_in_the_internet_is_an_error_of_one_line(command, url, capsys):
  assert cli.main([command, url]) == 2
  error = capsys.readouterr().err
  assert error.startswith(f'lmhp: {url}: got a URL')
  assert error.count('\n') == 1


def test_a_gguf_file_is_no_preset(capsys):
  assert cli.main(['count', 'llama-3-8b.Q4_K_M.gguf']) == 2
  assert 'GGUF' in capsys.readouterr().err


def test_one_bad_target_does_not_end_the_table(capsys):
  assert cli.main(['count', 'gpt2', 'nope', 'pythia-14m', '--seq_len=64']) == 2
  output, error = capsys.readouterr()
  assert '124,439,808' in output
  assert '14,067,712' in output
  assert error.count('\n') == 1
  assert "'nope'" in error


def test_one_bad_target_does_not_end_the_json(capsys):
  assert cli.main(['count', 'gpt2', 'nope', '--seq_len=64', '--json']) == 2
  good, bad = json.loads(capsys.readouterr().out)
  assert good['total'] == 124_439_808
  assert sorted(bad) == ['error', 'name']


def test_notes_are_printed_and_stored(tmp_path, capsys):
  config = LLAMA | {'quantization_config': {'quant_method': 'fp8'}}
  (tmp_path / 'config.json').write_text(json.dumps(config))
  assert cli.main(['count', str(tmp_path)]) == 0
  assert 'quantization_config' in capsys.readouterr().out
  assert 'quantization_config' in api.count(str(tmp_path))['notes'][0]
  assert 'notes' not in api.count('gpt2')


def test_presets_are_found_under_their_ids():
  assert set(HUB_IDS) <= set(PRESETS)
  assert len({hub_id.lower() for hub_id in HUB_IDS.values()}) == len(HUB_IDS)
  assert preset('META-LLAMA/llama-3.1-8b') == preset('llama-3.1-8b')
  assert api.count('openai-community/gpt2')['total'] == 124_439_808
  with pytest.raises(ConfigError, match="someone.*did you mean 'llama-3-8b'"):
    preset('someone/llama-3-8b')
