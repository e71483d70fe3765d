"""Pretrained models: loaded and saved, compared with transformers."""

import dataclasses
import json
import os

from counts_oracle import language_model
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_checkpoints import CONFIGS
from transformers_models import inputs_of, loss_and_gradients, random_model

from lmhp import cli
from lmhp.counting.flops import flops_per_token
from lmhp.data.bpe import train_bpe
from lmhp.errors import ConfigError
from lmhp.hub.config_json import model_config
from lmhp.hub.conversion import tensors_from_params
from lmhp.hub.families import FAMILIES
from lmhp.hub.pretrained import load_pretrained, save_pretrained
from lmhp.hub.tensor_names import checkpoint_tensors
from lmhp.model.transformer import build
from lmhp.params import walk_arrays

L = 9

# Eager attention of transformers 5.24 adds the ALiBi bias of Falcon twice, to the mask and to
# the logits. The other implementation adds it once.
ATTENTION = {('falcon', 1): 'sdpa'}
CASES = [
  (family, i) for family, configs in CONFIGS.items() for i in range(len(configs))
]

# The vision tower of gemma3 is not part of a text model.
WITHOUT_WEIGHTS = {'gemma3'}


def assert_same(tree, other):
  jax.tree.map(np.testing.assert_array_equal, tree, other)


# --- compared with transformers -----------------------------------------------------


def test_every_family_is_compared():
  assert set(CONFIGS) == set(FAMILIES) - WITHOUT_WEIGHTS


def value_and_gradients(model, params, tokens):
  """Returns logits, the mean loss per token, and the gradients of a model of lmhp."""
  reversed_tokens = jnp.asarray(tokens[:, ::-1], jnp.int32)
  encoder_tokens = reversed_tokens if model.cfg.is_encoder_decoder else None
  tokens = jnp.asarray(tokens, jnp.int32)

  @jax.jit
  def compute(params):
    def loss(params):
      logits = model.apply(params, tokens, encoder_tokens_BM=encoder_tokens)
      log_probs = jax.nn.log_softmax(logits[:, :-1])
      taken = jnp.take_along_axis(log_probs, tokens[:, 1:, None], axis=-1)
      return -jnp.mean(taken), logits

    return jax.value_and_grad(loss, has_aux=True)(params)

  (loss, logits), gradients = compute(params)
  return logits, loss, gradients


@pytest.mark.oracle
@pytest.mark.parametrize('family, i', CASES)
def test_logits_gradients_and_export(family, i, tmp_path):
  """Logits agree within 2e-5, gradients within 1e-4 relative, exported numbers exactly."""
  import torch

  attention = ATTENTION.get((family, i), 'eager')
  oracle = random_model(family, CONFIGS[family][i], attention)
  oracle.save_pretrained(tmp_path / 'in')
  model, params, tokenizer = load_pretrained(tmp_path / 'in')
  assert tokenizer is None

  tokens = np.random.default_rng(1).integers(2, model.cfg.vocab_size, (2, L))
  expected_logits, expected_loss, expected_gradients = loss_and_gradients(
    oracle, tokens
  )
  logits, loss, gradients = value_and_gradients(model, params, tokens)
  np.testing.assert_allclose(logits, expected_logits, rtol=0, atol=2e-5)
  np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)

  tensors = checkpoint_tensors(FAMILIES[family], model.cfg, model.shapes)
  named = tensors_from_params(tensors, gradients)
  if 'embed_out.weight' in named:
    # The files of GPT-NeoX have this name, the class in transformers has another.
    named['lm_head.weight'] = named.pop('embed_out.weight')
  assert set(named) >= set(expected_gradients)
  for name, gradient in expected_gradients.items():
    error = np.linalg.norm(named[name] - gradient)
    assert error / max(np.linalg.norm(gradient), 1e-3) < 1e-4, name

  config = json.loads((tmp_path / 'in' / 'config.json').read_text())
  save_pretrained(tmp_path / 'out', config, params)
  exported = language_model(family).from_pretrained(
    tmp_path / 'out', attn_implementation=attention
  )
  exported.set_experts_implementation('eager')
  states = zip(oracle.state_dict().items(), exported.state_dict().values(), strict=True)
  for (name, array), exported_array in states:
    assert torch.equal(array, exported_array), name
  inputs = inputs_of(oracle, tokens)
  assert torch.equal(oracle(**inputs).logits, exported(**inputs).logits)


