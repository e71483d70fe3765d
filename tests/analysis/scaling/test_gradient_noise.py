"""The gradient noise scale: Gaussian gradients of known noise, and a run of lmhp's own."""

import numpy as np
import pytest

import lmhp
from lmhp.analysis.scaling.gradient_noise import (
  BlockBootstrap,
  noise_scale_from_norms,
  noise_scale_of_run,
)
from lmhp.errors import ConfigError


def norms(rng, steps, little=8, big=64, size=50, noise=4.0, parts=1):
  """Squared norms of mean gradients: |G|^2 is 1, and tr(covariance) is size * noise."""
  mean = np.full(size, size**-0.5)

  def draw(batch, *shape):
    return mean + np.sqrt(noise / batch) * rng.standard_normal((steps, *shape, size))

  if parts == 1:
    return np.sum(draw(little) ** 2, axis=-1), np.sum(draw(big) ** 2, axis=-1)
  pieces = draw(big / parts, parts)
  return np.mean(np.sum(pieces**2, axis=-1), axis=1), np.sum(
    pieces.mean(axis=1) ** 2, axis=-1
  )


def test_both_terms_are_unbiased_also_where_most_steps_are_noise():
  found = noise_scale_from_norms(
    8, 64, *norms(np.random.default_rng(0), 40_000, noise=40.0)
  )
  assert found.gradient_norm_sq == pytest.approx(
    1, rel=0.1
  ) and found.covariance_trace == pytest.approx(2000, rel=0.02)
  assert found.low < 2000 < found.high and found.batch_size == pytest.approx(
    2000, rel=0.12
  )


def test_the_ratio_is_of_means_and_not_the_mean_of_ratios():
  little, big = norms(np.random.default_rng(1), 500)
  signal, noise = (64 * big - 8 * little) / 56, (little - big) / (1 / 8 - 1 / 64)
  found = noise_scale_from_norms(8, 64, little, big)
  assert found.batch_size == pytest.approx(noise.mean() / signal.mean(), rel=1e-12)
  assert abs(np.mean(noise / signal) - 200) > 3 * abs(found.batch_size - 200)


@pytest.mark.parametrize('steps', [50, 400])
def test_the_interval_holds_the_truth(steps):
  rng, held = np.random.default_rng(0), []
  for seed in range(400):
    small, big = norms(rng, steps, parts=2, noise=1.0)
    bootstrap = BlockBootstrap(draws=300, seed=seed)
    found = noise_scale_from_norms(32, 64, small, big, bootstrap=bootstrap)
    held.append(found.low <= 50 <= found.high)
  assert 0.85 < np.mean(held) < 0.95


def test_blocks_know_of_neighbours_that_are_alike():
  rng, whole, single = np.random.default_rng(0), [], []
  for seed in range(200):
    slow = (
      np.convolve(rng.standard_normal(240), np.ones(6), 'valid')[:200] / 6**0.5
    )  # the gradient wanders
    little, big = 1 + 0.5 * slow + 8 / 8, 1 + 0.5 * slow + 8 / 64
    for kept, block in ((whole, 15), (single, 1)):
      bootstrap = BlockBootstrap(draws=200, block=block, seed=seed)
      found = noise_scale_from_norms(8, 64, little, big, bootstrap=bootstrap)
      kept.append(found.low <= 8 <= found.high)
  assert np.mean(single) < 0.6 and 0.75 < np.mean(whole)


def test_a_lost_gradient_leaves_the_upper_end_open():
  rng = np.random.default_rng(0)
  little, big = rng.normal(100, 3, 40), rng.normal(12.5, 3, 40)
  lost = noise_scale_from_norms(
    8, 64, little + 100.2 - little.mean(), big + 12.5 - big.mean()
  )  # 12.525 is all noise
  assert (
    np.isnan(lost.batch_size) and lost.reason and lost.high == np.inf and lost.low > 64
  )
  clear = noise_scale_from_norms(8, 64, np.full(40, 1.0), np.full(40, 1.1))
  assert np.isnan(clear.batch_size) and clear.reason and clear.low == 0


