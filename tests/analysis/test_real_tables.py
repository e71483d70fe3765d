"""Answers on tables of the kinds that people hold, with planted truths."""

import numpy as np
import pytest

from lmhp.analysis.analysis import analyze
from lmhp.analysis.report.page import page_of
from lmhp.analysis.runs.raw_table import RawTable
from lmhp.analysis.runs.tables import TableOptions, runs_of_table
from lmhp.errors import ConfigError


def runs_of(columns, **options):
  plain = {}
  for name, column in columns.items():
    values = np.asarray(column, object)
    plain[name] = [v.item() if isinstance(v, np.generic) else v for v in values]
  return runs_of_table(RawTable(plain), 'a table', 'runs.csv', TableOptions(**options))


def page_of_table(columns, **options):
  return page_of([runs_of(columns, **options)])


def law(parameters, tokens):
  return 1.8 + 480 / parameters**0.35 + 2100 / tokens**0.37


# --- sizes ------------------------------------------------------------------------------


def test_sizes_are_not_seeds():
  parameters = np.repeat(10.0 ** np.linspace(7, 9.5, 6), 3)
  tokens = parameters * np.tile([10.0, 20.0, 60.0], 6)
  losses = law(parameters, tokens)
  page = page_of_table({'parameters': parameters, 'tokens': tokens, 'loss': losses})
  assert page.findings[0].kind == 'scaling_law'
  assert page.findings[0].numbers['alpha'] == pytest.approx(0.35, abs=0.01)
  assert 'luck is not known' in page.answer[1]


def test_a_rate_that_follows_the_size_cannot_be_told_apart_from_it():
  parameters = 10.0 ** np.linspace(7, 10, 24)
  table = {
    'parameters': parameters,
    'tokens': 20 * parameters,
    'lr': np.round(0.3 * parameters**-0.3, 6),
    'loss': law(parameters, 20 * parameters),
  }
  page = page_of_table(table)
  assert page.findings[0].kind == 'sizes_alone'
  assert 'lr cannot be told apart from the size' in page.answer[0]
  assert 'search lr' not in ' '.join(page.answer)


def test_flops_that_parameters_and_tokens_determine_have_a_page():
  rng = np.random.default_rng(0)
  parameters = 10.0 ** rng.uniform(7, 9, 30)
  tokens = 10.0 ** rng.uniform(9, 11, 30)
  losses = law(parameters, tokens)
  table = {'N': parameters, 'D': tokens, 'C': 6 * parameters * tokens, 'loss': losses}
  page = page_of_table(table)
  assert page.findings[0].kind == 'scaling_law'


# --- yardsticks -------------------------------------------------------------------------


def table_of_three_datasets():
  rows = []
  for dataset, level in (('cora', 0.86), ('citeseer', 0.78), ('pubmed', 0.90)):
    for layers in (1, 2, 3, 4):
      for seed in range(4):
        noise = 0.002 * np.random.default_rng([layers, seed]).standard_normal()
        accuracy = level - 0.02 * abs(layers - 2) + noise
        rows.append((dataset, layers, seed, accuracy))
  names = ('dataset', 'n_layers', 'seed', 'accuracy')
  return dict(zip(names, zip(*rows)))


def test_data_sets_are_not_compared():
  page = page_of_table(table_of_three_datasets())
  answer = page.answer[0]
  assert answer.startswith('n_layers=2 at dataset=pubmed is best')
  assert 'cora' not in answer
  assert 'Results for different dataset are not compared' in page.text('md')
  assert 'n_layers=2 at dataset=cora' in page.text('md')


def test_a_yardstick_can_be_made_a_choice():
  table = table_of_three_datasets()
  page = page_of_table(table, roles={'dataset': 'hyperparameter'})
  assert page.answer[0].startswith('dataset=pubmed and n_layers=2 is best')


@pytest.mark.parametrize(
  ('name', 'objective', 'expected'),
  [
    ('eval_split', 'wer', 'yardstick'),
    ('task', 'accuracy', 'yardstick'),
    ('vocab_size', 'val_loss', 'yardstick'),
    ('block_size', 'val/loss', 'yardstick'),
    # Accuracy of items and bits of bytes do not depend on the vocabulary.
    ('vocab_size', 'accuracy', 'hyperparameter'),
    ('block_size', 'val_bpb', 'hyperparameter'),
    ('eval_samples', 'accuracy', 'yardstick'),
    ('train_dataset', 'accuracy', 'hyperparameter'),
  ],
)
def test_columns_that_change_the_measure_are_yardsticks(name, objective, expected):
  values = [100, 100, 200, 200, 300, 300, 400, 400]
  if name in ('eval_split', 'task', 'train_dataset'):
    values = [f'part {value}' for value in values]
  losses = np.linspace(0.5, 0.6, 8)
  runs = runs_of({name: values, 'lr': np.arange(1, 9) * 1e-3, objective: losses})
  assert runs.columns[name].role == expected


