"""Choice of the tokenizer: made from texts, read from a file, or shared by tokens."""

from etils import epath
import numpy as np
import pytest

from lmhp.data import tokenizer_choice
from lmhp.data.config import DataConfig
from lmhp.data.readers import Text
from lmhp.data.shards import TokenStream
from lmhp.data.tokenizer import ByteTokenizer, CharTokenizer
from lmhp.errors import ConfigError


def make_text(*documents):
  return Text('text', lambda: iter(documents), sha256=repr(documents))


def choose(tmp_path, texts, **values):
  cfg = DataConfig(**values)
  return tokenizer_choice.choose_tokenizer(cfg, texts, epath.Path(tmp_path))


def test_characters_of_one_document_have_no_end_of_text(tmp_path):
  tokenizer = choose(tmp_path, [make_text('cab', '')], tokenizer='char')
  assert tokenizer.end_of_text is None
  assert tokenizer.encode('abc').tolist() == [0, 1, 2]


def test_characters_of_several_documents_have_an_end_of_text(tmp_path):
  texts = [make_text('a'), make_text('b', 'c')]
  tokenizer = choose(tmp_path, texts, tokenizer='char')
  assert tokenizer.end_of_text == 3


def n_tokens(tokenizer, text):
  return tokenizer.encode(text).size


def test_bpe_is_trained_without_the_validation_split(tmp_path):
  texts = [make_text('ab' * 450 + 'xy' * 50)]
  values = {'tokenizer': 'bpe', 'tokenizer_vocab_size': 300}
  tokenizer = choose(tmp_path, texts, **values)
  assert n_tokens(tokenizer, 'abab') < 4
  assert n_tokens(tokenizer, 'xy') == 2
  tokenizer = choose(tmp_path, texts, validation_fraction=0.01, **values)
  assert n_tokens(tokenizer, 'xy') == 1


def test_unknown_tokenizer_suggests_the_nearest(tmp_path):
  message = r"data\.tokenizer: got 'bite', .* 'byte'"
  with pytest.raises(ConfigError, match=message):
    choose(tmp_path, [], tokenizer='bite')


def test_kind_without_texts_gives_no_tokenizer(tmp_path):
  assert choose(tmp_path, [], tokenizer='bpe') is None


# --- tokenizers of several sources --------------------------------------------------


def shared(tokenizers, file_tokenizer=None, ids=(1, 2)):
  stream = TokenStream(np.asarray(ids, np.uint16), np.zeros(1, np.int64))
  names = tuple(f'source {i}' for i in range(len(tokenizers)))
  return tokenizer_choice.shared_tokenizer(
    names, [(stream,)] * len(tokenizers), tokenizers, file_tokenizer
  )


def test_sources_with_equal_tokenizers_share_it():
  assert shared([ByteTokenizer(), ByteTokenizer()]).kind == 'byte'


def test_tokens_without_a_tokenizer_get_the_smallest_vocabulary():
  tokenizer = shared([None, None], ids=(1, 6))
  assert tokenizer.kind == 'ids'
  assert tokenizer.vocab_size == 7


@pytest.mark.parametrize(
  'second, message',
  [
    (None, r"data\.path: 'source 1' .* no tokenizer, expected the byte"),
    (CharTokenizer('ab', end_of_text=True), r"'source 1' .* char .* expected the byte"),
  ],
)
def test_sources_with_different_tokenizers_are_an_error(second, message):
  with pytest.raises(ConfigError, match=message):
    shared([ByteTokenizer(), second])


def test_tokenizer_of_the_file_must_be_that_of_the_source():
  char = CharTokenizer('ab', end_of_text=True)
  with pytest.raises(ConfigError, match=r"'source 0' .* char .*byte.*data\.tokenizer"):
    shared([char], file_tokenizer=ByteTokenizer())


def test_id_beyond_the_vocabulary_is_an_error():
  with pytest.raises(ConfigError, match='token 257, expected at most 256'):
    shared([ByteTokenizer()], ids=(1, 257))
