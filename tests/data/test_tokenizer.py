"""Every tokenizer: round trip, widths in bytes, saved and loaded the same; and tokenizer.json files from elsewhere."""

import json

import numpy as np
import pytest
import tokenizers as hf

from lmhp.data import tokenizer as tk
from lmhp.errors import ConfigError

PROSE = 'The quick brown fox jumps over the lazy dog, and then it sleeps.\n' * 20
HARD = (
  'naïve café — 日本語, עברית; 😀👩‍👩‍👧🏽 e\u0301 \u200b\ufeff\x00\x01\x7f\r\n\t  tail \u2028 \U0010ffff '
  '<|endoftext|> </s> <0x0A> ▁x ##y'
)


def make(kind):
  if kind == 'byte':
    return tk.ByteTokenizer()
  if kind == 'bpe':
    return tk.train_bpe([PROSE, HARD], 300)
  return tk.CharTokenizer(set(PROSE + HARD), end_of_text=kind == 'char and end')


@pytest.fixture(params=['byte', 'char', 'char and end', 'bpe'])
def tokenizer(request):
  return make(request.param)


@pytest.mark.parametrize('text', ['', 'a', PROSE, HARD, HARD[::-1]])
def test_round_trip_and_width(tokenizer, text):
  ids = tokenizer.encode(text)
  assert ids.dtype == np.uint32 and ids.shape == (len(ids),)
  assert tokenizer.decode(ids) == text
  assert tokenizer.bytes_per_token[ids].sum() == len(text.encode())
  assert tokenizer.end_of_text not in ids.tolist()
  assert not len(ids) or ids.max() < tokenizer.vocab_size == len(
    tokenizer.bytes_per_token
  )


def test_end_of_text_is_nothing_to_read(tokenizer):
  if tokenizer.end_of_text is not None:
    assert tokenizer.bytes_per_token[tokenizer.end_of_text] == 0
    assert (
      tokenizer.decode(
        [*tokenizer.encode('ab'), tokenizer.end_of_text, *tokenizer.encode('o')]
      )
      == 'abo'
    )


def test_many_at_once_are_the_same_as_one_by_one(tokenizer):
  texts = [PROSE, '', HARD]
  for ids, text in zip(tokenizer.encode_all(texts), texts, strict=True):
    assert ids.tolist() == tokenizer.encode(text).tolist()


def test_saved_and_loaded_is_the_same(tokenizer, tmp_path):
  tokenizer.save(tmp_path)
  for path in (tmp_path, tmp_path / 'tokenizer.json'):
    again = tk.load(path)
    assert again.hash == tokenizer.hash and again.kind == tokenizer.kind
    assert (
      again.end_of_text == tokenizer.end_of_text
      and again.vocab_size == tokenizer.vocab_size
    )
    assert again.encode(HARD).tolist() == tokenizer.encode(HARD).tolist()


def test_sizes():
  assert (tk.ByteTokenizer().vocab_size, tk.ByteTokenizer().end_of_text) == (257, 256)
  assert (make('char').vocab_size, make('char').end_of_text) == (
    len(set(PROSE + HARD)),
    None,
  )
  assert make('char and end').end_of_text == len(set(PROSE + HARD))
  assert make('bpe').vocab_size == 300 and make('bpe').end_of_text == 0


def test_char_ids_are_ranks_among_code_points():
  tokenizer = tk.CharTokenizer('ba\n', end_of_text=False)
  assert tokenizer.encode('\nab').tolist() == [0, 1, 2]
  with pytest.raises(ConfigError, match="the character 'z' is not one of"):
    tokenizer.encode('az')


def test_hashes_tell_tokenizers_apart():
  made = [
    *map(make, ('byte', 'char', 'char and end', 'bpe')),
    tk.train_bpe([PROSE], 300),
    tk.IdTokenizer(300),
  ]
  assert len({t.hash for t in made}) == len(made)
  assert make('bpe').hash == make('bpe').hash


def test_broken_utf8_is_replaced_not_raised():
  assert tk.ByteTokenizer().decode([0xE2, 0x82, 256]) == '\ufffd'


def test_ids_without_meaning():
  tokenizer = tk.IdTokenizer(7)
  assert tokenizer.decode([3, 6]) == '3 6' and tokenizer.bytes_per_token is None
  with pytest.raises(ConfigError, match='tokenizer.json'):
    tokenizer.encode('x')


