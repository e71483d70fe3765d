"""Checkpoints in and out against transformers; and what is damaged, missing or hostile: one clear line each."""

import dataclasses
import json
import os

from counts_oracle import language_model
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_checkpoints import CONFIGS

from lmhp.counting.flops import flops_per_token
from lmhp.errors import ConfigError
from lmhp.hub import weights
from lmhp.hub.families import FAMILIES
from lmhp.hub.pretrained import load_pretrained, save_pretrained
from lmhp.params import walk_arrays

L = 9
# Eager attention of transformers 5.24 adds Falcon's ALiBi twice: to the mask, and to the logits. Its default does not.
ATTENTION = {('falcon', 1): 'sdpa'}
CASES = [
  (family, i) for family, configs in CONFIGS.items() for i in range(len(configs))
]


def theirs(model_type, entries, attention='eager'):
  """A model of transformers with random weights, odd ones for norms too."""
  import torch
  import transformers

  transformers.logging.set_verbosity_error()
  config = transformers.AutoConfig.for_model(model_type, **entries)
  model = (
    language_model(model_type)
    .from_config(config, attn_implementation=attention, dtype=torch.float32)
    .eval()
  )
  model.set_experts_implementation(
    'eager'
  )  # else a product that wants sizes divisible by 4
  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for parameter in model.parameters():
      gain = (
        1.0 if parameter.ndim == 1 and parameter.mean() > 0.5 else 0.0
      )  # norms that start at one
      parameter.copy_(gain + 0.2 * torch.randn(parameter.shape, generator=generator))
  for name, buffer in model.named_buffers():
    if name.endswith('e_score_correction_bias'):
      buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
  if model_type == 't5' and not entries.get(
    'tie_word_embeddings', True
  ):  # transformers 5 ties v1.1's head, which is not
    model.lm_head.weight = torch.nn.Parameter(
      0.2 * torch.randn(model.lm_head.weight.shape, generator=generator)
    )
  return model


def reads(model, tokens):
  """What a model of transformers is given; the encoder of an encoder-decoder has the tokens backwards."""
  import torch

  tokens = torch.as_tensor(np.ascontiguousarray(tokens))
  return (
    dict(input_ids=tokens.flip(-1), decoder_input_ids=tokens)
    if model.config.is_encoder_decoder
    else dict(input_ids=tokens)
  )


def loss_and_gradients(model, tokens):
  """Logits, loss, and the gradient of every tensor by name."""
  import torch

  logits = model(**reads(model, tokens)).logits
  tokens = torch.as_tensor(tokens)
  loss = torch.nn.functional.cross_entropy(
    logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
  )
  loss.backward()
  gradients = {
    name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None
  }
  if any('experts.' in name for name in gradients):
    gradients = as_saved(model, gradients)
  return logits.detach().numpy(), float(loss.detach()), gradients


def as_saved(model, gradients):
  """Gradients under the names that a checkpoint has: transformers 5 holds all experts in one tensor, its files do not."""
  import tempfile

  from safetensors.numpy import load_file
  import torch

  values = {name: p.detach().clone() for name, p in model.named_parameters()}
  with tempfile.TemporaryDirectory() as directory:
    with torch.no_grad():
      for name, p in model.named_parameters():
        p.copy_(
          torch.as_tensor(gradients[name]) if name in gradients else torch.zeros_like(p)
        )
      model.save_pretrained(directory)
      for name, p in model.named_parameters():
        p.copy_(values[name])
    saved = load_file(f'{directory}/model.safetensors')
  return {
    name: x for name, x in saved.items() if not name.endswith('e_score_correction_bias')
  }


@pytest.mark.oracle
def test_every_family_is_here():
  assert set(CONFIGS) == set(FAMILIES) - {
    'gemma3'
  }  # whose vision tower no text model has


