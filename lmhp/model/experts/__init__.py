"""Mixture of experts: routing, the layer, and products with the weights of each expert.

An expert is one of several feed-forward networks of a layer. A router chooses k of them for each
token.

Dimension key besides that of `lmhp.model`: T tokens, k experts per token, A = T k
assignments (one row of a token for one of its experts), J groups of experts, n blocks of b
rows, I and O sizes of the input and output of a linear map.
"""