@pytest.mark.oracle
@pytest.mark.parametrize('length', [5, 12])
@pytest.mark.parametrize('family', CONFIGS)
def test_flops_are_those_that_torch_counts(family, length):
  """Eager attention multiplies all pairs of tokens, so the count is not causal."""
  import torch
  from torch.utils.flop_counter import FlopCounterMode

  oracle = random_model(family, CONFIGS[family][0])
  with FlopCounterMode(display=False) as counter, torch.no_grad():
    oracle(**inputs_of(oracle, np.full((1, length), 2)))
  counted = counter.get_total_flops()

  cfg = model_config(json.loads(oracle.config.to_json_string(use_diff=False)))
  if family == 'llama4_text':
    # Its class sends every token through every expert, most of them with the weight zero.
    n_layers = sum(spec.experts for spec in cfg.layer_specs)
    n_unused = cfg.n_experts - cfg.experts_per_token
    counted -= length * n_layers * n_unused * 3 * 2 * cfg.d_model * cfg.d_ff_expert

  # Most classes compute rotary angles as a product, which is no FLOP of the model.
  forward = flops_per_token(cfg, length, causal=False).forward
  rotary_flops = counted - round(length * forward)
  n_tables = 2 if family in ('gemma3_text', 'olmo3', 'modernbert') else 1
  if cfg.position == 'rotary':
    assert rotary_flops in (0, length * cfg.rotary_dim * n_tables)
  else:
    assert rotary_flops == 0


@pytest.mark.oracle
def test_transformers_reads_shards(saved, tmp_path):
  import transformers

  save_pretrained(tmp_path / 'cut', saved.config, saved.params, shard_bytes=4000)
  load = transformers.AutoModelForCausalLM.from_pretrained
  whole = load(saved.path).parameters()
  sharded = load(tmp_path / 'cut').parameters()
  for array, sharded_array in zip(whole, sharded, strict=True):
    assert (array == sharded_array).all()


# --- saved and loaded ---------------------------------------------------------------


def test_a_round_trip_keeps_every_bit(saved):
  assert_same(load_pretrained(saved.path)[1], saved.params)
  assert sorted(os.listdir(saved.path)) == ['config.json', 'model.safetensors']


def test_a_round_trip_in_shards_keeps_every_bit(saved, tmp_path):
  save_pretrained(tmp_path / 'cut', saved.config, saved.params, shard_bytes=4000)
  names = os.listdir(tmp_path / 'cut')
  assert len(names) > 3
  assert 'model.safetensors.index.json' in names
  assert_same(load_pretrained(tmp_path / 'cut')[1], saved.params)


def test_bfloat16_stays_and_computes_as_its_float32(saved, tmp_path):
  half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), saved.params)
  save_pretrained(tmp_path / 'half', saved.config, half)
  model, params, _ = load_pretrained(tmp_path / 'half')
  assert all(x.dtype == jnp.bfloat16 for x in jax.tree.leaves(params))
  assert_same(params, half)

  tokens = jnp.arange(6)[None] % 31
  logits = model.apply(params, tokens)
  assert logits.dtype == jnp.float32
  single = jax.tree.map(lambda x: x.astype(np.float32), half)
  np.testing.assert_allclose(logits, model.apply(single, tokens), rtol=0, atol=1e-6)


def test_the_tokenizer_is_saved_and_loaded(saved, tmp_path):
  tokenizer = train_bpe(['the cat sat on the mat, naïvely'] * 3, 300)
  save_pretrained(tmp_path / 't', saved.config, saved.params, tokenizer)
  loaded = load_pretrained(tmp_path / 't')[2]
  text = 'the naïve cat\n'
  assert loaded.encode(text).tolist() == tokenizer.encode(text).tolist()
  assert loaded.decode(loaded.encode(text)) == text
  assert loaded.end_of_text == tokenizer.end_of_text


def test_embeddings_without_a_head_are_loaded_tied(tmp_path):
  """transformers 5 saves T5 v1.1 without a head, although config.json has one."""
  config = CONFIGS['t5'][0] | {'model_type': 't5', 'tie_word_embeddings': False}
  cfg = dataclasses.replace(model_config(config), dtype='float32', tie_embeddings=True)
  params = build(cfg).init(jax.random.key(0), {'init_scale': 1.0})
  params = jax.tree.map(np.asarray, params)
  save_pretrained(tmp_path / 'm', config, params)

  model, loaded, _ = load_pretrained(tmp_path / 'm')
  assert model.cfg.tie_embeddings
  assert 'output' not in loaded
  assert_same(loaded, params)


