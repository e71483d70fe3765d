"""Words in the names of columns: what people call metrics, sizes, seeds and other columns.

A name has components, separated by dots and slashes, and words, separated by anything else. The
components before the last one may be a prefix that W&B, Optuna, MLflow, Ray Tune or TensorBoard
writes. The last word that is no statistic decides: `val/loss_mean` is a loss, `loss_weight` is
a weight. Names are compared without case.
"""

from __future__ import annotations

import dataclasses
import functools
import re

HYPERPARAMETER = 'hyperparameter'
SIZE = 'size'
SEED = 'seed'
OBJECTIVE = 'objective'
OUTCOME = 'outcome'
STATUS = 'status'
IDENTITY = 'identity'
METADATA_ROLE = 'metadata'
YARDSTICK = 'yardstick'
"""Role of a column that changes what is measured, such as a data set or a split. Runs with
different yardsticks are not compared."""
ROLES = (
  HYPERPARAMETER,
  SIZE,
  SEED,
  OBJECTIVE,
  OUTCOME,
  STATUS,
  IDENTITY,
  METADATA_ROLE,
  YARDSTICK,
)
"""Roles of the columns of a table. See `lmhp.analysis.runs.roles`."""

CONFIG_GROUPS = frozenset(
  """config params param hparams hparam hypers hyperparameters hyperparams args kwargs cfg settings
  options""".split()
)
"""A component that ends in one of these holds settings, as `config/lr` and `model_kwargs.dim`."""

METRIC_GROUPS = ('metrics', 'metric', 'summary', 'results', 'result', 'scores', 'stats')
METADATA_GROUPS = frozenset(
  """tags tag system_attrs system sys meta metadata targets _wandb best_params best_config
  best_hyperparameters""".split()
)

LOWER_IS_BETTER = frozenset(
  """loss losses error errors err perplexity ppl bpb bpc bpt nll ce xent
  crossentropy mse rmse mae mape nmse wer cer fid kl kld nats bits brier ece
  regret cost eer gap fpr fnr""".split()
)
HIGHER_IS_BETTER = frozenset(
  """accuracy acc accs accuracies bleu rouge rougel meteor chrf f1 auc auroc
  auprc aupr ap map miou iou precision recall top1 top5 psnr ssim em mcc r2
  spearman pearson reward rewards rew return returns ret score scores winrate
  ndcg mrr hits hr passrate success dice fscore fm fmeasure smeasure emeasure
  kappa sensitivity specificity tpr tnr pr mmlu hellaswag arc winogrande gsm8k
  piqa boolq humaneval lambada truthfulqa sharpe sortino ic""".split()
)
OTHER_OUTCOMES = frozenset(
  """grad gradnorm gnorm entropy metric metrics spikes sharpness delta
  improvement correlation similarity wasserstein tp fp fn tn lds q10 q25 q50 q75
  q90 q95 p50 p90 p95 p99 clipfrac predictions prediction confusion bytes
  speedup correct matrix quality measured observed achieved reported explained
  smoothness divergence sparsity_achieved""".split()
)
COSTS = frozenset(
  """runtime elapsed duration time seconds second secs sec minutes minute mins
  hours ms us throughput latency speed tps sps fps qps mfu hfu memory mem vram
  ram utilization watts energy joules kwh dollars wallclock walltime""".split()
)
"""Costs and times of a run. They are outcomes, but are never guessed to be the objective."""
UNITS = frozenset('s ms us ns sec secs seconds min mins h hr hrs hours'.split())
MEMORY_UNITS = frozenset('gb mb kb gib mib kib'.split())

