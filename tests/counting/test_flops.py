"""FLOPs in closed form, against the products of the traced program and published figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced_counts import traced_flops

from lmhp.counting.flops import flops_per_token
from lmhp.model.mixers.attention import pairs
from lmhp.model.presets import preset
from lmhp.model.transformer import build

B = 3


@pytest.mark.slow
@pytest.mark.parametrize('block', range(3))
def test_the_closed_form_equals_the_products_of_the_program(draw, block):
  """Random configs, scanned or not, in both precisions: the loss, and three times its gradient."""
  for seed in range(1000 + 8 * block, 1008 + 8 * block):
    cfg = draw(seed)
    model = build(cfg)
    tokens = jax.ShapeDtypeStruct((B, cfg.max_seq_len), jnp.int32)

    def loss(params, tokens, model=model):
      encoder_tokens = tokens if model.cfg.is_encoder_decoder else None
      logits = model.apply(params, tokens, encoder_tokens_BM=encoder_tokens)
      return jnp.sum(jnp.square(logits))

    per_token = flops_per_token(cfg, cfg.max_seq_len, causal=False).forward
    forward = per_token * B * cfg.max_seq_len
    assert traced_flops(loss, model.shapes, tokens) == forward, (seed, cfg)
    gradient = traced_flops(jax.grad(loss), model.shapes, tokens)
    if cfg.share_layers and cfg.is_encoder_decoder:
      # jax takes the encoder's keys and values, which are the same for all layers, out of the
      # loop.
      assert 2 * forward < gradient <= 3 * forward, (seed, cfg)
    else:
      assert gradient == 3 * forward, (seed, cfg)


def test_rematerialization_adds_products_and_full_adds_most(tiny):
  flops = {}
  for policy in ('none', 'dots', 'dots_with_no_batch_dims', 'full'):
    model = build(tiny(remat=policy, n_layers=6))

    def loss(params, tokens, model=model):
      return jnp.sum(jnp.square(model.apply(params, tokens)))

    tokens = jax.ShapeDtypeStruct((B, 5), jnp.int32)
    flops[policy] = traced_flops(jax.grad(loss), model.shapes, tokens)
  assert flops['none'] == flops['dots']
  assert flops['dots'] < flops['dots_with_no_batch_dims'] < flops['full']
  assert flops['full'] < 4 / 3 * flops['none']


@pytest.mark.parametrize('window', [None, 1, 2, 5, 9, 40])
def test_causal_pairs_are_those_that_the_mask_keeps(window):
  for length in (1, 2, 5, 9, 17):
    query, key = np.indices((length, length))
    mask = (key <= query) & (query - key < (window or length))
    assert pairs(length, window, causal=True) == mask.sum()
    assert pairs(length, window, causal=False) == length**2
    both = np.abs(query - key) < (window or length)
    assert pairs(length, window, causal=True, both_sides=True) == both.sum()


def test_causal_flops_are_the_mean_over_the_masks_of_all_layers(tiny):
  cfg = tiny(n_layers=3, attention_pattern=('local', 'global'), sliding_window=2)
  full = flops_per_token(cfg, 5, causal=False)
  causal = flops_per_token(cfg, 5, causal=True)
  kept = 9 + 15 + 9  # of 25 pairs in each layer: two windows of two, and one triangle
  per_pair = 8 * 2 * (6 + 6)  # heads, multiply and add, a logit and a weighted value
  assert full.attention_pairs == 3 * 25 * per_pair / 5
  assert causal.attention_pairs == pytest.approx(kept * per_pair / 5, rel=1e-15)
  assert full.forward - full.attention_pairs == sum(full.by_kind.values())
  assert causal.by_kind == full.by_kind
  assert full.train == 3 * full.forward


def test_a_tied_output_layer_costs_as_much_as_an_untied_one(tiny):
  tied = flops_per_token(tiny(tie_embeddings=True), 5, causal=True)
  untied = flops_per_token(tiny(tie_embeddings=False), 5, causal=True)
  assert tied == untied
  assert tied.by_kind['output'] == 2 * 14 * 31


def test_maxtexts_figures_of_llama_2_7b():
  """TFLOPs of a step of 4 sequences of 8192 tokens, from MaxText's pull request 1988."""
  llama = flops_per_token(preset('llama-2-7b'), 8192, causal=True)
  n_tokens = 4 * 8192
  weights = 3 * sum(llama.by_kind.values()) * n_tokens / 1e12
  assert weights == pytest.approx(1299.00, abs=0.005)
  pairs_of_step = 3 * llama.attention_pairs * n_tokens / 1e12
  assert pairs_of_step == pytest.approx(211.11, rel=2e-4)


def test_nanogpts_count_of_gpt2():
  gpt2 = flops_per_token(preset('gpt2'), 1024, causal=False)
  # nanoGPT counts no biases, normalizations or positions.
  multiplied = 12 * (4 * 768 * 768 + 2 * 768 * 3072) + 50_257 * 768
  assert gpt2.train == 6 * multiplied + 12 * 12 * 12 * 64 * 1024


def test_a_sequence_of_one_token_has_the_same_causal_and_full_flops(tiny):
  causal = flops_per_token(tiny(), 1, causal=True)
  assert causal == flops_per_token(tiny(), 1, causal=False)
  assert isinstance(causal.forward, int)
