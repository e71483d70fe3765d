"""The floors of pyproject.toml admit the versions of Colab's TPU runtime."""

import pathlib
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
import pytest

CHECKOUT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((CHECKOUT / 'pyproject.toml').read_text())['project']
EXTRAS = PROJECT['optional-dependencies']
FREEZE = CHECKOUT / '.ci' / 'colab-tpu.txt'


def frozen_versions():
  """Returns {package: version} of the runtime."""
  lines = [line for line in FREEZE.read_text().splitlines() if line[0] != '#']
  pairs = [line.split('==') for line in lines]
  return {canonicalize_name(name): version for name, version in pairs}


FROZEN = frozen_versions()
NEEDED = [
  text
  for text in (*PROJECT['dependencies'], *EXTRAS['datasets'], *EXTRAS['notebook'])
  if canonicalize_name(Requirement(text).name) in FROZEN
]


@pytest.mark.parametrize('text', NEEDED)
def test_installation_on_colab_replaces_no_package(text):
  requirement = Requirement(text)
  assert FROZEN[canonicalize_name(requirement.name)] in requirement.specifier


def test_runtime_has_the_packages_that_are_compared():
  names = {Requirement(text).name for text in NEEDED}
  assert {'jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy', 'plotly'} <= names


@pytest.mark.parametrize('cuda', ['cuda12', 'cuda13'])
def test_each_cuda_version_has_an_extra(cuda):
  (requirement,) = map(Requirement, EXTRAS[cuda])
  assert requirement.name == 'jax' and requirement.extras == {cuda}
  assert FROZEN['jax'] in requirement.specifier