# --- seeds ------------------------------------------------------------------------------


def settings_with_seeds(means, n_seeds, sd, seed=0):
  rng = np.random.default_rng(seed)
  n = len(means)
  return {
    'Name': np.repeat([f'setting {i}' for i in range(n)], n_seeds),
    'seed': np.tile(np.arange(n_seeds), n),
    'val_loss': np.repeat(means, n_seeds) + sd * rng.standard_normal(n * n_seeds),
  }


def test_settings_with_seeds_are_told_apart():
  page = page_of_table(settings_with_seeds([1.5, 1.55, 1.7, 1.8], 4, 0.005))
  assert page.findings[0].kind == 'best_setting'
  assert page.answer[0].startswith(
    'setting 0 is best; the next, setting 1, is worse by 0.0'
  )


def test_two_settings_with_twenty_seeds_are_told_apart():
  page = page_of_table(settings_with_seeds([3.2790, 3.2810], 20, 0.001))
  assert page.findings[0].kind == 'best_setting'


def test_two_equal_settings_are_not_told_apart():
  page = page_of_table(settings_with_seeds([3.28, 3.28], 20, 0.001, seed=3))
  assert page.findings[0].kind == 'no_significant_difference'
  assert 'may be luck' in page.answer[0]


def test_a_quiet_setting_keeps_its_own_noise():
  table = settings_with_seeds([0.04, 0.041, 20.0, 30.0], 5, 1.0)
  quiet = np.array([name in ('setting 0', 'setting 1') for name in table['Name']])
  rng = np.random.default_rng(1)
  losses = np.where(table['Name'] == 'setting 0', 0.04, 0.041)
  losses = losses + 2e-4 * rng.standard_normal(len(losses))
  table['val_loss'] = np.where(quiet, losses, table['val_loss'])
  winner = analyze(runs_of(table)).winner
  assert winner.expected == pytest.approx(0.04, abs=5e-4)
  assert winner.high - winner.low < 0.002


def test_aggregated_seeds_are_told_apart():
  table = {
    'run_name': ['baseline', 'no_positions', 'heads_1'],
    'val/loss_mean': [1.70, 1.57, 1.52],
    'val/loss_std': [0.008, 0.007, 0.009],
    'num_seeds': [4, 4, 4],
  }
  page = page_of_table(table)
  assert page.answer[0].startswith(
    'heads_1 is best; the next, no_positions, is worse by 0.05'
  )


def test_rows_without_settings_are_runs_of_one_setting():
  page = page_of_table(
    {'Fold': [1, 2, 3, 4, 5], 'Accuracy': [0.98, 0.99, 0.985, 0.99, 0.98]}
  )
  assert page.findings[0].kind == 'one_setting'
  assert 'nothing to choose' in page.answer[0]


# --- sampling error ---------------------------------------------------------------------


def test_an_accuracy_on_few_items_has_its_sampling_error():
  table = {
    'r': [4, 4, 8, 8, 16, 16, 32, 32],
    'lora_alpha': [4, 8, 8, 16, 16, 32, 32, 64],
    'trainable_params': [544768] * 2 + [1089536] * 2 + [2179072] * 2 + [4358144] * 2,
    'eval_acc': [0.7, 0.7025, 0.705, 0.7075, 0.71, 0.7125, 0.715, 0.7175],
  }
  page = page_of_table(table)
  assert (
    'a rate over 400 items, so its sampling error alone is 0.0225' in page.answer[1]
  )
  assert 'may be luck' in page.answer[0]


def test_a_loss_has_no_sampling_error_of_items():
  page = page_of_table({'lr': [1e-3, 2e-3, 4e-3], 'loss': [0.75, 0.5, 0.25]})
  assert 'sampling error' not in ' '.join(page.answer)


# --- outcomes and directions --------------------------------------------------------------


