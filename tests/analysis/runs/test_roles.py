"""Roles of columns: by flag, by name, by values, and by other columns."""

import numpy as np
import pytest

from lmhp.analysis.runs.raw_table import RawTable
from lmhp.analysis.runs.roles import column_roles
from lmhp.analysis.runs.sources import read
from lmhp.errors import ConfigError

RNG = np.random.default_rng(0)


def roles_of(columns, objective='val_loss', given=None):
  found = column_roles(RawTable(columns), objective, given)
  return {name: column.role for name, column in found.items()}


@pytest.mark.parametrize(
  'name, values, role',
  [
    ('config/lr', [0.1, 0.2, 0.3], 'hyperparameter'),
    ('params_lr', [0.1, 0.2, 0.3], 'hyperparameter'),
    ('config.learning_rate', [0.1, 0.2, 0.3], 'hyperparameter'),
    ('loss_weight', [0.1, 0.2, 0.3], 'hyperparameter'),
    ('loss', ['ce', 'focal', 'ce'], 'hyperparameter'),
    ('warmup_steps', [10, 20, 30], 'hyperparameter'),
    ('optimizer_name', ['adam', 'sgd', 'adam'], 'hyperparameter'),
    ('train_batch_size', [8, 16, 32], 'hyperparameter'),
    ('n_params', [10, 20, 30], 'size'),
    ('params_m', [1.5, 2.5, 3.5], 'size'),
    ('params_total_m', [1.5, 2.5, 3.5], 'size'),
    ('param_n_units', [8, 16, 32], 'hyperparameter'),
    ('train_tokens', [10, 20, 30], 'size'),
    ('Training FLOP', [1e18, 2e18, 3e18], 'size'),
    ('N', [10**6, 10**7, 10**8], 'size'),
    ('N', [4, 8, 16], 'hyperparameter'),
    ('Episodes', [251, 300, 500], 'size'),
    ('epochs_ran', [58, 100, 47], 'outcome'),
    ('final_ep_len_mean', [3207.9, 3182.2, 7598.9], 'outcome'),
    ('max_episode_length', [100, 200, 300], 'hyperparameter'),
    ('timesteps', [5 * 10**5, 2000, 1000], 'size'),
    ('timesteps', [250, 500, 1000], 'hyperparameter'),
    ('portfolio_sharpe_daily', [0.1, 0.2, 0.3], 'outcome'),
    ('prediction_rank_ic', [0.1, 0.2, 0.3], 'outcome'),
    ('energy_kwh', [0.1, 0.2, 0.3], 'outcome'),
    ('crashed', [0, 2, 5], 'outcome'),
    ('by_task.copy.512', [0.1, 0.2, 0.3], 'outcome'),
    ('budget_s', [10.0, 20.0, 40.0], 'size'),
    ('best_params.depth', [3, 4, 5], 'metadata'),
    ('Unnamed: 0.1', [0.0, 1.0, None], 'metadata'),
    ('git_n_dirty', [24, 39, 14], 'metadata'),
    ('member', ['Ada', 'Bob', 'Ada'], 'metadata'),
    ('correct', [34, 38, 32], 'outcome'),
    ('hypers.KNOB', [10, 10, 10], 'hyperparameter'),
    ('weighted_ce', [True, False, True], 'hyperparameter'),
    ('success', [True, False, True], 'outcome'),
    ('min_samples_split', [2, 6, 10], 'hyperparameter'),
    ('flip_prob', [0.1, 0.2, 0.3], 'hyperparameter'),
    ('seed', [0, 1, 2], 'seed'),
    ('Seed', [11, 22, 33], 'seed'),
    ('fold', [0, 1, 2], 'seed'),
    ('train/loss', [3.1, 3.2, 3.3], 'outcome'),
    ('Test Accuracy', [0.1, 0.2, 0.3], 'outcome'),
    ('eval_masked_accuracy', [0.1, 0.2, 0.3], 'outcome'),
    ('memory_gb', [1.5, 2.5, 3.5], 'outcome'),
    ('tokens_per_sec', [100, 200, 300], 'outcome'),
    ('samples_per_sec_per_gpu', [100, 200, 300], 'outcome'),
    ('ms_per_step', [100, 200, 300], 'outcome'),
    ('tokens_per_batch', [100, 200, 300], 'hyperparameter'),
    ('val_loss_std', [0.1, 0.2, 0.3], 'outcome'),
    ('State', ['finished', 'crashed', 'finished'], 'status'),
    ('diverged', [True, False, True], 'status'),
    ('Name', ['a', 'b', 'c'], 'identity'),
    ('run_id', ['x1', 'x2', 'x3'], 'identity'),
    ('number', [0, 1, 2], 'identity'),
    ('commit', ['a1', 'b2', 'c3'], 'identity'),
    ('Created', ['2026-05-01T00:11:00.000Z'] * 3, 'metadata'),
    ('duration', ['0:00:50.793728'] * 3, 'metadata'),
    ('_step', [100, 200, 300], 'metadata'),
    ('Notes', ['-', 'x', 'y'], 'metadata'),
    ('tags.mlflow.user', ['me', 'me', 'you'], 'metadata'),
    ('output_dir', ['a/1', 'a/2', 'a/3'], 'metadata'),
  ],
)
def test_names(name, values, role):
  columns = {'lr': [0.1, 0.2, 0.1], name: values, 'val_loss': [3.0, 3.1, 3.2]}
  assert roles_of(columns)[name] == role


