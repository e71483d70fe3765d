import time
import lmhp
import pathlib, sys
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from small_runs import bits, rows, small, text
def test_a(small, tmp_path):
  t=time.process_time()
  r=lmhp.train(small(), workdir=tmp_path/'a', display='none')
  print('CPU', time.process_time()-t, r.result['compile_seconds'])
  t=time.process_time()
  r=lmhp.train(small(), workdir=tmp_path/'b', display='none')
  print('CPU', time.process_time()-t)
