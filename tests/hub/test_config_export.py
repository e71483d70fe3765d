"""Every model that lmhp reads has a config.json again; and fine-tuning: import, train, sweep, resume, export."""

import json
import os
import pathlib
import re

import jax
import numpy as np
from published_configs import PUBLISHED
import pytest
from small_checkpoints import CONFIGS

import lmhp
from lmhp import cli
from lmhp.hub.config_export import config_of, differences
from lmhp.hub.config_json import model_config
from lmhp.hub.families import FAMILIES
from lmhp.model.config import ModelConfig

SMALL = {
  f'{family}-{i}': dict(entries, model_type=family)
  for family, configs in CONFIGS.items()
  for i, entries in enumerate(configs)
}
TEXTS = {
  name: config
  for name, config in (SMALL | PUBLISHED).items()
  if not FAMILIES[config['model_type']].inside
}


@pytest.mark.parametrize('name', TEXTS)
def test_what_is_written_reads_back(name):
  cfg = model_config(TEXTS[name], name)
  assert differences(cfg, FAMILIES[TEXTS[name]['model_type']].written(cfg)) == []
  assert model_config(config_of(cfg, TEXTS[name])) == cfg
  assert differences(cfg, config_of(cfg)) == []


def test_a_model_that_no_family_has_names_the_nearest():
  cfg = ModelConfig(
    vocab_size=31,
    norm='rmsnorm',
    gated=True,
    activation='silu',
    position='sinusoidal',
    norm_eps=1e-6,
  )
  with pytest.raises(
    lmhp.ConfigError,
    match="the nearest, [\\w-]+, differs: model.position is 'sinusoidal'",
  ) as caught:
    config_of(cfg)
  assert '\n' not in str(caught.value)


# --- fine-tuning ------------------------------------------------------------------------------------------------------


@pytest.fixture
def pretrained(tmp_path, monkeypatch):
  """A Hugging Face directory of a tiny llama that reads bytes, and the working directory beside it."""
  import dataclasses

  from lmhp.model.transformer import build

  config = dict(CONFIGS['llama'][0], model_type='llama', vocab_size=257)
  model = build(dataclasses.replace(model_config(config), dtype='float32'))
  params = jax.tree.map(np.asarray, model.init(jax.random.key(7), {'init_scale': 1.0}))
  lmhp.save_pretrained(tmp_path / 'tiny', config, params)
  monkeypatch.chdir(tmp_path)
  return tmp_path / 'tiny', params


SHORT = [
  '--config.train.steps=4',
  '--config.train.batch_size=2',
  '--config.data.path=docstrings',
  '--config.evaluate.sequences=4',
  '--config.evaluate.final_sequences=4',
  '--display=none',
]


def test_import_train_export(pretrained, capsys):
  path, params = pretrained
  assert cli.main(['import', str(path)]) == 0
  assert 'tiny.py: fine-tunes' in capsys.readouterr().out
  assert (
    cli.main(
      [
        'train',
        '--config=tiny.py',
        '--workdir=run',
        *SHORT,
        '--config.optimizer.learning_rate=0.001',
      ]
    )
    == 0
  )
  tuned = lmhp.load_run('run')[1]
  moved = jax.tree.map(lambda a, b: float(np.max(np.abs(a - b))), tuned, params)
  assert (
    0 < max(jax.tree.leaves(moved)) < 0.01
  )  # four steps of a thousandth from where it began
  assert cli.main(['export', 'run', 'out']) == 0
  assert not [name for name in os.listdir('.') if name.startswith('.out')]
  jax.tree.map(np.testing.assert_array_equal, lmhp.load_pretrained('out')[1], tuned)
  assert json.loads((path / 'config.json').read_text()) == json.loads(
    pathlib.Path('out/config.json').read_text()
  )
  assert cli.main(['export', 'run', 'out']) == 2
  assert 'exists, expected the name of a new directory' in capsys.readouterr().err
  assert cli.main(['import', str(path)]) == 2
  assert 'tiny.py: exists' in capsys.readouterr().err


