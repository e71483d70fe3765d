"""Sampling against full passes without a cache, and the checks of `generate`."""

import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers

from lmhp.data.tokenizer import ByteTokenizer, CharTokenizer, load_tokenizer
from lmhp.errors import ConfigError
from lmhp.generation import decoding, sampling
from lmhp.generation.decoding import SampleSettings
from lmhp.generation.sampling import TextModel, generate
from lmhp.model.config import ModelConfig
from lmhp.model.transformer import build

V = 31
CONTEXT = 24


@pytest.fixture(scope='module')
def model():
  return build(
    ModelConfig(
      vocab_size=V,
      max_seq_len=CONTEXT,
      d_model=14,
      n_layers=2,
      n_heads=4,
      n_kv_heads=2,
      head_dim=6,
      d_ff=20,
      dtype='float32',
    )
  )


@pytest.fixture(scope='module')
def params(model, jit):
  """Parameters whose distribution over tokens is far from uniform."""
  return jit(model.init)(jax.random.key(0), {'init_scale': jnp.float32(20.0)})


@pytest.fixture(scope='module')
def last_logits(model, params, jit):
  """`last_logits(tokens_BL)` returns (B, V) of a full pass without a cache."""
  length = 16

  @jit
  def padded(tokens, n):
    return model.apply(params, tokens)[:, n - 1]

  def last(tokens):
    padding = ((0, 0), (0, length - tokens.shape[1]))
    return np.asarray(padded(np.pad(tokens, padding), tokens.shape[1]))

  return last


@pytest.fixture(autouse=True, scope='module')
def quick_compilation(jit):
  """Compiles the sampler quickly."""
  with pytest.MonkeyPatch.context() as patch:
    quick = jit(decoding.sample.__wrapped__, static_argnames=('model', 'settings'))
    patch.setattr(sampling, 'sample', quick)
    yield


def draw(model, params, prompt, key=0, temperature=1.0, n_tokens=5, **settings):
  return np.asarray(
    sampling.sample(
      model,
      params,
      jnp.asarray(prompt, jnp.int32),
      jax.random.key(key),
      jnp.float32(temperature),
      SampleSettings(n_tokens, **settings),
      {},
    )
  )


# --- samples ------------------------------------------------------------------------


@pytest.fixture(scope='module')
def prompt():
  return np.random.default_rng(0).integers(V, size=(3, 6))


def test_temperature_0_selects_the_most_likely_tokens(
  model, params, last_logits, prompt
):
  new = draw(model, params, prompt, temperature=0.0, n_tokens=9)
  assert new.shape == (3, 9)
  assert new.dtype == np.int32
  text = prompt
  for i in range(9):
    most_likely = last_logits(text).argmax(-1)
    np.testing.assert_array_equal(new[:, i], most_likely)
    text = np.concatenate([text, most_likely[:, None]], axis=1)


def test_temperature_0_does_not_depend_on_the_key(model, params, prompt):
  new = draw(model, params, prompt, temperature=0.0)
  np.testing.assert_array_equal(
    draw(model, params, prompt, key=7, temperature=0.0), new
  )


def test_a_single_token_is_the_first_of_more(model, params, prompt):
  new = draw(model, params, prompt, temperature=0.0)
  one = draw(model, params, prompt, temperature=0.0, n_tokens=1)
  np.testing.assert_array_equal(one, new[:, :1])


@pytest.mark.parametrize('temperature, top_k', [(1.0, None), (2.0, None), (1.5, 4)])
def test_samples_follow_the_softmax(model, params, last_logits, temperature, top_k):
  """Chi-square test of 4,000 first tokens against float64."""
  prompt = np.tile([[3, 1, 4]], (4000, 1))
  logits = last_logits(prompt[:1])[0].astype(np.float64)
  kept = np.full(V, True)
  if top_k:
    kept = logits >= np.sort(logits)[-top_k]
  p = np.where(kept, np.exp((logits - logits.max()) / temperature), 0)
  p /= p.sum()

  new = draw(model, params, prompt, temperature=temperature, n_tokens=1, top_k=top_k)
  counts = np.bincount(new[:, 0], minlength=V)
  assert (counts[~kept] == 0).all()
  tested = p * 4000 > 5
  expected = (p * 4000)[tested]
  chi_square = ((counts[tested] - expected) ** 2 / expected).sum()
  n = tested.sum()
  assert chi_square < n + 5 * np.sqrt(2 * n)


