"""Regret and tokens of halving compared with the full grid, and of TPE with random search.

Halving: 27 trials (nine learning rates by three schedules) of a small model on the built-in
corpus. The full grid is compared with halving whose rungs score a cooldown (the default) or
the state as it is (prefix). The regret of a trial is computed from its final loss in the
grid. The noise between seeds of the best point of the grid is printed for comparison.

With --bayes: the number of trials after which the search method 'auto' has found a loss as
low as that of random search after 32 trials.

  python bench/halving.py [--seeds=3] [--steps=1350]
  python bench/halving.py --bayes [--seeds=10]
"""

from __future__ import annotations

import argparse
import math
import os
import pathlib
import shutil
import tempfile
import time

import numpy as np

import lmhp
from lmhp.statistics.ranks import spearman

FAMILIES = ('cosine', 'wsd_linear', 'constant')
NOISE_SEED = 1000
"""The first seed of those that measure the noise, none of a study's."""

RANDOM_TRIALS, AUTO_TRIALS = 32, 20


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument(
    '--seeds', type=int, help='number of studies; default 3, or 10 with --bayes'
  )
  parser.add_argument(
    '--steps', type=int, help='steps of a trial; default 1350, or 100 with --bayes'
  )
  parser.add_argument('--rates', type=int, default=9)
  parser.add_argument(
    '--noise_seeds',
    type=int,
    default=8,
    help='number of seeds of the best point of the grid',
  )
  parser.add_argument(
    '--bayes', action='store_true', help='compare Bayesian and random search instead'
  )
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as directory:
    (compare_searches if options.bayes else compare_halving)(
      Studies(pathlib.Path(directory)), options
    )


class Studies:
  """Runs studies in this process. All studies of a kind use the packs of its first study.

  Args:
    directory: Directory of the studies.
  """

  def __init__(self, directory: pathlib.Path):
    self.directory, self.n = directory, 0

  def run(
    self, kind: str, config, sweep: lmhp.SweepConfig, overrides: dict | None = None
  ) -> tuple:
    """Returns the result of a study and its seconds.

    Args:
      kind: Studies of one kind share `autotune.json`.
      config: Config or task of `lmhp.sweep`.
      sweep: Sweep of `lmhp.sweep`.
      overrides: Overrides of the config.
    """
    workdir, choices = (
      self.directory / f'{kind}-{self.n}',
      self.directory / f'{kind}.json',
    )
    self.n += 1
    workdir.mkdir()
    if choices.exists():
      shutil.copy(choices, workdir / 'autotune.json')
    start = time.perf_counter()
    found = lmhp.sweep(
      config, sweep, workdir=os.fspath(workdir), overrides=overrides, display='none'
    )
    seconds = time.perf_counter() - start
    shutil.copy(workdir / 'autotune.json', choices)
    shutil.rmtree(workdir)
    return found, seconds


def small_model(steps: int, d_model: int, n_layers: int, seq_len: int, batch_size: int):
  """Returns the config of a byte model on the built-in corpus.

  Rungs and final evaluations score the same windows.
  """
  config = lmhp.default_config()
  config.data.path, config.data.tokenizer = ('docstrings',), 'byte'
  (
    config.model.max_seq_len,
    config.model.n_layers,
    config.model.n_heads,
    config.model.d_model,
  ) = (seq_len, n_layers, 2, d_model)
  config.train.steps, config.train.batch_size = steps, batch_size
  config.schedule.warmup_fraction = 1 / 54  # half of the first rung
  config.evaluate.sequences = config.evaluate.final_sequences = 512
  return config


# --- halving ------------------------------------------------------------------------


