"""Generation with pretrained models, compared with `generate` of transformers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_checkpoints import CONFIGS
from small_configs import rope
from transformers_models import random_model

from lmhp.generation.decoding import SampleSettings, sample
from lmhp.hub.pretrained import load_pretrained

PHI3 = CONFIGS['phi3'][2]  # longrope, with an original context of 8 tokens
DYNAMIC = CONFIGS['llama'][0] | {'max_position_embeddings': 16}
DYNAMIC |= rope(rope_type='dynamic', factor=3.0)


def continuation(path, prompt, n_tokens):
  """Returns the most likely tokens after a prompt, as a list."""
  model, params, _ = load_pretrained(path)
  new_BT = sample(
    model,
    params,
    jnp.asarray([prompt], jnp.int32),
    jax.random.key(0),
    jnp.float32(0),
    SampleSettings(n_tokens),
    {},
  )
  return np.asarray(new_BT)[0].tolist()


@pytest.mark.oracle
@pytest.mark.parametrize('length', [3, 8, 12])
@pytest.mark.parametrize('family, config', [('phi3', PHI3), ('llama', DYNAMIC)])
def test_scalings_of_positions_follow_the_current_length(
  family, config, length, tmp_path
):
  """The prompt and the new tokens are below, at and above the original context."""
  import torch

  oracle = random_model(family, config)
  oracle.generation_config.eos_token_id = None
  oracle.save_pretrained(tmp_path)
  prompt = np.random.default_rng(length).integers(1, 31, length).tolist()
  expected = oracle.generate(
    torch.tensor([prompt]), max_new_tokens=16, do_sample=False, pad_token_id=0
  )[0, length:].tolist()
  assert continuation(tmp_path, prompt, 16) == expected
  # The number of tokens to add changes none of them.
  assert continuation(tmp_path, prompt, 4) == expected[:4]
