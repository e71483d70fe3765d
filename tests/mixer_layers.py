"""Helpers of the tests of token mixers: one layer by itself, and its comparison with torch."""

import jax
import jax.numpy as jnp
import numpy as np

from lmhp.model.block import mixer_layer
from lmhp.model.layer_inputs import LayerFlags, LayerInputs
from lmhp.params import walk_arrays

B, L = 3, 11
SIZES = {
  'max_seq_len': L,
  'mixer_dim': 12,
  'mixer_head_dim': 3,
  'state_dim': 7,
  'state_groups': 2,
  'state_chunk': 4,
  'norm': 'rmsnorm',
}
FLAGS = LayerFlags(number=0, local=False, uses_positions=True)
INPUTS = LayerInputs(None, None, None, None, {}, None, 0)


def apply_layer(cfg, name, params, x_BLD):
  """Returns the output of one mixer layer without a cache."""
  layer = mixer_layer(cfg, name)
  y_BLD, _ = layer.apply({'params': params}, x_BLD, FLAGS, INPUTS)
  return y_BLD


def assert_equals_torch(cfg, name, module, to_params, call):
  """Compares a mixer layer with a torch module: output, and all gradients.

  Args:
    cfg: Config of the model.
    name: Name of the mixer.
    module: The torch module.
    to_params: Function from {name in torch: tensor} to our parameters as a nested dict.
    call: Function `(module, x) -> y`.
  """
  import torch

  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for parameter in module.parameters():
      parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
  x = np.random.default_rng(1).normal(size=(B, L, cfg.d_model)).astype(np.float32)
  weights = np.random.default_rng(2).normal(size=x.shape).astype(np.float32)

  torch_x = torch.tensor(x, requires_grad=True)
  torch_y = call(module, torch_x)
  (torch_y * torch.tensor(weights)).sum().backward()
  values = {path: value.detach() for path, value in module.named_parameters()}
  gradients = {path: value.grad for path, value in module.named_parameters()}
  params = _to_jax(to_params(values))
  expected = {'params': _to_jax(to_params(gradients)), 'x': _to_jax(torch_x.grad)}

  def loss(params, x):
    return jnp.sum(apply_layer(cfg, name, params, x) * weights)

  y = apply_layer(cfg, name, params, jnp.asarray(x))
  np.testing.assert_allclose(y, torch_y.detach().numpy(), rtol=0, atol=2e-5)
  params_gradient, x_gradient = jax.jit(jax.grad(loss, (0, 1)))(params, jnp.asarray(x))
  expected = dict(walk_arrays(expected))
  for path, gradient in walk_arrays({'params': params_gradient, 'x': x_gradient}):
    size = jnp.linalg.norm(expected[path])
    error = jnp.linalg.norm(gradient - expected[path]) / size
    assert error < 1e-4, (path, error)


def _to_jax(tree):
  """Returns a nested dict of torch tensors as contiguous jax arrays."""
  return jax.tree.map(
    lambda tensor: jnp.array(np.ascontiguousarray(tensor.detach().numpy())), tree
  )
