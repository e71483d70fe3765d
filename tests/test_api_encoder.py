"""The functions of the API on an encoder: train, count, sweep, and refused calls."""

import jax
import numpy as np
import pytest

import lmhp


def masked_encoder():
  """Config of a small BERT."""
  config = lmhp.default_config()
  config.model.update(
    {
      'architecture': 'encoder',
      'position': 'learned',
      'token_types': 2,
      'head_transform': True,
      'head_bias': True,
      'norm_bias': True,
      'norm_placement': 'post',
      'embedding_norm': True,
      'd_model': 24,
      'n_layers': 2,
      'n_heads': 4,
      'd_ff': 48,
      'max_seq_len': 24,
    }
  )
  config.data.objective = 'masked'
  config.train.update({'steps': 6, 'batch_size': 4})
  config.evaluate.update({'sequences': 8, 'final_sequences': 8})
  return config


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """Work directory and result of a run."""
  workdir = tmp_path_factory.mktemp('encoder') / 'run'
  return workdir, lmhp.train(masked_encoder(), workdir=workdir, display='none')


@pytest.mark.slow
def test_an_encoder_learns_masked_tokens(run):
  _, result = run
  losses = result.evaluations['eval_loss_nats']
  assert losses[-1] < losses[0]


@pytest.mark.slow
def test_an_encoder_has_as_many_parameters_as_counted(run):
  _, result = run
  n_parameters = sum(x.size for x in jax.tree.leaves(result.params))
  assert lmhp.count(masked_encoder())['total'] == n_parameters


@pytest.mark.slow
def test_a_packed_encoder_has_the_loss_of_a_single_run(tmp_path):
  values = {
    'train.label_smoothing': (0.1, 0.4),
    'optimizer.learning_rate': (1e-3, 3e-3),
  }
  space = {key: lmhp.Choice(*choices) for key, choices in values.items()}
  result = lmhp.sweep(
    masked_encoder(),
    lmhp.SweepConfig(space=space, search='grid', confirm_points=0),
    workdir=tmp_path / 'sweep',
    display='none',
    report=False,
  )
  losses = {}
  for trial in result.trials:
    point = frozenset(trial.parameters.items())
    losses[point] = trial.values[0]
  assert len(set(losses.values())) == 4

  overrides = {key: choices[-1] for key, choices in values.items()}
  single = lmhp.train(
    masked_encoder(),
    workdir=tmp_path / 'single',
    display='none',
    overrides=overrides,
  )
  np.testing.assert_allclose(
    losses[frozenset(overrides.items())],
    single.evaluations['eval_loss_nats'][-1],
    rtol=1e-5,
  )


@pytest.mark.slow
def test_an_encoder_does_not_generate(run):
  workdir, _ = run
  with pytest.raises(lmhp.ConfigError, match='model.architecture=encoder'):
    lmhp.generate(workdir, 'The ')


@pytest.mark.slow
@pytest.mark.parametrize(
  'overrides, expected',
  [
    ({'data.objective': 'causal'}, 'masked'),
    ({'model.architecture': 'decoder'}, 'causal'),
  ],
  ids=str,
)
def test_the_objective_has_to_fit_the_architecture(overrides, expected):
  message = f'data.objective: got .*, expected {expected}'
  with pytest.raises(lmhp.ConfigError, match=message):
    lmhp.train(masked_encoder(), display='none', overrides=overrides)
