"""The description of a model: its keys for programs, and numbers by hand."""

import dataclasses
import json

import pytest

from lmhp.counting.counted_model import CountedModel
from lmhp.counting.description import describe
from lmhp.counting.memory import activation_bytes
from lmhp.errors import ConfigError
from lmhp.model.presets import preset

GPT2_TOTAL = 124_439_808
GPT2_BY_KIND = {
  'embedding': 38_597_376,
  'positional': 786_432,
  'attention': 28_348_416,
  'feed_forward': 56_669_184,
  'normalization': 38_400,
  'output': 0,
  'other': 0,
}


@pytest.fixture(scope='module')
def gpt2():
  return describe(CountedModel('gpt2', preset('gpt2'))).to_json()


def test_parameters_of_gpt2(gpt2):
  assert gpt2['total'] == gpt2['active'] == GPT2_TOTAL
  assert gpt2['by_kind'] == GPT2_BY_KIND
  assert gpt2['active_excluding_embedding'] == GPT2_TOTAL - 38_597_376
  assert gpt2['non_embedding'] == GPT2_TOTAL - 38_597_376 - 786_432


def test_flops_of_gpt2(gpt2):
  weights = 2 * (12 * (4 * 768**2 + 2 * 768 * 3072) + 768 * 50_257)
  forward = gpt2['flops_per_token_forward']
  assert forward['full'] == weights + 12 * 4 * 768 * 1024
  assert forward['causal'] == weights + 12 * 4 * 768 * 1025 // 2
  assert gpt2['flops_per_token_train'] == {
    'full': 3 * forward['full'],
    'causal': 3 * forward['causal'],
  }


def test_memory_of_gpt2(gpt2):
  assert gpt2['kv_cache_bytes_per_token'] == 12 * 2 * 768 * 2
  assert gpt2['parameter_bytes'] == {
    'float32': 4 * GPT2_TOTAL,
    'bfloat16': 2 * GPT2_TOTAL,
  }
  assert gpt2['gradient_bytes'] == 4 * GPT2_TOTAL
  assert gpt2['optimizer_bytes'] == 8 * GPT2_TOTAL


def test_keys_without_a_batch_size_and_a_device(gpt2):
  assert list(gpt2) == [
    'name',
    'total',
    'active',
    'active_excluding_embedding',
    'non_embedding',
    'by_kind',
    'seq_len',
    'flops_per_token_forward',
    'flops_per_token_train',
    'torchtitan',
    'kv_cache_bytes_per_token',
    'parameter_bytes',
    'gradient_bytes',
    'optimizer_bytes',
  ]


def test_a_batch_size_and_a_device_add_keys(gpt2):
  description = describe(
    CountedModel('gpt2', preset('gpt2')), batch_size=2, seq_len=64, device='h100'
  )
  added = [key for key in description.to_json() if key not in gpt2]
  assert added == ['batch_size', 'activation_bytes', 'training']


def test_the_description_can_be_stored_as_json():
  description = describe(
    CountedModel('gemma', preset('gemma-2-2b')), batch_size=2, seq_len=64, device='h100'
  )
  assert json.loads(json.dumps(description.to_json())) == description.to_json()


def test_a_shorter_sequence_has_fewer_flops(gpt2):
  short = describe(CountedModel('gpt2', preset('gpt2')), seq_len=128)
  assert short.seq_len == 128
  full = gpt2['flops_per_token_forward']['full']
  assert short.flops_per_token_forward['full'] < full


def test_rematerialization_keeps_fewer_activations():
  description = describe(
    CountedModel('gpt2', preset('gpt2')), seq_len=128, batch_size=4
  )
  assert description.batch_size == 4
  assert description.activation_bytes['full'] < description.activation_bytes['none']


@pytest.mark.parametrize(
  ('name', 'seq_len', 'expected'),
  [
    ('qwen3-30b-a3b', 8192, 37_578_559_488),
    ('gpt-oss-120b', 4096, 34_534_221_696),
    ('gpt-oss-20b', 4096, 24_141_260_160),
  ],
)
def test_flops_in_the_convention_of_torchtitan(name, seq_len, expected):
  # Values of torchtitan's own formula, from the configs of the models.
  description = describe(CountedModel(name, preset(name)), seq_len=seq_len)
  found = description.torchtitan
  assert found.train == expected
  full = description.flops_per_token_train['full']
  assert full + found.without_product - found.outside_windows == expected


def test_torchtitan_has_no_count_of_other_models():
  model = CountedModel('t5', preset('t5-small'))
  assert describe(model, seq_len=64).torchtitan is None


def test_the_memory_of_a_device_is_compared():
  small = describe(CountedModel('gpt2', preset('gpt2')), device='h100').training
  assert small.needed_bytes == 16 * GPT2_TOTAL < small.memory_bytes
  large = preset('llama-3.1-70b')
  training = describe(
    CountedModel('llama', large), device='h100', batch_size=1, seq_len=64
  ).training
  assert training.needed_bytes > 16 * 70e9 > training.memory_bytes


def test_activations_of_few_tokens_are_not_negative():
  # In bfloat16, the casts of the parameters are kept.
  cfg = preset('gpt2')
  for dtype in ('float32', 'bfloat16'):
    one, many = (
      activation_bytes(dataclasses.replace(cfg, dtype=dtype), 1, seq_len)
      for seq_len in (8, 264)
    )
    assert 0 <= one - 8 * (many - one) / 256


def test_a_sequence_is_at_most_as_long_as_learned_positions():
  with pytest.raises(ConfigError, match='seq_len: got 2048, .*1024'):
    describe(CountedModel('gpt2', preset('gpt2')), seq_len=2048)
  llama = describe(CountedModel('llama', preset('llama-2-7b')), seq_len=100_000)
  assert llama.seq_len == 100_000


# --- time and price -----------------------------------------------------------------


def training_of_llama(**arguments):
  arguments = {'device': 'h100', **arguments}
  return describe(CountedModel('llama', preset('llama-3-8b')), **arguments).training


def test_training_flops_are_six_per_parameter_and_token():
  training = training_of_llama()
  assert training.tokens == 20 * 8_030_261_248
  # Attention adds some.
  assert 1.0 < training.flops / (6 * 8_030_261_248 * training.tokens) < 1.1


def test_time_follows_the_peak_and_the_utilization():
  training = training_of_llama(utilization=0.5)
  expected = training.flops / (0.5 * 989.4e12)
  assert training.device_seconds == pytest.approx(expected, rel=1e-3)
  half = training_of_llama(utilization=0.25)
  assert half.device_seconds == pytest.approx(2 * training.device_seconds)
  assert half.cost_usd == pytest.approx(2 * training.cost_usd)


def test_flops_are_in_proportion_to_tokens():
  training = training_of_llama()
  shorter = training_of_llama(tokens=1e9)
  assert shorter.tokens == 1e9
  assert shorter.flops == pytest.approx(training.flops * 1e9 / training.tokens)


def test_an_unknown_device_is_an_error():
  with pytest.raises(ConfigError, match="device: got 'h10'"):
    training_of_llama(device='h10')


def test_a_model_of_405_billion_parameters_is_not_allocated():
  big = describe(CountedModel('big', preset('llama-3.1-405b')))
  assert big.counts.total == 405_853_388_800
