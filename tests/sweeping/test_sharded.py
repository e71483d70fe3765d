"""A population that is spread over eight devices equals the one on a single device.

The eight fake CPU devices need a process of their own.
"""

import json
import os
import subprocess
import sys
import textwrap

import pytest

QUICK = '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true'

COMMON = """
  import json, pathlib, sys
  import jax
  import jax.numpy as jnp
  import numpy as np
  from lmhp.training.chunks import ChunkSteps
  from lmhp.training.population import Population

  EIGHT = tuple(jax.devices())
  assert len(EIGHT) == 8

  def digest(tree):
    return [np.asarray(x).tobytes().hex() for x in jax.tree.leaves(tree)]

  def shards(x):
    '''Returns the device, the number of members and the first member of each shard.'''
    return sorted(
        (s.device.id, s.data.shape[0], s.index[0].start) for s in x.addressable_shards)

  def run(task, jobs, method, devices, data_per_trial=False):
    '''Returns the bits, the numbers and the shards of a population.'''
    job = jobs[0]
    population = Population(
        task.programs(job), [j.hypers for j in jobs], method, data_per_trial,
        task.data_axis(job, data_per_trial), devices)
    state = population.init()
    all_shards = [shards(x) for x in jax.tree.leaves(state)]
    first_step = 0
    losses = []
    for n, data in task.feed(job, population.hypers, data_per_trial, 0, iter((5, 4))):
      state, metrics = population.run(state, data, ChunkSteps(n, first_step))
      losses.append(np.asarray(metrics[task.loss])[:, :n])
      first_step += n
    all_shards += [shards(x) for x in jax.tree.leaves(state)]
    scores = task.evaluate(population, state, job, True)
    members = population.split(state)
    norms = []
    for member in members:
      norms.append([float(np.linalg.norm(x)) for x in jax.tree.leaves(member)])
    return {
        'bits': digest(members) + digest(losses),
        'losses': np.concatenate(losses, 1).tolist(),
        'norms': norms,
        'scores': scores,
        'shards': all_shards,
    }

  def compare(task, jobs, **options):
    '''Prints the results on one and on eight devices, by method.'''
    results = {}
    for method in ('vmap', 'map'):
      results[method] = {
          'one': run(task, jobs, method, EIGHT[:1], **options),
          'eight': run(task, jobs, method, EIGHT, **options),
      }
    print(json.dumps(results))
"""

FUNCTIONS = """
  from lmhp.sweeping.tasks.function_task import FunctionTask

  def init(hypers):
    return jax.random.normal(jax.random.key(hypers['seed']), (8,))

  def step(w, hypers, i):
    loss, grad = jax.value_and_grad(lambda w: jnp.sum((w - 1) ** 2))(w)
    return w - hypers['learning_rate'] * grad, {'loss': loss}

  task = FunctionTask(init, step, {'learning_rate': 0.1, 'seed': 0}, steps=9)
  jobs = [task.job({'learning_rate': 0.02 * i, 'seed': i}) for i in range(16)]
  jobs[3] = task.job({'learning_rate': 1e12})
  compare(task, jobs)
"""

