"""A checkpoint family from outside the package: read, counted, loaded, trained, exported."""

import json
import sys
import textwrap

import numpy as np
import pytest
import safetensors.numpy

import lmhp
from lmhp.errors import ConfigError
from lmhp.hub.config_export import export_config
from lmhp.hub.config_json import read_config
from lmhp.hub.families import FAMILIES, register_family
from lmhp.hub.families.converters import FunctionConverter
from lmhp.hub.families.family import CheckpointFamily, model_types
from lmhp.registry import (
  importable_plugin_modules,
  load_plugin_modules,
)

V = 257
D = 14
F = 20
N = 2


def read_base(reader, cfg):
  exponent = reader.take('log10_base', 4, int)
  return {'position': 'rotary', 'rotary_base': 10.0**exponent}


def write_base(cfg):
  return {'log10_base': round(np.log10(cfg.rotary_base))}


TOY = CheckpointFamily(
  model_type='toy',
  fixed_fields={'norm': 'rmsnorm', 'tie_embeddings': True, 'activation': 'relu'},
  keys={
    'words': ('vocab_size', V),
    'width': ('d_model', D),
    'hidden': ('d_ff', F),
    'depth': ('n_layers', N),
    'heads': ('n_heads', 7),
    'context': ('max_seq_len', 16),
  },
  converters=(FunctionConverter(read_base, write_base),),
  layer_name='blocks.{i}',
  tensor_names={
    'embedding': 'words',
    'attention_input_norm': '.norm',
    'attention/query attention/key attention/value': '.qkv',
    'attention/output': '.mix',
    'feed_forward_input_norm': '.norm2',
    'feed_forward/up': '.up',
    'feed_forward/down': '.down',
    'final_norm': 'last_norm',
    'output': 'head',
  },
  has_transposed_weights=True,
)


@pytest.fixture(autouse=True)
def toy_family(monkeypatch):
  """Registers the toy family. The registry is restored after the test."""
  monkeypatch.setattr(FAMILIES, '_entries', dict(FAMILIES._entries))
  monkeypatch.setattr(FAMILIES, '_modules', dict(FAMILIES._modules))
  register_family(TOY)


@pytest.fixture
def checkpoint(tmp_path):
  """A directory with a config.json and random tensors of the toy family."""
  rng = np.random.default_rng(0)
  shapes = {'words.weight': (V, D), 'last_norm.weight': (D,)}
  for i in range(N):
    shapes[f'blocks.{i}.norm.weight'] = (D,)
    shapes[f'blocks.{i}.qkv.weight'] = (D, 3 * D)
    shapes[f'blocks.{i}.mix.weight'] = (D, D)
    shapes[f'blocks.{i}.norm2.weight'] = (D,)
    shapes[f'blocks.{i}.up.weight'] = (D, F)
    shapes[f'blocks.{i}.down.weight'] = (F, D)
  tensors = {}
  for name, shape in shapes.items():
    tensors[name] = (0.1 * rng.standard_normal(shape)).astype(np.float32)
  path = tmp_path / 'toy'
  path.mkdir()
  safetensors.numpy.save_file(tensors, path / 'model.safetensors')
  (path / 'config.json').write_text(json.dumps({'model_type': 'toy', 'log10_base': 5}))
  return path, tensors


def test_the_family_belongs_to_the_module_that_registers_it():
  assert __name__ in importable_plugin_modules()


def test_families_from_outside_come_last():
  assert model_types()[0] == 'albert'
  assert model_types()[-1] == 'toy'


def test_another_module_cannot_register_the_same_model_type():
  code = 'register_family(family)'
  variables = {
    '__name__': 'other_plugin',
    'register_family': register_family,
    'family': TOY,
  }
  with pytest.raises(ConfigError, match="'toy'.*other_plugin"):
    exec(code, variables)


