"""Keys of the computation, which change speed and memory and not the mathematics."""

from __future__ import annotations

from lmhp.declarations import static
from lmhp.model.config.sizes import SizeKeys
from lmhp.sections import keys

REMAT_POLICIES = ('none', 'full', 'dots', 'dots_with_no_batch_dims')


@keys
class ComputationKeys(SizeKeys):
  """Precision, scan over layers, and rematerialization."""

  dtype: str = static(
    'auto',
    'precision of the operands of matrix products; auto is bfloat16 on devices that multiply '
    'it faster than float32',
    choices=('auto', 'float32', 'bfloat16'),
    aliases=('torch_dtype', 'precision', 'compute_dtype'),
    value_aliases={
      'bf16': "'bfloat16'",
      'bf16-mixed': "'bfloat16'",
      'fp32': "'float32'",
      'f32': "'float32'",
    },
  )
  scan_layers: bool = static(
    True,
    'layers of the same kind are one scanned block, so that compile time does not grow with '
    'depth',
  )
  remat: str = static(
    'none',
    'activations that the backward pass computes again: none, all (full), or all but the '
    'outputs of matrix products (dots, dots_with_no_batch_dims, as in jax.checkpoint)',
    choices=REMAT_POLICIES,
    aliases=('remat_policy', 'activation_checkpointing'),
    # Shown in the error message for this name: remat is 'full' if gradient_checkpointing is True.
    converted_aliases={'gradient_checkpointing': "'full' if True"},
  )