def test_outcomes_beside_the_objective_are_no_hyperparameters():
  rng = np.random.default_rng(0)
  losses = rng.uniform(0.3, 0.5, 24)
  table = {
    'learning_rate': np.repeat([1e-4, 2e-4, 4e-4], 8),
    'eval_loss': losses,
    'eval_masked_accuracy': 1 - losses,
    'eval_perplexity': np.exp(losses),
    'train_runtime': rng.uniform(100, 200, 24),
  }
  assert set(runs_of(table, objective='eval_loss').axes) == {'learning_rate'}


def test_an_unknown_metric_asks_for_its_direction():
  with pytest.raises(ConfigError, match='--minimize.*or --maximize'):
    runs_of({'params_lr': [1e-3, 2e-3], 'value': [67.0, 68.0]})


def test_a_tie_is_said():
  page = page_of_table({'lr': [1e-3, 2e-3, 4e-3], 'accuracy': [0.5, 0.5, 0.25]})
  assert 'equal to the next setting' in page.answer[0]


# --- axes -------------------------------------------------------------------------------


def test_two_axes_that_exclude_each_other_have_a_page():
  rng = np.random.default_rng(0)
  n = 30
  is_adam = np.arange(n) % 2 == 0
  table = {
    'optimizer': np.where(is_adam, 'adam', 'sgd'),
    'beta2': [float(v) if a else None for v, a in zip(rng.uniform(0.9, 1, n), is_adam)],
    'momentum': [
      None if a else float(v) for v, a in zip(rng.uniform(0, 1, n), is_adam)
    ],
    'lr': 10 ** rng.uniform(-4, -2, n),
    'loss': rng.normal(3, 0.1, n),
  }
  assert page_of_table(table).text('html')


def test_axes_in_lockstep_cannot_be_told_apart():
  rng = np.random.default_rng(0)
  rank = np.repeat([4, 8, 16, 32], 4)
  losses = 3 - 0.1 * np.log2(rank) + 0.01 * rng.standard_normal(16)
  page = page_of_table({'rank': rank, 'alpha': 2 * rank, 'loss': losses})
  assert 'alpha always moves with rank' in page.text('md')


def test_a_value_that_was_not_tried_with_its_partner_is_not_proposed():
  rng = np.random.default_rng(0)
  rows = []
  for shape, fractions in (
    ('linear', np.linspace(0, 0.95, 12)),
    ('sqrt', [0.0, 0.1, 0.2]),
  ):
    for fraction in fractions:
      for lr in (5e-4, 1e-3, 2e-3):
        loss = 3 - 0.05 * min(fraction, 0.2) / 0.2 + 0.02 * np.log2(lr / 1e-3) ** 2
        rows.append((shape, float(fraction), lr, loss + 0.001 * rng.standard_normal()))
  page = page_of_table(dict(zip(('shape', 'fraction', 'lr', 'loss'), zip(*rows))))
  text = ' '.join(finding.title for finding in page.findings)
  assert 'at shape=sqrt' not in text or '0.95' not in text


def test_the_best_of_many_axes_is_found():
  rng = np.random.default_rng(0)
  axes = {f'x{i}': rng.uniform(-1, 1, 600) for i in range(12)}
  page = page_of_table(
    {**axes, 'loss': 3 + axes['x0'] ** 2 + 0.01 * rng.standard_normal(600)}
  )
  assert page.findings[0].kind == 'best_trial'
  assert 'x0 has a significant effect' in page.answer[0]


def test_an_interaction_is_shown_at_any_number_of_rows():
  for n in (200, 900):
    rng = np.random.default_rng(n)
    a = rng.uniform(-1, 1, n)
    b = rng.uniform(-1, 1, n)
    losses = 3 + (a - b) ** 2 + 0.01 * rng.standard_normal(n)
    interactions = analyze(runs_of({'a': a, 'b': b, 'loss': losses})).interactions
    assert interactions[0].significant()


# --- logs and costs ---------------------------------------------------------------------


def log_of_edits():
  return {
    'commit': ['a1', 'b2', 'c3', 'd4', 'e5', 'f6'],
    'val_bpb': [1.300, 1.240, 0.0, 1.243, 1.2395, 1.246],
    'status': ['keep', 'keep', 'crash', 'discard', 'keep', 'discard'],
    'description': ['baseline', 'more heads', 'larger', 'no bias', 'tied', 'rope'],
  }


