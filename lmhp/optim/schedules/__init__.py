"""Learning-rate schedules: shapes with peak 1, in which every number is traced.

Training has T steps, numbered 0 to T - 1. The first w of them are the warmup. Warmup, cooldown and
cycle are given as fractions of T, and rounded to whole steps:

  schedule(step) = ramp(step) * shape(max(step - w, 0))
  ramp(step) = i + (1 - i) min(1, (step + 1) / (w + 1)),    i = initial_lr_ratio

The ramp at step 0 is above 0, so that no update is lost: 1 / (w + 1) if i is 0. Step w is the
first step at the peak. Without a warmup, w is 0. A decay would reach its end at step T, which
is not run. At the last step, T - 1, the fraction t of the table is (T - 1 - w) / (T - w).
nanoGPT's `get_lr` does the same with lr_decay_iters = T. (Optax and transformers divide by w in
the ramp, so that step 0 has a learning rate of 0.)

In the table, f is final_lr_ratio, and [x] means f + (1 - f) x. These change from step to step:

- t, the fraction of the steps after the warmup that have passed;
- c, the number of cycles that have passed since the warmup, such as 1.5;
- v, the fraction of the cooldown that has passed.

=================  ==============================================================
`schedule.name`    shape
=================  ==============================================================
constant           1
step               max(f, decay_factor ** floor(c))
exponential        max(f, decay_factor ** c)
triangular         [triangle], triangle = 1 - abs(2 (c mod 1) - 1)
triangular2        [triangle / 2 ** floor(c)]
exp_range          [triangle * decay_factor ** c]
cosine             [(1 + cos pi t) / 2]
cosine_restarts    [(1 + cos pi x) / 2], x the passed fraction of the current cycle;
                   each cycle is cycle_growth times as long as the one before
linear             [1 - t]
polynomial         [(1 - t) ** power]
inverse_sqrt       max(f, (1 + c) ** -1/2)
one_cycle          as cosine, but the ramp also rises along half a cosine
wsd_linear         1, then [1 - v] over the last cooldown_fraction of training
wsd_sqrt           1, then [1 - sqrt v] over the same steps
wsd_cosine         1, then [(1 + cos pi v) / 2] over the same steps
rex                [(1 - t) / (1 - (1 - rex_beta) t)]
=================  ==============================================================

A triangle starts and ends each cycle at f. So a warmup before triangular* or exp_range rises to f
and not to the peak.
"""
