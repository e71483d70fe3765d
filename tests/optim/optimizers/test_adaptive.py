"""Adagrad's sum of squared gradients."""

import numpy as np

from lmhp.optim.optimizers.adaptive import scale_by_rss


def test_scale_by_rss_divides_by_the_root_of_the_sum(tree):
  tx = scale_by_rss(1e-3)
  state = tx.init(tree())
  for seed in (1, 2):
    got, state = tx.update(tree(seed), state)
  g1, g2 = (np.asarray(tree(seed)['output']['kernel'], np.float64) for seed in (1, 2))
  np.testing.assert_allclose(
    got['output']['kernel'], g2 / (np.sqrt(g1**2 + g2**2) + 1e-3), rtol=1e-5
  )
