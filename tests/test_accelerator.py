"""A GPU or TPU gives the numbers of the CPU, and the same bits each time.

JAX_PLATFORMS=cuda,cpu pytest -m accelerator
"""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from small_runs import bits

import lmhp

pytestmark = [
  pytest.mark.accelerator,
  pytest.mark.skipif(
    jax.default_backend() == 'cpu', reason='needs a GPU or TPU that jax sees'
  ),
]
STEPS = 60


def config_of(path, **values):
  config = lmhp.default_config()
  config.data.path, config.data.tokenizer = (str(path),), 'char'
  (
    config.model.d_model,
    config.model.n_layers,
    config.model.n_heads,
    config.model.max_seq_len,
  ) = 32, 2, 2, 16
  config.train.steps, config.train.batch_size, config.optimizer.learning_rate = (
    STEPS,
    8,
    3e-3,
  )
  for name, value in values.items():
    section, key = name.split('.')
    config[section][key] = value
  return config


def losses(run):
  return [float(x) for x in run.history['loss_nats']]


CPU_SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import lmhp, test_accelerator
config = test_accelerator.config_of(sys.argv[2], **json.loads(sys.argv[3]))
run = lmhp.train(config, display='none')
print(json.dumps(test_accelerator.losses(run)))
"""


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_loss_curve_is_close_to_that_of_the_cpu(text, dtype):
  """Compares the curves. A GPU may compute float32 products in TF32, with the precision of
  bfloat16.
  """
  values = {'model.dtype': dtype}
  found = subprocess.run(
    [
      sys.executable,
      '-c',
      CPU_SCRIPT,
      os.path.dirname(__file__),
      str(text),
      json.dumps(values),
    ],
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
  )
  assert found.returncode == 0, found.stderr
  expected = json.loads(found.stdout.splitlines()[-1])
  mine = losses(lmhp.train(config_of(text, **values), display='none'))
  print(
    'largest difference',
    np.max(np.abs(np.subtract(mine, expected))),
    'of',
    expected[0],
    'to',
    expected[-1],
  )
  assert expected[-1] < expected[0] - 1
  np.testing.assert_allclose(mine, expected, rtol=0, atol=0.02)


def test_repeated_run_gives_the_same_bits(text):
  runs = [lmhp.train(config_of(text), display='none') for _ in range(2)]
  assert losses(runs[0]) == losses(runs[1])
  assert bits(runs[0].params) == bits(runs[1].params)


def test_packed_trials_equal_single_runs(text, tmp_path):
  """Each trial is close to its single run. A trial with a learning rate of 1e6 does not change
  the bits of the others.
  """
  values, ends = (1e-3, 3e-3, 1e-2, 3e-2), []
  for last in (2e-3, 1e6):
    sweep = lmhp.SweepConfig(
      space={'optimizer.learning_rate': lmhp.Choice(*values, last)},
      search='grid',
      confirm_points=0,
      execution='vmap',
    )
    found = lmhp.sweep(
      config_of(text), sweep, workdir=tmp_path / f'{last}', display='none'
    )
    ends.append({t.parameters['optimizer.learning_rate']: t for t in found.trials})
  for rate in values:
    assert ends[0][rate].values == ends[1][rate].values
    solo = lmhp.train(
      config_of(text, **{'optimizer.learning_rate': rate}), display='none'
    )
    assert abs(solo.result['final_eval_loss_nats'] - ends[0][rate].values[0]) < 0.02
  assert ends[1][1e6].status == 'diverged'
