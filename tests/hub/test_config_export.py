"""A config.json for a model: what is written reads back as the same model."""

import dataclasses
import json

from published_configs import PUBLISHED
import pytest
from small_checkpoints import CONFIGS

from lmhp.errors import ConfigError
from lmhp.hub.config_export import FIELDS_WITHOUT_EFFECT, differences, export_config
from lmhp.hub.config_json import model_config
from lmhp.hub.families import FAMILIES
from lmhp.model.config import ModelConfig

LLAMA = CONFIGS['llama'][0] | {'model_type': 'llama'}


def all_configs():
  """Returns {name: content of a config.json} of the small and of the published models."""
  configs = {}
  for family, small in CONFIGS.items():
    for i, config in enumerate(small):
      configs[f'{family}-{i}'] = config | {'model_type': family}
  for name, config in PUBLISHED.items():
    if not FAMILIES[config['model_type']].text_config_key:
      configs[f'published {name}'] = config
  return configs


ALL = all_configs()


@pytest.mark.parametrize('name', ALL)
def test_its_own_family_writes_a_model_that_reads_back(name):
  cfg = model_config(ALL[name], name)
  written = FAMILIES[ALL[name]['model_type']].write_config(cfg)
  written = json.loads(json.dumps(written))
  assert differences(cfg, written) == []


@pytest.mark.parametrize('name', ALL)
def test_the_first_family_that_expresses_a_model_writes_it(name):
  cfg = model_config(ALL[name], name)
  assert differences(cfg, export_config(cfg)) == []


@pytest.mark.parametrize('name', ALL)
def test_the_config_of_the_checkpoint_is_kept(name):
  assert export_config(model_config(ALL[name], name), ALL[name]) == ALL[name]


def test_a_config_that_no_longer_describes_the_model_is_replaced():
  cfg = dataclasses.replace(model_config(LLAMA), d_ff=22)
  assert export_config(cfg, LLAMA)['intermediate_size'] == 22


def test_the_most_common_families_are_tried_first():
  cfg = model_config({'model_type': 'gpt_bigcode', 'multi_query': False})
  assert export_config(cfg)['model_type'] == 'gpt2'


def test_a_model_that_no_family_expresses_is_an_error_of_one_line():
  cfg = ModelConfig(
    vocab_size=31,
    norm='rmsnorm',
    gated=True,
    activation='silu',
    position='sinusoidal',
    norm_eps=1e-6,
  )
  with pytest.raises(ConfigError, match="model.position: got 'sinusoidal'") as caught:
    export_config(cfg)
  assert '\n' not in str(caught.value)


def test_differences_name_the_fields():
  cfg = dataclasses.replace(model_config(LLAMA), n_layers=5, norm_eps=1e-3)
  fields = [text.split(':')[0] for text in differences(cfg, LLAMA)]
  assert fields == ['model.n_layers', 'model.norm_eps']


def test_fields_of_training_are_no_differences():
  cfg = dataclasses.replace(model_config(LLAMA), residual_dropout=0.5, dtype='float32')
  assert differences(cfg, LLAMA) == []
  assert set(FIELDS_WITHOUT_EFFECT) <= set(ModelConfig.__dataclass_fields__)


def test_a_config_that_cannot_be_read_is_farther_than_any_listed_difference():
  assert len(differences(model_config(LLAMA), {'model_type': 'llama', 'x': 1})) == 5
