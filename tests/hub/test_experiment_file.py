"""Fine-tuning of a pretrained model: import, train, sweep, resume and export."""

import json
import os

import jax
import numpy as np
import pytest

import lmhp
from lmhp import cli
from lmhp.hub.experiment_file import experiment_text
from lmhp.model.config import ModelConfig

SHORT = {
  'train.steps': 4,
  'train.batch_size': 2,
  'data.path': 'docstrings',
  'evaluate.sequences': 4,
  'evaluate.final_sequences': 4,
}


def train(workdir, **changes):
  """Trains the experiment tiny.py for a few steps."""
  return lmhp.train(
    'tiny.py', workdir=workdir, display='none', overrides=SHORT | changes
  )


def assert_same(tree, other):
  jax.tree.map(np.testing.assert_array_equal, tree, other)


# --- the text -----------------------------------------------------------------------


def config_of(text):
  """Runs the text of an experiment file, and returns its config."""
  variables = {}
  exec(text, variables)
  return variables['get_config']()


def test_the_text_has_every_field_that_differs_from_its_default():
  cfg = ModelConfig(vocab_size=31, d_model=24, n_heads=3, max_seq_len=700)
  config = config_of(experiment_text('m', '/m', cfg, has_tokenizer=False))
  assert config.model.vocab_size == 31
  assert config.model.d_model == 24
  assert config.model.n_heads == 3
  assert config.train.seq_len == 512
  assert config.train.init_from == '/m'
  assert config.data.tokenizer == 'byte'


def test_the_text_has_the_tokenizer_and_a_short_context():
  cfg = ModelConfig(vocab_size=31, max_seq_len=32)
  config = config_of(experiment_text('m', '/m', cfg, has_tokenizer=True))
  assert config.data.tokenizer == '/m/tokenizer.json'
  assert config.train.seq_len == 32


def test_quotes_in_a_name_do_not_end_the_docstring():
  cfg = ModelConfig(vocab_size=31)
  text = experiment_text('a"""b\\', '/a"b\\', cfg, has_tokenizer=False)
  assert config_of(text).train.init_from == '/a"b\\'


# --- training -----------------------------------------------------------------------


@pytest.mark.slow
def test_import_train_and_export_by_command_line(tiny_checkpoint, capsys):
  flags = [f'--config.{key}={value}' for key, value in SHORT.items()]
  flags += ['--config.optimizer.learning_rate=0.001', '--display=none']
  assert cli.main(['import', str(tiny_checkpoint.path)]) == 0
  assert 'tiny.py' in capsys.readouterr().out
  assert cli.main(['train', '--config=tiny.py', '--workdir=run', *flags]) == 0
  assert cli.main(['export', 'run', 'out']) == 0

  # Four steps with a learning rate of 0.001 change the parameters a little.
  tuned = lmhp.load_run('run')[1]
  distances = jax.tree.map(
    lambda a, b: float(np.max(np.abs(a - b))), tuned, tiny_checkpoint.params
  )
  assert 0 < max(jax.tree.leaves(distances)) < 0.01

  # The export has the trained parameters and the config.json of the checkpoint.
  assert_same(lmhp.load_pretrained('out')[1], tuned)
  with open('out/config.json') as file:
    assert json.load(file) == tiny_checkpoint.config
  assert not [name for name in os.listdir('.') if name.startswith('.out')]

  # A second export does not overwrite the first one.
  assert cli.main(['export', 'run', 'out']) == 2
  assert 'out: ' in capsys.readouterr().err


def test_an_experiment_file_is_not_overwritten(tiny_checkpoint, capsys):
  path = str(tiny_checkpoint.path)
  assert cli.main(['import', path]) == 0
  assert cli.main(['import', path]) == 2
  assert 'tiny.py: ' in capsys.readouterr().err


@pytest.mark.slow
def test_a_learning_rate_of_zero_keeps_the_pretrained_parameters(tiny_checkpoint):
  lmhp.import_pretrained(tiny_checkpoint.path)
  run = train('run', **{'optimizer.learning_rate': 0.0})
  assert_same(run.params, tiny_checkpoint.params)


@pytest.mark.slow
def test_a_run_gives_the_same_bits_again(tiny_checkpoint):
  lmhp.import_pretrained(tiny_checkpoint.path)
  assert_same(train('first').params, train('second').params)


