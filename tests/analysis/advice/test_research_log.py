"""Logs of edits that were kept or discarded."""

import numpy as np

from lmhp.analysis.advice.research_log import repeat_baseline, research_log
from lmhp.analysis.analysis import analyze
from lmhp.analysis.runs.sources import read
from lmhp.analysis.runs.table import Runs

LOG = """commit\tval_bpb\tmemory_gb\tstatus\tdescription
a1\t1.300\t10.6\tkeep\tbaseline
b2\t1.268\t10.7\tkeep\tlower rate
c3\t1.269\t9.9\tdiscard\twider
d4\t1.270\t9.5\tdiscard\tsmaller batch
e5\t1.2675\t9.5\tkeep\ttied
f6\t0.000\t0.0\tcrash\tout of memory
"""


def test_clear_and_small_steps(tmp_path):
  path = tmp_path / 'results.tsv'
  path.write_text(LOG)
  analysis = analyze(read(path))
  answer = analysis.answer
  assert answer.kind == 'research_log'
  assert answer.numbers['kept'] == 2
  assert answer.numbers['discarded'] == 2
  assert answer.numbers['clear_steps'] == 1
  assert 'lower rate' in answer.title.partition('stand out')[0]
  assert 'tied' in answer.title.partition('stand out')[2]
  # The crash is no result.
  assert 'is not known' in answer.evidence
  (advice,) = [f for f in analysis.findings if f.kind == 'repeat_baseline']
  assert advice.numbers['smallest_step'] < 0.001


def test_other_tables_have_no_log():
  runs = Runs('s', {}, {}, np.array([3.0, 2.0]))
  assert research_log(runs) == []
  assert repeat_baseline(runs) == []
