"""Coverage of the intervals of `lmhp.analysis.winner`: winner's loss, best of n, doubling.

    python bench/calibration_best.py [number of studies, 2000 by default]

A study has P random points of a quadratic loss in D hyperparameters. Curvatures vary by a
factor of 20, and the optimum is inside the range. Each point runs with some seeds of normal
noise. The noise is given as a multiple of the spread near the optimum: the standard deviation
of the true loss in the best quarter of the space. Printed for the interval of the winner's
true loss:

  held      fraction of the studies whose 90% interval contains it (aim: 87 to 93%)
  student   the same for Student's interval without a correction for the selection
  median, length   median and mean length, in standard errors of the winner's mean
  biases of the observed mean and of the estimate, and the fraction of the studies whose
    whole interval is above the observed mean
"""

from __future__ import annotations

import argparse
import itertools
import time

import numpy as np

from lmhp.analysis.winner.best_of_n_curve import METHODS, best_of_n
from lmhp.analysis.winner.doubling_gain import gain_of_doubling
from lmhp.analysis.winner.winner import expected_loss_of_best
from lmhp.statistics.intervals import student_quantile

POINTS, DIMENSIONS, NOISES, SEEDS = (8, 24, 64), (2, 4), (0.1, 0.5, 2.0), (1, 2, 5)


def surfaces(studies: int, dimensions: int, rng: np.random.Generator):
  """Returns a function of points (studies, P, D) to true losses, and the spread near each
  optimum (studies,).
  """
  curvature = np.exp(rng.uniform(-1.5, 1.5, (studies, 1, dimensions)))
  optimum = rng.uniform(0.2, 0.8, (studies, 1, dimensions))

  def loss(places):
    return 3 + np.sum(curvature * (places - optimum) ** 2, axis=-1)

  near = np.sort(loss(rng.random((studies, 512, dimensions))), axis=1)[:, :128]
  return loss, near.std(axis=1)


def draw_noise(kind: str, shape, rng: np.random.Generator) -> np.ndarray:
  """Returns noise of mean 0 and variance 1."""
  if kind == 'skewed':  # like losses, which have an outlier now and then
    return (rng.gamma(4, 1, shape) - 4) / 2
  return (
    rng.standard_t(5, shape) / np.sqrt(5 / 3)
    if kind == 'heavy tails'
    else rng.standard_normal(shape)
  )


def coverage(
  true: np.ndarray,
  losses: np.ndarray,
  noise: np.ndarray | None = None,
  freedom: float = np.inf,
) -> str:
  """Returns one line of the table.

  Args:
    true: True losses, (studies, P).
    losses: Observed losses, (studies, P, seeds).
  """
  studies, n_points, seeds = losses.shape
  points = np.repeat(np.arange(n_points), seeds)
  rows = []
  for study in range(studies):
    known = None if noise is None else float(noise[study])
    won = expected_loss_of_best(
      losses[study].ravel(), points, known, noise_freedom=freedom
    )
    truth = true[study, won.point]
    error = won.noise_sd / seeds**0.5
    rows.append((truth, won.mean, won.low, won.expected, won.high, error))
  of_all = np.inf if noise is not None else n_points * (seeds - 1.0)
  return line(*np.array(rows).T, student_quantile(0.95, of_all))


def line(truth, mean, low, expected, high, error, student) -> str:
  """Formats the figures of (studies,) intervals."""
  figures = (
    np.mean((low <= truth) & (truth <= high)),
    np.mean(abs(mean - truth) <= student * error),
    np.median((high - low) / error),
    np.mean((high - low) / error),
    np.mean((mean - truth) / error),
    np.mean((expected - truth) / error),
    np.mean(low > mean),
  )
  return '{:8.1%} {:8.1%} {:7.2f} {:7.2f} {:7.2f} {:7.2f} {:7.1%}'.format(*figures)


def coverage_in_common(true: np.ndarray, losses: np.ndarray, paired: bool) -> str:
  """Returns one line of the table, for points that share their seeds.

  The intervals are those of the public function. If `paired`, it gets the seeds.
  """
  studies, n_points, seeds = losses.shape
  points, seed_numbers = (
    np.repeat(np.arange(n_points), seeds),
    np.tile(np.arange(seeds), n_points),
  )
  rows = []
  for study in range(studies):
    won = expected_loss_of_best(
      losses[study].ravel(), points, seeds=seed_numbers if paired else None
    )
    rows.append(
      (
        true[study, won.point],
        won.mean,
        won.low,
        won.expected,
        won.high,
        won.noise_sd / seeds**0.5,
      )
    )
  return line(*np.array(rows).T, student_quantile(0.95, n_points * (seeds - 1.0)))


