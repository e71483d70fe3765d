"""Tests that 90% intervals of fresh seeds contain the expected loss in 90% of studies.

The large versions are `bench/calibration_best.py` and `bench/real_study_halves.py`.
"""

import numpy as np
import pytest

from lmhp.analysis.winner.winner import expected_loss_of_best

STUDIES = 4000


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