def compare_halving(studies: Studies, options: argparse.Namespace) -> None:
  """Runs the three searches for each study seed and prints their results."""
  config = small_model(
    options.steps or 1350, d_model=32, n_layers=2, seq_len=64, batch_size=16
  )
  space = {
    'optimizer.learning_rate': lmhp.Choice(
      *(float(f'{r:.3g}') for r in np.geomspace(3e-4, 0.1, options.rates))
    ),
    'schedule.name': lmhp.Choice(*FAMILIES),
  }
  searches = {
    'full grid': {},
    'cooldown': {'halving': 'successive'},
    'prefix': {'halving': 'successive', 'rung_score': 'prefix'},
  }
  table: dict[str, list[tuple[float, float]]] = {name: [] for name in searches}
  for seed in range(options.seeds or 3):
    overrides = {'train.seed': seed, 'data.seed': seed}
    for name, keys in searches.items():
      sweep = lmhp.SweepConfig(
        space=space,
        search='grid',
        search_seed=seed,
        confirm_points=0,
        execution='loop',
        **keys,
      )
      found, seconds = studies.run('model', config, sweep, overrides)
      if name == 'full grid':
        grid, grid_tokens = (
          {key(t): t.values[0] for t in found.trials},
          found.summary.tokens,
        )
        if seed == 0:
          tell_noise(studies, config, found, options.noise_seeds)
      regret, share = judged(found, grid), found.summary.tokens / grid_tokens
      table[name].append((regret, share))
      tell(f'seed {seed} {name}', found, grid, regret, share, seconds)
  for name, rows in table.items():
    regrets, shares = zip(*rows)
    print(
      f'mean over {len(rows)} studies, {name:<10} regret {np.mean(regrets):.4f} nats '
      f'(at most {max(regrets):.4f}), '
      f'{np.mean(shares):.1%} of the tokens (at most {max(shares):.1%})'
    )


def key(trial) -> tuple:
  """Returns an identifier of a point that is the same in all searches."""
  return tuple(sorted(trial.parameters.items()))


def best_of(found):
  """Returns the best trial of a study: the lowest loss of the complete trials."""
  return min(
    (t for t in found.trials if t.status == 'complete'), key=lambda t: t.values[0]
  )


def judged(found, grid: dict[tuple, float]) -> float:
  """Returns the regret of a trial in nats: its final loss in the grid, minus the lowest."""
  return grid[key(best_of(found))] - min(grid.values())


def tell(
  name: str,
  found,
  grid: dict[tuple, float],
  regret: float,
  share: float,
  seconds: float,
) -> None:
  """Prints the result of a study, and the rank correlation of each rung with the final losses
  of the grid, over the trials that reached the rung.
  """
  best, last = best_of(found), max(max(t.scores) for t in found.trials)
  words = []
  for rung in sorted({step for t in found.trials for step in t.scores if step < last}):
    there = [t for t in found.trials if rung in t.scores]
    foretold = (
      spearman([t.scores[rung] for t in there], [grid[key(t)] for t in there])
      if len(there) > 2
      else math.nan
    )
    measured = found.summary.rank_correlations.get(rung, math.nan)
    words.append(f'{rung}: {foretold:.2f} of {len(there)} (measured {measured:.2f})')
  print(
    f'{name:<18} {best.parameters["optimizer.learning_rate"]:<8g} '
    f'{best.parameters["schedule.name"]:<11}'
    f'{grid[key(best)]:.4f} nats, regret {regret:.4f}, {share:6.1%} of the tokens, '
    f'{seconds:5.0f} s'
    + ('; rank correlation at step ' + ', '.join(words) if words else ''),
    flush=True,
  )


def tell_noise(studies: Studies, config, found, n: int) -> None:
  """Prints the standard deviation of the best point over seeds.

  Each seed has new initial parameters and a new order of the data.
  """
  space = {
    path: lmhp.Choice(value) for path, value in best_of(found).parameters.items()
  }
  sweep = lmhp.SweepConfig(
    space=space,
    search='grid',
    seeds_per_point=n,
    data_order='per_trial',
    confirm_points=0,
  )
  seeds = {'train.seed': NOISE_SEED, 'data.seed': NOISE_SEED}
  values = [t.values[0] for t in studies.run('model', config, sweep, seeds)[0].trials]
  print(
    f"noise: {n} seeds of the grid's best have mean {np.mean(values):.4f} and standard deviation "
    f'{np.std(values, ddof=1):.4f} nats',
    flush=True,
  )


# --- Bayesian search ----------------------------------------------------------------