@pytest.mark.oracle
@pytest.mark.parametrize('family, i', CASES)
def test_logits_gradients_and_export(family, i, tmp_path):
  """Logits within 2e-5, gradients within 1e-4 relative; exported again, transformers has every number back."""
  import torch

  attention = ATTENTION.get((family, i), 'eager')
  model = theirs(family, CONFIGS[family][i], attention)
  model.save_pretrained(tmp_path / 'in')
  ours, params, tokenizer = load_pretrained(tmp_path / 'in')
  assert tokenizer is None
  tokens = np.random.default_rng(1).integers(2, ours.cfg.vocab_size, (2, L))
  logits, loss, gradients = loss_and_gradients(model, tokens)

  @jax.jit
  def value_and_grad(params):
    def cross_entropy(params):
      backwards = (
        jnp.asarray(tokens[:, ::-1], jnp.int32) if ours.cfg.is_encoder_decoder else None
      )
      logits = ours.apply(
        params, jnp.asarray(tokens, jnp.int32), encoder_tokens_BM=backwards
      )
      log_p = jax.nn.log_softmax(logits[:, :-1])
      return -jnp.mean(
        jnp.take_along_axis(log_p, jnp.asarray(tokens[:, 1:, None], jnp.int32), axis=-1)
      ), logits

    return jax.value_and_grad(cross_entropy, has_aux=True)(params)

  (our_loss, our_logits), our_gradients = value_and_grad(params)
  np.testing.assert_allclose(our_logits, logits, rtol=0, atol=2e-5)
  np.testing.assert_allclose(our_loss, loss, rtol=1e-5)
  wanted = weights.tensors(FAMILIES[family], ours.cfg, ours.shapes)
  named = weights.to_tensors(wanted, our_gradients)
  if 'embed_out.weight' in named:  # the name in GPT-NeoX's files; its class has another
    named['lm_head.weight'] = named.pop('embed_out.weight')
  assert set(named) >= set(gradients)
  for name, gradient in gradients.items():
    error = np.linalg.norm(named[name] - gradient) / max(np.linalg.norm(gradient), 1e-3)
    assert error < 1e-4, name

  save_pretrained(
    tmp_path / 'out', json.loads((tmp_path / 'in' / 'config.json').read_text()), params
  )
  again = language_model(family).from_pretrained(
    tmp_path / 'out', attn_implementation=attention
  )
  again.set_experts_implementation('eager')
  for (name, a), b in zip(
    model.state_dict().items(), again.state_dict().values(), strict=True
  ):
    assert torch.equal(a, b), name
  assert torch.equal(*(each(**reads(model, tokens)).logits for each in (again, model)))


@pytest.mark.oracle
@pytest.mark.parametrize('length', [5, 12])
@pytest.mark.parametrize('family', CONFIGS)
def test_flops_are_those_torch_counts(family, length):
  """Eager attention multiplies all pairs; one token's mean times the tokens is the whole."""
  import torch
  from torch.utils.flop_counter import FlopCounterMode

  from lmhp.hub.config_json import model_config

  model = theirs(family, CONFIGS[family][0])
  with FlopCounterMode(display=False) as counter, torch.no_grad():
    model(**reads(model, np.full((1, length), 2)))
  cfg = model_config(json.loads(model.config.to_json_string(use_diff=False)))
  # Rotary angles are a product too in most classes (inverse frequencies times positions), which is no model's FLOP.
  counted = counter.get_total_flops()
  if (
    family == 'llama4_text'
  ):  # whose class sends every token through every expert, most times zero
    layers = sum(kind.experts for kind in cfg.layer_specs)
    counted -= (
      length
      * layers
      * (cfg.n_experts - cfg.experts_per_token)
      * 3
      * 2
      * cfg.d_model
      * cfg.d_ff_expert
    )
  rotary = counted - round(length * flops_per_token(cfg, length, causal=False).forward)
  tables = 2 if family in ('gemma3_text', 'olmo3', 'modernbert') else 1
  assert rotary in (
    [length * cfg.rotary_dim * n for n in (0, tables)]
    if cfg.position == 'rotary'
    else [0]
  )


# --- precision, shards, tokenizers ------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
  """A small llama, written by us: no oracle needed."""
  from lmhp.hub.config_json import model_config
  from lmhp.model.transformer import build

  config = dict(CONFIGS['llama'][0], model_type='llama')
  model = build(dataclasses.replace(model_config(config), dtype='float32'))
  params = jax.tree.map(np.asarray, model.init(jax.random.key(0), {'init_scale': 1.0}))
  save_pretrained(tmp_path / 'm', config, params)
  return tmp_path / 'm', config, params


