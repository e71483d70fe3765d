"""Specifications of the parameters of the network, without those of most token mixers.

They are the rows of the table of parameters (see `lmhp.params`): a path with wildcards, a kind, a
role and axes. The attention is here. Every other token mixer has the specifications in its own
entry (`lmhp.model.mixers.registry.MixerSpec.params`).

Letters of axes besides those of `lmhp.model`: T token types, C width of a latent, P rotating
coordinates of a head (in this file, coordinates and not pairs).

This file imports no jax.
"""

from __future__ import annotations

from lmhp.params import ParamSpec, linear_specs, norm_specs, register_params

register_params(
  (
    # Embedding and positions. In the axes of a table, D is its width, even if it is below d_model.
    ParamSpec('embedding/table', 'embedding', 'table', 'V D'),
    *linear_specs('embedding/project', 'embedding', 'X > D'),
    ParamSpec('token_types/table', 'embedding', 'table', 'T D'),
    ParamSpec('positional/table', 'positional', 'table', 'L D'),
    ParamSpec('*/relative_bias/table', 'positional', 'table', 'U H'),
    # Attention.
    *linear_specs('**/attention/query', 'attention', 'D > H K'),
    *linear_specs('**/attention/key', 'attention', 'D > G K'),
    *linear_specs('**/attention/value', 'attention', 'D > G K'),
    *linear_specs('**/attention/output', 'attention', 'H K > D', residual=True),
    *norm_specs('**/attention/query_norm', 'Q'),
    *norm_specs('**/attention/key_norm', 'Q'),
    ParamSpec('**/attention/sinks', 'attention', 'bias', 'H'),
    # Cross-attention of a decoder to an encoder.
    *linear_specs('**/cross_attention/query', 'attention', 'D > H K'),
    *linear_specs('**/cross_attention/key', 'attention', 'D > G K'),
    *linear_specs('**/cross_attention/value', 'attention', 'D > G K'),
    *linear_specs('**/cross_attention/output', 'attention', 'H K > D', residual=True),
    *norm_specs('**/cross_attention/query_norm', 'Q'),
    *norm_specs('**/cross_attention/key_norm', 'Q'),
    ParamSpec('**/cross_attention/sinks', 'attention', 'bias', 'H'),
    # Multi-head latent attention.
    *linear_specs('**/attention/query_down', 'attention', 'D > C'),
    *norm_specs('**/attention/query_down_norm', 'C'),
    ParamSpec('**/attention/query_up/kernel', 'attention', 'weight', 'C > H K'),
    *linear_specs('**/attention/latent', 'attention', 'D > C'),
    *norm_specs('**/attention/latent_norm', 'C'),
    *linear_specs('**/attention/key_rotary', 'attention', 'D > P'),
    ParamSpec('**/attention/key_up/kernel', 'attention', 'weight', 'C > H K'),
    ParamSpec('**/attention/value_up/kernel', 'attention', 'weight', 'C > H K'),
    # Feed-forward part, router, experts, and the shared experts that process all tokens.
    # 'E | D > F' is a D x F matrix for each expert.
    *linear_specs('**/feed_forward/gate', 'feed_forward', 'D > F'),
    *linear_specs('**/feed_forward/up', 'feed_forward', 'D > F'),
    *linear_specs('**/feed_forward/down', 'feed_forward', 'F > D', residual=True),
    *linear_specs('**/experts/router', 'feed_forward', 'D > E'),
    ParamSpec('**/experts/correction', 'feed_forward', 'state', 'E'),
    *linear_specs('**/experts/gate', 'feed_forward', 'E | D > F'),
    *linear_specs('**/experts/up', 'feed_forward', 'E | D > F'),
    *linear_specs('**/experts/down', 'feed_forward', 'E | F > D', residual=True),
    *linear_specs('**/shared/gate', 'feed_forward', 'D > F'),
    *linear_specs('**/shared/up', 'feed_forward', 'D > F'),
    *linear_specs('**/shared/down', 'feed_forward', 'F > D', residual=True),
    # Normalizations of the residual stream.
    *norm_specs('**/attention_input_norm', 'D'),
    *norm_specs('**/attention_output_norm', 'D'),
    *norm_specs('**/attention_residual_norm', 'D'),
    *norm_specs('**/cross_attention_input_norm', 'D'),
    *norm_specs('**/cross_attention_output_norm', 'D'),
    *norm_specs('**/cross_attention_residual_norm', 'D'),
    *norm_specs('**/feed_forward_input_norm', 'D'),
    *norm_specs('**/feed_forward_output_norm', 'D'),
    *norm_specs('**/feed_forward_residual_norm', 'D'),
    *norm_specs('embedding_norm', 'D'),
    *norm_specs('final_norm', 'D'),
    *norm_specs('encoder_final_norm', 'D'),
    # Head. The projection to the width of the embedding table counts as embedding. In the last
    # row, D is this width.
    ParamSpec('output/project/kernel', 'embedding', 'weight', 'D > X'),
    *linear_specs('output/transform', 'output', 'D > X'),
    *norm_specs('output/transform_norm', 'X'),
    *linear_specs('output', 'output', 'D > V'),
  )
)
