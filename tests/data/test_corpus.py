"""The embedded corpus: what is a document, what is left out, that nothing is imported, that it is made once."""

import hashlib
import inspect
import json
import pathlib

from etils import epath

from lmhp.data import corpus

LONG = 'A sentence that is long enough to be worth learning from, which takes eighty characters of text.'


def tree(root: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
  for name, text in files.items():
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
  return root


def test_docstrings_of_modules_classes_and_functions_wherever_they_stand(tmp_path):
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
  found = list(corpus._documents_under(tree(tmp_path, {'a.py': source})))
  assert [text.split()[0] for text in found] == [
    'module',
    'function',
    'inner',
    'class',
    'method',
  ]
  assert found[1] == f'function {LONG}\n\nindented'
  assert found[2].endswith('\\d')


def test_tests_licences_and_broken_files_are_left_out_and_prose_is_taken(tmp_path):
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
  assert [t.split()[0] for t in corpus._documents_under(tree(tmp_path, files))] == [
    'guide',
    'read',
  ]


def test_help_topics_are_documents(tmp_path):
  found = corpus._documents_under(
    tree(tmp_path, {'pydoc_data/topics.py': f'topics = {{"if": "one " "{LONG}"}}'})
  )
  assert list(found) == ['one ' + LONG]


def test_against_the_interpreter_s_own_reading_of_a_package():
  import json.decoder

  found = set(corpus._documents_under(pathlib.Path(json.__file__).parent))
  for thing in (
    json,
    json.loads,
    json.dump,
    json.decoder.JSONDecoder,
    json.decoder.JSONDecoder.raw_decode,
  ):
    assert inspect.getdoc(thing).strip() in {text.strip() for text in found}


def test_made_once_without_duplicates_in_an_order_that_does_not_depend_on_the_files(
  tmp_path, monkeypatch
):
  one = tree(
    tmp_path / 'one',
    {'a.py': f'"""x {LONG}"""', 'b.py': f'"""y {LONG}"""', 'c.py': f'"""x {LONG}"""'},
  )
  two = tree(tmp_path / 'two', {'z.py': f'"""x {LONG}"""', 'y.py': f'"""y {LONG}"""'})
  made = {}
  for name, root in (('one', one), ('two', two)):
    monkeypatch.setattr(corpus, '_roots', lambda root=root: iter([root]))
    path = corpus.docstrings(epath.Path(tmp_path / f'cache {name}'))
    made[name] = path.read_bytes()
  assert made['one'] == made['two'] and made['one'].count(b'\n') == 2
  assert json.loads(made['one'].splitlines()[0])['text'][1:] == ' ' + LONG
  monkeypatch.setattr(corpus, 'documents', lambda: 1 / 0)
  assert corpus.docstrings(epath.Path(tmp_path / 'cache two')) == path


def test_the_order_is_that_of_the_hashes(tmp_path, monkeypatch):
  root = tree(tmp_path, {f'{i}.md': f'{i} {LONG}' for i in range(9)})
  monkeypatch.setattr(corpus, '_roots', lambda: iter([root]))
  hashes = [hashlib.sha256(text.encode()).hexdigest() for text in corpus.documents()]
  assert hashes == sorted(hashes) and len(hashes) == 9


def test_the_packages_that_lmhp_stands_on_are_found_without_importing_them():
  roots = [root.name for root in corpus._roots()]
  assert roots[0].startswith('python') and {
    'absl',
    'flax',
    'jax',
    'numpy',
    'optax',
    'orbax',
  } <= set(roots)
