"""Tables of public repositories, as a person would hand them to `lmhp report`.

`bench/public_tables.py` reports on them. Each function below reads the files of one repository
and returns one DataFrame for each table. It changes names and joins files, but it computes no
result. Nothing is fetched, and no file of a repository is stored here.
"""

from __future__ import annotations

from collections.abc import Callable
import io
import json
import lzma
import re
from typing import Any

import numpy as np
import pandas as pd
from public_files import Repository, TableUnpickler

Tables = dict[str, pd.DataFrame]
"""{name of the table: table}."""


# --- tables in one file -----------------------------------------------------------------


def chinchilla(repository: Repository) -> Tables:
  """Points of Chinchilla's figure, read off its SVG."""
  return {'chinchilla': repository.csv('data/svg_extracted_data.csv')}


def kyo_takano(repository: Repository) -> Tables:
  """Language models with their compute, size, tokens and loss."""
  return {'kyo_takano': repository.csv('examples/llm/df.csv')}


def step_law(repository: Repository) -> Tables:
  """Grids of learning rate and batch size over sizes and tokens."""
  dense = repository.csv('data/dense_lr_bs_loss.csv')
  columns = ['N', 'D', 'lr', 'bs', 'smooth loss']
  largest_group = dense.groupby(['N', 'D']).size().idxmax()
  one = dense.set_index(['N', 'D']).loc[[largest_group]].reset_index()
  return {
    'step_law_dense': dense,
    'step_law_five_columns': dense.filter(items=columns),
    'step_law_one_size': one.filter(items=columns),
    'step_law_moe': repository.csv('data/moe_lr_bs_loss.csv'),
  }


def isoflops(repository: Repository) -> Tables:
  """IsoFLOP points of several papers."""
  return {'isoflops': repository.csv('data/isoflops/transform/isoflops.csv')}


def laion(repository: Repository) -> Tables:
  """Segmentation results of CLIP and MaMMUT models."""
  content = repository.read('scaling_laws/data/segmentation_results.parquet')
  return {'laion': pd.read_parquet(io.BytesIO(content))}


def gemstones(repository: Repository) -> Tables:
  """Four shapes at six learning rates, as exported, and with the names split into columns."""
  exported = repository.csv('data/preflight_mup_olmo_variant.csv')
  pattern = r'PyGemma-(?P<width>\d+)x(?P<depth>\d+)_.*_lr(?P<lr>[\de+.-]+)_'
  split = exported['Name'].str.extract(pattern).astype(float)
  split['loss'] = exported['scaling/global_loss']
  return {'gemstones_export': exported, 'gemstones_split': split}


def gadre(repository: Repository) -> Tables:
  """A grid of small models; the name of each run holds its settings."""
  names = ['batch_size', 'lr', 'weight_decay', 'batch_size_again', 'tokens', 'warmup']
  rows = []
  for name, loss in repository.json('exp_data/grid.json').items():
    # A minus sign within a number, as in 3e-05, separates nothing.
    model, *settings = re.split(r'(?<!e)-', name)
    shape = dict(part.split('=') for part in model.split('_'))
    row: dict[str, Any] = {'run': name, **{key: int(shape[key]) for key in 'dlh'}}
    row |= dict(zip(names, map(float, settings)))
    rows.append(row | {'cooldown': float(settings[-1]), 'loss': loss})
  return {'gadre': pd.DataFrame(rows)}


def spectral(repository: Repository) -> Tables:
  """Spectral rank of activations against the width, for five optimizers."""
  points = repository.csv('results/processed/global_rank_scaling_points.csv')
  columns = ['run_id', 'optimizer_display_name', 'width_multiplier', 'ffn_hidden_dim']
  main = points[points['paper_experiment'] == 'main_160m_width_sweep']
  wide = main.pivot_table(index=columns, columns='metric', values='value').reset_index()
  return {'spectral': wide.sort_values('run_id').rename_axis(columns=None)}


# --- tables that are joined from several files -------------------------------------------


def critical_batch_size(repository: Repository) -> Tables:
  """Steps to a target loss at nine batch sizes, printed by a cell of a notebook."""
  cells = repository.json('plots/chinchilla.ipynb')['cells']
  source = next(
    ''.join(cell['source'])
    for cell in cells
    if ''.join(cell['source'])[:12] == "results = {'"
  )
  literal = source[source.index('{') : source.index('}') + 1].replace("'", '"')
  rows = []
  for size, steps in json.loads(literal).items():
    millions = 1200 if size == '1.2B' else int(size.split('M')[0])
    for index, count in enumerate(steps):
      rows.append(
        {
          'parameters': millions * 1e6,
          'batch_size': 2 ** (6 + index),
          'steps_to_target': count,
        }
      )
  return {'critical_batch_size': pd.DataFrame(rows)}