def compare_searches(studies: Studies, options: argparse.Namespace) -> None:
  """Compares the search methods for each task and study seed.

  Prints the best loss of random search, and the number of trials after which 'auto' has a
  loss as low.
  """
  for name, task, space, objective in (
    language_model(options.steps or 100),
    regression(options.steps or 200),
  ):
    needed, randoms, autos = [], [], []
    for seed in range(options.seeds or 10):
      sweep = {
        'space': space,
        'objective': (objective,),
        'search_seed': seed,
        'confirm_points': 0,
      }
      random, _ = studies.run(
        name, task, lmhp.SweepConfig(search='random', trials=RANDOM_TRIALS, **sweep)
      )
      auto, seconds = studies.run(
        name, task, lmhp.SweepConfig(search='auto', trials=AUTO_TRIALS, **sweep)
      )
      randoms.append(best_so_far(random)[-1])
      curve = best_so_far(auto)
      autos.append(curve[-1])
      needed.append(
        next((i + 1 for i, value in enumerate(curve) if value <= randoms[-1]), math.inf)
      )
      print(
        f"{name} seed {seed}: random's best of {RANDOM_TRIALS} {randoms[-1]:.4f}; "
        f"auto's of {AUTO_TRIALS} "
        f'{curve[-1]:.4f}, as good after {needed[-1]} trials ({seconds:.0f} s)',
        flush=True,
      )
    reached = sum(n <= AUTO_TRIALS for n in needed)
    print(
      f"{name}: auto is as good as random's best of {RANDOM_TRIALS} after "
      f'{np.median(needed):g} trials, median of '
      f'{len(needed)} studies ({reached} of them within {AUTO_TRIALS}); median best '
      f'{np.median(autos):.4f} against '
      f'{np.median(randoms):.4f}',
      flush=True,
    )


def best_so_far(found) -> list[float]:
  """Returns the lowest objective of the first 1, 2, ... trials by number."""
  return np.minimum.accumulate(
    [t.values[0] for t in sorted(found.trials, key=lambda t: t.number)]
  ).tolist()


def language_model(steps: int) -> tuple:
  """Returns a task: four numbers of the optimizer of a very small byte model."""
  space = {
    'optimizer.learning_rate': lmhp.Float(1e-4, 1.0, log=True),
    'optimizer.weight_decay': lmhp.Float(1e-3, 1.0, log=True),
    'optimizer.b2': lmhp.Float(0.8, 0.9999),
    'schedule.warmup_fraction': lmhp.Float(0.0, 0.5),
  }
  return (
    'language model',
    small_model(steps, d_model=32, n_layers=1, seq_len=32, batch_size=8),
    space,
    'eval_loss_nats',
  )


def regression(steps: int) -> tuple:
  """Returns a task: four numbers of a network that fits a noisy surface.

  It has one hidden layer, is trained with momentum, and is scored on held-out points.
  """
  import jax
  import jax.numpy as jnp

  rng = np.random.default_rng(0)
  inputs = rng.uniform(-2, 2, (256, 4)).astype(np.float32)
  surface = (
    np.sin(2 * inputs[:, 0]) * inputs[:, 1]
    + np.abs(inputs[:, 2])
    - 0.5 * inputs[:, 3] ** 2
  )
  targets = (surface + 0.1 * rng.standard_normal(256)).astype(np.float32)

  def loss(weights, half):
    hidden = jnp.tanh(inputs[half] @ weights['in'] + weights['bias'])
    return jnp.mean((hidden @ weights['out'] - targets[half]) ** 2)

  def init(hypers):
    keys = jax.random.split(jax.random.key(0), 2)
    weights = {
      'in': jax.random.normal(keys[0], (4, 32)),
      'bias': jnp.zeros(32),
      'out': jax.random.normal(keys[1], (32,)) / 32**0.5,
    }
    weights = jax.tree.map(lambda w: hypers['init_scale'] * w, weights)
    return weights, jax.tree.map(jnp.zeros_like, weights)

  def step(state, hypers, i):
    weights, velocity = state
    value, grads = jax.value_and_grad(loss)(weights, slice(0, 128))
    velocity = jax.tree.map(
      lambda v, g, w: hypers['momentum'] * v + g + hypers['weight_decay'] * w,
      velocity,
      grads,
      weights,
    )
    return (
      jax.tree.map(lambda w, v: w - hypers['learning_rate'] * v, weights, velocity),
      velocity,
    ), {'loss': value}

  task = lmhp.FunctionTask(
    init,
    step,
    {'learning_rate': 0.01, 'momentum': 0.9, 'weight_decay': 1e-4, 'init_scale': 1.0},
    steps=steps,
    evaluate=lambda state, hypers: {'validation_loss': loss(state[0], slice(128, 256))},
  )
  space = {
    'learning_rate': lmhp.Float(1e-4, 1.0, log=True),
    'momentum': lmhp.Float(0.0, 0.99),
    'weight_decay': lmhp.Float(1e-6, 0.1, log=True),
    'init_scale': lmhp.Float(0.03, 10.0, log=True),
  }
  return 'regression', task, space, 'validation_loss'


if __name__ == '__main__':
  main()
