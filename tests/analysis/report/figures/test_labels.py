"""Tests of labels."""

import numpy as np

from lmhp.analysis.report.figures.labels import LETTER, NARROW, ROW, Label, stack_labels


def test_stacked_labels_do_not_overlap_and_stay_inside():
  rng = np.random.default_rng(0)
  labels = [
    Label(f'label {"m" * rng.integers(1, 12)}', value, '$ink')
    for value in rng.uniform(0, 1, 12)
  ]
  annotations, top = stack_labels(labels, {'range': [0, 1]})
  boxes = []
  for label, annotation in zip(labels, annotations):
    width = LETTER * len(label.text)
    offset = {'center': width / 2, 'left': 0, 'right': width}[annotation['xanchor']]
    left = annotation['x'] * NARROW - offset
    assert left >= -1e-9
    assert left + width <= NARROW + 1e-9
    for row, other_left, other_right in boxes:
      is_apart = left + width <= other_left or left >= other_right
      assert row != annotation['yshift'] or is_apart
    boxes.append((annotation['yshift'], left, left + width))
  assert top >= max(row for row, _, _ in boxes) + ROW - 8
