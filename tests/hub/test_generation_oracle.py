"""Generation with pretrained models, compared with `generate` of transformers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_checkpoints import CONFIGS
from small_configs import rope
import tokenizers
from transformers_models import random_model

from lmhp import api
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


def save_tokenizer(directory, template):
  """Saves a tokenizer of 29 words and two special tokens."""
  vocabulary = {'<s>': 0, '</s>': 1} | {f'▁w{i}': i for i in range(2, 31)}
  model = tokenizers.models.WordLevel(vocabulary, unk_token='</s>')
  tokenizer = tokenizers.Tokenizer(model)
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
  tokenizer.decoder = tokenizers.decoders.Metaspace()
  tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
    single=template, special_tokens=[('<s>', 0), ('</s>', 1)]
  )
  tokenizer.add_special_tokens(['<s>', '</s>'])
  tokenizer.save(str(directory / 'tokenizer.json'))


@pytest.mark.oracle
@pytest.mark.parametrize('stop_ids', [7, [9, 12, 20]])
@pytest.mark.parametrize('family, template', [('llama', '<s> $A'), ('t5', '$A </s>')])
def test_texts_are_those_of_transformers(family, template, stop_ids, tmp_path):
  """BOS or EOS in the prompt, the ids of generation_config.json, and the spaces of the text."""
  import torch
  import transformers

  oracle = random_model(family, CONFIGS[family][0])
  oracle.generation_config.eos_token_id = stop_ids
  oracle.generation_config.decoder_start_token_id = 5
  oracle.save_pretrained(tmp_path)
  save_tokenizer(tmp_path, template)
  tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_file=str(tmp_path / 'tokenizer.json')
  )

  for prompt in ('w3 w4 w28', 'w9', '</s> w30', 'w2 w2 w13'):
    ids = tokenizer.encode(prompt)
    tokens = oracle.generate(
      torch.tensor([ids]),
      attention_mask=torch.ones(1, len(ids)),
      max_new_tokens=12,
      do_sample=False,
      pad_token_id=1,
    )[0].tolist()
    # The output of a decoder begins with the prompt, that of T5 with the start token.
    before = tokens[: len(ids)] if family == 'llama' else []
    new = tokens[len(ids) if family == 'llama' else 1 :]
    ends = np.flatnonzero(np.isin(new, stop_ids))
    # lmhp leaves the token out that ends the text.
    new = new[: ends[0]] if ends.size else new
    expected = tokenizer.decode(before + new, skip_special_tokens=True)
    text = api.generate(tmp_path, prompt, n_tokens=12, temperature=0.0)
    assert text.removeprefix('</s> ') == expected, prompt
