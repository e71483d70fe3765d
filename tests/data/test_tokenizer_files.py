"""`tokenizer.json` files of other libraries, and files that cannot be read."""

import json

import pytest
import tokenizers

from lmhp.data.tokenizer import load_tokenizer, train_bpe
from lmhp.errors import ConfigError


def sentencepiece_tokenizer():
  """Returns a tokenizer as of Llama 2: '▁' for spaces, byte fallback, <s> and </s>."""
  byte_tokens = [f'<0x{b:02X}>' for b in range(256)]
  tokens = ['<unk>', '<s>', '</s>', *byte_tokens, '▁', 'a', 'b', 'é', '▁a', '▁ab']
  vocabulary = {token: i for i, token in enumerate(tokens)}
  merges = [('▁', 'a'), ('▁a', 'b')]
  bpe = tokenizers.models.BPE(vocabulary, merges, byte_fallback=True, unk_token='<unk>')
  tokenizer = tokenizers.Tokenizer(bpe)
  tokenizer.normalizer = tokenizers.normalizers.Replace(' ', '▁')
  decoders = tokenizers.decoders
  tokenizer.decoder = decoders.Sequence(
    [decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse()]
  )
  tokenizer.add_special_tokens(['<s>', '</s>'])
  return tokenizer


def save(tokenizer, directory):
  tokenizer.save(str(directory / 'tokenizer.json'))


def test_sentencepiece_round_trip_and_bytes(tmp_path):
  save(sentencepiece_tokenizer(), tmp_path)
  tokenizer = load_tokenizer(tmp_path)
  text = 'b ab 😀é a\n ab'
  ids = tokenizer.encode(text)
  assert tokenizer.decode(ids) == text
  assert tokenizer.bytes_per_token[ids].sum() == len(text.encode())
  assert tokenizer.bytes_per_token[[0, 1, 2, 3]].tolist() == [5, 0, 0, 1]
  assert tokenizer.end_of_text == 2


def test_truncation_padding_and_templates_of_a_file_are_ignored(tmp_path):
  source = sentencepiece_tokenizer()
  source.enable_truncation(4)
  source.enable_padding(length=50)
  source.post_processor = tokenizers.processors.TemplateProcessing(
    single='<s> $A', special_tokens=[('<s>', 1)]
  )
  save(source, tmp_path)
  ids = load_tokenizer(tmp_path).encode('b ab é a ab').tolist()
  assert 4 < len(ids) < 50
  assert 1 not in ids


@pytest.mark.parametrize('token', ['<s>', {'content': '<s>'}])
def test_config_beside_the_file_names_the_end_of_text(tmp_path, token):
  save(sentencepiece_tokenizer(), tmp_path)
  without_config = load_tokenizer(tmp_path)
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps({'eos_token': token}))
  with_config = load_tokenizer(tmp_path)
  assert without_config.end_of_text == 2
  assert with_config.end_of_text == 1
  assert with_config.hash != without_config.hash


def test_wordpiece_with_a_gap_in_its_ids(tmp_path):
  vocabulary = {'[UNK]': 0, 'play': 1, '##ing': 2, 'é': 9}
  source = tokenizers.Tokenizer(
    tokenizers.models.WordPiece(vocabulary, unk_token='[UNK]')
  )
  source.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  source.decoder = tokenizers.decoders.WordPiece()
  save(source, tmp_path)
  tokenizer = load_tokenizer(tmp_path)
  assert tokenizer.vocab_size == 10
  assert tokenizer.end_of_text is None
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
def test_corrupt_file_is_an_error_of_one_line(tmp_path, text):
  (tmp_path / 'tokenizer.json').write_text(text)
  message = r'data\.tokenizer: .*tokenizer\.json'
  with pytest.raises(ConfigError, match=message) as error:
    load_tokenizer(tmp_path)
  assert '\n' not in str(error.value)


def test_missing_file_is_an_error(tmp_path):
  with pytest.raises(ConfigError, match=r'data\.tokenizer: .*tokenizer\.json'):
    load_tokenizer(tmp_path)


@pytest.mark.oracle
def test_trained_bpe_equals_transformers(tmp_path):
  import transformers

  text = 'naïve café, 日本語; 😀 the quick brown fox </s>\n'
  tokenizer = train_bpe([text * 9], 300)
  tokenizer.save(tmp_path)
  oracle = transformers.PreTrainedTokenizerFast(
    tokenizer_file=str(tmp_path / 'tokenizer.json')
  )
  ids = tokenizer.encode(text).tolist()
  assert ids == oracle.encode(text)
  assert oracle.decode(ids, clean_up_tokenization_spaces=False) == text
