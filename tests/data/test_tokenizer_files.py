"""`tokenizer.json` files of other libraries, and files that cannot be read."""

import json

import pytest
import tokenizers

from lmhp.data.bpe import train_bpe
from lmhp.data.tokenizer import load_tokenizer
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
  ids = document(tokenizer, text)
  assert tokenizer.decode(ids) == text
  assert tokenizer.bytes_per_token[ids].sum() == len(text.encode())
  assert tokenizer.bytes_per_token[[0, 1, 2, 3]].tolist() == [5, 0, 0, 1]
  assert tokenizer.end_of_text == 2


def sentencepiece_with_template(template='<s> $A'):
  tokenizer = sentencepiece_tokenizer()
  tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
    single=template, special_tokens=[('<s>', 1), ('</s>', 2)]
  )
  return tokenizer


def document(tokenizer, text):
  """Returns the ids of a document."""
  return next(iter(tokenizer.encode_all([text])))


def test_truncation_padding_and_templates_do_not_change_documents(tmp_path):
  source = sentencepiece_with_template()
  source.enable_truncation(4)
  source.enable_padding(length=50)
  save(source, tmp_path)
  ids = document(load_tokenizer(tmp_path), 'b ab é a ab').tolist()
  assert 4 < len(ids) < 50
  assert 1 not in ids


# --- prompts ------------------------------------------------------------------------


@pytest.mark.parametrize('template', ['<s> $A', '$A </s>', '<s> $A </s>', '$A'])
def test_a_prompt_has_the_tokens_of_the_post_processor(tmp_path, template):
  source = sentencepiece_with_template(template)
  save(source, tmp_path)
  tokenizer = load_tokenizer(tmp_path)
  assert tokenizer.encode('b ab').tolist() == source.encode('b ab').ids
  assert (
    document(tokenizer, 'b ab').tolist()
    == source.encode('b ab', add_special_tokens=False).ids
  )


def test_special_tokens_may_be_written_in_a_prompt_but_not_in_a_document(tmp_path):
  save(sentencepiece_tokenizer(), tmp_path)
  tokenizer = load_tokenizer(tmp_path)
  assert tokenizer.encode('b</s>b').tolist().count(2) == 1
  assert 2 not in document(tokenizer, 'b</s>b').tolist()


CONFIGS = [
  {'add_bos_token': True},
  {'add_bos_token': False},
  {'add_bos_token': True, 'add_eos_token': True},
  {'add_eos_token': True},
  {},
]


@pytest.mark.oracle
@pytest.mark.parametrize('template', ['<s> $A', '$A'])
@pytest.mark.parametrize('config', CONFIGS)
def test_a_prompt_has_the_tokens_of_the_config(tmp_path, config, template):
  import transformers

  save(sentencepiece_with_template(template), tmp_path)
  config = {
    'bos_token': '<s>',
    'eos_token': '</s>',
    'tokenizer_class': 'PreTrainedTokenizerFast',
  } | config
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps(config))
  oracle = transformers.AutoTokenizer.from_pretrained(tmp_path)
  tokenizer = load_tokenizer(tmp_path)
  assert tokenizer.encode('b ab').tolist() == oracle.encode('b ab')

  # An export keeps them.
  (tmp_path / 'out').mkdir()
  tokenizer.save(tmp_path / 'out')
  exported = load_tokenizer(tmp_path / 'out')
  assert exported.encode('b ab').tolist() == oracle.encode('b ab')
  assert exported.end_of_text == 2


@pytest.mark.parametrize(
  'config, ids',
  [
    ({'add_bos_token': True}, [1, 261, 264]),
    ({'add_bos_token': True, 'add_eos_token': True}, [1, 261, 264, 2]),
    ({'add_bos_token': False}, [261, 264]),
  ],
)
def test_the_config_decides_if_the_post_processor_does_not(tmp_path, config, ids):
  """As in the files of DeepSeek, whose owner adds the token that begins a text."""
  save(sentencepiece_tokenizer(), tmp_path)
  config = {'bos_token': '<s>', 'eos_token': '</s>'} | config
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps(config))
  assert load_tokenizer(tmp_path).encode('b ab').tolist() == ids


# --- end of text --------------------------------------------------------------------


@pytest.mark.parametrize('token', ['<s>', {'content': '<s>'}])
def test_config_beside_the_file_names_the_end_of_text(tmp_path, token):
  save(sentencepiece_tokenizer(), tmp_path)
  without_config = load_tokenizer(tmp_path)
  (tmp_path / 'tokenizer_config.json').write_text(json.dumps({'eos_token': token}))
  with_config = load_tokenizer(tmp_path)
  assert without_config.end_of_text == 2
  assert with_config.end_of_text == 1
  assert with_config.hash != without_config.hash


@pytest.mark.parametrize('file', ['tokenizer_config.json', 'special_tokens_map.json'])
def test_a_declared_end_of_text_must_be_in_the_vocabulary(tmp_path, file):
  save(sentencepiece_tokenizer(), tmp_path)
  (tmp_path / file).write_text(json.dumps({'eos_token': '<|end|>'}))
  with pytest.raises(
    ConfigError, match=r"tokenizer\.json: got the special token '<|end|>'"
  ):
    load_tokenizer(tmp_path)


@pytest.mark.parametrize('ids, end', [(1, 1), ([1, 2], 1), (None, 2), (10**6, 2)])
def test_an_id_in_the_config_of_the_model_is_the_end_of_text(tmp_path, ids, end):
  save(sentencepiece_tokenizer(), tmp_path)
  (tmp_path / 'config.json').write_text(json.dumps({'eos_token_id': ids}))
  assert load_tokenizer(tmp_path).end_of_text == end


@pytest.mark.parametrize('name', ['<｜end▁of▁sentence｜>', '<|END_OF_TURN_TOKEN|>'])
def test_end_of_text_of_deepseek_and_cohere_is_recognized(tmp_path, name):
  source = tokenizers.Tokenizer(tokenizers.models.BPE({'a': 0}, []))
  source.add_special_tokens([name])
  save(source, tmp_path)
  assert load_tokenizer(tmp_path).end_of_text == 1


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
