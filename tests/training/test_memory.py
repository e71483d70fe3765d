"""Memory of one update: the estimate, against the program that XLA compiles."""

import dataclasses

import jax
import pytest

from lmhp.config import resolve
from lmhp.counting.memory import tree_bytes
from lmhp.counting.parameters import count
from lmhp.errors import ConfigError
from lmhp.experiment import describe_target
from lmhp.training import memory
from lmhp.training.memory import compiled_bytes, estimated_bytes, training_memory

MODEL = {'vocab_size': 512, 'd_model': 64, 'n_heads': 4, 'n_layers': 2}
MODELS = {
  'float32': {},
  'bfloat16': {'dtype': 'bfloat16'},
  'full': {'remat': 'full'},
  'vocabulary': {'vocab_size': 20000},
  'experts': {'n_experts': 4, 'experts_per_token': 2},
  'mamba2': {'mixer_pattern': ('mamba2',)},
  'encoder-decoder': {'architecture': 'encoder_decoder', 'n_encoder_layers': 2},
}


def config(batch_size=4, seq_len=128, optimizer='adamw', train=None, **model):
  model = {'dtype': 'float32', 'max_seq_len': seq_len} | MODEL | model
  return resolve(
    {
      'model': model,
      'optimizer': {'name': optimizer},
      'train': {'batch_size': batch_size, 'seq_len': seq_len} | (train or {}),
    }
  )


@pytest.mark.parametrize(
  'name',
  [
    *list(MODELS)[:3],
    *(pytest.param(name, marks=pytest.mark.slow) for name in list(MODELS)[3:]),
  ],
)
def test_the_estimate_is_within_a_factor_of_the_program(name):
  cfg = config(**MODELS[name])
  is_cpu = jax.devices()[0].platform == 'cpu'
  ratio = compiled_bytes(cfg) / estimated_bytes(cfg, on_cpu=is_cpu)
  assert 1 / 1.3 < ratio < 1.3


def test_other_settings_of_training_are_followed():
  base = config(batch_size=8, vocab_size=20000)
  estimate = estimated_bytes(base)
  # Parts of the batch, or of the loss, are computed one after the other.
  parts = config(batch_size=8, vocab_size=20000, train={'grad_accumulation_steps': 8})
  assert estimated_bytes(parts) < 0.5 * estimate
  chunks = config(batch_size=8, vocab_size=20000, train={'loss_chunks': 8})
  assert estimated_bytes(chunks) < 0.5 * estimate
  # Plain SGD has no moments.
  sgd = config(batch_size=8, vocab_size=20000, optimizer='sgd')
  moments = 8 * count(base.model).total
  assert estimate - estimated_bytes(sgd) == pytest.approx(moments, rel=0.01)


def test_memory_of_a_compiled_update():
  cfg = config(remat='full')
  found = training_memory(cfg, compiled=True)
  assert found.compiled > 12 * count(cfg.model).total
  assert found.remat == 'full'
  assert found.platform == jax.devices()[0].platform
  assert found.estimated['full'] < found.estimated['none']


def test_auto_is_the_dtype_of_an_accelerator_or_of_this_machine(monkeypatch):
  cfg = config()
  cfg = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, dtype='auto'))
  assert training_memory(cfg).dtype == 'bfloat16'
  assert training_memory(cfg).compiled is None
  monkeypatch.setattr(memory, 'fastest_dtype', lambda: 'float32')
  monkeypatch.setattr(memory, 'compiled_bytes', lambda cfg: 17)
  assert training_memory(cfg, compiled=True).dtype == 'float32'


def test_a_compiler_without_memory_is_one_line(monkeypatch):
  def fail(*_):
    raise RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes')

  monkeypatch.setattr(jax.stages.Lowered, 'compile', fail)
  with pytest.raises(ConfigError, match='compiled: this device has too little memory'):
    compiled_bytes(config())


def test_the_state_is_part_of_the_memory():
  cfg = config(batch_size=1, seq_len=1)
  state = 12 * count(cfg.model).total
  assert estimated_bytes(cfg) > state
  assert tree_bytes(memory._update_and_arguments(cfg)[1]) == pytest.approx(
    state, rel=0.01
  )


def test_without_a_device_there_is_one_line(monkeypatch):
  def fail():
    raise RuntimeError('no device')

  monkeypatch.setattr(jax, 'devices', fail)
  with pytest.raises(ConfigError, match='JAX_PLATFORMS: .* finds no device'):
    training_memory(config())


def test_an_experiment_file_is_executed_once(tmp_path):
  path = tmp_path / 'experiment.py'
  log = tmp_path / 'log'
  path.write_text(
    f"""
import lmhp
with open({str(log)!r}, 'a') as file:
  file.write('x')


def get_config():
  config = lmhp.default_config()
  config.model.update({MODEL!r})
  config.optimizer.name = 'sgd'
  return config
"""
  )
  found = describe_target(path, batch_size=2, seq_len=8)
  assert found.memory.optimizer == 'sgd'
  assert log.read_text() == 'x'