def test_too_few_steps_say_nothing_and_holes_are_left_out():
  little, big = norms(np.random.default_rng(0), 30)
  little[5], big[7] = np.nan, np.inf
  found = noise_scale_from_norms(8, 64, little, big)
  assert found.n_steps == 28 and np.isfinite(found.batch_size)
  few = noise_scale_from_norms(8, 64, little[:20], big[:20])
  assert (
    few.n_steps == 18
    and np.isnan([few.batch_size, few.low, few.high]).all()
    and few.reason
  )
  assert found == noise_scale_from_norms(8, 64, little, big)


def test_units_scale_through():
  little, big = norms(np.random.default_rng(0), 100)
  one, tokens = (
    noise_scale_from_norms(8, 64, little, big),
    noise_scale_from_norms(8 * 128, 64 * 128, little, big),
  )
  assert tokens.batch_size == pytest.approx(
    128 * one.batch_size
  ) and tokens.high == pytest.approx(128 * one.high)
  assert noise_scale_from_norms(8, 64, 9 * little, 9 * big).batch_size == pytest.approx(
    one.batch_size
  )


@pytest.mark.parametrize(
  'arguments',
  [
    (8, 8, [1.0], [1.0]),
    (0, 8, [1.0], [1.0]),
    (8, 64, [1.0], [1.0, 2.0]),
    (8, 64, [1.0], [1.0], 1.5),
    (8, np.inf, [1.0], [1.0]),
  ],
)
def test_norms_that_make_no_sense_are_refused(arguments):
  with pytest.raises(ConfigError):
    noise_scale_from_norms(*arguments)


# --- of a run -----------------------------------------------------------------------


def test_steps_with_both_norms_count():
  rng = np.random.default_rng(0)
  microbatch, batch = norms(rng, 1000, parts=4, noise=4.0)
  curve = {
    'step': np.arange(1000.0),
    'microbatch_grad_norm': np.sqrt(microbatch),
    'grad_norm': np.sqrt(batch),
  }
  found = noise_scale_of_run(curve, 4, 64 * 16)
  assert found.n_steps == 1000 and found.batch_size == pytest.approx(200 * 16, rel=0.1)
  curve['grad_norm'][::2] = np.nan  # rows of evaluations
  assert noise_scale_of_run(curve, 4, 64 * 16).n_steps == 500


@pytest.mark.parametrize(
  'names, parts',
  [
    (['step', 'grad_norm'], 2),
    (['step', 'grad_norm', 'microbatch_grad_norm'], 1),
  ],
)
def test_runs_without_norms_are_refused(names, parts):
  with pytest.raises(ConfigError):
    noise_scale_of_run(dict.fromkeys(names, np.ones(3)), parts, 64)


def test_a_real_run_says_its_noise_scale_in_tokens(small, tmp_path):
  from lmhp.analysis.runs.training_runs import read_runs

  config = small(
    **{'train.steps': 60, 'train.measure_noise_scale': True, 'train.batch_size': 8}
  )
  lmhp.train(config, workdir=tmp_path / 'run', display='none')
  runs = read_runs(tmp_path / 'run')
  found = noise_scale_of_run(runs.curves[0], n_microbatches=2, batch_tokens=8 * 8)
  assert (
    found.n_steps == 60 and 0 < found.low < found.high and found.covariance_trace > 0
  )
  logged = np.isfinite(runs.curves[0]['grad_norm'])  # and not of rows of evaluations
  whole, part = (
    runs.curves[0][name][logged] ** 2 for name in ('grad_norm', 'microbatch_grad_norm')
  )
  assert found.covariance_trace == pytest.approx(
    64 * np.mean(part - whole)
  )  # 1 / (2/64 - 1/64)
  assert found.gradient_norm_sq == pytest.approx(np.mean(2 * whole - part))