def same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_round_trip_keeps_every_bit(saved):
  path, _, params = saved
  same(load_pretrained(path)[1], params)
  assert sorted(os.listdir(path)) == ['config.json', 'model.safetensors']


def test_bfloat16_stays_and_computes_as_its_float32(saved, tmp_path):
  _, config, params = saved
  half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
  save_pretrained(tmp_path / 'half', config, half)
  model, read, _ = load_pretrained(tmp_path / 'half')
  assert all(x.dtype == jnp.bfloat16 for x in jax.tree.leaves(read))
  same(read, half)
  tokens = jnp.arange(6)[None] % 31
  whole = jax.tree.map(lambda x: x.astype(np.float32), half)
  logits = model.apply(read, tokens)
  assert logits.dtype == jnp.float32
  np.testing.assert_allclose(logits, model.apply(whole, tokens), rtol=0, atol=1e-6)


def test_shards(saved, tmp_path):
  _, config, params = saved
  save_pretrained(tmp_path / 'cut', config, params, shard_bytes=4000)
  names = sorted(os.listdir(tmp_path / 'cut'))
  assert len(names) > 3 and 'model.safetensors.index.json' in names
  same(load_pretrained(tmp_path / 'cut')[1], params)


@pytest.mark.oracle
def test_transformers_reads_our_shards(saved, tmp_path):
  import transformers

  path, config, params = saved
  save_pretrained(tmp_path / 'cut', config, params, shard_bytes=4000)
  one, many = (
    transformers.AutoModelForCausalLM.from_pretrained(p)
    for p in (path, tmp_path / 'cut')
  )
  assert all(
    (a == b).all() for a, b in zip(one.parameters(), many.parameters(), strict=True)
  )


def test_the_tokenizer_goes_along(saved, tmp_path):
  from lmhp.data.tokenizer import train_bpe

  _, config, params = saved
  tokenizer = train_bpe(['the cat sat on the mat, naïvely'] * 3, 300)
  save_pretrained(tmp_path / 't', config, params, tokenizer)
  again = load_pretrained(tmp_path / 't')[2]
  text = 'the naïve cat\n'
  assert (
    again.encode(text).tolist() == tokenizer.encode(text).tolist()
    and again.decode(again.encode(text)) == text
  )
  assert again.end_of_text == tokenizer.end_of_text


def test_a_tied_head_may_be_repeated_and_buffers_may_be_there(saved, tmp_path):
  from lmhp.hub import safetensors

  _, config, params = saved
  tied = {name: x for name, x in params.items() if name != 'output'}
  save_pretrained(tmp_path / 't', dict(config, tie_word_embeddings=True), tied)
  file = tmp_path / 't' / 'model.safetensors'
  tensors = {name: np.array(x) for name, x in safetensors.read(file).items()}
  tensors['model.layers.0.self_attn.rotary_emb.inv_freq'] = np.ones(3, np.float32)
  tensors['lm_head.weight'] = tensors['model.embed_tokens.weight']
  safetensors.write(file, tensors)
  same(load_pretrained(tmp_path / 't')[1], tied)
  safetensors.write(file, tensors | {'lm_head.weight': tensors['lm_head.weight'] + 1})
  with pytest.raises(
    ConfigError, match=r'lm_head\.weight: is not model\.embed_tokens\.weight'
  ):
    load_pretrained(tmp_path / 't')


def test_names_without_their_first_word(saved):
  """GPT-2's own file says wte.weight where its class says transformer.wte.weight; so may any."""
  from lmhp.hub import safetensors

  path, _, params = saved
  file = path / 'model.safetensors'
  safetensors.write(
    file,
    {
      name.removeprefix('model.'): np.array(x)
      for name, x in safetensors.read(file).items()
    },
  )
  same(load_pretrained(path)[1], params)


# --- what is wrong ----------------------------------------------------------------------------------------------------


def edited(path, edit):
  """The file's header and numbers, changed."""
  data = path.read_bytes()
  size = int.from_bytes(data[:8], 'little')
  header, rest = json.loads(data[8 : 8 + size]), data[8 + size :]
  header, rest = edit(header, rest) or (header, rest)
  text = json.dumps(header).encode()
  path.write_bytes(len(text).to_bytes(8, 'little') + text + rest)


def change(name, **entry):
  return lambda path: edited(
    path / 'model.safetensors', lambda header, rest: header[name].update(entry)
  )