def of_quadratics(studies: int, rng: np.random.Generator) -> None:
  """Prints the required regimes, and then violated assumptions."""
  print(
    f'{"points":>6} {"dims":>4} {"noise":>5} {"seeds":>5}  {"held":>8} {"student":>8} '
    f'{"median":>7} {"length":>7} '
    f'{"shown":>7} {"bias":>7} {"above":>7}'
  )
  for n_points, dimensions, ratio, seeds in itertools.product(
    POINTS, DIMENSIONS, NOISES, SEEDS
  ):
    loss, spread = surfaces(studies, dimensions, rng)
    true, noise = loss(rng.random((studies, n_points, dimensions))), ratio * spread
    losses = true[..., None] + noise[:, None, None] * rng.standard_normal(
      (studies, n_points, seeds)
    )
    print(
      f'{n_points:6} {dimensions:4} {ratio:5} {seeds:5}  '
      f'{coverage(true, losses, noise if seeds == 1 else None)}'
    )


def of_others(studies: int, rng: np.random.Generator) -> None:
  """Prints few degrees of freedom, other response curves and violated assumptions."""
  loss, spread = surfaces(studies, 2, rng)
  true, noise = loss(rng.random((studies, 16, 2))), spread
  normal = true[..., None] + noise[:, None, None] * rng.standard_normal(
    (studies, 16, 1)
  )
  for freedom in (2, 4):
    observed = noise * np.sqrt(rng.chisquare(freedom, studies) / freedom)
    print(
      f'{f"noise of {freedom} degrees of freedom":32} {coverage(true, normal, observed, freedom)}'
    )
  one, flat = np.full((studies, 32), 3.0), np.zeros((studies, 32))
  one[:, 0] = 0
  cliff = np.where(rng.random((studies, 32)) < 0.4, rng.random((studies, 32)), 30.0)
  for name, true_32 in {
    'all equal': flat,
    'one good of 32': one,
    'a cliff': cliff,
  }.items():
    losses = true_32[..., None] + rng.standard_normal((studies, 32, 2))
    print(f'{name:32} {coverage(true_32, losses)}')
  for kind in ('skewed', 'heavy tails'):
    for seeds in (2, 5):
      losses = true[..., None] + noise[:, None, None] * draw_noise(
        kind, (studies, 16, seeds), rng
      )
      print(f'{f"not normal: {kind}, {seeds} seeds":32} {coverage(true, losses)}')
  unequal = noise[:, None] * np.exp(0.5 * rng.standard_normal((studies, 16)))
  losses = true[..., None] + unequal[..., None] * rng.standard_normal((studies, 16, 3))
  print(f'{"unequal noise, factor 1.6, 3 seeds":32} {coverage(true, losses)}')
  print(f'{"a search around the best so far":32} {coverage(*adaptive(studies, rng))}')


def of_seeds_in_common(studies: int, rng: np.random.Generator) -> None:
  """Prints studies whose points share their seeds.

  A part of the variance is common to all points of a seed. The seeds are passed on or not.
  """
  print(
    f'{"points":>6} {"seeds":>5} {"share":>5} {"paired":>6}  {"held":>8} {"student":>8} '
    f'{"median":>7} {"length":>7} '
    f'{"shown":>7} {"bias":>7} {"above":>7}'
  )
  for n_points, seeds, share, paired in itertools.product(
    (8, 32), (2, 5), (0.0, 0.7, 0.95), (False, True)
  ):
    loss, noise = surfaces(studies, 2, rng)
    true = loss(rng.random((studies, n_points, 2)))
    common = np.sqrt(share) * rng.standard_normal((studies, 1, seeds))
    independent = np.sqrt(1 - share) * rng.standard_normal((studies, n_points, seeds))
    losses = true[..., None] + noise[:, None, None] * (common + independent)
    print(
      f'{n_points:6} {seeds:5} {share:5} {paired!s:>6}  '
      f'{coverage_in_common(true, losses, paired)}',
      flush=True,
    )


def adaptive(studies: int, rng: np.random.Generator):
  """Returns studies of 8 random points, followed by 24 points near the best so far.

  A Bayesian search violates the assumption of independent points in this way.
  """
  loss, noise = surfaces(studies, 2, rng)
  places = rng.random((studies, 8, 2))
  observed = loss(places) + noise[:, None] * rng.standard_normal((studies, 8))
  for _ in range(24):
    best_places = places[np.arange(studies), observed.argmin(axis=1)]
    step = np.clip(best_places + 0.1 * rng.standard_normal((studies, 2)), 0, 1)[:, None]
    places = np.concatenate([places, step], axis=1)
    observed = np.concatenate(
      [observed, loss(step) + noise[:, None] * rng.standard_normal((studies, 1))],
      axis=1,
    )
  return loss(places), observed[..., None], noise