SIZES = frozenset(
  """parameters params nparams mparams bparams parameter param tokens token
  flops flop gflops tflops compute macs gmacs budget steps updates iterations
  iters epochs episodes rounds samples examples batches""".split()
)
MODEL_SIZES = SIZES - frozenset(
  'steps updates iterations iters epochs episodes rounds batches'.split()
)
PROGRESS = frozenset('step iter iteration epoch episode round update'.split())
"""Words of a step: `step` is that of a logged row, and `best_epoch` is an outcome."""
SEEDS = frozenset(
  'seed seeds replicate replication rep repeat repetition fold subject participant'.split()
)
STATUSES = frozenset(
  """state status diverged failed crashed verdict done kept keep accepted
  completed converged finished oom pruned decision""".split()
)
IDENTITIES = frozenset(
  """id uuid name run runname display number trial commit sha hash experiment
  exp label runid key""".split()
)
ALWAYS_IDENTITIES = frozenset('id uuid commit sha hash'.split())
"""Last words that make any name an identity, as in `sweep_id`."""
METADATA = frozenset(
  """created started ended finished date datetime timestamp host hostname user member
  author tags tag notes note comment comments description sweep project entity
  device node machine version git branch command job group worker pid wandb
  session restore gpu order row no notebook url link index hypothesis hex
  interpretation rationale reason message log logs logdir cmd script source doc
  docs hardware gpus accelerator output save checkpoint ckpt cache workdir color colour""".split()
)
PATHS = frozenset(
  'path paths dir directory file files filename db url uri ckpt checkpoint folder logdir'.split()
)
STATISTICS = frozenset(
  'mean avg average final last end best min max median total overall'.split()
)
AVERAGES = frozenset('mean avg average median lo hi low high lower upper ci'.split())
SPREADS = frozenset('std sd stdev stddev sem se stderr variance var ci95'.split())
RATES = frozenset('rate ratio pct percent percentage fraction frac at norm'.split())
"""Words that may follow a metric: `error_rate` and `acc_norm` are still metrics."""
DATA_NAMES = frozenset(
  'dataset datasets split task tasks benchmark testset valset workload env environment'.split()
)
"""Last words of columns that name the data on which a metric is measured."""
TEXT_UNITS = frozenset(
  """tokenizer vocab vocabulary vocab_size vocabulary_size n_vocab context context_length
  context_size block_size seq_len sequence_length n_ctx ctx_len ctx""".split()
)
"""Settings that change what a loss per token measures."""
AMOUNTS = frozenset(
  'tokens samples examples items questions sentences utts length size n batches'.split()
)
"""Words of an amount of data, as in `eval_samples`."""
PER_TOKEN = frozenset(
  'loss losses perplexity ppl nll ce xent crossentropy nats'.split()
)
"""Metrics whose value depends on what a token is."""
TESTS = frozenset('p_value pvalue p_val t_stat t_statistic z_score'.split())
"""Results of a test of significance."""
RATE_OUTCOMES = frozenset(
  """success done fallen timeout error win pass hit completion clear acceptance
  collapse failure detection survival positive negative false true""".split()
)
"""Words that make an outcome together with one of `RATES`, as in `success_rate`."""
SPLITS = {
  'train': 'train',
  'training': 'train',
  'val': 'validation',
  'valid': 'validation',
  'validation': 'validation',
  'eval': 'validation',
  'dev': 'validation',
  'heldout': 'validation',
  'test': 'test',
}
QUALIFIERS = frozenset(
  """n num number total train training max final non embedding nonembedding embd
  trainable seen model active count processed consumed m b k g t millions
  billions in of log10 log the run trained optimizer true approx est data
  dataset text image scale""".split()
)
"""Words that may stand beside a word of `SIZES`: `n_train_tokens` is still a size."""

HYPERPARAMETERS = frozenset(
  """lr learning rate wd decay dropout warmup cooldown momentum beta beta1 beta2
  b1 b2 betas eps epsilon clip clipping accum accumulation schedule scheduler
  optimizer optim activation width depth layers layer heads head hidden dim embd
  rank alpha gamma lambda temperature smoothing weight weights coef coeff
  coefficient ratio init initialization scale multiplier mult batch bs norm
  normalization tokenizer vocab context block window seq len length ema noise
  augment augmentation fn type kind mode use enable fraction
  interval every threshold margin dtype strategy method variant algorithm algo
  model architecture arch dataset task bias bits quantization penalty
  regularization order degree kernel stride channels experts topk patience
  lambda1 power start size tau sigma mu theta factor""".split()
)
"""Words of settings. The values or the place of such a column do not make it an outcome."""

SETTING_SUFFIXES = frozenset(
  """weight weighting weights coef coeff coefficient scale scaling fn function
  type kind name mode factor alpha beta gamma lambda lr clip clipping smoothing
  reduction temperature threshold chunks dtype schedule warmup source every
  interval target budget limit tolerance margin""".split()
)
"""Last words that turn the name of a metric into that of a setting, as in `loss_weight`."""