def bytes_(function):
  def edit(path):
    file = path / 'model.safetensors'
    file.write_bytes(function(file.read_bytes()))

  return edit


def drop(path):
  def edit(header, rest):
    del header['model.norm.weight']

  edited(path / 'model.safetensors', edit)


def index(**shards):
  def edit(path):
    (path / 'model.safetensors').rename(path / 'a.safetensors')
    (path / 'model.safetensors.index.json').write_text(
      json.dumps({'weight_map': shards})
    )

  return edit


def config(**entries):
  def edit(path):
    file = path / 'config.json'
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))

  return edit


def renamed(path):
  (path / 'model.safetensors').rename(path / 'pytorch_model.bin')


def other_tensor(path):
  from lmhp.hub import safetensors

  tensors = {
    n: np.array(x) for n, x in safetensors.read(path / 'model.safetensors').items()
  }
  safetensors.write(
    path / 'model.safetensors',
    tensors | {'model.layers.0.mlp.extra.weight': np.ones(3, np.float32)},
  )


NORM = 'model.norm.weight'
WRONG = {
  'empty': (bytes_(lambda b: b''), 'too short for a safetensors file'),
  'cut header': (bytes_(lambda b: b[:100]), 'but the file ends after 92'),
  'cut numbers': (bytes_(lambda b: b[:-20]), 'cut short, or its header is wrong'),
  'added bytes': (
    bytes_(lambda b: b + b'1234'),
    '4 bytes after the last tensor belong to none',
  ),
  'huge header': (
    bytes_(lambda b: (2**62).to_bytes(8, 'little') + b[8:]),
    'expected at most 100000000',
  ),
  'no json': (bytes_(lambda b: b[:8] + b'\x80' + b[9:]), 'not JSON'),
  'a pickle by another name': (
    bytes_(lambda b: b'\x80\x04\x95' + b),
    'is it safetensors',
  ),
  'odd type': (change(NORM, dtype='F8_E4M3'), "got the dtype 'F8_E4M3'"),
  'whole numbers': (change(NORM, dtype='I32'), 'got int32 numbers, expected float32'),
  'another type': (change(NORM, dtype='F16'), 'takes 48'),
  'another shape': (
    change(NORM, shape=[4, 6]),
    r'model\.norm\.weight: got the shape \[4, 6\], expected \[24\]',
  ),
  'negative shape': (change(NORM, shape=[-1, -24]), 'expected at most 8 whole numbers'),
  'offsets elsewhere': (change(NORM, data_offsets=[0, 96]), 'overlap or leave a gap'),
  'offsets backwards': (
    change(NORM, data_offsets=[96, 0]),
    'cut short, or its header is wrong',
  ),
  'words for offsets': (change(NORM, data_offsets='all'), 'expected two whole numbers'),
  'a tensor less': (drop, 'overlap or leave a gap|belong to none'),
  'a tensor more': (
    other_tensor,
    r'model\.layers\.0\.mlp\.extra\.weight: a tensor that lmhp does not know',
  ),
  'missing shard': (index(**{NORM: 'b.safetensors'}), 'b.safetensors: no such file'),
  'shard elsewhere': (
    index(**{NORM: '../../etc/passwd'}),
    'expected the name of a safetensors file beside it',
  ),
  'index without tensors': (
    index(**{NORM: 'a.safetensors'}),
    'says that it is nowhere',
  ),
  'pickle': (renamed, 'is a pickle, which may run any code and is not read'),
  'another width': (
    config(intermediate_size=21),
    r'got the shape \[20, 24\], expected \[21, 24\]|\[24, 21\]',
  ),
  'another depth': (config(num_hidden_layers=4), r'no tensor model\.layers\.3\.'),
  'a head that is not there': (
    config(tie_word_embeddings=True),
    r'lm_head\.weight: is not',
  ),
  'biases that are not there': (
    config(attention_bias=True),
    r'no tensor model\.layers\.0\.self_attn\.\w_proj\.bias',
  ),
  'another family': (config(model_type='gpt2'), 'config.json: '),
  'unknown field': (
    config(new_attention='x'),
    'new_attention: a key that lmhp does not know',
  ),
  'remote code': (
    config(auto_map={'AutoModel': 'evil.py'}, model_type='evil'),
    'model_type: got "evil"',
  ),
}


