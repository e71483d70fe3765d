"""Sampling: the likeliest token is the full pass's, draws follow the logits, a text stays within its context."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.data.tokenizer import ByteTokenizer, CharTokenizer
from lmhp.errors import ConfigError
from lmhp.generation import sampling
from lmhp.generation.sampling import generate
from lmhp.model.config import ModelConfig
from lmhp.model.transformer import build


@pytest.fixture(scope='module')
def model():
  return build(
    ModelConfig(
      vocab_size=31,
      max_seq_len=24,
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
  return jit(model.init)(
    jax.random.key(0), {'init_scale': jnp.float32(20.0)}
  )  # far from uniform


@pytest.fixture(scope='module')
def logits(model, params, jit):
  """`logits(tokens_BL)`: the last token's, (B, V), of a full pass without any cache, padded to one length."""
  last = jit(lambda tokens, n: model.apply(params, tokens)[:, n - 1])
  return lambda tokens: np.asarray(
    last(np.pad(tokens, ((0, 0), (0, 16 - tokens.shape[1]))), tokens.shape[1])
  )


@pytest.fixture(autouse=True, scope='module')
def quick(jit):
  """The sampler, compiled quickly."""
  with pytest.MonkeyPatch.context() as patch:
    names = ('model', 'n_tokens', 'top_k', 'n_words')
    patch.setattr(
      sampling, 'sample', jit(sampling.sample.__wrapped__, static_argnames=names)
    )
    yield


def draw(model, params, prompt, key=0, temperature=1.0, n_tokens=5, **options):
  prompt, key = jnp.asarray(prompt, jnp.int32), jax.random.key(key)
  return np.asarray(
    sampling.sample(
      model, params, prompt, key, jnp.float32(temperature), n_tokens, **options
    )
  )


def test_the_likeliest_tokens_are_the_full_pass_s(model, params, logits):
  prompt = np.random.default_rng(0).integers(31, size=(3, 6))
  new = draw(model, params, prompt, temperature=0.0, n_tokens=9)
  assert new.shape == (3, 9) and new.dtype == np.int32
  texts = prompt
  for i in range(9):  # without any cache
    likeliest = logits(texts).argmax(-1)
    assert (new[:, i] == likeliest).all()
    texts = np.concatenate([texts, likeliest[:, None]], axis=1)
  assert (draw(model, params, prompt, key=7, temperature=0.0, n_tokens=9) == new).all()
  assert (draw(model, params, prompt, temperature=0.0, n_tokens=1) == new[:, :1]).all()


def test_draws_follow_the_logits(model, params, logits):
  """Chi-square of 4,000 first tokens against the softmax of the full pass, numpy float64."""
  prompt = np.tile([[3, 1, 4]], (4000, 1))
  logits = logits(prompt[:1])[0].astype(np.float64)
  for temperature, top_k in ((1.0, None), (2.0, None), (1.5, 4)):
    kept = logits >= np.sort(logits)[-top_k] if top_k else np.full(31, True)
    p = np.where(kept, np.exp((logits - logits.max()) / temperature), 0)
    p /= p.sum()
    drawn = draw(
      model, params, prompt, temperature=temperature, n_tokens=1, top_k=top_k
    )
    counts = np.bincount(drawn[:, 0], minlength=31)
    assert (counts[~kept] == 0).all()
    enough = p * 4000 > 5
    chi_square = ((counts - p * 4000)[enough] ** 2 / (p * 4000)[enough]).sum()
    assert chi_square < enough.sum() + 5 * np.sqrt(2 * enough.sum())


def test_another_key_draws_another_text_and_the_same_key_the_same(model, params):
  prompt = [[1, 2, 3]]
  texts = [
    draw(model, params, prompt, key, temperature=5.0, n_tokens=12).tolist()
    for key in (0, 1, 0)
  ]
  assert texts[0] == texts[2] != texts[1]
  assert (
    len(
      {
        tuple(row)
        for row in draw(
          model, params, prompt * 3, temperature=5.0, n_tokens=12
        ).tolist()
      }
    )
    == 3
  )


def test_each_token_has_a_draw_of_its_own(model, params):
  nothing_known = jax.tree.map(jnp.zeros_like, params)
  assert all(
    len(set(row)) > 5
    for row in draw(model, nothing_known, [[1]] * 3, n_tokens=12).tolist()
  )


def test_only_words_of_the_tokenizer_are_drawn(model, params):
  assert (
    draw(model, params, [[1]] * 200, temperature=50.0, n_words=7, n_tokens=3).max() < 7
  )
  assert draw(model, params, [[1]] * 200, temperature=50.0, n_tokens=3).max() >= 7
  few = types.SimpleNamespace(
    encode=lambda text: np.ones(1),
    vocab_size=5,
    decode=lambda ids: repr(bool(np.asarray(ids).max() < 5)),
  )
  assert generate(model, params, few, '', temperature=50.0) == 'True'


def test_more_of_the_likeliest_than_there_are_is_all(model, params):
  prompt = [[1, 2, 3]]
  assert (draw(model, params, prompt, top_k=99) == draw(model, params, prompt)).all()
  assert (
    draw(model, params, prompt, top_k=1) == draw(model, params, prompt, temperature=0.0)
  ).all()


def test_a_text_fills_the_context(model, params):
  tokenizer = CharTokenizer('abcdefghijklmnopqrstuvwxyz ', end_of_text=False)
  assert len(generate(model, params, tokenizer, 'abc')) == 24
  assert len(generate(model, params, tokenizer, 'abc', n_tokens=4)) == 7
  assert generate(model, params, tokenizer, 'abc', seed=1) == generate(
    model, params, tokenizer, 'abc', seed=1
  )


@pytest.mark.parametrize(
  'options, said',
  [
    (dict(prompt=''), 'prompt: got 0 tokens'),
    (dict(prompt='a' * 24), 'prompt: got 24 tokens'),
    (dict(prompt='A'), "the character 'A'"),
    (dict(n_tokens=0), 'n_tokens: got 0 after a prompt of 1'),
    (dict(n_tokens=24), 'n_tokens: got 24'),
    (dict(temperature=-1.0), 'temperature: got -1.0'),
    (dict(temperature=float('nan')), 'temperature: got nan'),
    (dict(top_k=0), 'top_k: got 0'),
  ],
)
def test_mistakes(model, params, options, said):
  tokenizer = CharTokenizer('abc', end_of_text=False)
  with pytest.raises(ConfigError, match=said):
    generate(model, params, tokenizer, **{'prompt': 'a'} | options)


def test_a_prompt_that_is_no_unicode(model, params):
  with pytest.raises(ConfigError, match='prompt: not Unicode text'):
    generate(model, params, ByteTokenizer(), 'a\udc80')