def test_a_pretrained_model_generates_text(saved, tmp_path, capsys):
  params = saved.params | {
    'embedding': {'table': np.resize(saved.params['embedding']['table'], (300, 24))},
    'output': {'kernel': np.resize(saved.params['output']['kernel'], (24, 300))},
  }
  tokenizer = train_bpe(['the cat sat on the mat'] * 3, 300)
  config = saved.config | {'vocab_size': 300}
  save_pretrained(tmp_path / 't', config, params, tokenizer)
  command = ['generate', str(tmp_path / 't'), '--prompt=the', '--n_tokens=5']
  assert cli.main(command) == 0
  assert capsys.readouterr().out.startswith('the')


def test_a_model_without_a_tokenizer_generates_nothing(saved, capsys):
  assert cli.main(['generate', str(saved.path), '--prompt=the']) == 2
  assert 'tokenizer.json' in capsys.readouterr().err


# --- errors -------------------------------------------------------------------------


def change_config(path, **changes):
  config = json.loads((path / 'config.json').read_text())
  (path / 'config.json').write_text(json.dumps(config | changes))


WRONG_CONFIGS = {
  'another width': ({'intermediate_size': 21}, r'_proj\.weight: .*\[2[01], 2[014]\]'),
  'another depth': ({'num_hidden_layers': 4}, r'model\.layers\.3\.'),
  'a tied head that is stored': ({'tie_word_embeddings': True}, r'lm_head\.weight: '),
  'biases': ({'attention_bias': True}, r'model\.layers\.0\.self_attn\.\w_proj\.bias'),
  'another family': ({'model_type': 'gpt2'}, r'config\.json: '),
  'an unknown key': ({'new_attention': 'x'}, r'config\.json: new_attention: '),
  'code of the repository': (
    {'auto_map': {'AutoModel': 'evil.py'}, 'model_type': 'evil'},
    r'config\.json: model_type: got "evil"',
  ),
}


@pytest.mark.parametrize('case', WRONG_CONFIGS)
def test_a_wrong_config_is_an_error_of_one_line(saved, case):
  changes, pattern = WRONG_CONFIGS[case]
  change_config(saved.path, **changes)
  with pytest.raises(ConfigError, match=pattern) as caught:
    load_pretrained(saved.path)
  assert '\n' not in str(caught.value)
  assert str(saved.path) in str(caught.value)


def test_a_path_without_a_directory_is_an_error(tmp_path):
  with pytest.raises(ConfigError, match=str(tmp_path / 'none')):
    load_pretrained(tmp_path / 'none')


def test_damaged_headers_give_the_right_shapes_or_an_error(saved):
  """Any byte of the header is changed."""
  file = saved.path / 'model.safetensors'
  content = file.read_bytes()
  header_end = 8 + int.from_bytes(content[:8], 'little')
  shapes = [(path, x.shape) for path, x in walk_arrays(saved.params)]
  rng = np.random.default_rng(0)
  n_errors = 0
  for _ in range(300):
    changed = bytearray(content)
    changed[rng.integers(0, header_end)] = rng.integers(0, 256)
    file.write_bytes(changed)
    try:
      params = load_pretrained(saved.path)[1]
    except ConfigError as error:
      n_errors += 1
      assert '\n' not in str(error)
    else:
      assert [(path, x.shape) for path, x in walk_arrays(params)] == shapes
  assert n_errors > 200


def test_a_directory_with_files_is_not_overwritten(saved):
  with pytest.raises(ConfigError, match=str(saved.path)):
    save_pretrained(saved.path, saved.config, saved.params)
  assert_same(load_pretrained(saved.path)[1], saved.params)


def test_an_empty_directory_is_filled(saved, tmp_path):
  (tmp_path / 'empty').mkdir()
  save_pretrained(tmp_path / 'empty', saved.config, saved.params)
  assert_same(load_pretrained(tmp_path / 'empty')[1], saved.params)


def test_parameters_of_another_model_are_an_error(saved, tmp_path):
  wide = saved.params | {'final_norm': {'scale': np.ones(25, np.float32)}}
  with pytest.raises(ConfigError, match=r'final_norm/scale: got \(25,\).* \(24,\)'):
    save_pretrained(tmp_path / 'x', saved.config, wide)
  headless = {name: x for name, x in saved.params.items() if name != 'output'}
  with pytest.raises(ConfigError, match='output/kernel: got none'):
    save_pretrained(tmp_path / 'x', saved.config, headless)
  assert not (tmp_path / 'x').exists()


def test_a_failed_save_leaves_no_files(saved, tmp_path, monkeypatch):
  def fail(descriptor):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', fail)
  with pytest.raises(OSError):
    save_pretrained(tmp_path / 'x', saved.config, saved.params)
  assert os.listdir(tmp_path) == [saved.path.name]
