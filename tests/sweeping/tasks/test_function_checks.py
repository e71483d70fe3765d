"""Mistakes in the functions of a `FunctionTask` are one line that names the key."""

import jax.numpy as jnp
import numpy as np
import pytest

import lmhp
from lmhp.errors import ConfigError
from lmhp.sweeping.tasks.function_checks import numbers_read
from lmhp.sweeping.tasks.function_programs import Functions


def init(h):
  return jnp.ones(3) * h['seed']


def step(w, h, i):
  return w * h['lr'], {'loss': w.sum()}


def task(hypers=None, **functions):
  functions = {'init': init, 'step': step, **functions}
  return lmhp.FunctionTask(
    hypers={'lr': 0.1, 'seed': 0, **(hypers or {})}, steps=3, **functions
  )


@pytest.mark.parametrize('value', ['adam', None, {'b1': 0.9}, [0.1], np.ones(2)])
def test_a_value_that_is_no_number_is_refused(value):
  with pytest.raises(ConfigError, match='^hypers.opt: '):
    task({'opt': value})


@pytest.mark.parametrize('value', [True, np.float32(0.5), np.array(0.5), 3])
def test_a_number_of_another_library_is_accepted(value):
  assert task({'opt': value}).base['opt'] == value


@pytest.mark.parametrize(
  'wrong,message',
  [
    (lambda w, h, i: (w, {'loss': w.sum() * h['beta']}), r"^step: .*'beta'"),
    (lambda w, h, i: (w, 1.0), '^step: '),
    (lambda w, h, i: w, '^step: '),
    (lambda w, h, i: None, '^step: got None'),
    (lambda w, h, i: (w, {'loss': w}), r"^step: .*'loss'"),
    (lambda w, h, i: (jnp.concatenate([w, w]), {'loss': w.sum()}), '^step: '),
    (lambda w, h, i: (w.astype(int), {'loss': w.sum()}), '^step: '),
    (lambda w, h, i: (w if h['lr'] > 0 else -w, {'loss': w.sum()}), '^step: '),
    (lambda w, h, i: (w, {'loss': np.sum(np.asarray(w))}), '^step: '),
  ],
)
def test_a_wrong_step_is_refused(wrong, message):
  with pytest.raises(ConfigError, match=message):
    task(step=wrong)


@pytest.mark.parametrize('evaluate', [lambda w, h: None, lambda w, h: {'a': w}])
def test_a_wrong_evaluate_is_refused(evaluate):
  space = {'lr': lmhp.Float(0.1, 0.2)}
  sweep = lmhp.SweepConfig(space=space, objective='loss', trials=1)
  with pytest.raises(ConfigError, match='^evaluate: '):
    task(evaluate=evaluate).check(sweep)


def test_a_number_that_no_function_reads_is_no_parameter():
  space = {'unused': lmhp.Float(0.1, 0.2)}
  sweep = lmhp.SweepConfig(space=space, objective='loss', trials=1)
  with pytest.raises(ConfigError, match='^unused: '):
    task({'unused': 0.1}).check(sweep)


def test_numbers_are_read_by_any_function():
  def evaluate(w, h):
    return {'loss': w.sum() * h['scale']}

  hypers = {name: np.float32(1) for name in ('lr', 'seed', 'scale', 'unused')}
  assert numbers_read(Functions(init, step, None), hypers) == {'lr', 'seed'}
  assert numbers_read(Functions(init, step, evaluate), hypers) == {
    'lr',
    'seed',
    'scale',
  }