def sentencepiece_like():
  """As Llama 2: '▁' for space, bytes where a character is unknown, <s> and </s>."""
  byte_tokens = [f'<0x{b:02X}>' for b in range(256)]
  tokens = ['<unk>', '<s>', '</s>', *byte_tokens, '▁', 'a', 'b', 'é', '▁a', '▁ab']
  vocabulary = {token: i for i, token in enumerate(tokens)}
  out = hf.Tokenizer(
    hf.models.BPE(
      vocabulary, [('▁', 'a'), ('▁a', 'b')], byte_fallback=True, unk_token='<unk>'
    )
  )
  out.normalizer = hf.normalizers.Replace(' ', '▁')
  out.decoder = hf.decoders.Sequence(
    [hf.decoders.Replace('▁', ' '), hf.decoders.ByteFallback(), hf.decoders.Fuse()]
  )
  out.add_special_tokens(['<s>', '</s>'])
  return out


def test_a_sentencepiece_like_file_from_elsewhere(tmp_path):
  source = sentencepiece_like()
  source.enable_truncation(4)
  source.enable_padding(length=50)
  source.post_processor = hf.processors.TemplateProcessing(
    single='<s> $A', special_tokens=[('<s>', 1)]
  )
  source.save(str(tmp_path / 'mine.json'))
  tokenizer = tk.load(tmp_path / 'mine.json')
  text = 'b ab 😀é a\n ab'
  ids = tokenizer.encode(text)
  assert tokenizer.decode(ids) == text and len(ids) > 4 and 1 not in ids
  assert tokenizer.bytes_per_token[ids].sum() == len(text.encode())
  assert tokenizer.bytes_per_token[[0, 1, 2, 3]].tolist() == [5, 0, 0, 1]
  assert tokenizer.end_of_text == 2 and tokenizer.vocab_size == source.get_vocab_size()


def test_the_end_of_text_is_the_one_that_the_config_beside_it_names(tmp_path):
  sentencepiece_like().save(str(tmp_path / 'tokenizer.json'))
  plain = tk.load(tmp_path)
  for token in ('<s>', {'content': '<s>'}):
    (tmp_path / 'tokenizer_config.json').write_text(json.dumps({'eos_token': token}))
    other = tk.load(tmp_path)
    assert (plain.end_of_text, other.end_of_text) == (2, 1) and plain.hash != other.hash


def test_vocabulary_with_a_gap_and_a_lossy_one(tmp_path):
  source = hf.Tokenizer(
    hf.models.WordPiece({'[UNK]': 0, 'play': 1, '##ing': 2, 'é': 9}, unk_token='[UNK]')
  )
  source.pre_tokenizer = hf.pre_tokenizers.Whitespace()
  source.decoder = hf.decoders.WordPiece()
  source.save(str(tmp_path / 'tokenizer.json'))
  tokenizer = tk.load(tmp_path)
  assert tokenizer.vocab_size == 10 and tokenizer.end_of_text is None
  assert tokenizer.bytes_per_token[tokenizer.encode('playing é')].tolist() == [4, 3, 2]


@pytest.mark.parametrize(
  'text',
  [
    '',
    '{',
    '[]',
    '{"model": 3}',
    '{"lmhp_tokenizer": "word"}',
    '{"lmhp_tokenizer": "char"}',
  ],
)
def test_a_corrupt_file_is_one_line(tmp_path, text):
  (tmp_path / 'tokenizer.json').write_text(text)
  with pytest.raises(
    ConfigError, match=r'data\.tokenizer: .*tokenizer\.json is not'
  ) as e:
    tk.load(tmp_path)
  assert '\n' not in str(e.value)


def test_no_file(tmp_path):
  with pytest.raises(ConfigError, match='no file .*tokenizer.json'):
    tk.load(tmp_path)


@pytest.mark.oracle
def test_against_transformers(tmp_path):
  import transformers

  make('bpe').save(tmp_path)
  oracle = transformers.PreTrainedTokenizerFast(
    tokenizer_file=str(tmp_path / 'tokenizer.json')
  )
  text = HARD.replace(tk.END_OF_TEXT, '')
  assert make('bpe').encode(text).tolist() == oracle.encode(text)
  assert (
    oracle.decode(make('bpe').encode(text), clean_up_tokenization_spaces=False) == text
  )
