"""What `lmhp count` says: the keys that programs read, and the numbers under them."""

import json

import pytest

from lmhp.counting.description import describe
from lmhp.errors import ConfigError
from lmhp.model.presets import preset


def test_gpt2_by_hand():
  report = describe('gpt2', preset('gpt2'))
  assert report['name'] == 'gpt2' and report['seq_len'] == 1024
  assert report['total'] == report['active'] == 124_439_808
  assert report['by_kind'] == dict(
    embedding=38_597_376,
    positional=786_432,
    attention=28_348_416,
    feed_forward=56_669_184,
    normalization=38_400,
    output=0,
    other=0,
  )
  assert report['active_excluding_embedding'] == 124_439_808 - 38_597_376
  assert report['non_embedding'] == 124_439_808 - 38_597_376 - 786_432
  weights = 2 * (12 * (4 * 768**2 + 2 * 768 * 3072) + 768 * 50_257)
  assert report['flops_per_token_forward']['full'] == weights + 12 * 4 * 768 * 1024
  assert (
    report['flops_per_token_forward']['causal'] == weights + 12 * 4 * 768 * 1025 // 2
  )
  assert report['flops_per_token_train'] == {
    c: 3 * f for c, f in report['flops_per_token_forward'].items()
  }
  assert report['kv_cache_bytes_per_token'] == 12 * 2 * 768 * 2
  assert report['parameter_bytes'] == {
    'float32': 4 * 124_439_808,
    'bfloat16': 2 * 124_439_808,
  }
  assert (
    report['gradient_bytes'] == 4 * 124_439_808
    and report['optimizer_bytes'] == 8 * 124_439_808
  )
  assert not {'activation_bytes', 'batch_size', 'training'} & set(report)


def test_it_is_json():
  report = describe(
    'gemma', preset('gemma-2-2b'), batch_size=2, seq_len=64, device='h100'
  )
  assert json.loads(json.dumps(report)) == report
  assert list(report)[:5] == [
    'name',
    'total',
    'active',
    'active_excluding_embedding',
    'non_embedding',
  ]


def test_length_and_batch():
  cfg = preset('gpt2')
  short = describe('gpt2', cfg, seq_len=128, batch_size=4)
  assert short['seq_len'] == 128 and short['batch_size'] == 4
  assert (
    short['flops_per_token_forward']['full']
    < describe('gpt2', cfg)['flops_per_token_forward']['full']
  )
  assert short['activation_bytes']['full'] < short['activation_bytes']['none']
  with pytest.raises(
    ConfigError, match='seq_len: got 2048, expected at most the 1024 positions of gpt2'
  ):
    describe('gpt2', cfg, seq_len=2048)
  assert describe('llama', preset('llama-2-7b'), seq_len=100_000)['seq_len'] == 100_000


def test_time_and_cost():
  """Six FLOPs for each parameter and token, and some for attention, at the utilization and the price that are said."""
  cfg = preset('llama-3-8b')
  training = describe('llama', cfg, device='h100', utilization=0.5)['training']
  assert training['tokens'] == 20 * 8_030_261_248
  assert 1.0 < training['flops'] / (6 * 8_030_261_248 * training['tokens']) < 1.1
  assert training['device_seconds'] == pytest.approx(
    training['flops'] / (0.5 * 989.4e12), rel=1e-3
  )
  twice = describe('llama', cfg, device='H100', utilization=0.25)['training']
  assert twice['device_seconds'] == pytest.approx(2 * training['device_seconds'])
  assert twice['cost_usd'] == pytest.approx(2 * training['cost_usd'])
  some = describe('llama', cfg, device='h100', tokens=1e9)['training']
  assert some['tokens'] == 1e9 and some['flops'] == pytest.approx(
    training['flops'] * 1e9 / training['tokens']
  )
  with pytest.raises(ConfigError, match="device: got 'h10'"):
    describe('llama', cfg, device='h10')


def test_nothing_is_allocated_for_405_billion():
  assert describe('big', preset('llama-3.1-405b'))['total'] == 405_853_388_800
