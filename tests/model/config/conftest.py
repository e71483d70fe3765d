"""Fixtures of the tests of the section `model`."""

import pytest

from lmhp.errors import ConfigError
from lmhp.model.config import ModelConfig


@pytest.fixture
def assert_refused():
  """Checks that a config is refused in one line that names a key and its value."""

  def check(key, **fields):
    with pytest.raises(ConfigError) as error:
      ModelConfig(**fields)
    message = str(error.value)
    assert message.startswith(f'model.{key}: got {fields[key]!r}, expected '), message
    assert '\n' not in message

  return check