_WORD = re.compile(r'[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+')


@dataclasses.dataclass(frozen=True)
class ColumnName:
  """The words of a column's name.

  Attributes:
    words: Lower-case words, without a prefix.
    group: 'config', 'metric', 'metadata' or '': the meaning of the prefix.
  """

  words: tuple[str, ...]
  group: str = ''

  @property
  def text(self) -> str:
    """The words joined by underscores."""
    return '_'.join(self.words)

  @functools.cached_property
  def split(self) -> str:
    """'train', 'validation', 'test' or '': the data that a metric is of."""
    return next((SPLITS[word] for word in self.words if word in SPLITS), '')

  @property
  def begins_with_split(self) -> bool:
    """True for names such as `eval_x` and `best_val_x`, but not for `alpha_test`."""
    words = [word for word in self.words if word not in STATISTICS]
    return bool(words) and words[0] in SPLITS

  @functools.cached_property
  def is_hyperparameter(self) -> bool:
    """True if a word of it names a setting."""
    return bool(HYPERPARAMETERS & set(self.words))

  @property
  def is_spread(self) -> bool:
    """True for the spread of a metric over seeds, such as `loss_std`."""
    is_named = len(self.words) > 1 and (
      self.words[-1] in SPREADS or self.words[0] in SPREADS
    )
    return is_named and self.is_metric

  @property
  def is_metric(self) -> bool:
    """True for a measure of a model's quality."""
    return self._direction([w for w in self.words if w not in SPREADS]) != 0

  @property
  def direction(self) -> int:
    """-1 for a metric where less is better, 1 where more is better, 0 if unknown."""
    return self._direction(list(self.words))

  def _direction(self, words: list[str]) -> int:
    core = [word for word in words if word not in STATISTICS and word not in SPLITS]
    while len(core) > 1 and core[-1] in RATES:
      core.pop()
    if not core or core[-1] in SETTING_SUFFIXES:
      return 0
    if core[-1] == 'bits' and len(words) > 1 and len(core) == len(words):
      # `w_bits` is the precision of weights, not a loss in bits.
      return 0
    # The last word decides. If it is no metric (`loss_c4`, `bleu_de`), the first metric does.
    if core[-1] in LOWER_IS_BETTER:
      return -1
    if (
      core[-1].rstrip('0123456789') in HIGHER_IS_BETTER or core[-1] in HIGHER_IS_BETTER
    ):
      return 1
    if HYPERPARAMETERS & set(core):
      return 0
    for word in core:
      if word in LOWER_IS_BETTER:
        return -1
      if word in HIGHER_IS_BETTER:
        return 1
    return 0

  @property
  def has_metric(self) -> bool:
    """True if any word is a metric, as in `acc_product_type`. Weak evidence."""
    suffixes = SETTING_SUFFIXES - {'type', 'kind', 'name'}
    is_setting = bool(self.words) and self.words[-1] in suffixes
    return not is_setting and bool(
      (LOWER_IS_BETTER | HIGHER_IS_BETTER) & set(self.words)
    )

  @property
  def is_cost(self) -> bool:
    """True for a time, a speed or a memory."""
    words = self.words
    if not words:
      return False
    times = COSTS | UNITS
    divisors = {after for word, after in zip(words, words[1:]) if word == 'per'}
    if divisors:
      # `tokens_per_s_per_gpu` and `ms_per_step` are costs. `tokens_per_batch` is a setting.
      is_per_part = words[-1] in {'iter', 'step', 'batch', 'epoch'}
      return bool(divisors & times) or is_per_part and words[0] in times
    if words[-1] in MEMORY_UNITS or words[-1] in COSTS:
      return True
    return words[-1] in UNITS and bool(COSTS & set(words)) or 'time' in words[:2]

  @property
  def is_size(self) -> bool:
    """True for the size or the budget of a run, such as `n_params` or `train_tokens`."""
    core = [word for word in self.words if word in SIZES]
    others = QUALIFIERS | UNITS if 'budget' in core else QUALIFIERS
    if core and set(self.words) <= SIZES | others:
      return True
    # The number of examples that a model was trained on.
    return self.text in 'dataset_size train_size n_train data_size model_size'.split()

  @property
  def is_model_size(self) -> bool:
    """True for parameters, tokens and FLOPs, but not for steps and epochs."""
    return self.is_size and bool((MODEL_SIZES | {'size'}) & set(self.words))

  def is_yardstick(self, objective: ColumnName) -> bool:
    """Returns True if runs with other values measure the objective in another way.

    Examples are the data set, the split, the number of test items, and for a loss of tokens the
    vocabulary and the context.
    """
    words = tuple(w for w in self.words if w not in ('name', 'id'))
    if not words:
      return False
    # `min_samples_split` of a decision tree is a setting.
    if words[-1] in DATA_NAMES and words[0] != 'train' and not AMOUNTS & set(words):
      return True
    is_evaluation = words[0] in SPLITS and SPLITS[words[0]] != 'train'
    if words[-1] in AMOUNTS and (
      is_evaluation or self.text in ('num_utts', 'n_items', 'num_questions')
    ):
      return True
    is_per_token = bool(PER_TOKEN & set(objective.words))
    return is_per_token and '_'.join(words) in TEXT_UNITS

  @property
  def is_other_outcome(self) -> bool:
    """True for names of measurements that are neither a metric nor a cost."""
    words = self.words
    # `ep_len_mean` is measured, and `max_episode_length` is set.
    if {'ep', 'episode'} & set(words) and {'len', 'length'} & set(words):
      return 'max' not in words
    if not words or self.is_hyperparameter and not RATE_OUTCOMES & set(words):
      return False
    if words[-1] in RATES and RATE_OUTCOMES & set(words):
      return True
    if len(words) > 1 and (words[-1] in AVERAGES | SPREADS or words[0] in AVERAGES):
      return True
    if {'best', 'stop', 'stopped', 'converged'} & set(words) and PROGRESS & set(words):
      return True
    # `delta` alone is a setting, as that of Huber's loss.
    if words == ('delta',):
      return False
    if self.text in TESTS or {'metric', 'ran'} & set(words):
      return True
    core = [word for word in words if word not in STATISTICS] or list(words)
    return not OTHER_OUTCOMES.isdisjoint((core[0], core[-1]))


