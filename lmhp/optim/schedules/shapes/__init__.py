"""The schedules of lmhp: one file for each shape, or for related shapes.

Each file registers its schedules when it is imported. To add a schedule, write a file and
append its name to the tuple below.
"""

import importlib

# Append only: the name of a schedule reaches the program as its position in the registry.
_FILES = (
  'cycles',
  'cosine',
  'polynomial',
  'phases',
  'rex',
)

for _file in _FILES:
  importlib.import_module(f'{__name__}.{_file}')
