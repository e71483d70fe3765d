"""Flax modules of the token mixers, one file each, and the recurrences that they share.

Dimension key besides that of `lmhp.model`: I inner width (`mixer_dim`), C channels of a
convolution, W its width, Z gates. In Mamba-2: H heads, P head size, S state size, G groups.
"""
