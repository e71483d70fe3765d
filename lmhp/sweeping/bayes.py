"""Bayesian search through Optuna: a batch of points, given the trials so far."""

from __future__ import annotations