def of_fresh_seeds(studies: int, rng: np.random.Generator) -> None:
  """Prints the confirmation of the winner of 32 points with one seed each."""
  loss, noise = surfaces(studies, 3, rng)
  true = loss(rng.random((studies, 32, 3)))
  losses = true + noise[:, None] * rng.standard_normal(true.shape)
  for fresh, known in ((1, True), (2, True), (2, False), (3, False), (5, False)):
    held, length = [], []
    for study in range(studies):
      right, sd = true[study, losses[study].argmin()], noise[study]
      won = expected_loss_of_best(
        losses[study],
        noise_sd=sd if known else None,
        fresh_losses=right + sd * rng.standard_normal(fresh),
      )
      held.append(won.low <= right <= won.high)
      length.append((won.high - won.low) / sd)
    print(
      f'fresh seeds {fresh}, noise {"known" if known else "not known":9} {np.mean(held):8.1%}  '
      f'median length {np.median(length):.2f} of the noise from seed to seed'
    )


def of_bands(studies: int, rng: np.random.Generator) -> None:
  """Prints the fraction of bands that contain the whole curve of best-of-n.

  Losses are exponential, for which the best of k is known.
  """
  print(
    f'{"trials":>6} {"method":>16} {"median held":>11} {"mean held":>9} '
    f'{"never above":>11} {"never below":>11}'
  )
  for n, method in itertools.product((8, 32, 128), METHODS):
    k = np.arange(1, n + 1)
    median, expected = np.log(2) / k, 1 / k
    curves = [
      best_of_n(rng.exponential(size=n), method=method, support=(0, np.inf))
      for _ in range(studies)
    ]
    off = [
      (np.any(c.median_high < median), np.any(c.median_low > median)) for c in curves
    ]
    held = np.mean(
      [
        np.all((c.expected_low <= expected) & (expected <= c.expected_high))
        for c in curves
      ]
    )
    above, below = np.mean(off, axis=0)
    median_held = 1 - np.mean(np.any(off, axis=1))
    print(
      f'{n:6} {method:>16} {median_held:11.1%} {held:9.1%} {1 - above:11.1%} {1 - below:11.1%}'
    )


def of_doubling(studies: int, rng: np.random.Generator) -> None:
  """Prints the coverage of the interval for the gain of twice as many trials.

  Losses are quadratic, with and without noise.
  """
  print(
    f'{"trials":>6} {"dims":>4} {"noise":>5} {"held":>7} {"too low":>8} '
    f'{"too high":>8} {"gain/true":>9} '
    f'{"high/low":>8}'
  )
  for n, dimensions, ratio in itertools.product((16, 64), (2, 4), (0.0, 0.5)):
    curvature, optimum = (
      np.exp(rng.uniform(-1.5, 1.5, dimensions)),
      rng.uniform(0.2, 0.8, dimensions),
    )
    clean = np.sum(curvature * (rng.random((2**20, dimensions)) - optimum) ** 2, axis=1)
    spread = np.sort(clean)[: 2**18].std()
    observed = clean + ratio * spread * rng.standard_normal(2**20)
    true = np.subtract(
      *(observed.reshape(-1, k).min(axis=1).mean() for k in (n, 2 * n))
    )
    said = [
      gain_of_doubling(observed[rng.integers(0, 2**20, n)], min_gain=1.0, draws=1000)
      for _ in range(studies)
    ]
    low, gain, high = (
      np.array([getattr(s, name) for s in said]) for name in ('low', 'gain', 'high')
    )
    print(
      f'{n:6} {dimensions:4} {ratio:5} {np.mean((low <= true) & (true <= high)):7.1%} '
      f'{np.mean(high < true):8.1%} '
      f'{np.mean(low > true):8.1%} {np.median(gain) / true:9.2f} {np.median(high / low):8.1f}'
    )


def main() -> None:
  """Prints all tables."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('studies', type=int, nargs='?', default=2000)
  studies = parser.parse_args().studies
  start = time.time()
  rng = np.random.default_rng(0)
  for table, share in (
    (of_quadratics, 1),
    (of_others, 1),
    (of_seeds_in_common, 4),
    (of_fresh_seeds, 1),
    (of_bands, 4),
    (of_doubling, 4),
  ):
    print(
      f'\n{table.__name__}, {studies // share} studies per line: {table.__doc__.splitlines()[0]}'
    )
    table(studies // share, rng)
  print(f'\n{time.time() - start:.0f} s')


if __name__ == '__main__':
  main()
