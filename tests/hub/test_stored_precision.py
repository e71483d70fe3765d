"""Files that store bfloat16 or float16, compared with transformers in float32 on the same file."""

from counts_oracle import language_model
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_checkpoints import CONFIGS
from transformers_models import inputs_of, random_model

from lmhp.hub.pretrained import load_pretrained
from lmhp.model.config import ModelConfig
from lmhp.model.mixers.registry import MIXERS
from lmhp.model.transformer import build

L = 9


def logits_of(path, dtype, tokens):
  """Returns the logits of a directory, computed in a dtype."""
  model, params, _ = load_pretrained(path, dtype=dtype)
  encoder_tokens = tokens[:, ::-1] if model.cfg.is_encoder_decoder else None
  apply = jax.jit(lambda p: model.apply(p, tokens, encoder_tokens_BM=encoder_tokens))
  return np.asarray(apply(params))


def transformers_logits(family, path, dtype, tokens):
  import torch

  model = language_model(family).from_pretrained(
    path, dtype=getattr(torch, dtype), attn_implementation='eager'
  )
  model.set_experts_implementation('eager')
  with torch.no_grad():
    return model(**inputs_of(model, tokens)).logits.float().numpy()


@pytest.mark.oracle
@pytest.mark.parametrize('family', CONFIGS)
def test_bfloat16_files_give_the_logits_of_transformers(family, tmp_path):
  """In float32 they agree. In bfloat16, lmhp is not much farther from float32 than the oracle."""
  import torch

  random_model(family, CONFIGS[family][0]).to(torch.bfloat16).save_pretrained(tmp_path)
  tokens = np.random.default_rng(1).integers(2, 31, (2, L))
  exact = transformers_logits(family, tmp_path, 'float32', tokens)
  tolerance = 2e-5 * max(1, np.abs(exact).max())
  logits = logits_of(tmp_path, 'float32', tokens)
  np.testing.assert_allclose(logits, exact, rtol=0, atol=tolerance)

  oracle_error = transformers_logits(family, tmp_path, 'bfloat16', tokens) - exact
  error = logits_of(tmp_path, 'bfloat16', tokens) - exact
  assert np.abs(error).mean() < 1.5 * np.abs(oracle_error).mean()


@pytest.mark.parametrize(
  'mixer, stored', [*((m, 'bfloat16') for m in MIXERS), ('attention', 'float16')]
)
def test_stored_numbers_are_read_in_float32(mixer, stored):
  """Each number of a file is exact in float32, so the network gives the same logits."""
  cfg = ModelConfig(
    vocab_size=31,
    d_model=32,
    n_layers=2,
    n_heads=4,
    max_seq_len=16,
    position='none',
    mixer_pattern=(mixer,),
    norm_unit_offset=True,
    norm_bias=True,
    dtype='float32',
  )
  model = build(cfg)
  params = model.init(jax.random.key(0), {'init_scale': 20.0})
  noise = jax.random.normal(jax.random.key(1), (100_000,))
  params = jax.tree.map(lambda x: x + noise[: x.size].reshape(x.shape), params)
  half = jax.tree.map(lambda x: x.astype(stored), params)
  single = jax.tree.map(lambda x: x.astype(jnp.float32), half)
  tokens = jnp.arange(6)[None]
  apply = jax.jit(model.apply)
  expected = apply(single, tokens)
  np.testing.assert_allclose(apply(half, tokens), expected, rtol=1e-6, atol=1e-6)
