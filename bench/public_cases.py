"""Expected answers of `bench/public_tables.py`, written before lmhp saw the tables.

"Published" stands for a number of the source or of its paper. "Own" stands for a computation
on the rows with pandas and scipy: `best` is the extreme row, laws are fits of Huber's loss on
log residuals (delta 1e-3), differences are Welch's with 95% intervals.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses

TUNED = 'hyperparameter'
SIZE = 'size'
SEED = 'seed'
OUTCOME = 'outcome'
NAME = 'identity'
OTHER = 'metadata'


@dataclasses.dataclass(frozen=True)
class Case:
  """One table and the answer that it allows.

  Attributes:
    table: Name of the table in `public_sources`.
    objective: Column of the objective.
    expected: Expected answer, with its source.
    steps: Steps that the rows allow a reader to answer.
    maximize: Direction, if the name of the objective does not imply it.
    roles: {column: role} of the second report. None if roles add nothing.
  """

  table: str
  objective: str
  expected: str
  steps: tuple[str, ...]
  maximize: bool | None = None
  roles: Mapping[str, str] | None = None


CASES = (
  Case(
    'chinchilla',
    'loss',
    'Published (Besiroglu, 240 points, D = C/6N): E 1.817, A 477.8, B 2143, alpha .347, beta '
    '.367, a .514. Own, all 245: beta .453, five points move it. Nothing is tuned here.',
    ('law of loss in N and C', 'optimal N grows as C^.51', 'outlying points named'),
    roles={
      'Model Size': SIZE,
      'Training FLOP': SIZE,
      'x': OTHER,
      'y': OTHER,
      'color': OTHER,
      'hex_color': OTHER,
    },
  ),
  Case(
    'kyo_takano',
    'loss',
    'Own: E 1.784, A 442, B 1272, alpha .343, beta .342, a .50, residuals .55%. C is 6ND '
    'in these rows. Best row 2.0774 at N 6.8e9, D 3.18e11.',
    ('law of loss in N and D', 'optimal N grows as C^.50'),
    roles={'C': SIZE, 'N': SIZE, 'D': SIZE},
  ),
  Case(
    'step_law_dense',
    'smooth loss',
    'Published: batch .58 D^.571, lr 1.79 N^-.713 D^.307. Own, grid best of 17 groups: lr '
    'N^-.82 D^.29, batch D^.50. Loss of the best rows: E .91, alpha .13, beta .29.',
    (
      'best lr by N and D',
      'best batch by D',
      'law of the best loss',
      'noise is not known',
    ),
    roles={
      **{
        'N': SIZE,
        'D': SIZE,
        'lr': TUNED,
        'bs': TUNED,
        'loss': OUTCOME,
        'exp_name': NAME,
        'ti': OTHER,
        'D/N': OTHER,
      },
      **dict.fromkeys(('h', 'ffnh', 'numh', 'numl'), OTHER),
    },
  ),
  Case(
    'step_law_five_columns',
    'smooth loss',
    'As step_law_dense. N and D are no hyperparameters: their values are the question.',
    ('best lr by N and D', 'best batch by D', 'law of the best loss'),
    roles={'N': SIZE, 'D': SIZE, 'lr': TUNED, 'bs': TUNED},
  ),
  Case(
    'step_law_one_size',
    'smooth loss',
    'Own: best 2.3420 at lr .0078, batch 1024; 13 of 120 points within .25%: lr .0020 to '
    '.0078, batch 352 to 1024. lr and batch rise together. Inside the tried range.',
    ('best lr and batch', 'their basin', 'lr and batch interact', 'noise is not known'),
  ),
  Case(
    'step_law_moe',
    'smooth loss',
    'Own: at Na 1.24e9, D 2e10 best 2.1781 at lr 9.8e-4, batch 128; best lr grows with D '
    '(D^.04 to D^.45 by Na), batch D^.29 to D^.38; 16 groups of (Na, D).',
    ('best lr by Na and D', 'best batch by D', 'loss falls with Na and D'),
    roles={
      **dict.fromkeys(('N', 'Na', 'D'), SIZE),
      **dict.fromkeys(('lr', 'bs'), TUNED),
      **dict.fromkeys(('loss', 'average_iter_time', 'total_time'), OUTCOME),
      **dict.fromkeys(('D/N', 'Na/N', 'M', 'ti', 'final_iter', 'target_iter'), OTHER),
      **dict.fromkeys(('topk', 'nume', 'moeh', 'sed', 'moe_name'), OTHER),
      'exp_name': NAME,
    },
  ),
  Case(
    'critical_batch_size',
    'steps_to_target',
    'Published: steps = a + b/B for each size; critical batch 745, 955, 1394, 1889, 2533; '
    '93.2 (N/1e6)^.468. The fewest steps are at the largest batch by construction.',
    (
      'steps against batch by size',
      'critical batch by size',
      'no batch is simply best',
    ),
    maximize=False,
    roles={'parameters': SIZE, 'batch_size': SIZE},
  ),
  Case(
    'gemstones_export',
    'scaling/global_loss',
    'Own: best 3.3393 (1536x50, lr 5e-4), next 3.3507 and 3.3509; no seeds. The settings '
    'stand in the names only.',
    ('best run named', 'the names hold settings', 'noise is not known'),
  ),
  Case(
    'gemstones_split',
    'loss',
    'Own: best lr 5e-3 at widths 256 and 768, 5e-4 at 1536 and 3072 (published: lr width '
    'sqrt(depth) is 5.3 to 11.4). lr above 1e-3 breaks the two wide shapes.',
    ('best lr by width', 'best run named', 'width and depth are confounded'),
    roles={'width': SIZE, 'depth': OTHER},
  ),
  Case(
    'gadre',
    'loss',
    'Own, pairs of equal shape and tokens: warmup 400 beats 200 by .013 (p 2e-11) and 100 by '
    '.092; at d 1024, 2000 beats 400 by .009 in 11 of 15. Larger d and tokens are better. '
    'lr was never varied.',
    (
      'best warmup',
      'best warmup grows with d',
      'larger is better',
      'lr was not varied',
    ),
    roles={'d': SIZE, 'l': SIZE, 'tokens': SIZE, 'run': NAME},
  ),
  Case(
    'porian',
    'loss',
    'Published: optimal N grows as C^.835, .706, .602, .571, .497 under the five protocols. '
    'Own: best 2.985 at flops 2.56e19 (chinchilla decay). Protocols are compared at equal n '
    'and flops only.',
    ('law of loss in n and tokens', 'exponent by protocol', 'protocols differ'),
    roles={
      'n': SIZE,
      'tokens': SIZE,
      'flops': SIZE,
      **dict.fromkeys(('hparams', 'decay'), TUNED),
    },
  ),
  Case(
    'isoflops',
    'loss',
    'Published exponents a: chinchilla .541, llama 3 .50 to .54, marin .426 to .444, '
    'misfitting .523. Losses of different data sets are not comparable (llama 3: .69).',
    ('law by data set', 'data sets are no settings', 'optimal N by budget'),
    roles={
      **dict.fromkeys(('params', 'tokens', 'budget'), SIZE),
      **dict.fromkeys(('outlier', 'reason', 'source', 'model', 'experiment'), OTHER),
    },
  ),
  Case(
    'lr_scheduling_wsd',
    'val_loss',
    'Own: best 2.9513 (lr .002, cooldown .6); best lr 5e-4 at cooldown 0, .001 at .1 to .4, '
    '.002 from .6 on. Repeats differ by .0012 (published: long cooldowns need higher lr).',
    (
      'best setting named',
      'lr and cooldown interact',
      'noise over repeats',
      'inside the range',
    ),
  ),
  Case(
    'lr_scheduling_all',
    'val_loss',
    'Own: best wsd .6 at .002, 2.9513; cosine to 0 2.9543 (2 runs, sd .0012): no difference. '
    'Cosine to 0.1 is worse (.019 at lr .001). sqrt beats linear by .006 to .012 at .2.',
    ('best setting named', 'wsd equals cosine', 'noise over repeats', 'lr by cooldown'),
  ),
  Case(
    'deberta_curves',
    'learning_curves.matched',
    'Own: best .8901 (lr 2.5e-5, 3 epochs); top 50: lr 6e-6 to 3e-5; 26% of runs below .5, at '
    'high lr; lr matters most, epochs next (1 is worse), dropout not. Best of 4 .881, of 16 '
    '.887. Step 1000 ranks as the end with Spearman .47.',
    (
      'best setting named',
      'lr basin',
      'runs that collapse',
      'epochs matter',
      'early stopping',
    ),
    maximize=True,
    roles={'num_train_epochs': TUNED, 'total_model_steps': OTHER},
  ),
  Case(
    'deberta_last',
    'accuracy',
    'As deberta_curves, 1,024 runs. `iteration` numbers the runs of the search.',
    ('best setting named', 'lr basin', 'runs that collapse', 'epochs matter'),
    roles={'iteration': OTHER, 'num_train_epochs': TUNED, 'total_model_steps': OTHER},
  ),
  Case(
    'laion',
    'miou',
    'Own: best .4829 (mammut ViT-L-14, 3.07e9 samples, lr .001); best lr rises from 5e-4 to '
    '.002 with samples (samples^.24); mammut beats clip in 94 of 99 matched pairs, by .027. '
    'lr 1e-5 is the worst.',
    ('best run named', 'best lr by samples', 'mammut better', 'larger is better'),
    roles={
      **dict.fromkeys(('samples_seen', 'model_mparams'), SIZE),
      **dict.fromkeys(('lr', 'warmup', 'global_batch_size', 'namespace'), TUNED),
      **dict.fromkeys(
        ('main_metric_value', 'acc1', 'acc5', 'mean_per_class_recall'), OUTCOME
      ),
      **dict.fromkeys(('gflops', 'steps', 'gpus', 'local_batch_size', 'epoch'), OTHER),
    },
  ),
  Case(
    'track_3_12_6',
    'val_loss',
    'Published: #12 is better than #6 (6.5 > 4). Own: -.00135 [-.0021, -.0006], p .001, '
    '20 + 20 runs, sd .0012.',
    ('best setting named', 'gain with interval', 'noise over seeds'),
  ),
  Case(
    'track_3_16_14',
    'val_loss',
    'Published: #16 is not better than #14. Own: -.0006 [-.0015, .0003], p .19, 8 + 4 runs.',
    (
      'no difference shown',
      'gain with interval',
      'noise over seeds',
      'seeds that would do',
    ),
  ),
  Case(
    'track_3_13_8',
    'val_loss',
    'Own, at step 3125: #13 better by .0045 [.0037, .0054], p 3e-9. Published, at the last '
    'steps: not better (2.7 < 4), because #13 ends its schedule 65 steps before #8.',
    ('best setting named', 'gain with interval', 'noise over seeds'),
  ),
  Case(
    'track_3_36_37',
    'val_loss',
    'Published: equal. Own: +.00002 [-.0012, .0012], p .97, 10 + 10 runs.',
    ('no difference shown', 'gain with interval', 'noise over seeds'),
  ),
  Case(
    'olmo_ladder',
    'hellaswag_rc_5shot_bpb',
    'Own: E .41, A 6.9, B 23.6, alpha .157, beta .212, residuals .4%; fitted below 1B it '
    'predicts the 1B rows within .0042. Best row .7545 (1B-10xC).',
    ('law of the objective in N and D', 'prediction at a larger size'),
    roles={'parameters': SIZE, 'tokens': SIZE, 'run': NAME},
  ),
  Case(
    'olmo_coordinates_mup',
    'l1',
    'Own: slope of l1 in width is 0 for the block and for ln_f, -.50 at t 1 and -.02 at t 5 '
    'for the logits (:out[0]). Three repeats a row. No module is "best".',
    ('slope in width by module', 'noise over repeats', 'not a search'),
    maximize=False,
    roles={'width': SIZE, 'module': TUNED, 't': SIZE},
  ),
  Case(
    'olmo_coordinates_block',
    'l1',
    'Own: mup slope .001 +- .005 (flat), sp slope 2.02 +- .06, from .036 at 128 to 129 at '
    '8192. sp has the smaller l1 at 128 only; equal at 256.',
    ('slope in width by parametrization', 'noise over repeats'),
    maximize=False,
    roles={'width': SIZE, 'parametrization': TUNED},
  ),
  Case(
    'spectral',
    'hard_rank',
    'Published exponents in width: AdamW .289, Dion 1/16 .500, Dion 1/2 .787, Muon .821, '
    'NorMuon .798. Own: Dion 1/2 is highest at 7 of 8 widths.',
    (
      'best optimizer named',
      'difference with interval',
      'exponent in width by optimizer',
    ),
    maximize=True,
    roles={
      'ffn_hidden_dim': SIZE,
      'width_multiplier': OTHER,
      'soft_rank': OUTCOME,
      'run_id': NAME,
    },
  ),
  Case(
    'parameter_golf',
    'val_bpb',
    'Own: best 1.06108 (2026-04-27 9HpStack), next 1.06128 and 1.06145; one row each, so no '
    'noise. The bytes are outcomes; steps are results of ten minutes.',
    ('best submission named', 'noise is not known'),
  ),
  Case(
    'parameter_golf_seeds',
    'val_bpb',
    'Published: 1.06108 and 1.06145 (3 seeds each). Own: p .65 between them, p .05 to 1.06335, '
    'p .017 to 1.06453; noise .0007 over seeds.',
    ('best submission named', 'gain with interval', 'noise over seeds', 'ties named'),
    roles={'submission': TUNED},
  ),
  Case(
    'algoperf_wmt',
    'validation/bleu',
    'Own: best row 31.33 (baseline, v05 study 2, trial 3); means of best of 5: baseline 31.07, '
    'generalized_adam 31.01 (p .44), caspr 31.00 (p .24), nadamp, amos 30.91 (p .008).',
    ('best submission named', 'noise over studies', 'ties named'),
    roles={
      'study': SEED,
      'trial': OTHER,
      'submission': TUNED,
      'score': OUTCOME,
      'global_step': OUTCOME,
    },
  ),
  Case(
    'algoperf_wmt_baseline',
    'validation/bleu',
    'Own: five settings, 8 studies each: trial 3 31.03, 5 30.99, 1 30.98, 4 30.92, 2 30.82; '
    'sd .108; trial 2 is worse than 3 (p .005), 3 against 1 and 5: no difference.',
    ('best setting named', 'gain with interval', 'noise over studies', 'ties named'),
    roles={
      'study': SEED,
      'trial': OTHER,
      'submission': OTHER,
      'score': OUTCOME,
      'global_step': OUTCOME,
    },
  ),
  Case(
    'algoperf_all',
    'validation/loss',
    'Own: losses of 32 workloads are not comparable (ogbg .0425, imagenet .94); 857 rows have '
    'no validation/loss (librispeech reports ctc_loss); those are no divergences. Best row '
    '.04246 (ogbg_pytorch, lawa_queue).',
    (
      'workloads are not compared',
      'best submission by workload',
      'empty cells are missing',
    ),
    roles={
      'workload': SIZE,
      'submission': TUNED,
      'study': SEED,
      'score': OUTCOME,
      'global_step': OUTCOME,
    },
  ),
)
