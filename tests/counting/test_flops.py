"""FLOPs in closed form against the products in the program's own jaxpr, and against published figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.counting.flops import flops_per_token, traced_flops
from lmhp.model.attention.counts import pairs
from lmhp.model.config import ModelConfig
from lmhp.model.presets import preset
from lmhp.model.transformer import build

B = 3


@pytest.mark.parametrize('block', range(3))
def test_the_program_multiplies_what_the_closed_form_says(draw, block):
  """Forward once, gradient three times, over random configs: scanned or not, in either precision."""
  for seed in range(1000 + 8 * block, 1008 + 8 * block):
    cfg = draw(seed)
    model, tokens = build(cfg), jax.ShapeDtypeStruct((B, cfg.max_seq_len), jnp.int32)
    other = lambda tokens: tokens if cfg.is_encoder_decoder else None
    loss = lambda p, tokens: jnp.sum(
      jnp.square(model.apply(p, tokens, encoder_tokens_BM=other(tokens)))
    )
    forward = (
      flops_per_token(cfg, cfg.max_seq_len, causal=False).forward * B * cfg.max_seq_len
    )
    assert traced_flops(loss, model.shapes, tokens) == forward, (seed, cfg)
    gradient = traced_flops(jax.grad(loss), model.shapes, tokens)
    if (
      cfg.share_layers and cfg.is_encoder_decoder
    ):  # jax takes the encoder's keys and values, the same for all, out of the loop
      assert 2 * forward < gradient <= 3 * forward, (seed, cfg)
    else:
      assert gradient == 3 * forward, (seed, cfg)


def test_remat_adds_products_and_full_adds_most(tiny):
  flops = {}
  for policy in ('none', 'dots', 'dots_with_no_batch_dims', 'full'):
    model = build(tiny(remat=policy, n_layers=6))
    loss = lambda params, tokens: jnp.sum(jnp.square(model.apply(params, tokens)))
    flops[policy] = traced_flops(
      jax.grad(loss), model.shapes, jax.ShapeDtypeStruct((B, 5), jnp.int32)
    )
  assert (
    flops['none']
    == flops['dots']
    < flops['dots_with_no_batch_dims']
    < flops['full']
    < 4 / 3 * flops['none']
  )


@pytest.mark.parametrize('window', [None, 1, 2, 5, 9, 40])
def test_causal_pairs_are_those_the_mask_keeps(window):
  for length in (1, 2, 5, 9, 17):
    query, key = np.indices((length, length))
    mask = (key <= query) & (query - key < (window or length))
    assert pairs(length, window, causal=True) == mask.sum()
    assert pairs(length, window, causal=False) == length**2
    both = np.abs(query - key) < (window or length)
    assert pairs(length, window, causal=True, both_sides=True) == both.sum()


def test_causal_flops_are_the_mean_over_the_masks_of_all_layers(tiny):
  cfg = tiny(n_layers=3, attention_pattern=('local', 'global'), sliding_window=2)
  full, causal = (flops_per_token(cfg, 5, c) for c in (False, True))
  kept = 9 + 15 + 9  # of 25: two windows of two, one triangle
  per_pair = 8 * 2 * (6 + 6)  # heads, multiply and add, a logit and a weighted value
  assert full.attention_pairs == 3 * 25 * per_pair / 5
  assert causal.attention_pairs == pytest.approx(kept * per_pair / 5, rel=1e-15)
  assert (
    full.forward - full.attention_pairs
    == causal.forward - causal.attention_pairs
    == sum(full.by_kind.values())
  )
  assert full.train == 3 * full.forward


def test_a_tied_head_costs_what_an_untied_one_does(tiny):
  tied, untied = (
    flops_per_token(tiny(tie_embeddings=tie), 5, True) for tie in (True, False)
  )
  assert tied == untied and tied.by_kind['output'] == 2 * 14 * 31


def test_published_figures():
  """MaxText's pull request 1988 states TFLOPs of a step of Llama 2 7B, 4 sequences of 8192; nanoGPT counts GPT-2."""
  llama = flops_per_token(preset('llama-2-7b'), 8192, causal=True)
  assert 3 * sum(llama.by_kind.values()) * 4 * 8192 / 1e12 == pytest.approx(
    1299.00, abs=0.005
  )
  assert 3 * llama.attention_pairs * 4 * 8192 / 1e12 == pytest.approx(211.11, rel=2e-4)
  gpt2 = flops_per_token(preset('gpt2'), 1024, causal=False)
  multiplied = (
    12 * (4 * 768 * 768 + 2 * 768 * 3072) + 50_257 * 768
  )  # no biases, norms, positions: nanoGPT's own count
  assert gpt2.train == 6 * multiplied + 12 * 12 * 12 * 64 * 1024


def test_traced_flops_sees_through_scans_branches_and_custom_gradients():
  a, b = (
    jax.ShapeDtypeStruct((3, 5), jnp.float32),
    jax.ShapeDtypeStruct((5, 5), jnp.float32),
  )
  once = 2 * 3 * 5 * 5
  assert traced_flops(lambda a, b: a @ b, a, b) == once
  assert traced_flops(jax.jit(lambda a, b: jnp.sin(a @ b)), a, b) == once
  assert (
    traced_flops(
      lambda a, b: jax.lax.scan(lambda c, _: (c @ b, None), a, None, length=7)[0], a, b
    )
    == 7 * once
  )
  nested = lambda a, b: jax.lax.scan(
    lambda c, _: (jax.lax.scan(lambda d, _: (d @ b, None), c, None, length=2)[0], None),
    a,
    None,
    length=3,
  )[0]
  assert traced_flops(nested, a, b) == 6 * once
  assert (
    traced_flops(
      lambda a, b: jax.lax.cond(a[0, 0] > 0, lambda: a @ b, lambda: a @ b @ b), a, b
    )
    == 2 * once
  )
  assert traced_flops(
    lambda a, b: jax.lax.fori_loop(0, 9, lambda _, c: c @ b, a), a, b
  ) in (once, 9 * once)
  assert traced_flops(jax.checkpoint(lambda a, b: a @ b), a, b) == once
  assert (
    traced_flops(
      lambda a, b: jnp.einsum('bij,bjk->bik', a.reshape(1, 3, 5), b[None]), a, b
    )
    == once
  )

  @jax.custom_vjp
  def product(a, b):
    return a @ b

  product.defvjp(
    lambda a, b: (a @ b, (a, b)), lambda saved, g: (g @ saved[1].T, saved[0].T @ g)
  )
  assert traced_flops(product, a, b) == once
  assert (
    traced_flops(jax.grad(lambda a, b: jnp.sum(product(a, b)), argnums=(0, 1)), a, b)
    == 3 * once
  )
  assert traced_flops(lambda a, b: a + 1, a, b) == 0


def test_one_expensive_token(tiny):
  """At length 1 causal and full are the same, and whole numbers stay whole."""
  assert flops_per_token(tiny(), 1, True) == flops_per_token(tiny(), 1, False)
  assert isinstance(flops_per_token(tiny(), 5, True).forward, int)
  assert isinstance(
    flops_per_token(
      ModelConfig(vocab_size=8, attention_pattern=('local',), sliding_window=3), 5, True
    ).forward,
    float,
  )
