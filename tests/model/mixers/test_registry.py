"""A token mixer from outside the package: counted, trained and decoded with a cache."""

from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from traced_counts import count_tree, traced_flops

import lmhp
from lmhp.counting.flops import flops_per_token
from lmhp.counting.parameters import count
from lmhp.declarations import static, traced
from lmhp.errors import ConfigError
from lmhp.generation.sampling import TextModel, generate
from lmhp.model.batch import Batch
from lmhp.model.config import ModelConfig
from lmhp.model.counts import matmul_flops, parameter_count
from lmhp.model.mixers.registry import CacheArray, MixerSpec, register_mixer
from lmhp.model.projection import Projection
from lmhp.model.transformer import build
from lmhp.params import ParamSpec, linear_specs
from lmhp.registry import importable_plugin_modules
from lmhp.sections import assign, keys, keys_of, wrong

B, L = 3, 7


# --- a mixer: y_t = output(weight * mean(x_1 ... x_t) + gain * x_t) -----------------


@keys
class RunningMeanKeys:
  """Keys of the toy mixer."""

  mean_dim: int = static(None, 'width; None is d_model', low=1, derived=True)
  mean_weight: float = traced(0.5, 'weight of the mean of the tokens so far', low=0.0)


class RunningMean(nn.Module):
  """The toy layer. Its cache is the sum of the inputs so far."""

  cfg: ModelConfig

  @nn.compact
  def __call__(self, x_BLD, flags, inputs, cache=None):
    cfg = self.cfg
    width = keys_of(cfg, RunningMeanKeys).mean_dim
    x_BLI = Projection(cfg, (cfg.d_model,), (width,), name='input')(x_BLD)
    gain_I = self.param('gain', nn.initializers.zeros_init(), (width,))
    first_BI = jnp.zeros((x_BLD.shape[0], width)) if cache is None else cache[0]
    sum_BLI = jnp.cumsum(x_BLI, axis=1) + first_BI[:, None]
    n_L = (inputs.start + jnp.arange(1, x_BLD.shape[1] + 1)).astype(jnp.float32)
    mean_BLI = sum_BLI / n_L[None, :, None]
    weight = inputs.hypers['mean_weight']
    y_BLI = weight * mean_BLI + x_BLI * jnp.broadcast_to(gain_I, x_BLI.shape)
    output = Projection(cfg, (width,), (cfg.d_model,), name='output')
    return output(y_BLI), None if cache is None else (sum_BLI[:, -1],)


def init_gain(key, shape):
  return jnp.full(shape, 3.0)


def resolve(cfg):
  width = keys_of(cfg, RunningMeanKeys).mean_dim or cfg.d_model
  assign(cfg, mean_dim=width)
  if width == 13:
    raise wrong(cfg, 'mean_dim', 'another number')


def parameter_counts(cfg):
  width = keys_of(cfg, RunningMeanKeys).mean_dim
  return Counter(other=2 * parameter_count(cfg.d_model, width, False) + width)


def weight_flops(cfg):
  width = keys_of(cfg, RunningMeanKeys).mean_dim
  return Counter(other=2 * matmul_flops(cfg.d_model, width))


def cache_arrays(cfg):
  return (CacheArray((keys_of(cfg, RunningMeanKeys).mean_dim,), 'float32'),)


RUNNING_MEAN = MixerSpec(
  layer=RunningMean,
  parameter_counts=parameter_counts,
  weight_flops=weight_flops,
  cache_arrays=cache_arrays,
  params=(
    *linear_specs('**/toy_mean/input', 'other', 'D > I'),
    *linear_specs('**/toy_mean/output', 'other', 'I > D', residual=True),
    ParamSpec('**/toy_mean/gain', 'other', 'scale', 'I'),
  ),
  keys=RunningMeanKeys,
  resolve=resolve,
  custom_inits={'**/toy_mean/gain': init_gain},
)
HYPERS = {'mean_weight': jnp.float32(0.5)}


