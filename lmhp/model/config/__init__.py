"""`ModelConfig`: every hyperparameter of the network, declared and checked.

The section `model` can describe the published decoders, encoders and encoder-decoders. Each
file declares the keys of one topic, such as attention. It fills in derived keys, and checks
conditions on several keys. This package imports no jax.
"""

from lmhp.model.config.activation_registry import (
  ACTIVATIONS as ACTIVATIONS,
  register_activation as register_activation,
)
from lmhp.model.config.model_config import (
  MIXER_NAMES as MIXER_NAMES,
  PART_RESOLVERS as PART_RESOLVERS,
  REMAT_POLICIES as REMAT_POLICIES,
  LayerSpec as LayerSpec,
  ModelConfig as ModelConfig,
)
from lmhp.model.config.normalization import NORM_PLACEMENTS as NORM_PLACEMENTS
from lmhp.model.config.positions import POSITIONS as POSITIONS
