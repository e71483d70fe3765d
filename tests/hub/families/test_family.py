"""The tables of the families."""

import pytest

from lmhp.hub.families import FAMILIES
from lmhp.hub.families.family import CheckpointFamily
from lmhp.model.config import ModelConfig


@pytest.mark.parametrize('model_type', FAMILIES)
def test_a_table_names_existing_fields(model_type):
  family = FAMILIES[model_type]
  names = set(family.fixed_fields)
  for fields, _ in family.keys.values():
    names.update(fields.split())
  assert names <= set(ModelConfig.__dataclass_fields__)


@pytest.mark.parametrize('model_type', FAMILIES)
def test_a_key_is_in_one_table_only(model_type):
  family = FAMILIES[model_type]
  assert not set(family.keys) & set(family.accepted_values)


BASE = CheckpointFamily(
  model_type='base',
  fixed_fields={'gated': True, 'init': 'normal'},
  keys={'width': ('d_model', 8), 'depth': ('n_layers', 2)},
  accepted_values={'kind': ('a',), 'mode': (1,)},
  tensor_names={'embedding': 'e', 'output': 'o'},
)


def test_a_derived_family_changes_rows():
  family = BASE.derive(
    'derived',
    defaults={'width': 16},
    without=('depth', 'mode'),
    fixed_fields={'gated': False},
    keys={'layers': ('n_layers', 3)},
    accepted_values={'kind': ('b',)},
    tensor_names={'output': 'p'},
    is_tied_without_head=True,
  )
  assert family.model_type == 'derived'
  assert family.keys == {'width': ('d_model', 16), 'layers': ('n_layers', 3)}
  assert family.fixed_fields == {'gated': False, 'init': 'normal'}
  assert family.accepted_values == {'kind': ('b',)}
  assert family.tensor_names == {'output': 'p', 'embedding': 'e'}
  assert family.is_tied_without_head


def test_the_first_names_are_those_of_the_derived_family():
  family = BASE.derive('derived', tensor_names={'final_norm': 'n'})
  assert list(family.names_of(ModelConfig())) == ['final_norm', 'embedding', 'output']