def algoperf(repository: Repository) -> Tables:
  """Hyperparameters of each trial with its best validation result.

  The best evaluation is the one with the best value of the workload's target metric. `wmt` is
  the JAX workload, `all` has the last evaluation of every workload.
  """
  folders = [
    f'previous_leaderboards/algoperf_v0{n}/logs/external_tuning' for n in (5, 6)
  ]
  paths = [
    path for folder in folders for path in repository.paths(folder, 'hparams.json')
  ]
  evaluations = [
    path.replace('hparams.json', 'eval_measurements.csv') for path in paths
  ]
  known = {path for folder in folders for path in repository.paths(folder, '.csv')}
  pairs = [pair for pair in zip(paths, evaluations) if pair[1] in known]
  contents = repository.read_all([path for pair in pairs for path in pair])

  wmt, everything = [], []
  for hparams, evaluation in pairs:
    parts = hparams.split('/')
    if len(parts) != 9:
      continue
    _, version, _, _, submission, study, workload, trial, _ = parts
    row = {
      'submission': submission,
      'workload': workload,
      'study': f'{version}/{study}',
      'trial': trial,
    }
    row |= json.loads(contents[hparams])
    table = pd.read_csv(io.BytesIO(contents[evaluation]))
    if table.empty:
      continue
    results = [
      name for name in table if name.startswith(('train/', 'validation/', 'test/'))
    ]
    results = ['global_step', 'score', *results]
    everything.append(row | table.iloc[-1][results].to_dict())
    if workload == 'wmt_jax' and not table.dropna(subset=['validation/bleu']).empty:
      wmt.append(row | table.loc[table['validation/bleu'].idxmax(), results].to_dict())

  wmt_table = pd.DataFrame(wmt).drop(columns='workload')
  baseline = wmt_table.query("submission == 'baseline'")
  return {
    'algoperf_wmt': wmt_table,
    'algoperf_wmt_baseline': baseline.dropna(axis='columns', how='all'),
    'algoperf_all': pd.DataFrame(everything),
  }


def lr_scheduling(repository: Repository) -> Tables:
  """Final losses of one 124M model after 50,000 steps on SlimPajama."""
  contents = repository.read_all(repository.paths('data', '.json'))
  rows = []
  for content in contents.values():
    run = json.loads(content)
    config = run['config']
    size = (
      config['n_layer'],
      config['n_head'],
      config['iterations'],
      config['dataset'],
    )
    if size != (12, 12, 50_000, 'slimpajama'):
      continue
    cooldown: float | None = config['wsd_fract_decay']
    shape = config['decay_type'] if cooldown else 'none'
    if config['scheduler'] == 'cos':
      cooldown = None
      shape = 'to_0.1' if run['name'].startswith('cos-10') else 'to_0'
    rows.append(
      {
        'lr': config['lr'],
        'scheduler': config['scheduler'],
        'shape': shape,
        'cooldown': cooldown,
        'val_loss': run['history']['final-val']['final_val_loss'][-1],
      }
    )
  everything = pd.DataFrame(rows)
  wsd = everything.query("scheduler == 'wsd'")
  return {
    'lr_scheduling_wsd': wsd.filter(items=['lr', 'cooldown', 'val_loss']),
    'lr_scheduling_all': everything,
  }


def deberta(repository: Repository) -> Tables:
  """Random search over DeBERTa fine-tunes: with the curves, and with the last accuracy alone."""
  content = repository.read('data/deberta/deberta-base_tuning.results.jsonl')
  rows = [json.loads(line) for line in content.decode().splitlines()]
  last = []
  for row in rows:
    settings = {name: value for name, value in row.items() if name != 'learning_curves'}
    last.append(settings | {'accuracy': row['learning_curves']['matched'][-1][1]})
  return {'deberta_curves': pd.DataFrame(rows), 'deberta_last': pd.DataFrame(last)}


def porian(repository: Repository) -> Tables:
  """IsoFLOP points of five protocols on RefinedWeb."""
  content = lzma.decompress(repository.read('data/summary_df.pickle.xz'))
  protocols = TableUnpickler(io.BytesIO(content)).load()
  names = ['hparams', 'warmup', 'decay', 'param_count']
  rows = []
  for _, protocol in protocols.iterrows():
    for _, budget in protocol['data'].iterrows():
      if np.ndim(budget['orig_n']) == 0:
        continue
      for n, t, loss in zip(budget['orig_n'], budget['orig_t'], budget['orig_loss']):
        point = {'flops': budget['flops'], 'n': n, 'tokens': t, 'loss': loss}
        rows.append({**{name: protocol[name] for name in names}, **point})
  return {'porian': pd.DataFrame(rows)}


