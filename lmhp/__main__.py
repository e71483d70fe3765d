"""`python -m lmhp` is the command `lmhp`."""

from lmhp.cli import run

if __name__ == '__main__':
  run()
