"""A tiny model of each kind is counted, trained, resumed, swept and sampled."""

import shutil

import pytest
from small_runs import bits, rows

import lmhp
from lmhp.errors import ConfigError
from lmhp.params import list_params

EXPERTS = {'model.n_experts': 5, 'model.gated': True, 'model.d_ff': 10}
KINDS = {
  'decoder': {},
  'prefix': {'model.prefix_lm': True, 'data.objective': 'prefix'},
  'encoder': {'model.architecture': 'encoder', 'data.objective': 'masked'},
  'encoder_decoder': {
    'model.architecture': 'encoder_decoder',
    'model.position': 't5',
    'data.objective': 'span',
  },
  'experts': EXPERTS,
  'balanced experts': EXPERTS
  | {
    'model.router_score': 'sigmoid',
    'model.router_correction': True,
    'model.n_shared_experts': 1,
    'model.n_dense_layers': 1,
  },
  'latent': {'model.kv_latent_dim': 5, 'model.rotary_head_dim': 2},
  'convolution': {'model.mixer_pattern': ('convolution',)},
  'lstm': {'model.mixer_pattern': ('lstm',)},
  'gru': {'model.mixer_pattern': ('gru',)},
  'mingru': {'model.mixer_pattern': ('mingru',)},
  'rglru': {'model.mixer_pattern': ('rglru',)},
  'mamba2': {
    'model.mixer_pattern': ('mamba2',),
    'model.state_dim': 7,
    'model.state_chunk': 3,
  },
  'hybrid': {
    'model.mixer_pattern': ('rglru', 'attention', 'mamba2'),
    'model.n_layers': 3,
  }
  | EXPERTS,
}


QUICK_KINDS = ('decoder',)
KIND_CASES = [
  kind if kind in QUICK_KINDS else pytest.param(kind, marks=pytest.mark.slow)
  for kind in KINDS
]


@pytest.mark.parametrize('kind', KIND_CASES)
def test_count_train_resume_sweep_generate(kind, small, tmp_path):
  config = small(
    **{
      'train.steps': 24,
      'train.batch_size': 8,
      'checkpoint.every_steps': 16,
      'checkpoint.keep_last': 3,
      'checkpoint.keep_best': 0,
      'optimizer.learning_rate': 1e-2,
    }
    | KINDS[kind]
  )
  run = lmhp.train(config, workdir=tmp_path / 'run', display='none')
  parameters = [leaf for leaf in list_params(run.params) if leaf.role != 'state']
  assert run.result['parameters'] == sum(leaf.size for leaf in parameters)
  assert lmhp.count(config)['total'] == run.result['parameters']
  fall = 0.1 if kind == 'encoder' else 0.3  # it is told of one token in seven
  assert (
    run.result['final_eval_loss_nats'] < run.evaluations['eval_loss_nats'][0] - fall
  )

  shutil.copytree(tmp_path / 'run', tmp_path / 'again')
  shutil.rmtree(tmp_path / 'again' / 'checkpoints' / '24')
  (tmp_path / 'again' / 'result.json').unlink()
  again = lmhp.train(config, workdir=tmp_path / 'again', display='none')
  assert bits(again.params) == bits(run.params) and rows(again.workdir) == rows(
    run.workdir
  )

  space = {'optimizer.learning_rate': lmhp.Choice(3e-3, 1e-2)}
  study = lmhp.sweep(
    config,
    lmhp.SweepConfig(space=space, search='grid', confirm_points=0),
    workdir=tmp_path / 'study',
    display='none',
    report=False,
  )
  assert len(study.trials) == 2
  packed = {t.parameters['optimizer.learning_rate']: t.values[0] for t in study.trials}
  assert packed[1e-2] == pytest.approx(run.result['final_eval_loss_nats'], rel=2e-4)
  assert packed[3e-3] != packed[1e-2]

  if kind == 'encoder':
    with pytest.raises(ConfigError, match='model.architecture=encoder'):
      lmhp.generate(tmp_path / 'run', 'tree')
  else:
    written = lmhp.generate(tmp_path / 'run', 'tree', n_tokens=3, temperature=0.0)
    assert len(written.removeprefix('tree')) == 3
    assert written == lmhp.generate(
      tmp_path / 'run', 'tree', n_tokens=3, temperature=0.0
    )