LANGUAGE_MODEL = """
  import lmhp
  from small_runs import words
  from lmhp.sweeping.tasks.language_model import LanguageModel

  directory, placement = pathlib.Path(sys.argv[1]), sys.argv[2]
  (directory / 'words.txt').write_text(words(1500))
  config = lmhp.default_config()
  config.data.path = (str(directory / 'words.txt'),)
  config.data.tokenizer = 'char'
  config.data.cache_dir = str(directory / 'cache')
  config.data.placement = placement
  config.model.d_model = 12
  config.model.n_heads = 2
  config.model.n_layers = 1
  config.model.max_seq_len = 8
  config.model.dtype = 'float32'
  config.train.steps = 9
  config.train.batch_size = 3
  config.evaluate.final_sequences = 5
  task = LanguageModel(config, present=['model.residual_dropout'])

  # Resident data is shared by all members, streamed data is different for each.
  data_per_trial = placement == 'host'
  schedules = ('cosine', 'linear', 'polynomial', 'wsd_linear', 'inverse_sqrt',
               'one_cycle', 'step', 'rex')
  jobs = []
  for i in range(8):
    jobs.append(task.job({
        'optimizer.learning_rate': 1e-3 * (i + 1),
        'optimizer.weight_decay': 0.1 * i,
        'optimizer.b1': 0.8 + 0.01 * i,
        'optimizer.b2': 0.99 - 0.01 * i,
        'optimizer.eps': 1e-8 * 3**i,
        'optimizer.clip_norm': 0.3 * (i + 1),
        'schedule.name': schedules[i],
        'schedule.warmup_fraction': 0.1 * (i % 4),
        'schedule.final_lr_ratio': 0.1 * (i % 3),
        'train.label_smoothing': 0.05 * (i % 2),
        'train.z_loss': 1e-4 * (i % 3),
        'model.init_scale': 1 + 0.1 * i,
        'model.residual_dropout': 0.1 * (i % 3),
        'train.seed': i,
        'data.seed': i * data_per_trial,
    }))
  compare(task, jobs, data_per_trial=data_per_trial)
"""


def results_of(code, *arguments):
  """Returns the JSON that a script prints in a process with eight devices."""
  env = {
    **os.environ,
    'JAX_PLATFORMS': 'cpu',
    'LMHP_COMPILE_CACHE': 'off',
    'XLA_FLAGS': f'--xla_force_host_platform_device_count=8 {QUICK}',
    'PYTHONPATH': os.pathsep.join(
      [os.getcwd(), os.path.dirname(os.path.dirname(__file__)), *sys.path]
    ),
  }
  script = textwrap.dedent(COMMON) + textwrap.dedent(code)
  process = subprocess.run(
    [sys.executable, '-c', script, *map(str, arguments)],
    env=env,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert process.returncode == 0, process.stderr[-2000:]
  return json.loads(process.stdout.splitlines()[-1])


def check_eight_devices_equal_one(one, eight, width):
  """Compares to within rounding: the programs of the devices have other widths.

  XLA makes fewer divisions in a narrower program.
  """
  members_per_device = width // 8
  expected = [
    [device, members_per_device, members_per_device * device] for device in range(8)
  ]
  assert len(eight['shards']) > 1
  assert all(shards == expected for shards in eight['shards'])
  for shards in one['shards']:
    assert [shard[:2] for shard in shards] == [[0, width]]

  # All members differ.
  assert len({json.dumps(losses) for losses in one['losses']}) == width
  for key in ('losses', 'norms'):
    for values, expected_values in zip(eight[key], one[key], strict=True):
      assert values == pytest.approx(expected_values, rel=2e-5, abs=1e-9, nan_ok=True)
  for scores, expected_scores in zip(eight['scores'], one['scores'], strict=True):
    assert scores == pytest.approx(expected_scores, rel=2e-5, nan_ok=True)


def test_functions_on_eight_devices_equal_one_device():
  """There are sixteen members, two on each device. The fourth diverges."""
  results = results_of(FUNCTIONS)
  for method in ('vmap', 'map'):
    check_eight_devices_equal_one(**results[method], width=16)
  # No program divides by a member's number, so `map` has the same bits.
  assert results['map']['eight']['bits'] == results['map']['one']['bits']
  assert not all(abs(x) < 1e30 for x in results['vmap']['eight']['losses'][3])


@pytest.mark.slow
@pytest.mark.parametrize('placement', ['device', 'host'])
def test_language_models_on_eight_devices_equal_one_device(tmp_path, placement):
  results = results_of(LANGUAGE_MODEL, tmp_path, placement)
  for method in ('vmap', 'map'):
    check_eight_devices_equal_one(**results[method], width=8)
