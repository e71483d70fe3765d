"""The built-in corpus: its documents, their order, and the file in the cache."""

import hashlib
import inspect
import json
import json.decoder
import pathlib

from etils import epath

from lmhp.data import corpus

LONG = (
  'A sentence of more than eighty characters, so that it is long enough to be a document '
  'of the corpus.'
)


def write_files(root: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
  for name, text in files.items():
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
  return root


def first_words(documents):
  return [text.split()[0] for text in documents]


def test_docstrings_of_modules_classes_and_nested_functions(tmp_path):
  source = f'''"""module {LONG}"""
raise SystemExit('a file of the corpus was imported')
if True:
  def f(x=lambda: 0):
    """function {LONG}

      indented
    """
    async def inner():
      r"""inner {LONG} \\d"""
else:
  class C:
    """class {LONG}"""
    try:
      def m(self): """method {LONG}"""
    except ValueError: pass
    short = """not a docstring {LONG}"""
    def s(self): """short"""
'''
  documents = list(corpus._documents_under(write_files(tmp_path, {'a.py': source})))
  assert first_words(documents) == ['module', 'function', 'inner', 'class', 'method']
  assert documents[1] == f'function {LONG}\n\nindented'
  assert documents[2].endswith('\\d')


def test_tests_licences_and_broken_files_are_left_out(tmp_path):
  code = f'"""{LONG}"""'
  files = {
    'test_x.py': code,
    'x_test.py': code,
    'tests/x.py': code,
    'site-packages/x.py': code,
    'LICENSE.md': LONG,
    'broken.py': code + '\ndef',
    'notes.txt': LONG,
    'guide.rst': 'guide ' + LONG,
    'sub/README.md': 'read ' + LONG,
  }
  documents = corpus._documents_under(write_files(tmp_path, files))
  assert first_words(documents) == ['guide', 'read']


def test_help_topics_are_documents(tmp_path):
  topics = f'topics = {{"if": "one " "{LONG}"}}'
  root = write_files(tmp_path, {'pydoc_data/topics.py': topics})
  assert list(corpus._documents_under(root)) == ['one ' + LONG]


def test_docstrings_equal_those_of_inspect():
  root = pathlib.Path(json.__file__).parent
  documents = {text.strip() for text in corpus._documents_under(root)}
  for documented in (
    json,
    json.loads,
    json.dump,
    json.decoder.JSONDecoder,
    json.decoder.JSONDecoder.raw_decode,
  ):
    assert inspect.getdoc(documented).strip() in documents


def test_duplicates_and_file_names_do_not_change_the_corpus(tmp_path, monkeypatch):
  x = f'"""x {LONG}"""'
  y = f'"""y {LONG}"""'
  one = write_files(tmp_path / 'one', {'a.py': x, 'b.py': y, 'c.py': x})
  two = write_files(tmp_path / 'two', {'z.py': x, 'y.py': y})
  contents = []
  for root in (one, two):
    monkeypatch.setattr(corpus, '_roots', lambda root=root: iter([root]))
    path = corpus.write_corpus(epath.Path(tmp_path / f'cache {root.name}'))
    contents.append(path.read_bytes())
  assert contents[0] == contents[1]
  assert contents[0].count(b'\n') == 2
  assert json.loads(contents[0].splitlines()[0])['text'][1:] == ' ' + LONG


def test_corpus_is_written_once(tmp_path, monkeypatch):
  root = write_files(tmp_path / 'root', {'a.md': LONG})
  monkeypatch.setattr(corpus, '_roots', lambda: iter([root]))
  path = corpus.write_corpus(epath.Path(tmp_path))
  monkeypatch.setattr(corpus, 'documents', lambda: 1 / 0)
  assert corpus.write_corpus(epath.Path(tmp_path)) == path


def test_documents_are_in_the_order_of_their_hashes(tmp_path, monkeypatch):
  root = write_files(tmp_path, {f'{i}.md': f'{i} {LONG}' for i in range(9)})
  monkeypatch.setattr(corpus, '_roots', lambda: iter([root]))
  hashes = [hashlib.sha256(text.encode()).hexdigest() for text in corpus.documents()]
  assert len(hashes) == 9
  assert hashes == sorted(hashes)


def test_roots_are_the_standard_library_and_the_packages():
  roots = [root.name for root in corpus._roots()]
  assert roots[0].startswith('python')
  assert {'absl', 'flax', 'jax', 'numpy', 'optax', 'orbax'} <= set(roots)
