"""What goes into a report, and in which order: the answer, the pictures, every trial, and how it was found."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Mapping, Sequence

import numpy as np

from lmhp.analysis.advice.curves import curve_findings
from lmhp.analysis.analysis import Analysis, sentences
from lmhp.analysis.curves.extrapolation import extrapolate
from lmhp.analysis.findings import ranked
from lmhp.analysis.phrases import amount, listed, setting
from lmhp.analysis.report import effect_tables as tables_of_effects
from lmhp.analysis.report import method, tables
from lmhp.analysis.report import study_tables as several
from lmhp.analysis.report.document import Figure, Report, Section, Table, Text
from lmhp.analysis.report.figures import curves as figures_curves
from lmhp.analysis.report.figures import effects as figures_effects
from lmhp.analysis.report.figures import responses as figures_response
from lmhp.analysis.report.figures import scaling as figures_scaling
from lmhp.analysis.report.figures import study as figures_study
from lmhp.analysis.runs.table import SEARCH, Runs
from lmhp.analysis.scaling.transfer import power_laws
from lmhp.analysis.winner import matched_budget as match_budget
from lmhp.analysis.winner.answer import unit_of

COSTS = ('parameters', 'flops', 'seconds', 'tokens')
_ABOUT = ('source', 'kind', 'command', 'data_sha256', 'versions', 'device', 'git')


def of_study(found: Analysis) -> Report:
  """The report of one study."""
  runs = found.runs
  sections = [
    s
    for s in (
      _winner(found),
      _effects(found),
      _enough(found),
      _training(found),
      _sizes(found),
    )
    if s.blocks
  ]
  return Report(
    title=runs.name,
    answer=sentences(found),
    findings=found.findings,
    sections=sections,
    trials=tables.trials_table(runs),
    configs=runs.configs,
    method=method.paragraphs(found),
    caveats=method.caveats(found),
    about=about(runs),
  )


def of_run(runs: Runs) -> Report:
  """The report of one training run, or of one that still trains."""
  findings, number = ranked(curve_findings(runs)), int(runs.number[0])
  config = Table(
    'config',
    'Config',
    [('key', '', 'text'), ('value', '', 'text')],
    [
      (key, setting(value))
      for key, value in sorted(runs.configs.get(number, {}).items())
    ],
  )
  result = Table(
    'result',
    'Result',
    [('quantity', '', 'text'), ('value', '', 'number')],
    [
      (name.replace('_', ' '), float(column[0]))
      for name, column in runs.measured.items()
      if math.isfinite(column[0]) and not name.startswith('final_')
    ],
  )
  sections = [
    Section(
      'training', 'Training', _there([figures_curves.one_run(runs), _further(runs)])
    ),
    Section('result', 'Result', [result] if result.rows else []),
    Section('config', 'Config', [config]),
  ]
  return Report(
    title=runs.name,
    answer=_answer_of_run(runs, findings),
    findings=findings,
    sections=[s for s in sections if s.blocks],
    configs=runs.configs,
    method=method.of_curves(),
    about=about(runs),
  )


def _further(runs: Runs) -> Text | None:
  """Where the training loss would be after twice as many steps, or why that cannot be said."""
  curve = runs.curves.get(int(runs.number[0]), {})
  known = np.isfinite(curve.get('loss_nats', np.array([])))
  if known.sum() < 2:
    return None
  last = float(curve['step'][known][-1])
  found = extrapolate(
    curve['step'], curve['loss_nats'], 2 * last, curve.get('learning_rate')
  )
  if found.refused:
    return Text(f'What twice as many steps would bring is not said: {found.refused}.')
  return Text(
    f'Had it gone on at its learning rate, the training loss at step {2 * last:,.0f} would be '
    f'{amount(found.loss)} nats ({found.confidence:.0%} interval {amount(found.low)} to {amount(found.high)}), by '
    'a power law with an offset.'
  )


def _answer_of_run(runs: Runs, findings: Sequence[Any]) -> list[str]:
  measured = {
    name: float(column[0])
    for name, column in runs.measured.items()
    if math.isfinite(column[0])
  }
  status = {
    'complete': 'came to its end',
    'running': 'is not at its end',
    'diverged': 'diverged',
  }[str(runs.status[0])]
  size = (
    f' of {amount(measured["parameters"])} parameters'
    if 'parameters' in measured
    else ''
  )
  done = [
    f'{amount(measured[name])} {name}'
    for name in ('steps', 'tokens')
    if name in measured
  ]
  first = f'The run{size} {status}' + (f' after {listed(done)}.' if done else '.')
  loss = float(runs.objective[0])
  second = 'It has no evaluation yet.'
  if math.isfinite(loss):
    error = measured.get('eval_loss_nats_standard_error', math.nan)
    spread = (
      f', standard error {amount(error)} over sequences' if math.isfinite(error) else ''
    )
    second = f'Its {runs.objective_name} is {amount(loss)}{spread}; of one seed, so what another would give is not known.'
  warned = [f for f in findings if f.level in ('warning', 'advice')]
  return [
    first,
    second,
    warned[0].title if warned else 'Its curves show nothing to warn of.',
  ]


def of_several(found: Sequence[Analysis]) -> Report:
  """Several studies beside each other; their runs are numbered through, so that each has one config."""
  names = _unique([one.runs.name for one in found])
  rows, findings, configs, trials, start = [], [], {}, [], 0
  for name, one in zip(names, found):
    numbers = {int(n): start + i for i, n in enumerate(one.runs.number)}
    rows.append(_row(name, one, numbers))
    findings += [
      dataclasses.replace(
        f,
        title=f'{name}: {f.title}',
        runs=tuple(numbers[r] for r in f.runs if r in numbers),
      )
      for f in one.findings
    ]
    configs |= {
      numbers[n]: config for n, config in one.runs.configs.items() if n in numbers
    }
    trials.append((name, one.runs, numbers))
    start += len(one.runs)
  findings += power_laws(found)
  compared = Table(
    'compared',
    'The studies',
    [
      ('study', '', 'text'),
      ('points', '', 'number'),
      ('best', '', 'run'),
      ('expected', '', 'number'),
      ('low', '90%', 'number'),
      ('high', '90%', 'number'),
      ('objective', '', 'text'),
      ('equal', '', 'text'),
    ],
    rows,
    'Of each its best point, what to expect of it on a fresh seed, and what its runs had the same amount of.',
  )
  return Report(
    title=' and '.join(names) if len(names) < 4 else f'{len(names)} studies',
    answer=_answer_of_several(names, found),
    findings=ranked(findings),
    sections=[
      Section(
        'compared', 'Compared', [*_there([several.studies(names, found)]), compared]
      )
    ],
    trials=several.trials_of_several(trials),
    configs=configs,
    method=method.paragraphs(found[0]),
    caveats=method.caveats_of_several(found),
    about={name: about(one.runs) for name, one in zip(names, found)},
  )


def _row(name: str, one: Analysis, numbers: Mapping[int, int]) -> tuple:
  runs, won = one.runs, one.won
  n = len(np.unique(runs.point[runs.cohort == SEARCH]))
  if won is None:
    return (
      name,
      n,
      None,
      math.nan,
      math.nan,
      math.nan,
      runs.objective_name,
      one.match_budget,
    )
  first = int(
    runs.number[np.flatnonzero((runs.point == won.point) & (runs.cohort == SEARCH))[0]]
  )
  low, high = sorted((runs.shown(won.low), runs.shown(won.high)))
  expected = won.expected if math.isfinite(won.expected) else won.mean
  return (
    name,
    n,
    numbers[first],
    runs.shown(expected),
    low,
    high,
    runs.objective_name,
    one.match_budget,
  )


def _answer_of_several(names: Sequence[str], found: Sequence[Analysis]) -> list[str]:
  if len({one.runs.objective_name for one in found}) > 1:
    listing = listed(
      [f'{name} by {one.runs.objective_name}' for name, one in zip(names, found)]
    )
    return [
      f'{len(found)} studies are judged by different objectives ({listing}), so they have no common best.'
    ]
  held = [match_budget.describe_matched_budget(one.runs) for one in found]
  common = [
    name
    for name in match_budget.AMOUNTS
    if all(name in h and match_budget.equal(h[name], name) for h in held)
    and match_budget.equal(
      (min(h[name][0] for h in held), max(h[name][1] for h in held)), name
    )
  ]
  first = (
    f'{len(found)} studies, '
    + (
      f'at equal {listed(common)}'
      if common
      else 'with no equal amount of anything recorded between them'
    )
    + ', are compared.'
  )
  done = [(name, one) for name, one in zip(names, found) if one.won is not None]
  if not done:
    return [first, 'None has a trial that came to its end yet.']
  loss = lambda one: (
    one.won.expected if math.isfinite(one.won.expected) else one.won.mean
  )
  order = sorted(done, key=lambda pair: loss(pair[1]))
  best, unit = order[0], unit_of(order[0][1].runs)
  second = (
    f'Best is {best[0]}: expect {amount(best[1].runs.shown(loss(best[1])))} {unit}'.rstrip()
    + ' on a fresh seed.'
  )
  if len(order) < 2:
    return [first, second]
  other = order[1]
  known = math.isfinite(best[1].won.high) and math.isfinite(other[1].won.low)
  apart = known and best[1].won.high < other[1].won.low
  third = (
    f'Next is {other[0]}, {amount(loss(other[1]) - loss(best[1]))} {unit} behind'.rstrip()
    + (
      '; their intervals do not meet.'
      if apart
      else '; their intervals meet: no difference shown.'
      if known
      else '; without fresh seeds of both, whether that is luck is not known.'
    )
  )
  return [first, second, third]


def _unique(names: Sequence[str]) -> list[str]:
  return [
    name if names.count(name) == 1 else f'{name} ({i + 1})'
    for i, name in enumerate(names)
  ]


# --- sections -------------------------------------------------------------------------------------------------------


def _winner(found: Analysis) -> Section:
  runs = found.runs
  blocks = [
    figures_study.confirmation(runs),
    tables.best_table(runs),
    figures_study.history(runs),
  ]
  return Section('winner', 'The winner', _there(blocks))


def _effects(found: Analysis) -> Section:
  runs, blocks = found.runs, []
  if found.rung is not None:
    blocks.append(
      Text(
        f'Most trials were stopped early, so responses are read at step {found.rung:,}, which '
        'most of them reached.'
      )
    )
  if found.effects:
    blocks += [
      figures_effects.effects(found.effects, unit_of(runs)),
      tables_of_effects.effects_table(runs, found.effects, unit_of(runs)),
    ]
  blocks += figures_response.responses(runs, list(found.responses))
  blocks += [
    figures_response.isolation(runs, one, f'isolation-{i}')
    for i, one in enumerate(found.isolations)
  ]
  blocks += [
    figures_response.contour(runs, one, f'contour-{i}')
    for i, one in enumerate(found.contours)
  ]
  blocks += [
    figures_effects.importance(one, f'importance-{one.method}')
    for one in found.importances
    if not one.refused
  ]
  for refused in dict.fromkeys(one.refused for one in found.importances if one.refused):
    blocks.append(Text(f'Importance is not said: {refused}.'))
  return Section('effects', 'What each hyperparameter does', _there(blocks))


def _enough(found: Analysis) -> Section:
  runs, blocks = found.runs, []
  if found.curve is not None:
    blocks.append(figures_study.best_of_n(runs, found.curve))
  if found.enough is not None:
    blocks.append(
      Text(found.enough.reason[:1].upper() + found.enough.reason[1:].rstrip('.') + '.')
    )
  blocks += [
    figures_study.status(runs),
    tables_of_effects.stability_table(found.stability),
  ]
  if len(runs.varied()) > 2:
    blocks.append(figures_study.parallel(runs))
  return Section('enough', 'Were there enough trials?', _there(blocks))


def _training(found: Analysis) -> Section:
  runs = found.runs
  blocks = [figures_study.rungs(runs)]
  if runs.curves:
    blocks = [
      figures_curves.training_curves(runs),
      figures_curves.gap(runs),
      figures_curves.grad_norm(runs),
    ] + blocks
  blocks = _there(blocks) + _batches(found)
  if runs.curves and runs.about.get('kind') == 'study' and blocks:
    blocks.append(
      Text(
        "Curves are thinned here; the full ones are in the study's directory, under curves/."
      )
    )
  return Section('training', 'Training', blocks)


def _batches(found: Analysis) -> list[Figure]:
  known, blocks = found.batches, []
  if known.scales:
    blocks.append(
      figures_scaling.noise_scale(
        known.scales, known.middles, known.batch_tokens, 'tokens'
      )
    )
  if known.critical is not None:
    blocks.append(
      figures_scaling.critical_batch(
        known.critical, known.sizes, known.steps, known.numbers
      )
    )
  return blocks


def _sizes(found: Analysis) -> Section:
  runs, blocks = found.runs, []
  done = runs.complete()
  for cost in COSTS:
    amounts = done.measured.get(cost, np.array([]))
    amounts = amounts[np.isfinite(amounts)]
    if (
      len(amounts) > 2
      and amounts.max() > 1.05 * amounts.min()
      and (cost != 'seconds' or blocks)
    ):
      blocks.append(figures_scaling.pareto(runs, cost))
  if found.kinds is not None and not found.kinds.refused:
    blocks.append(tables_of_effects.kinds_table(found.kinds, unit_of(runs)))
  if found.law is not None:
    sized = [done.measured[name] for name in ('parameters', 'tokens')]
    blocks += [
      figures_scaling.scaling(found.law, *sized, done.losses, done.number),
      tables_of_effects.law_table(found.law),
    ]
  return Section('sizes', 'Size and cost', _there(blocks))


def _there(
  blocks: Sequence[Text | Table | Figure | None],
) -> list[Text | Table | Figure]:
  return [
    block
    for block in blocks
    if block is not None and not (isinstance(block, Table) and not block.rows)
  ]


def about(runs: Runs) -> dict[str, Any]:
  """What is known of where the runs are from."""
  found = {key: runs.about[key] for key in _ABOUT if runs.about.get(key)}
  if isinstance(found.get('command'), (list, tuple)):
    found['command'] = ' '.join(map(str, found['command']))
  return found
