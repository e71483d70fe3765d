"""DataConfig: defaults, what resolve fills in, what it refuses."""

import pytest

from lmhp import errors, hypers
from lmhp.data.config import DataConfig


def test_equal_weights_are_filled_in_so_that_the_vector_matches_the_sources():
  structure, numbers = hypers.split(DataConfig(path=('a', 'b', 'c'), seed=2**32 - 1))
  assert (
    numbers['mixture_weights'].tolist() == [1, 1, 1]
    and numbers['mixture_weights'].dtype == 'float32'
  )
  assert numbers['seed'] == 2**32 - 1 and numbers['seed'].dtype == 'uint32'
  assert structure.seed is hypers.TRACED and structure.path == ('a', 'b', 'c')


def test_a_word_is_a_tuple_of_one():
  assert DataConfig(path='x.txt').path == ('x.txt',)


@pytest.mark.parametrize(
  'values, message',
  [
    (dict(path=()), r'data\.path: got \(\)'),
    (dict(path=('a', '')), r'data\.path'),
    (
      dict(path=('a', 'b'), mixture_weights=(1.0,)),
      r'data\.mixture_weights: .* 2 numbers',
    ),
    (dict(path=('a', 'b'), mixture_weights=(0.0, 0.0)), r'data\.mixture_weights'),
    (
      dict(path=('a', 'b'), mixture_weights=(1.0, 1e-6)),
      r'data\.mixture_weights: .* 1/1024',
    ),
    (
      dict(path=('a', 'b'), mixture_weights=(1.0, -1.0)),
      r'data\.mixture_weights: .* at least 0',
    ),
    (
      dict(validation_fraction=0.0),
      r'data\.validation_fraction: got 0\.0, expected above 0',
    ),
    (dict(validation_fraction=1.0), r'data\.validation_fraction'),
    (dict(fraction=1.5), r'data\.fraction: got 1\.5'),
    (dict(split='documents'), r"data\.split: .* did you mean 'document'"),
    (dict(seed=-1), r'data\.seed'),
    (dict(seed=2**32), r'data\.seed'),
    (dict(tokenizer_vocab_size=256), r'data\.tokenizer_vocab_size'),
  ],
)
def test_a_mistake_is_one_line_with_the_dotted_path(values, message):
  with pytest.raises(errors.ConfigError, match=message) as e:
    DataConfig(**values)
  assert '\n' not in str(e.value)


def test_a_zero_weight_is_allowed():
  assert DataConfig(path=('a', 'b'), mixture_weights=(1, 0)).mixture_weights == (
    1.0,
    0.0,
  )
