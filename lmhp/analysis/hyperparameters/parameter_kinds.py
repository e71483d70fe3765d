"""Effect of parameters by kind: embedding, attention, feed-forward, ..., at equal totals.

Models of one size may spend their parameters differently. The loss of a study's models is
taken to be linear in the log of the number of parameters and in the fraction of each kind.
The result is the effect of moving 1% of the parameters to a kind from the others, in
proportion to what they have. It describes the sizes and shapes that were tried. It is no
scaling law.

Dimension key: P points (one per model, seeds averaged), K kinds, C columns.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from lmhp.analysis.hyperparameters.design import average_seeds, design_columns
from lmhp.analysis.runs.table import Runs

PREFIX = 'parameters_'
"""Prefix of the columns of `Runs.measured` that count parameters by kind."""
MIN_SPARE_POINTS = 5
"""Points that are needed beyond the columns of the fit."""
MIN_RANGE = 0.02
"""A kind whose fraction varies by less than this between models is left out."""
MIN_SINGULAR = 0.02
"""Directions with a smaller relative spread count as not varied."""
LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class KindEffects:
  """Effects of moving parameters between kinds. NaN if an effect cannot be computed.

  Attributes:
    kinds: Kinds whose fraction varies enough, the widest range first. All kinds that have
      parameters if there is no result.
    per_percent: (K,) change of the loss if 1% of the parameters move to the kind from the
      others, at the same total. Below 0, more parameters of the kind would be better. In the
      unit of the objective.
    low: (K,) lower end of its interval.
    high: (K,) upper end of its interval.
    p_value: (K,) p-value of "no effect", by Student's t, times the number of kinds with a
      result (Bonferroni).
    fraction: (K,) mean fraction of all parameters.
    fraction_range: (K,) largest minus smallest fraction.
    per_doubling: (estimate, low, high) of the change of the loss if the number of parameters
      doubles at the same fractions.
    noise: Standard deviation of a point around the fit.
    n_points: Number of models.
    covariates: Names of the other columns in the fit.
    confidence: Confidence of the intervals.
    reason: Reason why there is no result. Empty if there is one.
  """

  kinds: tuple[str, ...]
  per_percent: np.ndarray
  low: np.ndarray
  high: np.ndarray
  p_value: np.ndarray
  fraction: np.ndarray
  fraction_range: np.ndarray
  per_doubling: tuple[float, float, float] = (math.nan, math.nan, math.nan)
  noise: float = math.nan
  n_points: int = 0
  covariates: tuple[str, ...] = ()
  confidence: float = 0.9
  reason: str = ''

  @property
  def significant(self) -> tuple[str, ...]:
    """Kinds with a significant effect."""
    return tuple(kind for kind, p in zip(self.kinds, self.p_value) if p <= LEVEL)


def effects_by_kind(
  runs: Runs, covariates: Sequence[str] | None = None, confidence: float = 0.9
) -> KindEffects:
  """Estimates the effect of moving parameters between kinds, at equal totals.

  Args:
    runs: Table of runs. Complete runs of the search with known parameters by kind are used.
    covariates: Axes that are held equal in the fit. A number enters with its square. None
      takes the varied axes whose dotted path begins with another section than `model`.
      Tokens are held equal too if they differ.
    confidence: Confidence of the intervals, for normal errors of equal variance.

  Returns:
    The effects. There is no result if there are too few models, or the fractions hardly
    vary.

  Raises:
    ConfigError: If the runs do not have a covariate.

  >>> rng = np.random.default_rng(0)
  >>> kinds = ('embedding', 'attention', 'feed_forward')
  >>> counts = {f'parameters_{kind}': 1e6 * rng.uniform(1, 3, 30) for kind in kinds}
  >>> total = sum(counts.values())
  >>> losses = (
  ...   5
  ...   - 0.1 * np.log(total)
  ...   - 0.5 * counts['parameters_feed_forward'] / total
  ...   + 0.001 * rng.normal(size=30)
  ... )
  >>> result = effects_by_kind(Runs('models', {}, {}, losses, measured=counts))
  >>> round(float(result.per_percent[result.kinds.index('feed_forward')]), 4)
  -0.005
  >>> 'feed_forward' in result.significant
  True
  """
  # One row per model whose parameters are known by kind.
  complete = runs.complete_runs()
  columns = {
    name: column
    for name, column in complete.measured.items()
    if name.startswith(PREFIX) and np.nansum(column) > 0
  }
  names = [name.removeprefix(PREFIX) for name in columns]
  has_counts = np.nansum(list(columns.values()), axis=0) > 0
  models, losses = average_seeds(complete.select(has_counts))
  covariate_names, others = _covariates(models, covariates)

  # Fractions of the parameters, and the kinds whose fraction was varied.
  # A run without a kind has 0 of it.
  empty = np.zeros((len(models), 0))
  counts = np.column_stack([empty, *(models.measured[name] for name in columns)])
  counts = np.nan_to_num(counts)
  total = counts.sum(axis=1)
  fractions = counts / total[:, None]
  spread = np.ptp(fractions, axis=0) if len(losses) else np.zeros(len(names))
  kept = [i for i in np.argsort(-spread, kind='stable') if spread[i] >= MIN_RANGE]

  # The fractions add up to one, so they and the intercept have one column too many.
  needed = 1 + len(kept) + others.shape[1] + MIN_SPARE_POINTS
  unknown = np.full(len(names), math.nan)
  blank = KindEffects(
    kinds=tuple(names),
    per_percent=unknown,
    low=unknown,
    high=unknown,
    p_value=unknown,
    fraction=fractions.mean(axis=0) if len(fractions) else unknown,
    fraction_range=spread,
    n_points=len(losses),
    covariates=covariate_names,
    confidence=confidence,
  )
  if len(kept) < 2 or len(losses) < needed:
    return dataclasses.replace(
      blank, reason=_reason(names, len(losses), len(kept), needed)
    )

  # Regression on the size and on the fractions of these kinds.
  # Fractions of the kept kinds alone, which add up to one again.
  of_kept = dataclasses.replace(
    blank,
    kinds=tuple(names[i] for i in kept),
    fraction=fractions[:, kept].mean(axis=0),
    fraction_range=spread[kept],
  )
  kept_fractions = fractions[:, kept] / fractions[:, kept].sum(axis=1, keepdims=True)
  return _fit(of_kept, losses, np.log2(total), kept_fractions, others)


def _covariates(
  runs: Runs, names: Sequence[str] | None
) -> tuple[tuple[str, ...], np.ndarray]:
  """Returns the names and columns (P, C) of the covariates."""
  # By default, all varied settings outside of the model.
  if names is None:
    names = [
      name
      for name in runs.varied_axes()
      if '.' in name and not name.startswith('model.')
    ]
  for name in names:
    runs.require_axis(name, 'covariates', 'some of')
  all_names = list(names)
  columns = [np.zeros((len(runs), 0)), *(design_columns(runs, name) for name in names)]
  # The training length is a covariate too, if it differs between runs.
  tokens = runs.measured.get('tokens', np.zeros(0))
  is_known = len(tokens) > 0 and (np.nan_to_num(tokens) > 0).all()
  if is_known and np.ptp(np.log(tokens)) > 0.01:
    all_names.append('tokens')
    columns.append(np.log(tokens)[:, None])
  return tuple(all_names), np.column_stack(columns)


def _reason(names: Sequence[str], n_points: int, n_kept: int, needed: int) -> str:
  if not names:
    return 'the number of parameters by kind is not recorded'
  if n_kept < 2:
    return (
      f'the fractions of the kinds differ by less than {MIN_RANGE:.0%} between the '
      f'{n_points} models'
    )
  return f'there are {n_points} models, and {needed} are needed'


def _fit(
  blank: KindEffects,
  losses: np.ndarray,
  doublings: np.ndarray,
  fractions: np.ndarray,
  others: np.ndarray,
) -> KindEffects:
  """Fits the effects by least squares.

  The fractions add up to one, so least squares has many solutions. The effect of a move is
  the same for all of them. Effects that the data do not determine are NaN.

  Args:
    blank: The result without the effects.
    losses: (P,) mean losses.
    doublings: (P,) log2 of the number of parameters.
    fractions: (P, K) fractions of the kinds.
    others: (P, C) covariates.
  """
  from scipy.special import stdtr, stdtrit

  # Scale the columns, and leave out directions with hardly any spread.
  unit = max(float(np.std(doublings)), 1e-9)
  fraction_unit = max(float(np.std(fractions, axis=0).min()), 1e-3)
  scaled = others / np.maximum(np.std(others, axis=0), 1e-9)
  design = np.column_stack([doublings / unit, fractions / fraction_unit, scaled])
  u, singular, vt = np.linalg.svd(design - design.mean(axis=0), full_matrices=False)
  rank = int(np.sum(singular > MIN_SINGULAR * math.sqrt(len(losses))))
  u = u[:, :rank]
  singular = singular[:rank]
  vt = vt[:rank]

  # Residual noise.
  fitted = u.T @ (losses - losses.mean())
  freedom = len(losses) - 1 - rank
  residual = np.sum((losses - losses.mean()) ** 2) - np.sum(fitted**2)
  noise = math.sqrt(max(residual, 0.0) / freedom)

  # Effects of moves, and their standard errors.
  moves = np.zeros((fractions.shape[1] + 1, design.shape[1]))
  # The first move is a doubling of the size. The others move 1% to one kind.
  moves[0, 0] = 1 / unit
  shifts = 0.01 * _moves(fractions.mean(axis=0)) / fraction_unit
  moves[1:, 1 : 1 + fractions.shape[1]] = shifts
  # A move is known if hardly any of it lies outside of the fitted directions.
  outside = np.linalg.norm(moves - moves @ vt.T @ vt, axis=1)
  is_known = outside < 0.05 * np.linalg.norm(moves, axis=1)
  # Effect m V S^-1 U^T y, with the standard error noise |m V S^-1|.
  effects = np.where(is_known, moves @ vt.T @ (fitted / singular), math.nan)
  errors = noise * np.linalg.norm((moves @ vt.T) / singular, axis=1)
  half = stdtrit(freedom, (1 + blank.confidence) / 2) * errors
  low = effects - half
  high = effects + half
  # Two-sided t test, with Bonferroni's correction for the number of kinds.
  n_known = max(int(is_known[1:].sum()), 1)
  with np.errstate(divide='ignore', invalid='ignore'):
    two_sided = 2 * stdtr(freedom, -np.abs(effects / errors))
    p_values = np.minimum(two_sided * n_known, 1)
  return dataclasses.replace(
    blank,
    per_percent=effects[1:],
    low=low[1:],
    high=high[1:],
    p_value=p_values[1:],
    per_doubling=(float(effects[0]), float(low[0]), float(high[0])),
    noise=noise,
  )


def _moves(fractions: np.ndarray) -> np.ndarray:
  """Returns (K, K) the change of all fractions if one kind gains 1.

  The other kinds lose in proportion to their fractions.
  """
  rest = 1 - fractions[:, None]
  moves = -fractions[None, :] / rest
  np.fill_diagonal(moves, 1.0)
  return moves
