"""Functions of the API on small real runs: outputs, resuming, and accepted configs."""

import dataclasses
import json
import math
import pathlib
import time

from compilations import compilations
import jax
from ml_collections import FrozenConfigDict
import numpy as np
import pytest
from small_runs import bits, rows

import lmhp
from lmhp import config as config_lib
from lmhp.data import dataset as datasets
from lmhp.errors import ConfigError
from lmhp.training.checkpoint import Checkpoints
from lmhp.training.progress import heartbeat

METRICS = {
  'step',
  'tokens',
  'loss_nats',
  'objective_nats',
  'grad_norm',
  'learning_rate',
}


def train(config, workdir=None, **options):
  return lmhp.train(config, workdir=workdir, display='none', **options)


def test_noise_scale_is_logged_if_it_is_enabled(small, tmp_path):
  run = train(
    small(
      **{'train.steps': 5, 'train.measure_noise_scale': True, 'train.batch_size': 4}
    ),
    tmp_path / 'run',
  )
  assert set(rows(run.workdir)[1]) == {*METRICS, 'microbatch_grad_norm'}
  assert (run.history['microbatch_grad_norm'] > run.history['grad_norm']).all()


def test_files_and_result_of_a_run(small, tmp_path):
  config = small(
    **{
      'train.steps': 25,
      'log.every_steps': 10,
      'evaluate.every_steps': 10,
      'checkpoint.every_steps': 10,
    }
  )
  run = train(
    config, tmp_path / 'run', overrides={'train.seed': '3', 'schedule.warmup_steps': 5}
  )
  assert run.complete and run.signal is None and run.workdir == str(tmp_path / 'run')

  card = json.loads((tmp_path / 'run' / 'config.json').read_text())
  assert card['overrides'] == {'train.seed': '3', 'schedule.warmup_steps': 5}
  stored = config_lib.from_json(card['config'])
  assert (stored.train.steps, stored.train.seed, stored.train.seq_len) == (25, 3, 8)
  assert (stored.schedule.warmup_fraction, stored.schedule.warmup_steps) == (0.2, None)
  assert {'versions', 'git', 'device', 'command', 'started_utc', 'data_sha256'} <= set(
    card
  )

  steps = [(r['step'], 'eval_loss_nats' in r) for r in rows(run.workdir)]
  assert steps == [
    (0, True),
    (1, False),
    (10, False),
    (10, True),
    (20, False),
    (20, True),
    (25, False),
    (25, True),
  ]
  assert [r.get('final') for r in rows(run.workdir) if 'final' in r] == [0, 0, 0, 1]
  assert set(rows(run.workdir)[1]) == METRICS
  assert [r['tokens'] for r in rows(run.workdir) if 'tokens' in r] == [
    24 * r for r in (1, 10, 20, 25)
  ]
  assert run.history['step'].tolist() == [1, 10, 20, 25] and run.evaluations[
    'step'
  ].tolist() == [0, 10, 20, 25]

  result = json.loads((tmp_path / 'run' / 'result.json').read_text())
  assert result.pop('checksum')
  assert result == run.result
  assert (result['steps'], result['tokens'], result['diverged_at']) == (25, 600, None)
  assert result['parameters'] == sum(result['parameters_by_kind'].values())
  assert result['parameters'] == sum(x.size for x in jax.tree.leaves(run.params))
  assert result['final_eval_loss_nats'] == rows(run.workdir)[-1]['eval_loss_nats']
  assert result['data_sha256'] == card['data_sha256'] and result['dtype'] == 'float32'
  assert {
    'seconds',
    'compile_seconds',
    'final_eval_loss_nats_standard_error',
    'final_eval_bits_per_byte',
    'final_eval_perplexity',
    'final_eval_accuracy',
    'best_eval_loss_nats',
    'best_eval_step',
    'initial_loss_nats',
    'epochs',
    'versions',
    'git',
    'device',
    'command',
  } <= set(result)

  with Checkpoints(tmp_path / 'run' / 'checkpoints') as checkpoints:
    assert checkpoints.steps() in ([20, 25], [10, 20, 25])  # the last two, and the best
  _, params, tokenizer = lmhp.load_run(run.workdir)
  assert bits(params) == bits(run.params) and tokenizer.kind == 'char'


def test_loss_starts_near_chance_and_falls(small):
  run = train(small(**{'train.steps': 60, 'optimizer.learning_rate': 1e-2}))
  chance = math.log(run.model.cfg.vocab_size)
  assert run.evaluations['eval_loss_nats'][0] == pytest.approx(chance, rel=0.02)
  assert run.result['final_eval_loss_nats'] < chance - 0.5