def test_a_missing_checkpoint_is_an_error(tiny_checkpoint):
  lmhp.import_pretrained(tiny_checkpoint.path)
  os.rename(tiny_checkpoint.path, tiny_checkpoint.path.with_name('moved'))
  with pytest.raises(lmhp.ConfigError, match='train.init_from: .*tiny'):
    train('run')


def test_a_checkpoint_of_another_structure_is_an_error(tiny_checkpoint):
  lmhp.import_pretrained(tiny_checkpoint.path)
  pattern = r'train.init_from: .*feed_forward/down/kernel: .*20, 24\).*22, 24\)'
  with pytest.raises(lmhp.ConfigError, match=pattern):
    train('run', **{'model.d_ff': 22})


@pytest.mark.slow
def test_trials_of_a_sweep_start_from_the_checkpoint(tiny_checkpoint):
  lmhp.import_pretrained(tiny_checkpoint.path)
  learning_rates = lmhp.Choice(0.0, 1e-3, 1e-2)
  result = lmhp.sweep(
    'tiny.py',
    lmhp.SweepConfig(
      space={'optimizer.learning_rate': learning_rates},
      search='grid',
      confirm_points=0,
    ),
    workdir='study',
    display='none',
    overrides=SHORT,
    report=False,
  )
  losses = {}
  for trial in result.trials:
    losses[trial.parameters['optimizer.learning_rate']] = trial.values[0]
  assert len(losses) == 3
  assert losses[1e-2] < losses[0.0]

  run = train('alone', **{'optimizer.learning_rate': 0.0})
  expected = run.evaluations['eval_loss_nats'][-1]
  np.testing.assert_allclose(losses[0.0], expected, rtol=1e-5)


# --- a run without a checkpoint -----------------------------------------------------


def loaded_in_transformers(directory, run):
  """Returns the exported model of a run, after a comparison of its logits with the run's."""
  import torch
  import transformers

  model = transformers.AutoModelForCausalLM.from_pretrained(
    directory, attn_implementation='eager'
  )
  tokens = np.arange(10)[None]
  with torch.no_grad():
    logits = model(input_ids=torch.as_tensor(tokens)).logits.numpy()
  np.testing.assert_allclose(
    run.model.apply(run.params, tokens), logits, rtol=0, atol=2e-5
  )
  return model


@pytest.mark.oracle
def test_a_run_with_the_default_model_loads_in_transformers(tmp_path):
  """As GPT-NeoX, whose further biases are zero."""
  config = lmhp.default_config()
  config.model.update({'d_model': 24, 'n_layers': 2, 'n_heads': 4, 'dtype': 'float32'})
  config.train.update({'steps': 2, 'batch_size': 2, 'seq_len': 16})
  config.evaluate.final_sequences = 2
  run = lmhp.train(config, workdir=tmp_path / 'run', display='none')
  lmhp.export(tmp_path / 'run', tmp_path / 'out')

  model = loaded_in_transformers(tmp_path / 'out', run)
  assert type(model).__name__ == 'GPTNeoXForCausalLM'
  # The id of the tokenizer, not the default of the class.
  tokenizer = lmhp.load_run(tmp_path / 'run')[2]
  assert model.config.eos_token_id == tokenizer.end_of_text


@pytest.mark.oracle
def test_a_run_from_scratch_loads_in_transformers(tmp_path):
  config = lmhp.default_config()
  config.model.update(
    {
      'd_model': 24,
      'n_layers': 2,
      'n_heads': 4,
      'n_kv_heads': 2,
      'max_seq_len': 16,
      'norm': 'rmsnorm',
      'gated': True,
      'activation': 'silu',
      'norm_eps': 1e-6,
      'tie_embeddings': False,
      'dtype': 'float32',
    }
  )
  config.train.update({'steps': 2, 'batch_size': 2})
  config.evaluate.final_sequences = 2
  run = lmhp.train(config, workdir=tmp_path / 'run', display='none')
  lmhp.export(tmp_path / 'run', tmp_path / 'out')

  model = loaded_in_transformers(tmp_path / 'out', run)
  assert type(model).__name__ == 'LlamaForCausalLM'
