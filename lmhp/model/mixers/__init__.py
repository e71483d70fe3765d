"""Token mixers: registry, entries and layers. Importing this package registers them."""

from lmhp.model.mixers import (
  attention as attention,
  convolution as convolution,
  gated_recurrence as gated_recurrence,
  mamba2 as mamba2,
  mingru as mingru,
  rglru as rglru,
)