def test_its_config_is_read_and_counted(checkpoint):
  path, tensors = checkpoint
  cfg = read_config(path)
  assert cfg.d_model == D
  assert cfg.rotary_base == 1e5
  counts = lmhp.count(path)
  n_elements = sum(array.size for array in tensors.values())
  assert counts['total'] == n_elements


def test_a_module_registers_a_family_by_its_import_name(checkpoint, monkeypatch):
  """A study stores the import name. Another process imports the module by this name."""
  path, _ = checkpoint
  (path / 'config.json').write_text(json.dumps({'model_type': 'toy3', 'width': 28}))
  with pytest.raises(ConfigError, match='toy3'):
    read_config(path)

  (path / 'toy_plugin.py').write_text(
    'from lmhp.hub.families import FAMILIES, register_family\n'
    "register_family(FAMILIES['toy'].derive('toy3'))\n"
  )
  monkeypatch.syspath_prepend(path)
  load_plugin_modules(['toy_plugin'], 'the study')
  del sys.modules['toy_plugin']
  assert 'toy_plugin' in importable_plugin_modules()
  assert read_config(path).d_model == 28


def test_an_unknown_key_is_an_error(checkpoint):
  path, _ = checkpoint
  (path / 'config.json').write_text(json.dumps({'model_type': 'toy', 'widht': 3}))
  with pytest.raises(ConfigError, match="widht: .*'width'"):
    read_config(path)


def test_its_weights_are_loaded(checkpoint):
  path, tensors = checkpoint
  model, params, _ = lmhp.load_pretrained(path)
  np.testing.assert_array_equal(params['embedding']['table'], tensors['words.weight'])
  layers = params['decoder']['segment_0']
  for i in range(N):
    up = layers['feed_forward']['up']['kernel'][i]
    np.testing.assert_array_equal(up, tensors[f'blocks.{i}.up.weight'])
    key = layers['attention']['key']['kernel'][i]
    columns = tensors[f'blocks.{i}.qkv.weight'][:, D : 2 * D]
    np.testing.assert_array_equal(key.reshape(D, D), columns)
  assert np.isfinite(model.apply(params, np.arange(5)[None])).all()


def test_its_config_is_exported(checkpoint):
  path, _ = checkpoint
  cfg = read_config(path)
  pretrained = json.loads((path / 'config.json').read_text())
  assert export_config(cfg, pretrained) == pretrained
  assert TOY.write_config(cfg) == {
    'model_type': 'toy',
    'words': V,
    'width': D,
    'hidden': F,
    'depth': N,
    'heads': 7,
    'context': 16,
    'log10_base': 5,
  }


@pytest.mark.slow
def test_an_experiment_file_registers_a_family(checkpoint, tmp_path, monkeypatch):
  """A run starts from a checkpoint of the family, and is exported as one."""
  path, tensors = checkpoint
  monkeypatch.chdir(tmp_path)
  config = {'model_type': 'toy2', 'log10_base': 4}
  (path / 'config.json').write_text(json.dumps(config))
  text = f"""
    import lmhp
    from lmhp.hub.families import FAMILIES, register_family

    register_family(FAMILIES['toy'].derive('toy2'))

    def get_config():
      config = lmhp.default_config()
      config.model.update(
        vocab_size={V}, d_model={D}, n_layers={N}, n_heads=7, d_ff={F}, max_seq_len=16,
        norm='rmsnorm', activation='relu', position='rotary',
      )
      config.train.update(init_from={str(path)!r}, steps=2, batch_size=2, seq_len=16)
      config.evaluate.update(sequences=2, final_sequences=2)
      config.optimizer.learning_rate = 0.0
      return config
  """
  (tmp_path / 'experiment.py').write_text(textwrap.dedent(text))
  lmhp.train('experiment.py', workdir='run', display='none')
  lmhp.export('run', 'out')

  assert json.loads((tmp_path / 'out' / 'config.json').read_text()) == config
  exported = safetensors.numpy.load_file('out/model.safetensors')
  assert exported.keys() == tensors.keys()
  for name, array in tensors.items():
    np.testing.assert_array_equal(exported[name], array)
