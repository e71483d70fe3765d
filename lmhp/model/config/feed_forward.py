"""Keys of the feed-forward part."""

from __future__ import annotations

from lmhp.declarations import static
from lmhp.model.config.activation_registry import ACTIVATIONS
from lmhp.model.config.sizes import SizeKeys
from lmhp.sections import keys


@keys
class FeedForwardKeys(SizeKeys):
  """Activation and gate of the feed-forward part."""

  activation: str = static(
    'gelu',
    'activation of the feed-forward part',
    choices=ACTIVATIONS,
    aliases=('hidden_act', 'activation_function', 'hidden_activation', 'act_fn'),
    converted_aliases={
      'feed_forward_proj': 'its activation, with model.gated if gated'
    },
    value_aliases={
      'gelu_new': "'gelu_tanh'",
      'gelu_fast': "'gelu_tanh'",
      'gelu_pytorch_tanh': "'gelu_tanh'",
      'gelu_python': "'gelu'",
      'swish': "'silu'",
      'relu2': "'relu_squared'",
      'relu^2': "'relu_squared'",
      'linear': "'identity'",
      'glu': "'sigmoid' with model.gated=True",
      'reglu': "'relu' with model.gated=True",
      'geglu': "'gelu' (or 'gelu_tanh') with model.gated=True",
      'gated-gelu': "'gelu_tanh' with model.gated=True",
      'swiglu': "'silu' with model.gated=True",
      'gated-silu': "'silu' with model.gated=True",
    },
  )
  gated: bool = static(
    False,
    'the feed-forward part is down(act(gate(x)) * up(x)) instead of down(act(up(x)))',
    aliases=('use_glu', 'gated_mlp', 'is_gated_act'),
    source='arXiv:2002.05202',
  )
  gate_clip: float | None = static(
    None,
    'upper bound of the gate, and of the absolute value of up; None means no bound; gpt-oss: 7',
    low=0.0,
    open_low=True,
    aliases=('swiglu_limit',),
  )
  gate_offset: float = static(
    0.0, 'number that is added to up before the gate multiplies it; gpt-oss: 1'
  )
