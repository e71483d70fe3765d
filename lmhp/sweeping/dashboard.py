"""optuna-dashboard on a study, for a browser."""

from __future__ import annotations

import json
import logging
from typing import Any
from wsgiref import simple_server

from lmhp.hypers import ConfigError
from lmhp.training.history import is_remote, local_or_remote