def test_values_of_unknown_names():
  n = 12
  columns = {
    'knob': [0.1, 0.2, 0.3] * 4,
    'code': [f'{i:x}{i}' for i in range(n)],
    'remark': [
      f'this run tried {i} things, which took a long evening' for i in range(n)
    ],
    'row_number': list(range(n)),
    'x': RNG.random(n).tolist(),
    'val_loss': (3 + RNG.random(n)).tolist(),
    'quirk': RNG.random(n).tolist(),
  }
  columns['copy'] = [2 * loss for loss in columns['val_loss']]
  assert roles_of(columns) == {
    'knob': 'hyperparameter',
    'code': 'identity',
    'remark': 'metadata',
    'row_number': 'metadata',
    'x': 'hyperparameter',
    'val_loss': 'objective',
    # A number of many digits behind the metrics was measured.
    'quirk': 'outcome',
    'copy': 'outcome',
  }


def test_a_unique_sorted_number_stays_a_hyperparameter():
  n = 20
  columns = {'theta': np.linspace(0, 1, n).tolist(), 'val_loss': RNG.random(n).tolist()}
  assert roles_of(columns)['theta'] == 'hyperparameter'


def test_shapes_and_batch_sizes_that_sizes_determine_are_sizes():
  columns = {
    'params': [10**6, 10**6, 10**7, 10**7],
    'd_model': [64, 64, 256, 256],
    'batch_size': [8, 8, 32, 32],
    'lr': [1e-3, 1e-2, 1e-3, 1e-2],
    'val_loss': [3.0, 2.9, 2.5, 2.4],
  }
  assert roles_of(columns)['d_model'] == 'size'
  assert roles_of(columns)['batch_size'] == 'size'
  assert roles_of(columns)['lr'] == 'hyperparameter'
  # A batch size that varies at one size was chosen.
  columns['batch_size'] = [8, 16, 8, 16]
  assert roles_of(columns)['batch_size'] == 'hyperparameter'


def test_numbers_of_repeated_settings_are_replicates():
  columns = {
    'lr': [0.1, 0.1, 0.2, 0.2],
    'run': [0, 1, 0, 1],
    'val_loss': [3.0, 3.1, 2.9, 2.8],
  }
  assert roles_of(columns)['run'] == 'seed'


def test_iterations_of_each_setting_and_task_are_replicates():
  columns = {
    'task': ['a', 'a', 'b', 'b'] * 2,
    'model': ['x'] * 4 + ['y'] * 4,
    'iteration': [1, 2] * 4,
    'auc': RNG.random(8).tolist(),
  }
  roles = roles_of(columns, 'auc')
  assert roles['iteration'] == 'seed'
  assert roles['task'] == 'yardstick'


def test_the_parts_of_a_mean_are_outcomes():
  parts = RNG.uniform(80, 90, (3, 9)).round(4)
  columns = {f'task{i}': part.tolist() for i, part in enumerate(parts)}
  columns |= {'size1': [1, 2, 3] * 3, 'avg': parts.mean(0).round(4).tolist()}
  roles = roles_of(columns, 'avg')
  assert roles == {
    **dict.fromkeys(('task0', 'task1', 'task2'), 'outcome'),
    'size1': 'hyperparameter',
    'avg': 'objective',
  }


