"""The optimizers of lmhp: one file for each, or for close relatives.

Each file registers its optimizers when it is imported. To add an optimizer, write a file and
append its name to the tuple below.
"""

import importlib

_FILES = ('sgd', 'adaptive', 'muon')

for _file in _FILES:
  importlib.import_module(f'{__name__}.{_file}')
