"""Each key, flag, file and function that README and docs name exists."""

import ast
import functools
import importlib
import json
import pathlib
import re

import pytest

import lmhp
from lmhp import cli
from lmhp.commands import COMMANDS
from lmhp.config_keys import SECTIONS, keys
from lmhp.sweeping.config import sweep_keys

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ('README.md', 'CONTRIBUTING.md', *sorted(
  str(path.relative_to(ROOT)) for path in (ROOT / 'docs').rglob('*')
  if path.suffix in ('.md', '.ipynb')
))  # fmt: skip
ALL_KEYS = {*keys(), *sweep_keys()}

FILES = (
  'model.safetensors',
  'optimizer.pt',
  'train.bin',
  'data.py',
  'model.norm.weight',
)
"""Names that look like a key and are none."""
EXAMPLES = ('optimizer.lr', 'train.py', 'data.text', 'data.bin')
"""Names that a page shows as mistakes, or as names of the reader's own."""
RUN_FOLDERS = ('runs/', 'texts/', 'checkpoints/', 'curves/', 'packs/')
"""Folders that a run writes, or that a reader has."""


@functools.cache
def text_of(page):
  """Returns the text of a page. A notebook is the text of its cells."""
  text = (ROOT / page).read_text()
  if not page.endswith('.ipynb'):
    return text
  return '\n'.join(''.join(cell['source']) for cell in json.loads(text)['cells'])


def code_spans(text):
  """Returns the texts in backticks, and the blocks of code, in order."""
  blocks = re.findall(r'```.*?\n(.*?)```', text, re.S)
  return re.findall(r'`([^`\n]+)`', re.sub(r'```.*?```', '', text, flags=re.S)) + blocks


# --- keys -----------------------------------------------------------------------------


def unknown_keys(text):
  """Returns the paths of keys that a text names and that do not exist."""
  sections = '|'.join([*SECTIONS, 'sweep'])
  found = re.findall(rf'(?<![\w./])(?:{sections})\.[a-z_0-9]+(?![\w(/.])', text)
  known = (*ALL_KEYS, *FILES, *EXAMPLES)
  # A page may name several keys by their beginning, as in `model.router_*`.
  return [name for name in found if not any(key.startswith(name) for key in known)]


@pytest.mark.parametrize('page', PAGES)
def test_keys_exist(page):
  assert unknown_keys(text_of(page)) == []


def test_unknown_key_is_found():
  assert unknown_keys('`model.normalization` and model.norm') == ['model.normalization']


def test_keys_to_start_with_are_keys_of_their_sections():
  rows = re.findall(
    r'^\| (`[a-z`, ]+) \| [^|]+ \| ([^|]+) \|$', text_of('docs/train.md'), re.M
  )
  checked = 0
  for sections, cell in rows:
    for section in re.findall(r'`([a-z]+)`', sections):
      for name in ' '.join(re.findall(r'`([^`]+)`', cell)).split():
        assert f'{section}.{name}' in keys() or 'log' in sections
        checked += 1
  assert checked > 20


# --- flags ----------------------------------------------------------------------------


@pytest.fixture(scope='module')
def flags():
  """{command: its flags}, from the help of each command."""
  import contextlib
  import io

  found = {}
  for command in COMMANDS:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
      assert cli.main([command, '--help']) == 0
    found[command] = {*re.findall(r'--[a-z_]+', out.getvalue()), '--help', '--version'}
  return found


@pytest.mark.parametrize('page', PAGES)
def test_commands_and_flags_exist(page, flags):
  every_flag = set().union(*flags.values())
  for span in code_spans(text_of(page)):
    for line in span.replace('\\\n', ' ').splitlines():
      for command, words in re.findall(r'(?:^|&& |\()lmhp ([a-z_]+)([^#&]*)', line):
        assert command in COMMANDS, line
        for flag in re.findall(r'(?<!\S)--[a-z_]+(?:\.[a-z_0-9]+)*', words):
          check_flag(flag, flags[command])
    # A flag alone in backticks.
    if re.fullmatch(r'--[a-z_]+(?:\.[a-z_.0-9]+)?(?:=\S+)?', span):
      check_flag(span.partition('=')[0], every_flag)


def check_flag(flag, accepted):
  base, _, path = flag.removeprefix('--').partition('.')
  if path and base == 'config':
    assert path in ALL_KEYS, flag
  elif path and base == 'sweep':
    assert f'sweep.{path}' in ALL_KEYS, flag
  else:
    assert flag in accepted, flag


# --- files ----------------------------------------------------------------------------


@pytest.mark.parametrize('page', PAGES)
def test_files_and_links_exist(page):
  text = text_of(page)
  folder = (ROOT / page).parent
  for link in re.findall(r'\]\(([^)#\s]+)', text):
    if '://' not in link:
      assert (folder / link).exists(), link
  folders = 'lmhp|tests|docs|experiments|bench|\\.ci|\\.github'
  for path in re.findall(rf'(?<![\w/.])(?:{folders})/[\w./*-]*\w', text):
    if 'NAME' not in path and '*' not in path and not path.startswith(RUN_FOLDERS):
      assert (ROOT / path).exists(), path
  # Names of modules relative to some folder, as in CONTRIBUTING.md.
  modules = [f'/{module.relative_to(ROOT)}' for module in ROOT.rglob('*.py')]
  for path in re.findall(r'`((?:[a-z_]+/)+[a-z_]+\.py)`', text):
    assert any(module.endswith(f'/{path}') for module in modules), path


# --- names of Python ------------------------------------------------------------------


@pytest.mark.parametrize('page', PAGES)
def test_names_of_the_package_exist(page):
  for path in re.findall(r'(?<![\w./"\'])lmhp(?:\.[A-Za-z_]\w*)+', text_of(page)):
    if path == 'lmhp.plugins':  # the entry-point group
      continue
    assert resolves(path), path


def resolves(path):
  """Returns True if a dotted path leads to a module, or to an attribute of one."""
  parts = path.split('.')
  value = lmhp
  for number, part in enumerate(parts[1:], 2):
    if hasattr(value, part):
      value = getattr(value, part)
      continue
    try:
      value = importlib.import_module('.'.join(parts[:number]))
    except ImportError:
      return False
  return True


def test_missing_name_is_found():
  assert resolves('lmhp.analysis.runs.table.Runs')
  assert not resolves('lmhp.trian')


@functools.cache
def words_of_the_code():
  """Returns all identifiers, and all words of string literals, of the repository's code."""
  words = set()
  for folder in ('lmhp', 'tests', 'bench', 'experiments'):
    for path in (ROOT / folder).rglob('*.py'):
      if path.name == 'test_docs.py':
        continue
      for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
          words.update(re.findall(r'\w+', node.value))
        for field in ('name', 'id', 'attr', 'arg'):
          words.add(getattr(node, field, None))
  words.update(re.findall(r'\w+', (ROOT / 'pyproject.toml').read_text()))
  return words


# Names of other programs and libraries, which pages explain without using them.
OF_OTHERS = {'fori_loop', 'if'}


@pytest.mark.parametrize('page', PAGES)
def test_names_in_backticks_stand_in_the_code(page):
  names = {
    span for span in code_spans(text_of(page)) if re.fullmatch(r'[a-z][a-z_0-9]+', span)
  }
  assert names - words_of_the_code() - OF_OTHERS == set()