def test_the_same_measure_of_other_data_is_an_outcome():
  columns = {'rate': [0.1, 0.2, 0.3] * 3}
  for data in ('cora', 'mono_type', 'pubmed'):
    for measure in ('corr', 'squared'):
      columns[f'{data}_{measure}'] = RNG.random(9).tolist()
  roles = roles_of(columns, 'pubmed_corr')
  assert roles.pop('rate') == 'hyperparameter'
  assert roles.pop('pubmed_corr') == 'objective'
  assert set(roles.values()) == {'outcome'}
  given = {'cora_corr': 'hyperparameter'}
  assert roles_of(columns, 'pubmed_corr', given)['cora_corr'] == 'hyperparameter'


def test_a_rate_beside_an_error_rate_stays_a_setting():
  columns = {'learning_rate': [1e-3, 2e-3, 3e-3], 'error_rate': [0.1, 0.2, 0.15]}
  assert roles_of(columns, 'error_rate')['learning_rate'] == 'hyperparameter'


def test_numbers_of_data_sets_in_rows_are_outcomes():
  columns = {
    'dataset': ['a', 'b', 'c'],
    'ROCKET-100': [0.91, 0.82, 0.88],
    'accuracy': [0.9, 0.8, 0.85],
  }
  assert roles_of(columns, 'accuracy')['ROCKET-100'] == 'outcome'


def test_a_setting_is_read_once():
  columns = {
    'param_max_depth': [2, 4, 6],
    'params.max_depth': [2, 4, 6],
    'val_loss': [3.0, 3.1, 3.2],
  }
  roles = roles_of(columns)
  assert roles['param_max_depth'] == 'hyperparameter'
  assert roles['params.max_depth'] == 'metadata'


def test_a_flag_that_changes_the_size_stays_a_choice():
  columns = {
    'params': [1025, 1153, 1025, 1153],
    'bn': [False, True, False, True],
    'lr': [0.1, 0.1, 0.2, 0.2],
    'val_loss': [3.0, 2.9, 2.8, 2.7],
  }
  assert roles_of(columns)['bn'] == 'hyperparameter'


def test_names_of_ablations_are_the_setting_beside_a_size():
  columns = {
    'experiment': ['baseline', 'no_dropout', 'more_heads', 'deep', 'no_warmup'],
    'params': [1000, 1000, 1000, 2000, 1000],
    'val_loss': [3.0, 3.1, 3.0, 2.9, 3.2],
  }
  assert roles_of(columns)['experiment'] == 'hyperparameter'
  # A name for each size is no setting.
  columns['params'] = [1000, 2000, 3000, 4000, 5000]
  assert roles_of(columns)['experiment'] == 'identity'


def test_a_logged_rate_is_no_setting():
  columns = {
    'learning_rate': [1e-3, 2e-3],
    'lr': [1e-5, 2e-5],
    'val_loss': [3.0, 2.9],
  }
  assert roles_of(columns)['lr'] == 'outcome'


def test_flags_decide():
  columns = {'tokens': [1, 2, 3], 'lr': [1, 2, 3], 'val_loss': [3.0, 3.1, 3.2]}
  given = {'tokens': 'hyperparameter', 'lr': 'metadata'}
  assert roles_of(columns, given=given) == {
    'tokens': 'hyperparameter',
    'lr': 'metadata',
    'val_loss': 'objective',
  }
  with pytest.raises(ConfigError, match='--roles: .*did you mean'):
    roles_of(columns, given={'token': 'size'})
  with pytest.raises(ConfigError, match='--roles: lr: got .*hyperparam'):
    roles_of(columns, given={'lr': 'hyperparam'})


# --- rows -------------------------------------------------------------------------------


def runs_of(tmp_path, text, **options):
  path = tmp_path / 'runs.csv'
  path.write_text(text)
  return read(path, **options)


def test_statuses_and_missing_results(tmp_path):
  text = (
    'lr,State,val_loss\n0.1,finished,3.0\n0.2,crashed,0.0\n0.3,finished,\n0.4,finished,nan\n'
    '0.5,running,2.0\n0.6,finished,diverged\n'
  )
  runs = runs_of(tmp_path, text)
  assert runs.status.tolist() == [
    'complete',
    'failed',
    'missing',
    'diverged',
    'running',
    'diverged',
  ]
  # The value of a crash is no result.
  assert runs.complete_runs().objective.tolist() == [3.0]


