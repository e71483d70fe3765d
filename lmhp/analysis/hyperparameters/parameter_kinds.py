"""What a parameter bought, by where it was spent: embedding, attention, feed-forward, ..., at equal totals.

Models of one size may spend it in different places. Over a study's models the loss is taken to be linear in the log of
all parameters and in the share of each kind; what is told is the effect of moving 1% of the parameters to a kind from
the others, in proportion to what they have. It is of the sizes and shapes that were tried, and no law.

Dimension key: P points (the seeds of one model are averaged), K kinds, C columns.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Sequence

import numpy as np

from lmhp.analysis.hyperparameters.surface import columns_of
from lmhp.analysis.runs.table import Runs
from lmhp.errors import ConfigError, suggest

PREFIX = 'parameters_'
"""Columns of `Runs.measured`: 'parameters_embedding', 'parameters_attention', ..., the count of each kind."""
FEWEST_SPARE = 5
"""Points needed beyond the columns of the fit."""
FEWEST_SHARE = 0.02
"""A kind whose share varies by less than this between models is left out: there is nothing to read."""
_THIN = 0.02
"""Directions in which models vary by less than this share of what the least varied kind does count as not varied."""
LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Kinds:
  """What :func:`loss_by_kind` found.

  Attributes:
    kinds: those whose share varies enough, the widest share first; all that have parameters where refused.
    nats_per_percent: (K,) change of the loss when 1% of parameters move to the kind from the others, at the same total;
      below 0, more of it would have been better. NaN where it cannot be told apart from other changes.
    low: (K,) of the interval.
    high: (K,) its other end.
    p_value: (K,) of no effect, Student's t, times the number of kinds told (Bonferroni).
    share: (K,) mean share of all parameters.
    share_range: (K,) its largest less its smallest.
    nats_per_doubling: (estimate, low, high): change of the loss when parameters double at the same shares.
    noise: standard deviation of a point around the fit.
    points: how many models there were.
    held: what else was in the fit.
    confidence: of the intervals.
    refused: why nothing is said, or ''.
  """

  kinds: tuple[str, ...]
  nats_per_percent: np.ndarray
  low: np.ndarray
  high: np.ndarray
  p_value: np.ndarray
  share: np.ndarray
  share_range: np.ndarray
  nats_per_doubling: tuple[float, float, float] = (math.nan,) * 3
  noise: float = math.nan
  points: int = 0
  held: tuple[str, ...] = ()
  confidence: float = 0.9
  refused: str = ''

  @property
  def shown(self) -> tuple[str, ...]:
    """The kinds whose effect chance would hardly make."""
    return tuple(kind for kind, p in zip(self.kinds, self.p_value) if p <= LEVEL)


def loss_by_kind(
  runs: Runs, covariates: Sequence[str] | None = None, confidence: float = 0.9
) -> Kinds:
  """What moving parameters between kinds did to the loss, at equal totals.

  Args:
    runs: of which those of the search are used that came to their end and whose parameters are known by kind. The loss
      is the objective, less is better; nats per percent are of its unit.
    covariates: axes that are held equal in the fit (a number with its square); None for those that were varied and are
      not of the model: whose dotted path begins with another section than `model`. Tokens, where they differ, are held
      equal too.
    confidence: of the intervals, for normal errors alike for all models.

  Returns:
    A `Kinds`; refused where too few models are there, or shares hardly vary.

  Raises:
    ConfigError: for a covariate that the runs do not have.

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
  >>> found = loss_by_kind(Runs('models', {}, {}, losses, measured=counts))
  >>> (
  ...   round(float(found.nats_per_percent[found.kinds.index('feed_forward')]), 4),
  ...   'feed_forward' in found.shown,
  ... )
  (-0.005, True)
  """
  names, runs, counts, losses = _models(runs)
  total = counts.sum(axis=1)
  shares = counts / total[:, None]
  spread = np.ptp(shares, axis=0) if len(losses) else np.zeros(len(names))
  kept = [i for i in np.argsort(-spread, kind='stable') if spread[i] >= FEWEST_SHARE]
  held, others = _held(runs, covariates)
  about = {'points': len(losses), 'held': held, 'confidence': confidence}
  needs = (
    1 + len(kept) + others.shape[1] + FEWEST_SPARE
  )  # intercept, size, shares that add up to one, and the rest
  if len(kept) < 2 or len(losses) < needs:
    return _nothing(
      names, shares, spread, about, _why(names, len(losses), len(kept), needs)
    )
  of_kept = shares[:, kept] / shares[:, kept].sum(axis=1, keepdims=True)
  found = _fit(losses, np.log2(total), of_kept, others, confidence)
  return Kinds(
    tuple(names[i] for i in kept),
    *found[0],
    shares[:, kept].mean(axis=0),
    spread[kept],
    nats_per_doubling=found[1],
    noise=found[2],
    **about,
  )


# --- what goes in -----------------------------------------------------------------------------------------------------


def _models(runs: Runs) -> tuple[list[str], Runs, np.ndarray, np.ndarray]:
  """Kinds that have parameters, a run of each point whose counts are known, its counts (P, K), its mean loss (P,)."""
  complete = runs.complete()
  columns = {
    name.removeprefix(PREFIX): np.nan_to_num(column)
    for name, column in complete.measured.items()
    if name.startswith(PREFIX) and np.nansum(column) > 0
  }
  counts = (
    np.column_stack(list(columns.values())) if columns else np.zeros((len(complete), 0))
  )
  known = complete.where(counts.sum(axis=1) > 0)
  rows = list(known.points().values())
  first = np.array([r[0] for r in rows], int)
  losses = np.array([known.losses[r].mean() for r in rows], np.float64)
  return (
    list(columns),
    known.where(first),
    counts[counts.sum(axis=1) > 0][first],
    losses,
  )


def _held(
  runs: Runs, covariates: Sequence[str] | None
) -> tuple[tuple[str, ...], np.ndarray]:
  """Names and columns (P, C) of what is held equal."""
  if covariates is None:
    covariates = [
      name for name in runs.varied() if '.' in name and not name.startswith('model.')
    ]
  for name in covariates:
    if name not in runs.axes:
      raise ConfigError(
        f'covariates: got {name!r}, expected some of {sorted(runs.axes)}{suggest(name, runs.axes)}'
      )
  names, columns = list(covariates), [columns_of(runs, name) for name in covariates]
  tokens = runs.measured.get('tokens')
  if (
    tokens is not None
    and len(tokens)
    and (np.nan_to_num(tokens) > 0).all()
    and np.ptp(np.log(tokens)) > 0.01
  ):
    names, columns = [*names, 'tokens'], [*columns, np.log(tokens)[:, None]]
  return tuple(names), np.column_stack(columns) if columns else np.zeros((len(runs), 0))


def _why(names: Sequence[str], points: int, kept: int, needs: int) -> str:
  if not names:
    return 'the parameters of no run are known by kind'
  if kept < 2:
    return f'shares of parameters vary by less than {FEWEST_SHARE:.0%} of them between the {points} models'
  return f'{points} models are too few: needs {needs}'


def _nothing(
  names: Sequence[str], shares: np.ndarray, spread: np.ndarray, about: dict, reason: str
) -> Kinds:
  nan = np.full(len(names), math.nan)
  return Kinds(
    tuple(names),
    nan,
    nan,
    nan,
    nan,
    shares.mean(axis=0) if len(shares) else nan,
    spread,
    refused=reason,
    **about,
  )


# --- least squares ----------------------------------------------------------------------------------------------------


def _fit(
  losses: np.ndarray,
  doublings: np.ndarray,
  shares: np.ndarray,
  others: np.ndarray,
  confidence: float,
) -> tuple[tuple[np.ndarray, ...], tuple[float, float, float], float]:
  """Effects of moves between shares (estimate, low, high, p), of a doubling, and the noise.

  Shares add up to one, so that their columns and the constant are one too many; a move's effect does not depend on
  which solution is taken. What else is not varied on its own leaves its effects NaN.
  """
  from scipy.special import stdtr, stdtrit  # slow to import, and only here

  unit, of_share = (
    max(float(np.std(doublings)), 1e-9),
    max(float(np.std(shares, axis=0).min()), 1e-3),
  )
  scaled = others / np.maximum(np.std(others, axis=0), 1e-9)
  design = np.column_stack([doublings / unit, shares / of_share, scaled])
  u, singular, vt = np.linalg.svd(design - design.mean(axis=0), full_matrices=False)
  rank = int(np.sum(singular > _THIN * math.sqrt(len(losses))))
  u, singular, vt = u[:, :rank], singular[:rank], vt[:rank]
  fitted = u.T @ (losses - losses.mean())
  freedom = len(losses) - 1 - rank
  noise = math.sqrt(
    max(np.sum((losses - losses.mean()) ** 2) - np.sum(fitted**2), 0.0) / freedom
  )
  moves = np.zeros((shares.shape[1] + 1, design.shape[1]))
  moves[0, 0] = 1 / unit
  moves[1:, 1 : 1 + shares.shape[1]] = 0.01 * _moves(shares.mean(axis=0)) / of_share
  told = np.linalg.norm(moves - moves @ vt.T @ vt, axis=1) < 0.05 * np.linalg.norm(
    moves, axis=1
  )
  effects = np.where(told, moves @ vt.T @ (fitted / singular), math.nan)
  errors = noise * np.linalg.norm((moves @ vt.T) / singular, axis=1)
  half = stdtrit(freedom, (1 + confidence) / 2) * errors
  with np.errstate(divide='ignore', invalid='ignore'):
    p_values = np.minimum(
      2 * stdtr(freedom, -np.abs(effects / errors)) * max(int(told[1:].sum()), 1), 1
    )
  table = (effects, effects - half, effects + half)
  return (
    (*(column[1:] for column in table), p_values[1:]),
    tuple(float(column[0]) for column in table),
    noise,
  )


def _moves(shares: np.ndarray) -> np.ndarray:
  """(K, K) of each kind the change of all shares when it gains one and the others lose it in proportion to theirs."""
  rest = 1 - shares[:, None]
  moves = -shares[None, :] / rest
  np.fill_diagonal(moves, 1.0)
  return moves