@pytest.mark.parametrize('case', WRONG)
def test_one_clear_line(saved, case):
  path, _, _ = saved
  edit, words = WRONG[case]
  edit(path)
  with pytest.raises(ConfigError, match=words) as caught:
    load_pretrained(path)
  assert '\n' not in str(caught.value) and str(path) in str(caught.value)


def test_no_directory(tmp_path):
  with pytest.raises(ConfigError, match='no such directory'):
    load_pretrained(tmp_path / 'none')


def test_nothing_is_left_half_written(saved, tmp_path, monkeypatch):
  path, config, params = saved
  with pytest.raises(ConfigError, match='exists, expected the name of a new directory'):
    save_pretrained(path, config, params)
  with pytest.raises(
    ConfigError, match=r'params: final_norm/scale: got \(25,\), expected \(24,\)'
  ):
    save_pretrained(
      tmp_path / 'x',
      config,
      params | {'final_norm': {'scale': np.ones(25, np.float32)}},
    )
  with pytest.raises(ConfigError, match='params: output/kernel: got none'):
    save_pretrained(
      tmp_path / 'x',
      config,
      {name: x for name, x in params.items() if name != 'output'},
    )
  monkeypatch.setattr(
    os,
    'fsync',
    lambda fd: (_ for _ in ()).throw(OSError(28, 'No space left on device')),
  )
  with pytest.raises(OSError, match='No space'):
    save_pretrained(tmp_path / 'x', config, params)
  assert sorted(os.listdir(tmp_path)) == ['m']


def test_flipped_bytes_read_or_give_one_line(saved):
  """Any byte of the header changed: arrays of the right shapes, or one line."""
  path, _, params = saved
  file = path / 'model.safetensors'
  data = file.read_bytes()
  end, draw = 8 + int.from_bytes(data[:8], 'little'), np.random.default_rng(0)
  errors = 0
  for _ in range(300):
    at = int(draw.integers(0, end))
    file.write_bytes(data[:at] + bytes([int(draw.integers(0, 256))]) + data[at + 1 :])
    try:
      read = load_pretrained(path)[1]
      assert [(p, x.shape) for p, x in walk_arrays(read)] == [
        (p, x.shape) for p, x in walk_arrays(params)
      ]
    except ConfigError as error:
      errors += 1
      assert '\n' not in str(error)
  assert errors > 200


def test_a_pretrained_model_generates(saved, tmp_path, capsys):
  from lmhp import cli
  from lmhp.data.tokenizer import train_bpe

  path, config, params = saved
  with_words = dict(config, vocab_size=300)
  wide = params | {
    'embedding': {'table': np.resize(params['embedding']['table'], (300, 24))},
    'output': {'kernel': np.resize(params['output']['kernel'], (24, 300))},
  }
  save_pretrained(
    tmp_path / 't', with_words, wide, train_bpe(['the cat sat on the mat'] * 3, 300)
  )
  assert (
    cli.main(['generate', str(tmp_path / 't'), '--prompt=the', '--n_tokens=5']) == 0
  )
  assert capsys.readouterr().out.startswith('the')
  assert cli.main(['generate', str(path), '--prompt=the']) == 2
  assert 'no tokenizer.json' in capsys.readouterr().err


def test_a_head_that_the_weights_tie_comes_back_tied(tmp_path):
  """T5 v1.1 as transformers 5 saves it: config.json tells of a head, the file has none."""
  from lmhp.hub.config_json import model_config
  from lmhp.model.transformer import build

  config = dict(CONFIGS['t5'][0], model_type='t5', tie_word_embeddings=False)
  tied = build(
    dataclasses.replace(model_config(config), dtype='float32', tie_embeddings=True)
  )
  params = jax.tree.map(np.asarray, tied.init(jax.random.key(0), {'init_scale': 1.0}))
  save_pretrained(tmp_path / 'm', config, params)
  model, again, _ = load_pretrained(tmp_path / 'm')
  assert model.cfg.tie_embeddings and 'output' not in again
  for (path, a), (_, b) in zip(walk_arrays(params), walk_arrays(again), strict=True):
    np.testing.assert_array_equal(a, b, err_msg=path)
