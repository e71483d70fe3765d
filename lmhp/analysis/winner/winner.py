"""The winner of a study: the best point, and its expected loss on a fresh seed.

The lowest of many noisy means is low partly by luck (the winner's curse), so Student's
interval around it is wrong. With 64 points whose noise is twice their spread it covers the
truth in 54% of studies instead of 90%. There are three cases:

- The winner was run again on fresh seeds. They are independent of the selection, so
  Student's interval holds. This is the best case: it is short and assumes least.
- Otherwise the noise between seeds is known, or estimated from points with several seeds.
  A contender is a point that may be as good as the winner: the lead over it is little more than
  the luck of the best of all points. Among K equal contenders, the winner's mean has the error of
  the luckiest of K. This error gives the upper end of the interval, and Student's t the lower end.
  Without contenders, Student's t gives both. K is never more than the number of points.
- Otherwise there is one seed per point and the noise is unknown. There is no interval.

The noise of a point is its own if the seeds show that points differ in their noise, and the
common one if they do not (`lmhp.statistics.group_variances`). Points that ran with the same
seeds share a part of their noise (`seed_noise`), which did not help the winner.

`bench/calibration_intervals.py` measures the coverage. Two other ways were tried. The interval
conditional on having won (Andrews, Kitagawa, McCloskey 2024) is exact, but puts the expected
loss several standard errors above the winner if two points nearly tie. Shrinkage with a prior
of the true losses covered the truth in 18% of studies with one good point among 32.

Dimension key: T runs, P points.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import math

import numpy as np
import numpy.typing as npt

from lmhp.analysis.runs.table import BASE_POINT, SEARCH, Runs
from lmhp.analysis.winner.contenders import (
  contender_weights,
  counted_contenders,
  has_finite_point,
)
from lmhp.analysis.winner.main_group import in_main_group
from lmhp.errors import ConfigError
from lmhp.statistics.confirmation import Confirmation, SeedLoss, confirm_on_seeds
from lmhp.statistics.group_variances import variances_of_groups
from lmhp.statistics.intervals import check_confidence, student_quantile
from lmhp.statistics.seed_noise import SeedNoise, rows_by_point, seed_noise

FRESH_SEEDS = 'fresh_seeds'
AMONG_CONTENDERS = 'among_contenders'
NO_INTERVAL = 'none'
ROUNDING = 1e-12
"""A standard deviation below this fraction of the mean is rounding."""
EQUAL_NOISE = 20.0
"""If the common variance adds as many degrees of freedom, all points have that variance."""


@dataclasses.dataclass(frozen=True)
class Winner:
  """Best point of a study, and its expected loss on a fresh seed. Less is better.

  Attributes:
    point: The point.
    n_points: Number of points that could have won.
    n_seeds: Number of seeds of the point in the search.
    mean: Mean loss over these seeds. It is too low on average.
    runner_up: Mean loss of the next best point. inf if there is none.
    expected: Estimated loss on a fresh seed: the mean of the fresh seeds, or a
      median-unbiased estimate.
    low: Lower end of the interval of the expected loss. NaN if there is no interval.
    high: Upper end of the interval.
    confidence: Confidence of the interval.
    method: 'fresh_seeds', 'among_contenders' or 'none'.
    noise_sd: Standard deviation between seeds that was used. NaN if unknown.
    freedom: Degrees of freedom of the noise. inf if the noise is known.
    reason: Method of the interval in words, or the reason why there is none.
    correlation: Correlation between the noise of two points on one seed.
  """

  point: int
  n_points: int
  n_seeds: int
  mean: float
  runner_up: float
  confidence: float
  correlation: float = 0.0
  expected: float = math.nan
  low: float = math.nan
  high: float = math.nan
  method: str = NO_INTERVAL
  noise_sd: float = math.nan
  freedom: float = 0.0
  reason: str = ''

  @property
  def has_interval(self) -> bool:
    """True if the expected loss has an interval."""
    return math.isfinite(self.low)

  @property
  def best_estimate(self) -> float:
    """The expected loss, or the mean in the search if it is unknown."""
    return self.expected if math.isfinite(self.expected) else self.mean


def find_winner(runs: Runs) -> Winner | None:
  """Finds the best point of a search, and its expected loss on a fresh seed.

  Args:
    runs: Table of runs, with the runs of the confirmation if there are any.

  Returns:
    The winner. None if no point is complete.
  """
  search = runs.select(
    (runs.cohort == SEARCH) & np.isin(runs.status, ('complete', 'diverged'))
  )
  # A point with a run that diverged cannot win.
  losses = np.where(search.status == 'complete', search.losses, math.nan)
  losses = np.where(has_finite_point(losses, search.point), losses, math.nan)
  if not np.isfinite(losses).any():
    return None
  # Sizes are not compared. The winner is that of the block with the lowest loss.
  main_losses = np.where(in_main_group(search), losses, math.nan)
  if not np.isfinite(main_losses).any():
    main_losses = losses
  blocks = search.blocks()
  in_block = blocks == blocks[np.nanargmin(main_losses)]
  search = search.select(in_block)
  losses = losses[in_block]
  winner = expected_loss_of_best(losses, search.point, seeds=search.seed)
  fresh = runs.confirmation_runs(winner.point)
  if not len(fresh):
    return winner
  # On fresh seeds, a divergence makes the expected loss infinite.
  fresh_losses = np.where(fresh.status == 'diverged', math.inf, fresh.losses)
  return expected_loss_of_best(
    losses, search.point, seeds=search.seed, fresh_losses=fresh_losses
  )


def expected_loss_of_best(
  losses: npt.ArrayLike,
  points: npt.ArrayLike | None = None,
  noise_sd: float | None = None,
  fresh_losses: npt.ArrayLike = (),
  confidence: float = 0.9,
  noise_freedom: float = math.inf,
  seeds: npt.ArrayLike | None = None,
) -> Winner:
  """Finds the point with the lowest mean loss, and its expected loss on a fresh seed.

  Args:
    losses: (T,) losses of the search, less is better. A run that is not finite diverged. Its
      point cannot win, and is left out of the noise. Diverged runs must be NaN or inf here,
      since a finite bad value would count as noise.
    points: (T,) point of each run. Runs of one point differ in their seed only. None gives
      each run a point.
    noise_sd: Standard deviation between seeds, if it is known. None pools it over the points
      with several seeds.
    fresh_losses: Losses of the winner on fresh seeds, which were run because it won.
    confidence: Confidence of the interval of the expected loss.
    noise_freedom: Degrees of freedom of `noise_sd`.
    seeds: (T,) seed of each run, if points ran with the same seeds. None if no two points
      share a seed.

  Returns:
    The winner. Three or more fresh seeds are used alone. One or two borrow the noise of the
    search. The first of tied points wins.

  Raises:
    ConfigError: If shapes differ, no point is finite, or a number is out of its range.

  >>> winner = expected_loss_of_best(
  ...   [3.1, 3.0, 3.4, 3.3], points=[0, 0, 1, 1], fresh_losses=[3.12, 3.05, 3.10]
  ... )
  >>> winner.point, round(winner.mean, 3), round(winner.expected, 3)
  (0, 3.05, 3.09)
  >>> round(winner.low, 3), round(winner.high, 3)
  (3.029, 3.151)
  >>> winner = expected_loss_of_best([3.02, 3.01, 3.03], noise_sd=0.02)
  >>> winner.point, winner.method, winner.low < 3.01 < winner.expected < winner.high
  (1, 'among_contenders', True)
  >>> expected_loss_of_best([3.02, 3.01, 3.03]).method
  'none'
  """
  check_confidence(confidence)
  if noise_sd is not None and not 0 < noise_sd < math.inf:
    raise ConfigError(
      f'noise_sd: got {noise_sd}, expected a finite number above 0, or None if it is unknown'
    )
  if not noise_freedom > 0:
    raise ConfigError(f'noise_freedom: got {noise_freedom}, expected a number above 0')
  loss, point_of_run, seed = _finite_points(losses, points, seeds)
  fresh = np.asarray(fresh_losses, np.float64)
  if fresh.ndim != 1:
    raise ConfigError(f'fresh_losses: got shape {fresh.shape}, expected a list')
  rows = rows_by_point(point_of_run)
  means = {point: float(np.mean(loss[indices])) for point, indices in rows.items()}
  point = min(means, key=lambda each: means[each])
  noise = seed_noise(loss, point_of_run, seed)
  if noise_sd is not None:
    noise = SeedNoise(float(noise_sd), float(noise_freedom), noise.correlation)
  if noise.noise <= ROUNDING * abs(means[point]):
    # The seeds of each point are copies of one run, which shows no noise.
    noise = SeedNoise(math.nan, noise.degrees_of_freedom, noise.correlation)

  # Lead over the second best point.
  others = [mean for other, mean in means.items() if other != point]
  winner = Winner(
    point=point,
    n_points=len(rows),
    n_seeds=len(rows[point]),
    mean=means[point],
    runner_up=min(others, default=math.inf),
    confidence=float(confidence),
    correlation=noise.correlation,
  )
  if len(fresh):
    return _from_fresh_seeds(winner, fresh, noise)
  if math.isnan(noise.noise):
    cause = 'there is one seed per point'
    if noise.degrees_of_freedom:
      cause = 'the seeds of each point are equal, as copies of one run are'
    reason = f'{cause}, so the noise between seeds and the selection bias are unknown'
    return dataclasses.replace(winner, reason=reason)
  groups = {each: loss[indices] for each, indices in rows.items()}
  return _among_contenders(winner, groups, noise, noise_sd is not None)


# --- data -------------------------------------------------------------------------------


def _finite_points(
  losses: npt.ArrayLike, points: npt.ArrayLike | None, seeds: npt.ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
  """Returns loss, point and seed (T,) of the runs of the points that can win."""
  loss = np.asarray(losses, np.float64)
  point = np.arange(len(loss)) if points is None else np.asarray(points)
  seed = None if seeds is None else np.asarray(seeds)
  if loss.ndim != 1 or loss.shape != point.shape:
    raise ConfigError(
      f'losses, points: got shapes {loss.shape} and {point.shape}, expected two lists of '
      'one length'
    )
  if seed is not None and seed.shape != loss.shape:
    raise ConfigError(
      f'seeds: got shape {seed.shape}, expected one seed for each of {len(loss)} losses'
    )
  is_finite = has_finite_point(loss, point)
  if not is_finite.any():
    raise ConfigError(
      f'losses: got {len(loss)} runs and no point whose runs are all finite, expected at '
      'least one'
    )
  return loss[is_finite], point[is_finite], None if seed is None else seed[is_finite]


# --- intervals --------------------------------------------------------------------------


def _from_fresh_seeds(winner: Winner, fresh: np.ndarray, noise: SeedNoise) -> Winner:
  """Returns Student's interval of fresh seeds.

  One or two fresh seeds are too few to show their own noise, and borrow that of the search.
  """
  n = len(fresh)
  mean = float(np.mean(fresh))
  n_diverged = int(np.sum(~np.isfinite(fresh)))
  if n_diverged:
    reason = (
      f'{n_diverged} of {n} fresh seeds diverged, so the expected loss is not finite'
    )
    return dataclasses.replace(winner, reason=reason)

  # Pool the squares of the fresh seeds with those of the search.
  squares = float(np.sum((fresh - mean) ** 2))
  freedom = n - 1.0
  is_borrowed = n < 3 and not math.isnan(noise.noise)
  if is_borrowed and math.isfinite(noise.degrees_of_freedom):
    squares = squares + noise.degrees_of_freedom * noise.noise**2
    freedom = freedom + noise.degrees_of_freedom
  elif is_borrowed:
    squares = noise.noise**2
    freedom = math.inf
  if freedom == 0 or math.sqrt(squares) <= ROUNDING * abs(mean):
    cause = 'there is one fresh seed'
    if n > 1:
      cause = f'the {n} fresh seeds are equal, as copies of one run are'
    reason = f'{cause}, and the noise between seeds is unknown'
    return dataclasses.replace(winner, expected=mean, reason=reason)

  sd = math.sqrt(squares if math.isinf(freedom) else squares / freedom)
  half = student_quantile((1 + winner.confidence) / 2, freedom) * sd / math.sqrt(n)
  reason = f"Student's interval of {n} fresh seed{'s' if n > 1 else ''}"
  if is_borrowed:
    reason += ', with the noise of the search'
  return dataclasses.replace(
    winner,
    expected=mean,
    low=mean - half,
    high=mean + half,
    method=FRESH_SEEDS,
    noise_sd=sd,
    freedom=freedom,
    reason=reason,
  )


def _among_contenders(
  winner: Winner, groups: Mapping[int, np.ndarray], noise: SeedNoise, is_given: bool
) -> Winner:
  """Returns the interval of a winner among its contenders.

  Args:
    winner: The winner, without an interval.
    groups: {point: losses}.
    noise: Noise between seeds, pooled over points.
    is_given: True if the user stated the noise.
  """
  losses = list(groups.values())
  means_P = np.array([float(np.mean(each)) for each in losses])
  is_winner_P = np.array([point == winner.point for point in groups])
  sd_P = np.full(len(losses), noise.noise)
  freedom = noise.degrees_of_freedom
  correlation = noise.correlation
  if not is_given:
    # If points differ in their noise, each has its own.
    own_noise = variances_of_groups(losses)
    if own_noise.common_freedom < EQUAL_NOISE:
      sd_P = np.sqrt(own_noise.variance)
      freedom = float(own_noise.freedom[is_winner_P][0])
      correlation = 0.0
  # Standard errors of the noise that points do not share.
  counts = np.array([len(each) for each in losses])
  errors_P = math.sqrt(1 - correlation) * sd_P / np.sqrt(counts)
  own = float(errors_P[is_winner_P][0])
  noise_sd = float(sd_P[is_winner_P][0])

  # Leads in standard errors of one mean. A lead has the errors of both means.
  leads = (means_P - winner.mean)[~is_winner_P]
  others = errors_P[~is_winner_P]
  with np.errstate(divide='ignore', invalid='ignore'):
    gaps = leads / np.sqrt((others**2 + own**2) / 2)
  gaps = np.nan_to_num(gaps, posinf=np.inf)
  n_contenders = 1.0 + float(np.sum(contender_weights(gaps)))
  tail = (1 - winner.confidence) / 2
  # The luckiest of K errors is below -x with probability 1 - (1 - P(error < -x))^K.
  luck = -student_quantile(1 - (1 - tail) ** (1 / n_contenders), freedom)
  typical = -student_quantile(1 - 0.5 ** (1 / n_contenders), freedom)
  plain = -student_quantile(tail, freedom)

  # Shared noise is not selected, and adds to both ends.
  shared = math.sqrt(correlation / (1 - correlation)) * own
  reason = (
    f'{counted_contenders(n_contenders, winner.n_points)}, with a standard deviation of '
    f'{noise_sd:.3g} between seeds'
  )
  return dataclasses.replace(
    winner,
    expected=winner.mean + own * typical,
    low=winner.mean - math.hypot(own, shared) * plain,
    high=winner.mean + math.hypot(own * luck, shared * plain),
    method=AMONG_CONTENDERS,
    noise_sd=noise_sd,
    freedom=freedom,
    correlation=correlation,
    reason=reason,
  )


# --- confirmation -----------------------------------------------------------------------


def confirm(runs: Runs, point: int) -> Confirmation | None:
  """Compares a point with the base config on the seeds that both ran with.

  Args:
    runs: Table of runs, with the runs of the confirmation.
    point: Point of the winner.

  Returns:
    The comparison. None if the base config did not run with a seed of the winner.
  """
  return confirm_on_seeds(
    _by_seed(runs.confirmation_runs(point)),
    _by_seed(runs.confirmation_runs(BASE_POINT)),
    runs.facts.confirmation_pairs,
  )


def _by_seed(runs: Runs) -> dict[int, SeedLoss]:
  """Returns the result of each seed."""
  return {
    int(seed): SeedLoss(float(loss), bool(status == 'diverged'))
    for seed, loss, status in zip(runs.seed, runs.losses, runs.status, strict=True)
  }