@pytest.mark.parametrize(
  'name, maximize',
  [('val_loss', False), ('accuracy', True), ('BLEU', True), ('perplexity', False)],
)
def test_direction_of_known_metrics(tmp_path, name, maximize):
  text = f'lr,{name}\n0.1,3.0\n0.2,2.0\n'
  runs = runs_of(tmp_path, text)
  assert runs.maximize is maximize
  turned = runs_of(tmp_path, text, maximize=not maximize)
  assert turned.maximize is not maximize


def test_an_unknown_metric_needs_a_direction(tmp_path):
  text = 'lr,value\n0.1,3.0\n0.2,2.0\n'
  with pytest.raises(ConfigError, match='--minimize.*--maximize'):
    runs_of(tmp_path, text)
  assert runs_of(tmp_path, text, maximize=True).maximize


def test_validation_comes_before_training(tmp_path):
  text = 'lr,train_loss,val_loss\n0.1,1.0,3.0\n0.2,2.0,2.0\n'
  assert runs_of(tmp_path, text).objective_name == 'val_loss'


def test_equal_rows_count_once_and_others_are_replicates(tmp_path):
  text = 'lr,val_loss\n0.1,3.0\n0.1,3.0\n0.1,3.1\n0.2,2.0\n0.3,2.5\n'
  runs = runs_of(tmp_path, text)
  assert len(runs) == 4
  assert runs.n_points == 3
  assert 'count once' in runs.notes[0]


def test_aggregated_seeds_have_their_mean_and_spread(tmp_path):
  text = 'name,val_loss_mean,val_loss_std,num_seeds\na,3.0,0.1,4\nb,2.5,0.2,4\n'
  runs = runs_of(tmp_path, text)
  for point, (mean, sd) in enumerate([(3.0, 0.1), (2.5, 0.2)]):
    losses = runs.objective[runs.point == point]
    assert len(losses) == 4
    assert losses.mean() == pytest.approx(mean)
    assert np.std(losses, ddof=1) == pytest.approx(sd)


def test_sizes_make_blocks(tmp_path):
  text = 'lr,params_m,loss\n' + ''.join(
    f'{lr},{n},{3 - n / 100}\n' for n in (10, 10.2, 50) for lr in (0.1, 0.2, 0.3)
  )
  runs = runs_of(tmp_path, text)
  assert runs.sizes == ('parameters',)
  assert runs.measured['parameters'].max() == 50e6
  assert len(np.unique(runs.blocks())) == 2


def test_the_length_of_a_rollout_is_no_size():
  columns = {
    'n_steps': [512, 2048],
    'timesteps': [150000, 300000],
    'reward': [1.0, 2.0],
  }
  roles = roles_of(columns, objective='reward')
  assert roles == {
    'n_steps': 'hyperparameter',
    'timesteps': 'size',
    'reward': 'objective',
  }


def test_counts_among_the_results_are_outcomes():
  columns = {
    'lr': [0.1, 0.2, 0.3, 0.1, 0.2, 0.3],
    'val_loss': [3.0, 2.0, 2.5, 3.1, 2.1, 2.6],
    'q_states': [9772, 9977, 9459, 8933, 9738, 9808],
    'knob': [1, 2, 1, 2, 1, 2],
    'train_time_s': [5.0, 6.0, 7.0, 5.0, 6.0, 7.0],
  }
  assert roles_of(columns)['q_states'] == 'outcome'
  assert roles_of(columns)['knob'] == 'hyperparameter'


def test_names_of_data_sets_are_no_settings():
  columns = {'Name': ['Iris manual', 'Adult', 'Mushroom'], 'val_loss': [3.0, 2.0, 2.5]}
  assert roles_of(columns)['Name'] == 'yardstick'
  columns['Name'] = ['Iris small', 'Iris large', 'Iris deep']
  assert roles_of(columns)['Name'] == 'hyperparameter'


def test_steps_within_a_budget_of_time_are_outcomes():
  columns = {
    'lr': [0.1, 0.2, 0.1, 0.2],
    'budget_s': [10, 10, 20, 20],
    'steps': [130, 150, 280, 310],
    'val_loss': [3.0, 2.0, 2.5, 1.5],
  }
  assert roles_of(columns)['steps'] == 'outcome'
  assert roles_of({**columns, 'steps': [130, 130, 280, 280]})['steps'] == 'size'