@functools.cache
def column_name(name: str) -> ColumnName:
  """Splits the name of a column into words.

  >>> column_name('config/learning_rate').words, column_name('params_batchSize').group
  (('learning', 'rate'), 'config')
  >>> column_name('val/loss_mean').split, column_name('Eval Accuracy').direction
  ('validation', 1)
  """
  group = ''
  components = [part for part in re.split(r'[./]', name) if part]
  for part in components[:-1]:
    parts = part.lower().split('_')
    found = _group(part.lower() if part.lower() in METADATA_GROUPS else parts[-1])
    # `by_task.copy` is a part of the results.
    found = 'metric' if parts[0] == 'by' else found
    if found:
      group = found
      # Drop the prefix, and the components before it.
      components = components[components.index(part) + 1 :]
      break
  rest = '/'.join(components)
  if not group:
    group, rest = _underscored_prefix(rest)
  return ColumnName(tuple(word.lower() for word in _WORD.findall(rest)), group)


def _group(word: str) -> str:
  if word in CONFIG_GROUPS:
    return 'config'
  if word in METRIC_GROUPS:
    return 'metric'
  return 'metadata' if word in METADATA_GROUPS else ''


def _underscored_prefix(name: str) -> tuple[str, str]:
  """Returns the meaning of a prefix such as `params_`, and the name without it."""
  for prefix in ('params', 'param', 'config', 'hparam', 'user_attrs', 'system_attrs'):
    rest = name[len(prefix) + 1 :]
    if not name.lower().startswith(f'{prefix}_') or not rest:
      continue
    # `params_m` and `param_count` are numbers of parameters, `config_name` is a name, but
    # `param_max_depth` and `params_n_layers` are settings.
    others = QUALIFIERS | IDENTITIES | METADATA | RATES | {'efficiency'}
    words = re.findall(r'[a-z]+', rest.lower())
    if others.issuperset(words) or words[0] == 'efficiency':
      continue
    if prefix == 'user_attrs':
      return '', rest
    return ('metadata' if prefix == 'system_attrs' else 'config'), rest
  return '', name