def track_3(repository: Repository) -> Tables:
  """Pairs of results of modded-nanogpt's track 3, each run's loss at one step."""
  results = 'records/track_3_optimization/results'
  logs = {
    6: '51ece938-03c5-4343-8dcc-3f3336b07008.txt',
    8: '20260430_normuonh/',
    12: '1bd8db7a-f3a3-4195-856d-cab7e0816443.txt',
    13: '20260504_muloco_normuonh/',
    14: '20260504_contra_muon_mlp_soapish/',
    16: '20260506_trustlight/idea_10e_attnproj_bounded_trust_floor_soapish/',
    36: '20260610_tuned_baseline_3250/',
    37: '20260611_muonh_tuned_aux_3250/',
  }

  def rows_at(result: int, step: int) -> list[dict[str, Any]]:
    paths = repository.paths(f'{results}/{logs[result]}'.rstrip('/'), '.txt')
    found = []
    for content in repository.read_all(paths).values():
      # One file may hold several runs, one after another.
      found += re.findall(
        rf'^step:{step}/\d+ val_loss:([\d.]+)', content.decode(), re.M
      )
    return [
      {'result': f'#{result}', 'seed': seed, 'step': step, 'val_loss': float(loss)}
      for seed, loss in enumerate(found)
    ]

  pairs = {(12, 6): 3250, (16, 14): 3125, (13, 8): 3125, (36, 37): 3250}
  tables = {}
  for (first, second), step in pairs.items():
    rows = rows_at(first, step) + rows_at(second, step)
    tables[f'track_3_{first}_{second}'] = pd.DataFrame(rows)
  return tables


def olmo_ladder(repository: Repository) -> Tables:
  """Last row of each run of OLMo's ladder: task losses in bits per byte."""
  folder = 'scripts/scaling/data/peteish-final-new'
  sizes = {
    '190M': 190354176,
    '370M': 371262464,
    '760M': 758220288,
    '1B': 1279395840,
  }
  tasks = ['hellaswag_rc_5shot', 'arc_challenge_rc_5shot', 'mmlu_stem_var']
  rows = []
  for size, parameters in sizes.items():
    for length in ('1xC', '2xC', '5xC', '10xC'):
      log = repository.csv(f'{folder}/{size}-{length}.csv')
      last = log.sort_values('throughput/total_tokens').iloc[-1]
      row = {'run': f'{size}-{length}', 'parameters': parameters}
      row['tokens'] = int(last['throughput/total_tokens'])
      row |= {
        f'{task}_bpb': last[f'eval/downstream_bpb/{task}_bpb_bpb'] for task in tasks
      }
      rows.append(row)
  return {'olmo_ladder': pd.DataFrame(rows)}


def olmo_coordinates(repository: Repository) -> Tables:
  """Coordinate checks: size of the activations against the width, with and without muP."""
  checks = []
  for name in ('mup', 'sp'):
    check = repository.csv(f'mup_coord_checks/{name}_olmo_adamw_coord.csv')
    checks.append(check.assign(parametrization=name))
  block = pd.concat(checks, ignore_index=True)
  block = block.query("module == 'transformer.blocks.0:out[0]' and t == 5")
  columns = ['parametrization', 'width', 'l1']
  return {
    'olmo_coordinates_mup': checks[0].drop(columns='parametrization'),
    'olmo_coordinates_block': block.filter(items=columns),
  }


def parameter_golf(repository: Repository) -> Tables:
  """Submissions of the ten-minute track, and the seeds of those that list them."""
  submissions, seeds = [], []
  for path in repository.paths('records/track_10min_16mb', 'submission.json'):
    entry = repository.json(path)
    plain = (str, int, float)
    name = path.split('/')[-2]
    submissions.append(
      {'submission': name} | {k: v for k, v in entry.items() if isinstance(v, plain)}
    )
    results = entry.get('seed_results') or entry.get('seeds')
    if not isinstance(results, dict):
      continue
    for seed, result in results.items():
      row = {'submission': name, 'seed': int(seed), 'val_bpb': result['val_bpb']}
      seeds.append(row)
  return {
    'parameter_golf': pd.DataFrame(submissions),
    'parameter_golf_seeds': pd.DataFrame(seeds),
  }


SOURCES: tuple[tuple[str, str, Callable[[Repository], Tables]], ...] = (
  ('epoch-research/analyzing-chinchilla', '9225883', chinchilla),
  ('kyo-takano/chinchilla', '75e5858', kyo_takano),
  ('step-law/steplaw', '32a8f4c', step_law),
  ('hlzhang109/critical-batch-size', 'c5b509d', critical_batch_size),
  ('mcleish7/gemstone-scaling-laws', '5f42047', gemstones),
  ('mlfoundations/scaling', 'a003c49', gadre),
  ('formll/resolving-scaling-law-discrepancies', '0dc60d9', porian),
  ('Open-Athena/scaling-law-analysis', '3e0656e', isoflops),
  ('fabian-sp/lr-scheduling', '8ace3a3', lr_scheduling),
  ('nicholaslourie/opda', '9529a34', deberta),
  ('LAION-AI/scaling-laws-for-comparison', '5343917', laion),
  ('KellerJordan/modded-nanogpt', 'f411b3d', track_3),
  ('allenai/OLMo', 'dca97a7e', olmo_ladder),
  ('allenai/OLMo', 'f70ffa47', olmo_coordinates),
  ('optimizer-scaling-laws/spectral-scaling-laws', '6803c68', spectral),
  ('openai/parameter-golf', '4908dc4', parameter_golf),
  ('mlcommons/submissions_algorithms', '12c8e4e', algoperf),
)
"""(OWNER/NAME, commit, function that returns its tables)."""