@pytest.mark.parametrize(
  'length, steps',
  [
    ({'train.steps': 20}, 20),
    ({'train.tokens': 24 * 20 - 1}, 20),
    ({'train.epochs': 0.05}, None),
    ({'train.tokens_per_parameter': 0.1}, None),
  ],
)
def test_run_makes_the_configured_number_of_updates(small, length, steps):
  run = train(small(**{'train.steps': None} | length))
  with Checkpoints(pathlib.Path(run.workdir) / 'checkpoints') as checkpoints:
    assert checkpoints.latest() == run.result['steps'] == run.history['step'][-1]
  tokens = run.result['data']['train_tokens']
  in_tokens = {
    'train.epochs': 0.05 * tokens,
    'train.tokens_per_parameter': 0.1 * run.result['parameters'],
  }
  expected = steps or math.ceil(in_tokens[next(iter(length))] / 24)
  assert run.result['steps'] == expected and run.result['tokens'] == 24 * expected
  assert run.result['epochs'][0] == pytest.approx(3 * expected / (tokens // 8 - 1))


def test_only_the_last_evaluation_scores_all_sequences(small):
  run = train(small(**{'evaluate.sequences': 5, 'evaluate.every_steps': 12}))
  held_out = run.result['data']['validation_tokens']
  sequences, tokens = (
    run.evaluations['eval_sequences'].tolist(),
    run.evaluations['eval_tokens'].tolist(),
  )
  assert sequences == [5, 5, math.ceil((held_out - 1) / 8)]
  assert (
    tokens == [40, 40, held_out - 1] and run.result['final_eval_tokens'] == held_out - 1
  )
  run = train(small(**{'evaluate.final_sequences': 7, 'evaluate.sequences': None}))
  assert run.evaluations['eval_sequences'][0] == math.ceil((held_out - 1) / 8)
  assert run.evaluations['eval_sequences'][-1] == 7


def test_streamed_data_gives_the_same_bits(small, tmp_path):
  resident = train(small(**{'data.placement': 'device'}), tmp_path / 'resident')
  streamed = train(small(**{'data.placement': 'host'}), tmp_path / 'streamed')
  assert bits(resident.params) == bits(streamed.params)
  assert rows(resident.workdir) == rows(streamed.workdir)


def test_chunk_length_does_not_change_the_bits(small, tmp_path, monkeypatch):
  whole = train(small(), tmp_path / 'whole')
  for seconds in (1e-9, 1e-3):
    monkeypatch.setattr('lmhp.training.chunks.CHUNK_SECONDS', seconds)
    assert bits(train(small(), tmp_path / str(seconds)).params) == bits(whole.params)
    assert rows(tmp_path / str(seconds)) == rows(whole.workdir)
  monkeypatch.undo()
  saved = train(
    small(**{'checkpoint.every_steps': 5, 'checkpoint.every_seconds': 1e-6}),
    tmp_path / 'saved',
  )
  assert bits(saved.params) == bits(whole.params) and rows(saved.workdir) == rows(
    whole.workdir
  )


def test_seeds_and_traced_numbers_change_the_run(small):
  runs = [
    train(small(**values))
    for values in ({}, {'train.seed': 1}, {'data.seed': 1}, {'optimizer.b1': 0.8}, {})
  ]
  ends = [run.result['final_eval_loss_nats'] for run in runs]
  assert len(set(ends[:4])) == 4 and bits(runs[0].params) == bits(runs[4].params)
  starts = [run.evaluations['eval_loss_nats'][0] for run in runs]
  assert starts[0] == starts[2] == starts[3] != starts[1]


def test_diverged_run_has_a_result(small, tmp_path):
  config = small(**{'optimizer.learning_rate': 1e6, 'train.steps': 60})
  run = train(config, tmp_path / 'run')
  assert (
    run.complete
    and run.result['steps'] == run.result['diverged_at'] == run.history['step'][-1] < 60
  )
  assert (
    not np.isfinite(run.history['loss_nats'][-1])
    and np.isfinite(run.history['loss_nats'][:-1]).all()
  )
  assert math.isnan(run.result['final_eval_loss_nats'])
  stored = json.loads(
    (tmp_path / 'run' / 'result.json').read_text()
  )  # strict JSON: NaN is a word
  assert stored['final_eval_loss_nats'] == 'nan'
  assert stored['best_eval_loss_nats'] == run.evaluations['eval_loss_nats'][0]
  again = train(config, tmp_path / 'run')
  assert (
    math.isnan(again.result['final_eval_loss_nats'])
    and again.result['steps'] == run.result['steps']
  )


def test_run_whose_loss_rises_permanently_has_diverged(small):
  run = train(
    small(
      **{
        'optimizer.learning_rate': 10.0,
        'optimizer.weight_decay': 0.0,
        'train.steps': 60,
      }
    )
  )
  assert run.complete and run.result['steps'] == 60 and run.result['diverged_at'] < 60
  assert np.isfinite(run.history['loss_nats']).all()


def test_finished_run_is_not_trained_again(small, tmp_path, capsys, monkeypatch):
  first = train(small(), tmp_path / 'run')
  files = {p: p.read_bytes() for p in (tmp_path / 'run').rglob('*') if p.is_file()}
  monkeypatch.setattr(
    'lmhp.training.programs.Programs.chunk', None
  )  # nothing may be trained
  again = lmhp.train(small(), workdir=tmp_path / 'run', display='plain')
  assert 'this run is complete; nothing is trained again' in capsys.readouterr().out
  assert again.result == first.result and bits(again.params) == bits(first.params)
  assert all((again.history[k] == first.history[k]).all() for k in first.history)
  assert {
    p: p.read_bytes() for p in (tmp_path / 'run').rglob('*') if p.is_file()
  } == files


def test_last_line_of_a_notebook_cell_prints_a_short_summary(small):
  run = train(small())
  assert len(repr(run)) < 1500
  for name in ('final_eval_loss_nats', 'steps'):
    value = run.result[name]
    assert (f'{value:.4f}' if isinstance(value, float) else str(value)) in repr(run)
  assert run.workdir in repr(run)
  interrupted = dataclasses.replace(run, signal=15, result={})
  assert 'interrupted' in repr(interrupted)


def test_finished_run_without_checkpoints_can_be_read(small, tmp_path):
  first = train(small(**{'checkpoint.enabled': False}), tmp_path / 'run')
  assert first.params is not None and not (tmp_path / 'run' / 'checkpoints').exists()
  again = train(small(**{'checkpoint.enabled': False}), tmp_path / 'run')
  assert again.params is None and again.result == first.result
  with pytest.raises(ConfigError, match='saved no state'):
    lmhp.load_run(tmp_path / 'run')


def test_second_run_of_a_structure_does_not_compile(small):
  train(small())
  with compilations() as compiled:
    for values in (
      {'optimizer.learning_rate': 3e-3},
      {'optimizer.b2': 0.5, 'train.seed': 9, 'data.seed': 9},
      {'schedule.name': 'rex', 'schedule.warmup_steps': 3},
      {'train.z_loss': 1e-4, 'train.label_smoothing': 0.1},
      {
        'model.init_scale': 2.0,
        'optimizer.clip_norm': math.inf,
        'optimizer.attention_lr_multiplier': 0.5,
      },
    ):
      run = train(small(**values))
      assert run.result['compile_seconds'] == 0
    assert compiled == []
    train(small(**{'model.d_ff': 20}))
    assert compiled


def test_every_form_of_a_config_is_accepted(small, tmp_path):
  config = small()
  expected = bits(train(config).params)
  file = tmp_path / 'x.py'
  for form in (FrozenConfigDict(config), config.to_dict(), config_lib.resolve(config)):
    assert bits(train(form).params) == expected
  assert config.train.steps == 24 and config.is_locked  # the user's own is as it was
  file.write_text(
    'def get_config(seed=0):\n  import json\n'
    f'  config = json.loads({json.dumps(config_lib.to_json(config_lib.resolve(config)))!r})\n'
    "  config['train']['seed'] = int(seed)\n  return config\n"
  )
  assert bits(train(file).params) == expected
  assert (
    bits(train(f'{file}:4').params)
    == bits(train(config, overrides={'train.seed': 4}).params)
    != expected
  )
  with config.schedule.ignore_type():
    config.schedule.warmup_steps = config.train.get_ref('steps') // 2
  run = train(config, tmp_path / 'run', overrides={'train.steps': 10})
  card = json.loads((tmp_path / 'run' / 'config.json').read_text())
  assert (
    card['config']['schedule']['warmup_fraction'] == 0.5 and run.result['steps'] == 10
  )


def test_refused_call_writes_no_files(small, tmp_path):
  for values, expected in (
    ({'optimizer.freeze': ('nothing',)}, 'optimizer.freeze'),
    ({'data.path': ('nowhere',)}, 'data.path'),
    ({'model.max_seq_len': 4000}, 'data.path'),
    ({'train.batch_size': 2**40}, 'train.steps'),
  ):
    with pytest.raises(ConfigError, match=expected):
      train(small(**values), tmp_path / 'run')
    assert not (tmp_path / 'run').exists()
  for config in (3, None, 'nowhere.py'):
    with pytest.raises(ConfigError):
      train(config, tmp_path / 'run')
  assert train(small(), tmp_path / 'run').complete  # and the directory is free


def test_different_config_in_the_same_directory_is_refused(small, tmp_path):
  train(small(), tmp_path / 'run')
  with pytest.raises(
    ConfigError, match=r'optimizer.learning_rate: got 0.5, but the run in .* has 0.001'
  ):
    train(small(**{'optimizer.learning_rate': 0.5}), tmp_path / 'run')


def test_second_process_in_the_same_directory_is_refused(small, tmp_path):
  from lmhp.training.history import History

  with History(tmp_path / 'run'):
    with pytest.raises(ConfigError, match='another run is writing there'):
      train(small(), tmp_path / 'run')
  assert train(small(), tmp_path / 'run').complete


def test_count_accepts_every_form_of_a_target(small, tmp_path):
  counts = lmhp.count(small())
  assert (
    counts['total'] == train(small()).result['parameters']
    and counts['name'] == 'config'
  )
  assert lmhp.count(config_lib.resolve(small()))['total'] == counts['total']
  assert (
    lmhp.count(lmhp.ModelConfig(vocab_size=50, d_model=12, n_heads=2))['name']
    == 'model'
  )
  assert lmhp.count('GPT2')['total'] == 124_439_808
  (tmp_path / 'config.json').write_text(
    json.dumps(
      {
        'model_type': 'gpt2',
        'vocab_size': 50257,
        'n_embd': 768,
        'n_layer': 12,
        'n_head': 12,
        'n_positions': 1024,
      }
    )
  )
  for target in (tmp_path, str(tmp_path), tmp_path / 'config.json'):
    assert lmhp.count(target)['total'] == 124_439_808
  for target in (3, None, ''):
    with pytest.raises(ConfigError):
      lmhp.count(target)


def test_generate_continues_a_text(small, tmp_path):
  train(small(), tmp_path / 'run')
  text = lmhp.generate(tmp_path / 'run', 'tree ', temperature=0.0)
  assert text.startswith('tree ') and len(text) == 8
  assert text == lmhp.generate(tmp_path / 'run', 'tree ', temperature=0.0, seed=3)
  with pytest.raises(ConfigError, match='no run there'):
    lmhp.generate(tmp_path / 'nowhere', 'tree')


def test_compile_cache_follows_the_environment(monkeypatch, tmp_path):
  from lmhp.api import use_compile_cache

  before = jax.config.jax_compilation_cache_dir
  try:
    monkeypatch.setenv('LMHP_COMPILE_CACHE', 'off')
    use_compile_cache()
    assert jax.config.jax_compilation_cache_dir == before
    if before is None:
      monkeypatch.setenv('LMHP_COMPILE_CACHE', str(tmp_path))
      use_compile_cache()
      assert jax.config.jax_compilation_cache_dir == str(tmp_path)
  finally:
    jax.config.update('jax_compilation_cache_dir', before)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 1.0)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)


@pytest.mark.parametrize('mode', ['plain', 'terminal'])
@pytest.mark.parametrize('command', ['train', 'sweep'])
def test_slow_reading_of_data_is_not_silent(monkeypatch, capsys, mode, command):
  monkeypatch.setattr(heartbeat, 'SILENT_SECONDS', 0.1)

  def load_slowly(cfg):
    del cfg
    time.sleep(0.5)
    raise ConfigError('data.path: read')

  monkeypatch.setattr(datasets, 'load', load_slowly)
  with pytest.raises(ConfigError, match='read'):
    if command == 'train':
      lmhp.train(lmhp.default_config(), display=mode)
    else:
      space = {'optimizer.learning_rate': lmhp.Float(1e-3, 1e-1, log=True)}
      lmhp.sweep(
        lmhp.default_config(), lmhp.SweepConfig(space=space, trials=2), display=mode
      )
  assert capsys.readouterr().out.count('tokenizing the data') >= 2