def test_a_log_of_edits_tells_steps_from_noise():
  page = page_of_table(log_of_edits())
  assert page.findings[0].kind == 'research_log'
  assert 'from 1.300 to 1.240' in page.answer[0]
  assert 'more heads (0.06) stand out' in page.answer[0]
  assert 'tied' in page.answer[0] and 'may be noise' in page.answer[0]
  assert 'run the baseline three times' in page.answer[2]


def test_a_kept_edit_that_made_it_worse_does_not_hide_the_best():
  table = log_of_edits()
  table['val_bpb'] = [1.300, 1.240, 0.0, 1.243, 1.280, 1.29]
  assert 'from 1.300 to 1.240' in page_of_table(table).answer[0]


def test_the_cost_of_all_runs_is_said():
  table = {'lr': [1e-3, 2e-3], 'tokens': [1e9, 1e9], 'loss': [3.0, 3.1]}
  assert page_of_table(table).answer[3] == 'The 2 runs took 2 G tokens.'


# --- shapes and names ---------------------------------------------------------------------


def test_a_column_that_numbers_the_runs_is_no_step():
  rng = np.random.default_rng(0)
  n = 60
  table = {
    'iteration': np.arange(n) + 1,
    'batch_size': rng.choice([16, 32, 64], n),
    'weight_decay': 10 ** rng.uniform(-4, -1, n),
    'accuracy': rng.uniform(0.5, 0.9, n),
  }
  assert len(runs_of(table)) == n


def test_a_given_role_keeps_a_column_from_being_a_step():
  steps = np.tile(np.arange(6), 4)
  table = {
    'step': steps,
    'lr': np.repeat([1e-3, 2e-3, 4e-3, 8e-3], 6),
    'loss': 3 - 0.1 * steps + np.repeat([0, 1, 2, 3], 6),
  }
  assert len(runs_of(table)) == 4
  assert len(runs_of(table, roles={'step': 'metadata'})) == 24


def test_long_names_of_settings_with_seeds_stay_apart():
  names = [f'a submission with a rather long name, number {i}' for i in range(4)]
  table = settings_with_seeds([1.0, 1.1, 1.2, 1.3], 3, 0.001)
  table['submission'] = np.repeat(names, 3)
  del table['Name']
  assert runs_of(table).n_points == 4


def test_the_law_of_a_sweep_is_that_of_its_best_runs():
  rng = np.random.default_rng(0)
  rows = []
  for parameters in 10.0 ** np.linspace(7, 9, 5):
    for ratio in (10, 20, 40):
      for lr in 10.0 ** rng.uniform(-4, -2, 8):
        penalty = 0.1 * np.log10(lr / 1e-3) ** 2
        tokens = ratio * parameters
        rows.append((parameters, tokens, lr, law(parameters, tokens) + penalty))
      rows.append((parameters, tokens, 1e-3, law(parameters, tokens)))
  names = ('parameters', 'tokens', 'lr', 'loss')
  analysis = analyze(runs_of(dict(zip(names, zip(*rows)))))
  assert analysis.scaling_law.alpha == pytest.approx(0.35, abs=0.02)
  assert analysis.scaling_law.E == pytest.approx(1.8, abs=0.05)


def test_a_single_run_is_not_compared_by_a_noise_that_nobody_knows():
  table = settings_with_seeds([3.0] * 12, 1, 0.1)
  table['val_loss'] = np.append(table['val_loss'], [3.001])
  table['Name'] = np.append(table['Name'], ['setting 0'])
  table['seed'] = np.append(table['seed'], [1])
  assert analyze(runs_of(table)).differences == []


def test_an_interaction_within_sizes_keeps_its_direction():
  rng = np.random.default_rng(0)
  rows = []
  for i, parameters in enumerate((1e8, 4e8, 16e8)):
    for batch in (16, 64, 256, 1024):
      # The best rate rises with the batch size, and falls with the size of the model.
      best = 1e-3 * (batch / 128) ** 0.4 * 4.0**-i
      for lr in best * 10.0 ** rng.uniform(-1, 1, 8):
        loss = 3 - 0.2 * i + 0.05 * np.log2(lr / best) ** 2 + rng.normal(0, 0.002)
        rows.append((parameters, batch, lr, loss))
  names = ('parameters', 'batch_size', 'lr', 'loss')
  pairs = analyze(runs_of(dict(zip(names, zip(*rows))))).interactions
  by_axes = {pair.axes: pair for pair in pairs if pair.significant()}
  assert 'rises' in by_axes['lr', 'batch_size'].description
  assert 'falls' in by_axes['lr', 'parameters'].description