def test_the_key_determines_the_text(model, params):
  first, other, again = (
    draw(model, params, [[1, 2, 3]], key, temperature=5.0, n_tokens=12).tolist()
    for key in (0, 1, 0)
  )
  assert first == again
  assert first != other


def test_prompts_of_a_batch_have_different_samples(model, params):
  new = draw(model, params, [[1, 2, 3]] * 3, temperature=5.0, n_tokens=12)
  assert len(np.unique(new, axis=0)) == 3


def test_tokens_of_a_text_have_different_samples(model, params):
  """The distribution over tokens is uniform."""
  zeros = jax.tree.map(jnp.zeros_like, params)
  for row in draw(model, zeros, [[1]] * 3, n_tokens=12):
    assert len(set(row.tolist())) > 5


def test_only_ids_below_the_limit_are_sampled(model, params):
  def largest(**settings):
    return draw(
      model, params, [[1]] * 200, temperature=50.0, n_tokens=3, **settings
    ).max()

  assert largest(n_ids=7) < 7
  assert largest() >= 7


def test_a_top_k_above_the_vocabulary_changes_nothing(model, params):
  prompt = [[1, 2, 3]]
  np.testing.assert_array_equal(
    draw(model, params, prompt, top_k=99), draw(model, params, prompt)
  )


def test_top_1_is_the_most_likely_token(model, params):
  prompt = [[1, 2, 3]]
  np.testing.assert_array_equal(
    draw(model, params, prompt, top_k=1), draw(model, params, prompt, temperature=0.0)
  )


# --- text ---------------------------------------------------------------------------


@pytest.fixture(scope='module')
def text_model(model, params):
  letters = 'abcdefghijklmnopqrstuvwxyz '
  return TextModel(model, params, CharTokenizer(letters, end_of_text=False))


def test_a_text_fills_the_context_by_default(text_model):
  assert len(generate(text_model, 'abc')) == CONTEXT


def test_a_text_has_as_many_tokens_as_requested(text_model):
  text = generate(text_model, 'abc', n_tokens=4)
  assert len(text) == 7
  assert text.startswith('abc')


def test_the_seed_determines_the_text(text_model):
  assert generate(text_model, 'abc', seed=1) == generate(text_model, 'abc', seed=1)
  assert generate(text_model, 'abc', seed=1) != generate(text_model, 'abc', seed=2)


def test_only_tokens_of_the_tokenizer_are_generated(model, params):
  decoded = []
  tokenizer = types.SimpleNamespace(
    encode_all=lambda texts: [np.ones(1, np.uint32)],
    end_of_text=None,
    vocab_size=5,
    n_ordinary_ids=5,
    decode=lambda ids: decoded.append(np.asarray(ids)) or '',
  )
  generate(TextModel(model, params, tokenizer), '', temperature=50.0)
  assert max(ids.max() for ids in decoded) < 5


@pytest.mark.parametrize(
  'options, option, came',
  [
    ({'prompt': ''}, 'prompt', '0 tokens'),
    ({'prompt': 'a' * CONTEXT}, 'prompt', f'{CONTEXT} tokens'),
    ({'n_tokens': 0}, 'n_tokens', '0'),
    ({'n_tokens': CONTEXT}, 'n_tokens', f'{CONTEXT}'),
    ({'temperature': -1.0}, 'temperature', '-1.0'),
    ({'temperature': float('nan')}, 'temperature', 'nan'),
    ({'top_k': 0}, 'top_k', '0'),
  ],
)
def test_an_option_out_of_bounds_is_refused(text_model, options, option, came):
  with pytest.raises(ConfigError, match=f'^{option}: got {came}'):
    generate(text_model, **{'prompt': 'a'} | options)


def test_a_character_outside_the_vocabulary_is_refused(text_model):
  with pytest.raises(ConfigError, match="'A'"):
    generate(text_model, 'A')