@pytest.fixture(autouse=True, scope='module')
def registered_mixer():
  """Registers the toy mixer when a test of this file runs, not when the file is collected.

  Ray workers of other tests could not import this file as a plugin.
  """
  register_mixer('toy_mean', RUNNING_MEAN)


@pytest.fixture
def toy(tiny):
  """`toy(**fields)` builds a model whose layers are the toy mixer and attention."""

  def build_model(**fields):
    base = {'mixer_pattern': ('toy_mean', 'attention'), 'max_seq_len': L}
    return build(tiny(**base | {'mean_dim': 9} | fields))

  return build_model


def test_the_mixer_belongs_to_the_module_that_registers_it():
  assert __name__ in importable_plugin_modules()


def test_its_parameters_are_counted_by_kind(toy):
  model = toy()
  counts = count(model.cfg)
  assert counts.by_kind == count_tree(model.shapes).by_kind
  assert counts.by_kind['other'] == 2 * 14 * 9 + 9


def test_its_flops_are_those_of_the_program(toy):
  model = toy()
  tokens = jax.ShapeDtypeStruct((1, L), jnp.int32)
  expected = flops_per_token(model.cfg, L, causal=False).forward * L

  def apply(params, tokens):
    return model.apply(params, tokens, HYPERS)

  assert traced_flops(apply, model.shapes, tokens) == expected


def test_its_initial_value_reaches_the_parameter(toy):
  params = toy().init(jax.random.key(0), {'init_scale': 1.0})
  assert (params['decoder']['segment_0']['toy_mean']['gain'] == 3).all()


def test_decoding_with_a_cache_equals_the_full_pass(toy, jit, fill):
  model = toy()
  params = fill(model.shapes)
  tokens = jnp.asarray(np.random.default_rng(0).integers(0, 31, (B, L)), jnp.int32)
  logits_BLV = jit(model.apply)(params, tokens, HYPERS)
  cache = model.init_cache(B, L)
  for t in range(L):
    x_BLD, _, cache = model.features(
      params, HYPERS, Batch(tokens[:, t : t + 1]), cache=cache
    )
    logits_BV = model.logits(params, HYPERS, x_BLD)[:, 0]
    np.testing.assert_allclose(logits_BV, logits_BLV[:, t], rtol=0, atol=2e-5)


def test_it_trains_and_its_traced_number_matters(small):
  def final_loss(weight):
    config = small()
    config.model.mixer_pattern = ('toy_mean', 'attention')
    config.model.mean_weight = weight
    return lmhp.train(config, display='none').result['best_eval_loss_nats']

  assert np.isfinite(final_loss(0.5))
  assert final_loss(0.5) != final_loss(2.0)


def test_a_trained_model_generates_with_its_traced_number(small, tmp_path):
  config = small()
  config.model.mixer_pattern = ('toy_mean', 'attention')
  config.model.mean_weight = 50.0
  lmhp.train(config, workdir=tmp_path / 'run', display='none')

  options = {'n_tokens': 4, 'temperature': 0.0}
  text = lmhp.generate(tmp_path / 'run', 'a', **options)
  loaded = lmhp.load_run(tmp_path / 'run')
  trained = TextModel(*loaded, hypers={'mean_weight': jnp.float32(50.0)})
  with_default = TextModel(*loaded, hypers=HYPERS)
  assert text == generate(trained, 'a', **options)
  assert text != generate(with_default, 'a', **options)


def test_its_derived_key_is_filled_in_and_checked(tiny):
  assert tiny(mixer_pattern=('toy_mean',)).mean_dim == 14
  with pytest.raises(ConfigError, match='model.mean_dim: got 13'):
    tiny(mixer_pattern=('toy_mean',), mean_dim=13)


def test_a_key_with_another_declaration_is_refused():
  @keys
  class OtherKeys:
    mean_dim: int = static(5, 'another meaning')

  spec = MixerSpec(
    RunningMean, parameter_counts, weight_flops, cache_arrays, keys=OtherKeys
  )
  with pytest.raises(ConfigError, match='model.mean_dim'):
    register_mixer('toy_other', spec)
