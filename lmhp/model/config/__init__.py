"""`ModelConfig`: every hyperparameter of the network, declared and checked.

One section describes the published decoders, encoders and encoder-decoders. Each file declares
the keys of one concern, derives the values that follow from others, and checks what involves
several keys. This package imports no jax.
"""

from lmhp.model.config.activation_registry import ACTIVATIONS as ACTIVATIONS
from lmhp.model.config.activation_registry import (
  register_activation as register_activation,
)
from lmhp.model.config.model_config import MIXER_NAMES as MIXER_NAMES
from lmhp.model.config.model_config import PART_RESOLVERS as PART_RESOLVERS
from lmhp.model.config.model_config import REMAT_POLICIES as REMAT_POLICIES
from lmhp.model.config.model_config import LayerSpec as LayerSpec
from lmhp.model.config.model_config import ModelConfig as ModelConfig
from lmhp.model.config.normalization import NORM_PLACEMENTS as NORM_PLACEMENTS
from lmhp.model.config.positions import POSITIONS as POSITIONS