def test_a_prompt_that_is_not_unicode_is_refused(model, params):
  with pytest.raises(ConfigError, match='^prompt: got'):
    generate(TextModel(model, params, ByteTokenizer()), 'a\udc80')


def test_an_encoder_is_refused(tiny, params):
  encoder = build(tiny(architecture='encoder'))
  with pytest.raises(ConfigError, match='model.architecture=encoder'):
    generate(TextModel(encoder, params, ByteTokenizer()), 'a')


# --- ends of texts ------------------------------------------------------------------


def test_a_row_stops_at_a_stop_token(model, params, prompt):
  """The tokens before it are those of a longer text, those after it are the stop token."""
  free = draw(model, params, prompt, temperature=0.0, n_tokens=9)
  stop_ids = (int(free[0, 3]), 0)
  stopped = draw(model, params, prompt, temperature=0.0, n_tokens=9, stop_ids=stop_ids)
  for row, free_row in zip(stopped, free, strict=True):
    ends = np.flatnonzero(np.isin(free_row, stop_ids))
    end = ends[0] + 1 if ends.size else 9
    np.testing.assert_array_equal(row[:end], free_row[:end])
    assert (row[end:] == stop_ids[0]).all()


def test_a_text_ends_before_the_end_of_text(model, params, text_model):
  text = generate(text_model, 'abc', temperature=0.0)
  ending = TextModel(
    model, params, text_model.tokenizer, stop_ids=(ord(text[7]) - ord('a') + 1,)
  )
  stopped = generate(ending, 'abc', temperature=0.0)
  assert stopped == text[: text.index(text[7], 3)]


def test_the_text_of_a_run_ends_at_the_end_of_text_of_its_tokenizer(model, params):
  tokenizer = CharTokenizer('abcdefghijklmnopqrstuvwxyz ', end_of_text=True)
  settings = TextModel(model, params, tokenizer).settings(5, None)
  assert settings.stop_ids == (27,)


# --- text of tokenizers of Hugging Face -----------------------------------------------


@pytest.fixture
def save_words(tmp_path):
  """`save_words(n)` returns a tokenizer of n words and 3 special tokens.

  Its decoder writes a space before each word but the first, as that of Llama 2 does.
  """

  def save(n_words):
    vocabulary = {'<s>': 0, '</s>': 1} | {f'▁w{i}': i for i in range(2, n_words)}
    model = tokenizers.models.WordLevel(vocabulary, unk_token='</s>')
    source = tokenizers.Tokenizer(model)
    source.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    source.decoder = tokenizers.decoders.Metaspace()
    source.post_processor = tokenizers.processors.TemplateProcessing(
      single='<s> $A', special_tokens=[('<s>', 0)]
    )
    source.add_special_tokens(['<s>', '</s>', '<pad>'])
    source.save(str(tmp_path / 'tokenizer.json'))
    return load_tokenizer(tmp_path)

  return save


def test_the_first_space_of_a_continuation_is_kept(model, params, save_words):
  text_model = TextModel(
    model, params, save_words(V), stop_ids=(1,), is_pretrained=True
  )
  text = generate(text_model, 'w5 w6', n_tokens=3)
  assert re.fullmatch(r'w5 w6( w\d+){1,3}', text)


def test_a_prompt_of_a_checkpoint_has_special_tokens_and_that_of_a_run_has_none(
  model, params, save_words
):
  for is_pretrained, ids in ((True, [0, 5, 6]), (False, [5, 6])):
    text_model = TextModel(model, params, save_words(V), is_pretrained=is_pretrained)
    assert text_model.encode('w5 w6').tolist() == ids


def test_ids_beyond_the_table_are_refused(model, params, save_words):
  """An added token such as <pad> may have such an id, if the prompt does not have it."""
  text_model = TextModel(model, params, save_words(V), is_pretrained=True)
  assert generate(text_model, 'w5', n_tokens=2).startswith('w5')
  with pytest.raises(ConfigError, match=f'^prompt: got .* {V}, .*vocab_size={V}'):
    generate(text_model, 'w5 <pad>')
  text_model = TextModel(model, params, save_words(V + 9), is_pretrained=True)
  with pytest.raises(ConfigError, match=f'^tokenizer: got {V + 9} ids'):
    generate(text_model, 'w5')