def test_a_rate_of_zero_leaves_the_pretrained_parameters_and_a_resumed_run_has_its_bits(
  pretrained,
):
  path, params = pretrained
  lmhp.import_pretrained(path)
  short = {
    re.sub('--config.', '', word).split('=')[0]: word.split('=')[1]
    for word in SHORT[:-1]
  }
  still = lmhp.train(
    'tiny.py',
    workdir='still',
    display='none',
    overrides=short | {'optimizer.learning_rate': 0.0},
  )
  jax.tree.map(np.testing.assert_array_equal, still.params, params)
  whole = lmhp.train(
    'tiny.py', workdir='whole', display='none', overrides=short | {'train.steps': 4}
  )
  os.rename(path, path.with_name('gone'))
  with pytest.raises(lmhp.ConfigError, match='train.init_from: .*tiny'):
    lmhp.train('tiny.py', workdir='other', display='none', overrides=short)
  os.rename(path.with_name('gone'), path)
  again = lmhp.train('tiny.py', workdir='again', display='none', overrides=short)
  jax.tree.map(np.testing.assert_array_equal, whole.params, again.params)


def test_members_of_a_sweep_start_from_it(pretrained):
  path, params = pretrained
  lmhp.import_pretrained(path)
  short = {
    re.sub('--config.', '', word).split('=')[0]: word.split('=')[1]
    for word in SHORT[:-1]
  }
  space = {'optimizer.learning_rate': lmhp.Choice(0.0, 1e-3, 1e-2)}
  found = lmhp.sweep(
    'tiny.py',
    lmhp.SweepConfig(space=space, search='grid', confirm_points=0),
    workdir='study',
    display='none',
    overrides=short,
    report=False,
  )
  alone = lmhp.train(
    'tiny.py',
    workdir='alone',
    display='none',
    overrides=short | {'optimizer.learning_rate': 0.0},
  )
  losses = {t.parameters['optimizer.learning_rate']: t.values[0] for t in found.trials}
  assert len(losses) == 3 and losses[1e-2] < losses[0.0]
  np.testing.assert_allclose(
    losses[0.0], alone.evaluations['eval_loss_nats'][-1], rtol=1e-5
  )


def test_another_structure_is_one_line(pretrained):
  path, _ = pretrained
  lmhp.import_pretrained(path)
  with pytest.raises(
    lmhp.ConfigError,
    match=r'train.init_from: .*: decoder/segment_0/feed_forward/down/kernel: got '
    r"\(3, 20, 24\), but the config's model has \(3, 22, 24\)",
  ):
    lmhp.train(
      'tiny.py',
      workdir='run',
      display='none',
      overrides={'model.d_ff': 22, 'data.path': 'docstrings'},
    )


@pytest.mark.oracle
def test_a_run_drawn_from_scratch_loads_in_transformers(tmp_path):
  import torch
  import transformers

  config = lmhp.default_config()
  config.model.update(
    dict(
      d_model=24,
      n_layers=2,
      n_heads=4,
      n_kv_heads=2,
      max_seq_len=16,
      norm='rmsnorm',
      gated=True,
      activation='silu',
      norm_eps=1e-6,
      tie_embeddings=False,
      dtype='float32',
    )
  )
  config.train.update(dict(steps=2, batch_size=2))
  config.evaluate.final_sequences = 2
  run = lmhp.train(config, workdir=tmp_path / 'run', display='none')
  lmhp.export(tmp_path / 'run', tmp_path / 'out')
  model = transformers.AutoModelForCausalLM.from_pretrained(
    tmp_path / 'out', attn_implementation='eager'
  )
  assert type(model).__name__ == 'LlamaForCausalLM'
  tokens = np.arange(10)[None]
  with torch.no_grad():
    logits = model(input_ids=torch.as_tensor(tokens)).logits.numpy()
  np.testing.assert_allclose(
    run.model.apply(run.params, tokens), logits, rtol=0, atol=2e-5
  )
