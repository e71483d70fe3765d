"""Token mixers: registry, entries and layers. Importing this package registers them."""

from lmhp.model.mixers import attention as attention
from lmhp.model.mixers import convolution as convolution
from lmhp.model.mixers import gated_recurrence as gated_recurrence
from lmhp.model.mixers import mamba2 as mamba2
from lmhp.model.mixers import mingru as mingru
from lmhp.model.mixers import rglru as rglru
