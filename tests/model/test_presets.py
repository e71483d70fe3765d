"""Presets against published numbers of parameters, and against the published config.json."""

import dataclasses

from published_configs import PUBLISHED, TOTALS
import pytest

from lmhp.counting.parameters import count
from lmhp.errors import ConfigError
from lmhp.hub.config_json import model_config
from lmhp.model.presets import PRESETS, preset

# Sums over the tensors of the checkpoints, as their pages show them. A tied head counts once.
HUB_TOTALS = {
  'gpt2-medium': 354_823_168,
  'gpt2-large': 774_030_080,
  'openai-gpt': 116_534_784,
  'gpt-neo-125m': 125_198_592,
  'gpt-neo-1.3b': 1_315_575_808,
  'gpt-neo-2.7b': 2_651_307_520,
  'gpt-j-6b': 6_050_882_784,
  'pythia-14m': 14_067_712,
  'pythia-31m': 30_494_720,
  'pythia-160m': 162_322_944,
  'pythia-410m': 405_334_016,
  'pythia-1b': 1_011_781_632,
  'pythia-1.4b': 1_414_647_808,
  'pythia-2.8b': 2_775_208_960,
  'pythia-6.9b': 6_857_302_016,
  'pythia-12b': 11_846_072_320,
  'opt-350m': 331_196_416,
  'opt-1.3b': 1_315_758_080,
  'opt-2.7b': 2_651_596_800,
  'opt-6.7b': 6_658_473_984,
  'opt-13b': 12_853_473_280,
  'opt-30b': 29_974_540_288,
  'llama-7b': 6_738_415_616,
  'llama-13b': 13_015_864_320,
  'llama-30b': 32_528_943_616,
  'llama-65b': 65_285_660_672,
  'llama-2-13b': 13_015_864_320,
  'llama-2-70b': 68_976_648_192,
  'tinyllama-1.1b': 1_100_048_384,
  'llama-3-70b': 70_553_706_496,
  'llama-3.1-8b': 8_030_261_248,
  'llama-3.1-405b': 405_853_388_800,
  'llama-3.2-3b': 3_212_749_824,
  'bloom-560m': 559_214_592,
  'bloom-1b1': 1_065_314_304,
  'bloom-1b7': 1_722_408_960,
  'bloom-3b': 3_002_557_440,
  'bloom-7b1': 7_069_016_064,
  'bloom-176b': 176_247_271_424,
  'mpt-7b': 6_649_286_656,
  'mistral-7b-v0.3': 7_248_023_552,
  'mistral-nemo-12b': 12_247_782_400,
  'qwen2.5-1.5b': 1_543_714_304,
  'qwen2.5-3b': 3_085_938_688,
  'qwen2.5-7b': 7_615_616_512,
  'qwen2.5-14b': 14_770_033_664,
  'qwen2.5-32b': 32_763_876_352,
  'qwen2.5-72b': 72_706_203_648,
  'qwen3-0.6b': 596_049_920,
  'qwen3-1.7b': 1_720_574_976,
  'qwen3-4b': 4_022_468_096,
  'qwen3-8b': 8_190_735_360,
  'qwen3-14b': 14_768_307_200,
  'qwen3-32b': 32_762_123_264,
  'gemma-2b': 2_506_172_416,
  'gemma-7b': 8_537_680_896,
  'gemma-3-1b': 999_885_952,
  'phi-1.5': 1_418_270_720,
  'phi-3-mini-4k': 3_821_079_552,
  'phi-4': 14_659_507_200,
  'olmo-1b': 1_176_764_416,
  'olmo-7b': 6_888_095_744,
  'olmo-2-1b': 1_484_916_736,
  'olmo-2-13b': 13_716_198_400,
  'olmo-2-32b': 32_234_279_936,
  'stablelm-3b-4e1t': 2_795_443_200,
  'starcoder': 15_517_456_384,
  'starcoder2-3b': 3_030_371_328,
  'starcoder2-7b': 7_173_923_840,
  'smollm2-135m': 134_515_008,
  'smollm2-360m': 361_821_120,
  'smollm2-1.7b': 1_711_376_384,
  'smollm3-3b': 3_075_098_624,
  'granite-3.0-2b': 2_533_531_648,
  'granite-3.0-8b': 8_170_848_256,
  'command-r-35b': 34_980_831_232,
  'glm-4-9b': 9_399_951_360,
  't5-base': 222_903_552,
  't5-large': 737_668_096,
  't5-v1.1-base': 247_577_856,
}
# From the papers of Pythia and Gemma 2.
NON_EMBEDDING = {
  'pythia-70m': 18_915_328,
  'pythia-160m': 85_056_000,
  'pythia-410m': 302_311_424,
  'gemma-2-2b': 2_024_517_888,
  'gemma-2-9b': 8_324_201_984,
  'gemma-2-27b': 26_047_480_320,
}
# Parameters that process a token, with the embedding. The papers round them to billions.
ACTIVE = {
  'mixtral-8x7b': 12_879_925_248,
  'qwen3-30b-a3b': 3_353_032_704,
  'deepseek-v2-lite': 2_661_150_208,
  'gpt-oss-20b': 4_187_440_704,
}
# Without the embedding, from the papers of gpt-oss and DeepSeek.
ACTIVE_BILLIONS = {
  'gpt-oss-20b': 3.61,
  'gpt-oss-120b': 5.13,
  'deepseek-v2-lite': 2.45,
}
# Keys of the training recipe, which a preset leaves out.
RECIPE_KEYS = (
  'load_balance_loss',
  'embedding_dropout',
  'attention_dropout',
  'residual_dropout',
  'init_scale',
)


