"""The network. No other folder imports flax.

Letters of dimensions, for the names of arrays in all of lmhp:

  B batch, L sequence (queries), M keys, D d_model, H heads, G key/value heads, K head size,
  F d_ff, E experts, V vocabulary, N layers, R runs, S logged steps

And within this folder:

  X width of the embedding table, P pairs of coordinates that rotate, U buckets of relative
  positions, Q width of a normalization of queries or keys
"""

# These register the specifications of parameters, and the token mixers with their keys.
from lmhp.model import mixers as mixers, param_specs as param_specs
