"""Eight fake CPU devices, in a process of their own: a population spread over them is the one on a single device."""

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

    def spread(x):
      '''Places of an array, and how many of its first axis each has.'''
      return sorted((s.device.id, s.data.shape[0], s.index[0].start) for s in x.addressable_shards)

    def run(task, jobs, method, devices, own=False, lengths=(5, 4)):
      '''What a population finds: bits, numbers, and where its arrays lie.'''
      job = jobs[0]
      hypers = [j.hypers for j in jobs]
      population = Population(task.member(job), hypers, method, own, task.data_axis(job, own), devices)
      state, step, losses = population.init(), 0, []
      first = [spread(x) for x in jax.tree.leaves(state)]
      for n, data in task.feed(job, population.hypers, own, 0, iter(lengths)):
        state, metrics = population.run(state, data, ChunkSteps(n, step))
        losses.append(np.asarray(metrics[task.loss])[:, :n])
        step += n
      lies = [spread(x) for x in jax.tree.leaves(state)]
      scores = task.evaluate(population, state, job, True)
      members = population.split(state)
      norms = [[float(np.linalg.norm(x)) for x in jax.tree.leaves(m)] for m in members]
      return {'bits': digest(members) + digest(losses), 'losses': np.concatenate(losses, 1).tolist(), 'norms': norms,
              'scores': scores, 'lies': lies + first}

    def compare(task, jobs, method, **options):
      one, eight = (run(task, jobs, method, devices, **options) for devices in (EIGHT[:1], EIGHT))
      return {'one': one, 'eight': eight}
"""

FUNCTIONS = """
    from lmhp.sweeping.tasks.function_task import FunctionTask

    def step(w, hypers, i):
      loss, grad = jax.value_and_grad(lambda w: jnp.sum((w - 1) ** 2))(w)
      return w - hypers['learning_rate'] * grad, {'loss': loss}

    task = FunctionTask(lambda h: jax.random.normal(jax.random.key(h['seed']), (8,)), step,
                        {'learning_rate': 0.1, 'seed': 0}, steps=9)
    jobs = [task.job({'learning_rate': 0.02 * i, 'seed': i}) for i in range(16)]
    jobs[3] = task.job({'learning_rate': 1e12})
    print(json.dumps({method: compare(task, jobs, method) for method in ('vmap', 'map')}))
"""

LANGUAGE_MODEL = """
    import lmhp
    from small_runs import words
    from lmhp.sweeping.tasks.language_model import LanguageModel

    here = pathlib.Path(sys.argv[1])
    (here / 'words.txt').write_text(words(1500))
    config = lmhp.default_config()
    config.data.path, config.data.tokenizer = (str(here / 'words.txt'),), 'char'
    config.data.cache_dir = str(here / 'cache')
    config.model.d_model, config.model.n_heads, config.model.n_layers, config.model.max_seq_len = 12, 2, 1, 8
    config.model.dtype, config.data.placement = 'float32', sys.argv[2]
    config.train.steps, config.train.batch_size, config.evaluate.final_sequences = 9, 3, 5
    task = LanguageModel(config, present=['model.residual_dropout'])
    own = sys.argv[2] == 'host'
    names = ('cosine', 'linear', 'polynomial', 'wsd_linear', 'inverse_sqrt', 'one_cycle', 'step', 'rex')
    jobs = [task.job({
        'optimizer.learning_rate': 1e-3 * (i + 1), 'optimizer.weight_decay': 0.1 * i, 'optimizer.b1': 0.8 + 0.01 * i,
        'optimizer.b2': 0.99 - 0.01 * i, 'optimizer.eps': 1e-8 * 3**i, 'optimizer.clip_norm': 0.3 * (i + 1),
        'schedule.name': names[i], 'schedule.warmup_fraction': 0.1 * (i % 4), 'schedule.final_lr_ratio': 0.1 * (i % 3),
        'train.label_smoothing': 0.05 * (i % 2), 'train.z_loss': 1e-4 * (i % 3), 'model.init_scale': 1 + 0.1 * i,
        'model.residual_dropout': 0.1 * (i % 3), 'train.seed': i, 'data.seed': i * own}) for i in range(8)]
    print(json.dumps({method: compare(task, jobs, method, own=own) for method in ('vmap', 'map')}))
"""


def in_a_process(code, *arguments):
  """What a script prints as JSON, with eight devices."""
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
  done = subprocess.run(
    [sys.executable, '-c', script, *map(str, arguments)],
    env=env,
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  return json.loads(done.stdout.splitlines()[-1])


def assert_alike(found, width):
  """To within rounding: a device has a program of another width, and XLA makes fewer divisions of it."""
  each = width // 8
  spread = [[device, each, each * device] for device in range(8)]
  for method, (one, eight) in ((m, (f['one'], f['eight'])) for m, f in found.items()):
    assert all(lies == spread for lies in eight['lies']) and len(eight['lies']) > 1
    assert all([place[:2] for place in lies] == [[0, width]] for lies in one['lies'])
    assert (
      len({json.dumps(losses) for losses in one['losses']}) == width
    )  # members differ
    for key in ('losses', 'norms'):
      for mine, other in zip(eight[key], one[key], strict=True):
        assert mine == pytest.approx(other, rel=2e-5, abs=1e-9, nan_ok=True)
    for mine, other in zip(eight['scores'], one['scores'], strict=True):
      assert mine == pytest.approx(other, rel=2e-5, nan_ok=True)


def test_functions_over_eight_devices():
  """Sixteen members, two on each device; the fourth diverges."""
  found = in_a_process(FUNCTIONS)
  assert_alike(found, 16)
  assert (
    found['map']['eight']['bits'] == found['map']['one']['bits']
  )  # no member's number divides
  assert not all(abs(x) < 1e30 for x in found['vmap']['eight']['losses'][3])


@pytest.mark.parametrize('placement', ['device', 'host'])
def test_language_models_over_eight_devices(tmp_path, placement):
  """All that a pack may vary is varied; resident data is for all, streamed data is each member's own."""
  assert_alike(in_a_process(LANGUAGE_MODEL, tmp_path, placement), 8)
