"""Counts of encoder-decoders against their parameters and their programs."""

import jax.numpy as jnp
import pytest
from traced_counts import count_tree, traced_flops

from lmhp.counting.flops import encoder_decoder_flops
from lmhp.counting.parameters import count
from lmhp.model.transformer import build

B, L, M = 3, 5, 7


@pytest.mark.parametrize(
  'fields',
  [
    {},
    {'share_layers': True},
    {'embedding_dim': 10, 'head_transform': True},
    {'embedding_dim': 10, 'token_types': 2, 'gated': True},
  ],
  ids=str,
)
def test_counts_with_sequences_of_unequal_lengths(tiny, fields):
  cfg = tiny(
    architecture='encoder_decoder',
    n_encoder_layers=3,
    max_seq_len=M,
    position='t5',
    relative_buckets=8,
    relative_max_distance=9,
    **fields,
  )
  model = build(cfg)
  assert count(cfg).by_kind == count_tree(model.shapes).by_kind

  tokens = jnp.zeros((B, L), jnp.int32)
  encoder_tokens = jnp.zeros((B, M), jnp.int32)

  def logits(params):
    return model.apply(params, tokens, encoder_tokens_BM=encoder_tokens)

  expected = B * encoder_decoder_flops(cfg, L, M, causal=False)
  assert traced_flops(logits, model.shapes) == expected
