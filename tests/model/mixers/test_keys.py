"""Checks of the keys of token mixers."""

import pytest

from lmhp.errors import ConfigError


@pytest.mark.parametrize(
  'fields, key',
  [
    ({'mixer_pattern': ()}, 'model.mixer_pattern'),
    ({'mixer_pattern': ('mamba',)}, 'model.mixer_pattern'),
    (
      {'mixer_pattern': ('lstm',), 'architecture': 'encoder'},
      'model.mixer_pattern',
    ),
    ({'mixer_pattern': ('lstm',), 'prefix_lm': True}, 'model.mixer_pattern'),
    ({'mixer_pattern': ('mamba2',), 'mixer_head_dim': 5}, 'model.mixer_dim'),
    ({'mixer_pattern': ('rglru',), 'mixer_head_dim': 5}, 'model.mixer_dim'),
    (
      {
        'mixer_pattern': ('mamba2',),
        'mixer_dim': 12,
        'mixer_head_dim': 4,
        'state_groups': 2,
      },
      'model.state_groups',
    ),
  ],
)
def test_keys_that_do_not_fit_are_refused_in_one_line(tiny, fields, key):
  with pytest.raises(ConfigError) as error:
    tiny(**fields)
  message = str(error.value)
  assert message.startswith(f'{key}: got ')
  assert '\n' not in message


def test_an_unknown_mixer_is_answered_with_the_nearest_name(tiny):
  with pytest.raises(ConfigError, match="did you mean 'mamba2'"):
    tiny(mixer_pattern=('mamba',))


def test_sizes_that_are_not_set_follow_from_the_model(tiny):
  cfg = tiny(mixer_pattern=('rglru',), d_model=12)
  assert (cfg.mixer_dim, cfg.mixer_head_dim) == (cfg.d_model, cfg.head_dim)


def test_keys_of_mixers_are_left_alone_without_those_mixers(tiny):
  assert tiny().mixer_dim is None
