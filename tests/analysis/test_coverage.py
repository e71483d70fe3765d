"""Tests that 90% intervals of the winner contain its expected loss in 90% of studies.

The large versions are `bench/calibration_best.py` and `bench/real_study_halves.py`.
"""

import numpy as np
import pytest

from lmhp.analysis.winner.conditional_interval import hybrid_quantiles
from lmhp.analysis.winner.winner import expected_loss_of_best

STUDIES = 4000
FRONT = 5  # of them through the front door too: that it says what is computed here for all at once


def within(held, studies=STUDIES, low=0.9, high=0.9):
  """Returns True if a fraction is in the 99.9% range of a binomial rate from `low` to `high`."""
  error = 3.3 * np.sqrt(0.9 * 0.1 / studies)
  return low - error < np.mean(held) < high + error


def quadratics(rng, n_points, noise):
  """Returns true losses (studies, P), and noise relative to their spread near the best."""
  places, optimum = (
    rng.random((STUDIES, n_points, 2)),
    rng.uniform(0.2, 0.8, (STUDIES, 1, 2)),
  )
  true = 3 + np.sum(
    np.exp(rng.uniform(-1.5, 1.5, (STUDIES, 1, 2))) * (places - optimum) ** 2, axis=-1
  )
  near = np.sort(true, axis=1)[:, : max(2, n_points // 4)].std(axis=1)
  return true, noise * near


def intervals(losses, noise, freedom, correlation, told=True):
  """Returns low, estimate and high (3, studies), and the winner (studies,)."""
  _, n_points, n_seeds = losses.shape
  means = losses.mean(axis=2)
  winner, (best, second) = means.argmin(axis=1), np.sort(means, axis=1)[:, :2].T
  error = noise / np.sqrt(n_seeds)
  found = best - error * hybrid_quantiles(
    (second - best) / error / (1 - correlation), freedom, n_points
  )
  points, seeds = np.indices((n_points, n_seeds)).reshape(2, -1)
  for study in range(FRONT):
    known = (
      {'noise_sd': noise[study]} if np.ndim(noise) and np.isinf(freedom).all() else {}
    )
    won = expected_loss_of_best(
      losses[study].ravel(), points, seeds=seeds if told else None, **known
    )
    assert won.point == winner[study]
    np.testing.assert_allclose(
      (won.low, won.expected, won.high), found[:, study], rtol=1e-7
    )
  return found, winner


# --- fresh seeds --------------------------------------------------------------------


@pytest.mark.parametrize('noise', [0.3, 2.0])
@pytest.mark.parametrize('n_fresh', [1, 2, 5])
def test_fresh_seeds_hold_it_whatever_chose(noise, n_fresh):
  rng, held, studies = np.random.default_rng(n_fresh), [], 1000
  true, sd = quadratics(rng, 32, noise)
  losses = true + sd[:, None] * rng.standard_normal(true.shape)
  fresh = rng.standard_normal((studies, n_fresh))
  for study in range(studies):
    right = true[study, losses[study].argmin()]
    won = expected_loss_of_best(
      losses[study], noise_sd=sd[study], fresh_losses=right + sd[study] * fresh[study]
    )
    assert won.method == 'fresh_seeds'
    held.append(won.low <= right <= won.high)
  assert within(held, studies)


# --- given that it won --------------------------------------------------------------


@pytest.mark.parametrize(
  'n_points, n_seeds, noise', [(8, 1, 0.5), (24, 2, 2.0), (64, 1, 2.0), (64, 5, 0.5)]
)
def test_given_that_it_won(n_points, n_seeds, noise):
  rng = np.random.default_rng(n_points)
  true, sd = quadratics(rng, n_points, noise)
  losses = true[..., None] + sd[:, None, None] * rng.standard_normal(
    (STUDIES, n_points, n_seeds)
  )
  freedom = np.inf if n_seeds == 1 else n_points * (n_seeds - 1)
  seen = sd if n_seeds == 1 else np.sqrt(losses.var(axis=2, ddof=1).mean(axis=1))
  (low, expected, high), winner = intervals(losses, seen, freedom, 0.0, told=False)
  truth = true[np.arange(STUDIES), winner]
  assert within(
    (low <= truth) & (truth <= high), high=0.9 / 0.99
  )  # Andrews et al.: what the outer bound gives away
  assert abs(np.mean(expected > truth) - 0.5) < 3.3 * 0.5 / np.sqrt(STUDIES)
  student = hybrid_quantiles(np.inf, freedom, 1)[0] * seen / np.sqrt(n_seeds)
  assert (
    np.mean(abs(losses.mean(axis=2).min(axis=1) - truth) <= student) < 0.9 or noise < 1
  )  # what it is for


@pytest.mark.parametrize(
  'n_points, n_seeds, share', [(8, 3, 0.0), (8, 3, 0.95), (32, 3, 0.7), (32, 8, 0.95)]
)
def test_points_that_ran_on_the_same_seeds(n_points, n_seeds, share):
  rng = np.random.default_rng(n_points + n_seeds)
  true, sd = quadratics(rng, n_points, 5.0)
  common, own = (
    rng.standard_normal((STUDIES, 1, n_seeds)),
    rng.standard_normal((STUDIES, n_points, n_seeds)),
  )
  losses = true[..., None] + sd[:, None, None] * (
    np.sqrt(share) * common + np.sqrt(1 - share) * own
  )
  square = losses.var(axis=2, ddof=1).mean(axis=1)
  between = n_points * losses.mean(axis=1).var(axis=1, ddof=1)
  rest = (n_points * square - between) / (n_points - 1)
  freedom = (
    (n_seeds - 1) * (n_points * square) ** 2 / (between**2 + (n_points - 1) * rest**2)
  )
  correlation = np.maximum(between - rest, 0) / n_points / square
  (low, _, high), winner = intervals(losses, np.sqrt(square), freedom, correlation)
  truth = true[np.arange(STUDIES), winner]
  assert within(
    (low <= truth) & (truth <= high), low=0.89, high=0.925
  )  # Satterthwaite's freedom is approximate
  (low, _, high), _ = intervals(
    losses, np.sqrt(square), n_points * (n_seeds - 1), 0.0, told=False
  )
  assert (
    share < 0.9 or np.mean((low <= truth) & (truth <= high)) < 0.85
  )  # what it is for


# --- halves -------------------------------------------------------------------------


@pytest.mark.parametrize('n, n_all', [(12, 24), (6, 24)])
def test_what_a_part_of_the_seeds_says_of_the_rest(n, n_all):
  # As in bench/real_study_halves.py, n of N seeds choose the winner. They are drawn without
  # replacement, so the error of their mean is noise / sqrt(n) * sqrt(1 - n / N).
  rng, held = np.random.default_rng(n), []
  losses = (
    3
    + 0.2 * rng.random((STUDIES, 6, 1))
    + 0.3 * rng.standard_normal((STUDIES, 6, n_all))
  )
  part, rest = losses[..., :n], losses[..., n:].mean(axis=2)
  seen, freedom = np.sqrt(part.var(axis=2, ddof=1).mean(axis=1)), 6 * (n - 1)
  means = part.mean(axis=2)
  winner, (best, second) = means.argmin(axis=1), np.sort(means, axis=1)[:, :2].T
  error = seen * np.sqrt(1 / n - 1 / n_all)
  quantiles = hybrid_quantiles((second - best) / error, freedom, 6)
  low, _, high = best - error * quantiles * n_all / (n_all - n)
  truth = rest[np.arange(STUDIES), winner]
  held = (low <= truth) & (truth <= high)
  assert within(held, high=0.9 / 0.99)
  points = np.repeat(np.arange(6), n)
  won = expected_loss_of_best(
    part[0].ravel(), points, seen[0] * np.sqrt(1 - n / n_all), noise_freedom=freedom
  )
  assert (won.mean + (won.low - won.mean) * n_all / (n_all - n)) == pytest.approx(
    low[0]
  )
