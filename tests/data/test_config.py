"""DataConfig: derived values and checks."""

import pytest

from lmhp import errors, hypers
from lmhp.data.config import DataConfig


def test_mixture_weights_are_equal_by_default():
  _, numbers = hypers.split(DataConfig(path=('a', 'b', 'c')))
  assert numbers['mixture_weights'].tolist() == [1, 1, 1]
  assert numbers['mixture_weights'].dtype == 'float32'


def test_seed_is_a_traced_uint32():
  structure, numbers = hypers.split(DataConfig(seed=2**32 - 1))
  assert numbers['seed'] == 2**32 - 1
  assert numbers['seed'].dtype == 'uint32'
  assert structure.seed is hypers.TRACED


def test_single_path_becomes_a_tuple():
  assert DataConfig(path='x.txt').path == ('x.txt',)


@pytest.mark.parametrize(
  'values, message',
  [
    ({'path': ()}, r'data\.path: got \(\)'),
    ({'path': ('a', '')}, r'data\.path'),
    (
      {'path': ('a', 'b'), 'mixture_weights': (1.0,)},
      r'data\.mixture_weights: .* 2 numbers',
    ),
    ({'path': ('a', 'b'), 'mixture_weights': (0.0, 0.0)}, r'data\.mixture_weights'),
    (
      {'path': ('a', 'b'), 'mixture_weights': (1.0, 1e-6)},
      r'data\.mixture_weights: .* 1/1024',
    ),
    (
      {'path': ('a', 'b'), 'mixture_weights': (1.0, -1.0)},
      r'data\.mixture_weights: .* at least 0',
    ),
    (
      {'validation_fraction': 0.0},
      r'data\.validation_fraction: got 0\.0, expected above 0',
    ),
    ({'validation_fraction': 1.0}, r'data\.validation_fraction'),
    ({'fraction': 1.5}, r'data\.fraction: got 1\.5'),
    ({'split': 'documents'}, r"data\.split: .* did you mean 'document'"),
    ({'objective': 'mlm'}, r"data\.objective: .*'masked'"),
    ({'seed': -1}, r'data\.seed'),
    ({'seed': 2**32}, r'data\.seed'),
    ({'tokenizer_vocab_size': 256}, r'data\.tokenizer_vocab_size'),
    (
      {'mask_random_fraction': 0.5, 'mask_keep_fraction': 0.6},
      r'data\.mask_keep_fraction: got 0\.6, expected at most 1 .*mask_random_fraction',
    ),
  ],
)
def test_invalid_value_is_one_line_with_the_dotted_path(values, message):
  with pytest.raises(errors.ConfigError, match=message) as error:
    DataConfig(**values)
  assert '\n' not in str(error.value)


def test_mixture_weight_of_zero_is_allowed():
  cfg = DataConfig(path=('a', 'b'), mixture_weights=(1, 0))
  assert cfg.mixture_weights == (1.0, 0.0)