@pytest.mark.parametrize('name, total', (TOTALS | HUB_TOTALS).items())
def test_published_totals(name, total):
  assert count(preset(name)).total == total


@pytest.mark.parametrize('name, active', ACTIVE.items())
def test_published_active_parameters(name, active):
  assert count(preset(name)).active == active


@pytest.mark.parametrize('name, billions', ACTIVE_BILLIONS.items())
def test_published_active_parameters_without_embedding(name, billions):
  assert round(count(preset(name)).active_excluding_embedding / 1e9, 2) == billions


@pytest.mark.parametrize('name, total', NON_EMBEDDING.items())
def test_published_totals_without_embedding(name, total):
  assert count(preset(name)).non_embedding == total


def test_gpt2_by_kind():
  assert count(preset('gpt2')).by_kind == {
    'embedding': 38_597_376,
    'positional': 786_432,
    'attention': 28_348_416,
    'feed_forward': 56_669_184,
    'normalization': 38_400,
    'output': 0,
    'other': 0,
  }


def test_gpt3_has_the_sizes_of_its_paper():
  """Source: arXiv:2005.14165 table D.1, in millions with three or four digits."""
  millions = {
    'gpt3-125m': 125,
    'gpt3-350m': 356,
    'gpt3-760m': 760,
    'gpt3-1.3b': 1320,
    'gpt3-2.7b': 2650,
    'gpt3-6.7b': 6660,
    'gpt3-13b': 12_850,
    'gpt3-175b': 174_600,
  }
  for name, size in millions.items():
    assert count(preset(name)).total == pytest.approx(size * 1e6, rel=4e-3), name


@pytest.mark.parametrize('name', sorted(set(PRESETS) & set(PUBLISHED)))
def test_a_preset_has_the_values_of_its_config_json(name):
  fields = dataclasses.asdict(preset(name))
  published = dataclasses.asdict(model_config(PUBLISHED[name]))
  for key in RECIPE_KEYS:
    del fields[key]
    del published[key]
  assert fields == published


@pytest.mark.parametrize('name', PRESETS)
def test_names_of_presets_are_case_insensitive(name):
  assert preset(name.upper()) == preset(name)


def test_a_wrong_name_is_refused_with_the_nearest_name():
  with pytest.raises(ConfigError, match="'llama3-8b'.*'llama-3-8b'"):
    preset('llama3-8b')


def test_a_value_that_is_no_name_is_refused():
  with pytest.raises(ConfigError, match='preset: got None'):
    preset(None)
