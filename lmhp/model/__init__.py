"""The network: the only room that imports flax.

Dimension key, for arrays everywhere: B batch, L sequence, M key length, D d_model, H heads, G key/value heads, K head
size, F d_ff, E experts, V vocabulary, N layers, R runs, S logged steps; also X embedding width where factorized, U
relative-position buckets, Q what a query/key norm spans, P half of what rotates.
"""

from lmhp.model import mixers as mixers  # adds the mixers' keys to the config
