"""Token mixers other than attention: against torch's and transformers' own, plain loops, and by their properties."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmhp.counting.flops import flops_per_token, traced_flops
from lmhp.counting.parameters import count, count_tree
from lmhp.errors import ConfigError
from lmhp.model.attention.multi_head import LayerFlags, LayerInputs
from lmhp.model.batch import Batch
from lmhp.model.mixers import registry as mixers
from lmhp.model.mixers.recurrent import linear_recurrence
from lmhp.model.mixers.state_space import state_space
from lmhp.model.transformer import build
from lmhp.params import walk_arrays

B, L = 3, 11
OTHERS = tuple(name for name in mixers.MODULES if name != 'attention')
SIZES = dict(
  max_seq_len=L,
  mixer_dim=12,
  mixer_head_dim=3,
  state_dim=7,
  state_groups=2,
  state_chunk=4,
  norm='rmsnorm',
)
PATTERNS = {
  **{name: (name,) for name in OTHERS},
  'hybrid': ('rglru', 'attention', 'mamba2'),
}
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 31, (B, L)), jnp.int32)


@pytest.fixture
def model(tiny):
  """`model(pattern, **fields)`: a model of these mixers."""
  return lambda pattern, **fields: build(
    tiny(**SIZES | dict(mixer_pattern=PATTERNS[pattern], n_layers=3) | fields)
  )


# --- against others' -------------------------------------------------------------------------------------------------


def layer_of(cfg, name, params, x_BLD):
  """One mixer by itself."""
  scene = LayerInputs(None, None, None, None, None, {}, None, 0)
  return mixers.mixer(cfg, name).apply(
    {'params': params}, x_BLD, LayerFlags(0, False, True), scene
  )[0]


def matches_theirs(cfg, name, theirs, params_of, call):
  """Outputs, and gradients to the input and to each parameter, of our mixer and of a torch module."""
  import torch

  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for parameter in theirs.parameters():
      parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
  x = np.random.default_rng(1).normal(size=(B, L, cfg.d_model)).astype(np.float32)
  weights = np.random.default_rng(2).normal(size=x.shape).astype(np.float32)
  their_x = torch.tensor(x, requires_grad=True)
  out = call(theirs, their_x)
  (out * torch.tensor(weights)).sum().backward()
  numpy = lambda tree: jax.tree.map(
    lambda t: jnp.array(np.ascontiguousarray(t.detach().numpy())), tree
  )
  params = numpy(params_of({n: p.detach() for n, p in theirs.named_parameters()}))
  gradients = numpy(params_of({n: p.grad for n, p in theirs.named_parameters()}))
  loss = lambda params, x: jnp.sum(layer_of(cfg, name, params, x) * weights)
  np.testing.assert_allclose(
    layer_of(cfg, name, params, jnp.asarray(x)), out.detach().numpy(), rtol=0, atol=2e-5
  )
  ours = jax.jit(jax.grad(loss, (0, 1)))(params, jnp.asarray(x))
  expected = dict(
    walk_arrays({'params': gradients, 'x': jnp.asarray(their_x.grad.numpy())})
  )
  for path, gradient in walk_arrays({'params': ours[0], 'x': ours[1]}):
    error = jnp.linalg.norm(gradient - expected[path]) / jnp.linalg.norm(expected[path])
    assert error < 1e-4, (path, error)


@pytest.mark.oracle
@pytest.mark.parametrize('name, gates', [('lstm', 4), ('gru', 3)])
def test_lstm_and_gru_are_torchs(tiny, name, gates):
  import torch

  cfg = tiny(**SIZES | dict(mixer_pattern=(name,), mixer_dim=9))

  class Theirs(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.cell = {'lstm': torch.nn.LSTM, 'gru': torch.nn.GRU}[name](
        cfg.d_model, 9, batch_first=True
      )
      self.out = torch.nn.Linear(9, cfg.d_model, bias=False)

    def forward(self, x):
      return self.out(self.cell(x)[0])

  def params_of(p):
    split = lambda kernel: kernel.T.reshape(-1, gates, 9)
    bias, hidden = (
      p['cell.bias_ih_l0'].reshape(gates, 9),
      p['cell.bias_hh_l0'].reshape(gates, 9).clone(),
    )
    out = {
      'input': {'kernel': split(p['cell.weight_ih_l0']), 'bias': bias},
      'output': {'kernel': p['out.weight'].T},
      'recurrent': {'kernel': split(p['cell.weight_hh_l0'])},
    }
    if name == 'gru':
      out['candidate_bias'] = hidden[2]
    return out

  theirs = Theirs()
  torch.nn.init.zeros_(theirs.cell.bias_hh_l0)
  real = theirs.cell.bias_hh_l0
  kept = (
    torch.zeros(gates * 9)
    if name == 'lstm'
    else torch.cat([torch.zeros(18), torch.ones(9)])
  )
  call = lambda module, x: (real.data.mul_(kept), module(x))[
    1
  ]  # one bias of two: the other is ours as well
  matches_theirs(cfg, name, theirs, params_of, call)


@pytest.mark.oracle
def test_short_convolution_is_lfm2s(tiny):
  from transformers import Lfm2Config
  from transformers.models.lfm2.modeling_lfm2 import Lfm2ShortConv

  cfg = tiny(
    **SIZES
    | dict(mixer_pattern=('convolution',), mixer_dim=14, conv_width=3, mixer_bias=True)
  )
  theirs = Lfm2ShortConv(
    Lfm2Config(
      hidden_size=14,
      num_hidden_layers=1,
      conv_L_cache=3,
      conv_bias=True,
      layer_types=['conv'],
    ),
    0,
  )

  def params_of(p):
    kernels, biases = (
      p['in_proj.weight'].T.split(14, dim=1),
      p['in_proj.bias'].split(14),
    )
    into = {
      name: {'kernel': k, 'bias': b}
      for name, k, b in zip(('write', 'gate', 'input'), kernels, biases)
    }
    return {
      **into,
      'convolution': {'kernel': p['conv.weight'][:, 0], 'bias': p['conv.bias']},
      'output': {'kernel': p['out_proj.weight'].T, 'bias': p['out_proj.bias']},
    }

  matches_theirs(cfg, 'convolution', theirs, params_of, lambda module, x: module(x))


@pytest.mark.oracle
def test_rglru_is_recurrent_gemmas(tiny):
  import torch
  from transformers import RecurrentGemmaConfig
  from transformers.models.recurrent_gemma.modeling_recurrent_gemma import (
    RecurrentGemmaRecurrentBlock,
  )

  cfg = tiny(**SIZES | dict(mixer_pattern=('rglru',), mixer_bias=True))
  theirs = RecurrentGemmaRecurrentBlock(
    RecurrentGemmaConfig(
      hidden_size=14,
      lru_width=12,
      num_attention_heads=4,
      conv1d_width=4,
      hidden_activation='gelu_pytorch_tanh',
    ),
    0,
  )
  positions = torch.arange(L)[None].expand(B, L)

  def params_of(p):
    linear = lambda name: {'kernel': p[f'{name}.weight'].T, 'bias': p[f'{name}.bias']}
    gate = lambda name: {
      'kernel': p[f'rg_lru.{name}_weight'],
      'bias': p[f'rg_lru.{name}_bias'],
    }
    return {
      'gate': linear('linear_y'),
      'input': linear('linear_x'),
      'output': linear('linear_out'),
      'convolution': {'kernel': p['conv_1d.weight'][:, 0], 'bias': p['conv_1d.bias']},
      'decay': p['rg_lru.recurrent_param'],
      'recurrence_gate': gate('recurrent_gate'),
      'input_gate': gate('input_gate'),
    }

  matches_theirs(
    cfg,
    'rglru',
    theirs,
    params_of,
    lambda module, x: module(x, positions, None, use_cache=False)[0],
  )


@pytest.mark.oracle
@pytest.mark.parametrize('groups, chunk', [(1, 4), (2, 3), (4, 64)])
def test_mamba2_is_transformers(tiny, groups, chunk):
  from transformers import Mamba2Config
  from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

  cfg = tiny(
    **SIZES
    | dict(
      mixer_pattern=('mamba2',),
      mixer_dim=28,
      mixer_head_dim=7,
      state_dim=5,
      state_groups=groups,
      state_chunk=chunk,
    )
  )
  theirs = Mamba2Mixer(
    Mamba2Config(
      hidden_size=14,
      expand=2,
      num_heads=4,
      head_dim=7,
      state_size=5,
      n_groups=groups,
      conv_kernel=4,
      chunk_size=4,
      use_bias=False,
      use_conv_bias=True,
      num_hidden_layers=1,
    ),
    0,
  ).eval()

  def params_of(p):
    widths = [28, 28, 5 * groups, 5 * groups, 4]
    kernels = dict(
      zip(
        ('gate', 'input', 'write', 'read', 'step'),
        p['in_proj.weight'].T.split(widths, dim=1),
      )
    )
    return {
      **{name: {'kernel': kernel} for name, kernel in kernels.items()},
      'norm': {'scale': p['norm.weight']},
      'convolution': {'kernel': p['conv1d.weight'][:, 0], 'bias': p['conv1d.bias']},
      'step_bias': p['dt_bias'],
      'log_decay': p['A_log'],
      'skip': p['D'],
      'output': {'kernel': p['out_proj.weight'].T},
    }

  matches_theirs(cfg, 'mamba2', theirs, params_of, lambda module, x: module(x))


def test_the_recurrence_and_its_gradient_are_the_loops():
  rng = np.random.default_rng(0)
  a, b, g = (rng.normal(size=(B, L, 4)) for _ in range(3))
  first = rng.normal(size=(B, 4))
  h, out = first, []
  for t in range(L):
    h = a[:, t] * h + b[:, t]
    out.append(h)
  dh, da, db = np.zeros((B, 4)), np.zeros_like(a), np.zeros_like(b)
  for t in reversed(range(L)):
    dh = dh + g[:, t]
    da[:, t], db[:, t] = dh * (out[t - 1] if t else first), dh
    dh = dh * a[:, t]
  cast = lambda *arrays: [jnp.asarray(x, jnp.float32) for x in arrays]
  np.testing.assert_allclose(
    linear_recurrence(*cast(a, b, first)), np.stack(out, 1), rtol=1e-4, atol=1e-5
  )
  ours = jax.grad(
    lambda *args: jnp.sum(linear_recurrence(*args) * cast(g)[0]), (0, 1, 2)
  )(*cast(a, b, first))
  for x, y in zip(ours, (da, db, dh)):
    np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('chunk', [1, 3, 11, 64])
@pytest.mark.parametrize('restarts', [False, True])
def test_the_state_space_is_the_loop(chunk, restarts):
  """H=4 heads in G=2 groups, P=3, S=5; the state given before the first token; texts that begin inside chunks."""
  rng = np.random.default_rng(0)
  x, log_a = rng.normal(size=(B, L, 4, 3)), -rng.uniform(0, 1, size=(B, L, 4))
  write, read, state = (
    rng.normal(size=s) for s in ((B, L, 2, 5), (B, L, 2, 5), (B, 4, 3, 5))
  )
  restart = rng.random((B, L)) < 0.3 if restarts else np.zeros((B, L), bool)
  cast = lambda x: jnp.asarray(x, jnp.float32)
  y, last = state_space(
    cast(x),
    cast(log_a),
    cast(write),
    cast(read),
    cast(state),
    jnp.asarray(restart) if restarts else None,
    chunk,
    'float32',
  )
  for t in range(L):
    state = (
      np.where(restart[:, t, None, None, None], 0, state)
      * np.exp(log_a[:, t])[..., None, None]
    )
    state = state + x[:, t][..., None] * np.repeat(write[:, t], 2, axis=1)[:, :, None]
    np.testing.assert_allclose(
      y[:, t],
      np.einsum('bhps,bhs->bhp', state, np.repeat(read[:, t], 2, axis=1)),
      rtol=1e-4,
      atol=2e-5,
    )
  np.testing.assert_allclose(last, state, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_gradients_of_a_single_chunk_are_the_same_compiled_or_not(tiny, dtype):
  """XLA on CPU (jax 0.10.2) read memory that it never wrote if the chunk was the text."""
  cfg = tiny(
    d_model=12, n_heads=2, n_kv_heads=2, mixer_pattern=('mamba2',), dtype=dtype
  )
  inputs = LayerInputs(None, None, None, None, None, {}, None, 0)
  module = mixers.mixer(cfg, 'mamba2')
  rng = np.random.default_rng(0)
  normal = lambda shape: jnp.asarray(0.3 * rng.normal(size=shape), jnp.float32)
  x_BLD = normal((4, 8, 12))
  flags = LayerFlags(0, False, True)
  shapes = jax.eval_shape(
    lambda x: module.init(jax.random.key(0), x, flags, inputs), x_BLD
  )
  params = jax.tree.map(lambda s: normal(s.shape), shapes)
  loss = lambda params: jnp.sum(
    jnp.square(module.apply(params, x_BLD, flags, inputs)[0])
  )
  compiled = dict(walk_arrays(jax.jit(jax.grad(loss))(params)))
  for path, gradient in walk_arrays(jax.grad(loss)(params)):
    np.testing.assert_allclose(
      compiled[path], gradient, rtol=0.02, atol=0.02, err_msg=path
    )


# --- properties ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('pattern', PATTERNS)
def test_counts_and_flops(model, jit, pattern):
  ours = model(pattern)
  assert count(ours.cfg).by_kind == count_tree(ours.shapes).by_kind
  assert count(ours.cfg).by_kind['other'] > 0
  forward = flops_per_token(ours.cfg, L, causal=False).forward * B * L
  loss = lambda params: jnp.sum(jnp.square(ours.apply(params, TOKENS)))
  assert traced_flops(loss, ours.shapes) == pytest.approx(forward, rel=1e-12)
  assert traced_flops(jax.grad(loss), ours.shapes) == pytest.approx(
    3 * forward, rel=1e-12
  )


@pytest.mark.parametrize('pattern', PATTERNS)
def test_a_token_sees_what_came_before_and_nothing_after(model, jit, fill, pattern):
  ours = model(pattern, n_layers=1 if pattern == 'convolution' else 3)
  params = fill(ours.shapes)

  def features(table):
    return jnp.sum(
      ours.features(
        {**params, 'embedding': {'table': table}}, {}, Batch(jnp.arange(L)[None])
      )[0][0],
      -1,
    )

  reach = np.abs(jit(jax.jacrev(features))(params['embedding']['table'])[:, :L]).max(-1)
  i, j = np.indices((L, L))
  assert (reach[i < j] == 0).all() and (reach[i == j] > 0).all()
  back = (i >= j) & (
    i - j < 4
  )  # the taps of one convolution; what remembers sees farther
  assert (reach[back] > 0).all()
  assert (
    (reach[(i >= j) & ~back] == 0).all()
    if pattern == 'convolution'
    else (reach[i >= j] > 0).all()
  )


@pytest.mark.parametrize('pattern', PATTERNS)
def test_cache_packing_unrolling_remat(model, jit, fill, pattern):
  """Token by token as all at once; texts in one sequence as alone; unrolled and computed again as scanned."""
  ours = model(pattern)
  params = fill(ours.shapes)
  whole = jit(ours.apply)(params, TOKENS)
  close = lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=2e-5)

  x_BLD, _, cache = ours.features(
    params, {}, Batch(TOKENS[:, :4]), cache=ours.init_cache(B, L)
  )
  step = jit(
    lambda cache, token: ours.features(params, {}, Batch(token), cache=cache)[::2]
  )
  close(ours.logits(params, {}, x_BLD), whole[:, :4])
  for t in range(4, L):
    x_BLD, cache = step(cache, TOKENS[:, t : t + 1])
    close(ours.logits(params, {}, x_BLD)[:, 0], whole[:, t])

  segments = jnp.broadcast_to((jnp.arange(L) >= 6).astype(jnp.int32)[None], (B, L))
  positions = jnp.concatenate([jnp.arange(6), jnp.arange(L - 6)])[None]
  packed = ours.logits(
    params,
    {},
    ours.features(params, {}, Batch(TOKENS, positions=positions, segments=segments))[0],
  )
  close(packed[:, :6], whole[:, :6])
  close(packed[:, 6:], ours.apply(params, TOKENS[:, 6:]))

  gradient = lambda m: jit(
    jax.grad(lambda p: jnp.mean(jnp.square(m.apply(p, TOKENS))))
  )(params)
  base = dict(walk_arrays(gradient(ours)))
  for other in (dict(scan_layers=False), dict(remat='full')):
    again = build(dataclasses.replace(ours.cfg, **other))
    close(jit(again.apply)(params, TOKENS), whole)
    for path, g in walk_arrays(gradient(again)):
      np.testing.assert_allclose(g, base[path], rtol=2e-3, atol=2e-5, err_msg=path)


def test_starts(model):
  """RG-LRU keeps 0.9 to 0.999 with open gates, Mamba-2 steps by 0.001 to 0.1, an LSTM remembers; taps see W inputs."""
  at = lambda pattern: dict(
    walk_arrays(
      model(pattern, mixer_dim=600, n_layers=1).init(
        jax.random.key(0), {'init_scale': 1.0}
      )
    )
  )
  rglru, mamba2, lstm = (at(name) for name in ('rglru', 'mamba2', 'lstm'))
  kept = np.exp(-8 * jax.nn.softplus(rglru['decoder/segment_0/rglru/decay']))
  assert 0.9 <= kept.min() < 0.905 and 0.994 < kept.max() <= 0.999
  step = jax.nn.softplus(mamba2['decoder/segment_0/mamba2/step_bias'])
  assert 0.000999 < step.min() < 0.0015 and 0.07 < step.max() <= 0.1001
  decay = np.exp(mamba2['decoder/segment_0/mamba2/log_decay'])
  assert 1 <= decay.min() < 1.5 and 15 < decay.max() <= 16
  assert (mamba2['decoder/segment_0/mamba2/skip'] == 1).all()
  assert (
    lstm['decoder/segment_0/lstm/input/bias'] == np.array([0, 1, 0, 0])[None, :, None]
  ).all()
  assert np.std(rglru['decoder/segment_0/rglru/convolution/kernel']) == pytest.approx(
    0.5, rel=0.1
  )


@pytest.mark.parametrize('pattern', ['mingru', 'rglru', 'mamba2', 'convolution'])
def test_cost_is_linear_in_length(model, pattern):
  """Products and the elements that anything touches both double with L."""
  ours = model(pattern)

  def work(length):
    tokens = jax.ShapeDtypeStruct((1, length), jnp.int32)
    program = jax.jit(
      jax.grad(lambda p, t: jnp.sum(ours.features(p, {}, Batch(t))[0]))
    ).lower(ours.shapes, tokens)
    return traced_flops(
      lambda p, t: ours.features(p, {}, Batch(t))[0], ours.shapes, tokens
    ), (program.compile().memory_analysis().temp_size_in_bytes)

  (flops, memory), (flops_2, memory_2) = work(512), work(1024)
  assert flops_2 == 2 * flops and memory_2 < 2.3 * memory


@pytest.mark.parametrize(
  'fields, said',
  [
    (dict(mixer_pattern=()), 'model.mixer_pattern: got'),
    (dict(mixer_pattern=('mamba',)), "did you mean 'mamba2'"),
    (dict(mixer_pattern=('lstm',), architecture='encoder'), 'model.mixer_pattern'),
    (
      dict(mixer_pattern=('mamba2',), mixer_head_dim=5),
      'model.mixer_dim: got 14, expected a multiple of',
    ),
    (
      dict(mixer_pattern=('mamba2',), mixer_dim=12, mixer_head_dim=4, state_groups=2),
      'model.state_groups',
    ),
  ],
)
def test_what_does_not_fit_is_one_line(tiny, fields, said):
  with pytest.raises(ConfigError, match=said) as error:
    tiny(**fields)
  assert '\n' not in str(error.value)
