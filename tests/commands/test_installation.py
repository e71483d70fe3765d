"""`lmhp doctor`: what it reports, and its exit status."""

import json

import jax
import pytest

from lmhp.commands import installation
from lmhp.commands.flags import HelpPrinted
from lmhp.errors import ConfigError


def run_doctor(capsys, *arguments):
  status = installation.doctor(list(arguments))
  return status, capsys.readouterr().out


@pytest.mark.slow
def test_the_self_test_trains_and_repeats_bit_for_bit(capsys):
  status, out = run_doctor(capsys, '--json')
  diagnosis = json.loads(out)
  test = diagnosis['self_test']

  assert status == 0
  assert test['passed'] and test['repeatable']
  assert test['last_loss_nats'] < test['first_loss_nats'] - 0.5
  assert diagnosis['device']['platform'] == jax.devices()[0].platform
  assert diagnosis['versions']['jax'] == jax.__version__
  assert diagnosis['dtype'] in ('float32', 'bfloat16')
  assert set(diagnosis['caches']) == {'compiled programs', 'data'}


def test_a_failed_self_test_is_the_exit_status(monkeypatch, capsys):
  failed = installation.SelfTest(
    passed=False,
    seconds=1.0,
    steps=40,
    first_loss_nats=5.0,
    last_loss_nats=2.0,
    repeatable=False,
  )
  monkeypatch.setattr(installation, '_run_self_test', lambda: failed)
  status, out = run_doctor(capsys)
  assert status == 1
  assert 'FAILED' in out.splitlines()[-1]


def test_an_argument_is_refused():
  with pytest.raises(ConfigError, match='doctor:'):
    installation.doctor(['now'])


def test_the_help_lists_nothing_that_is_refused(capsys):
  with pytest.raises(HelpPrinted):
    installation.doctor(['--help'])
  assert 'words' not in capsys.readouterr().out
