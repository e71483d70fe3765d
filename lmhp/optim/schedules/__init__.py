"""Learning-rate schedules: shapes with peak 1, in which every number is traced.

Training has T steps, numbered 0 to T - 1. The first w of them are the warmup. Each interval is
a fraction of T, rounded to whole steps:

  schedule(step) = ramp(step) * shape(max(step - w, 0))
  ramp(step) = i + (1 - i) min(1, (step + 1) / (w + 1)),    i = initial_lr_ratio

The ramp at step 0 is above 0, so that no update is lost: 1 / (w + 1) if i is 0. Step w is the
first step at the peak. Without a warmup, w is 0. A decay reaches its end at step T, one step after
the last: step T - 1 has the shape at (T - 1 - w) / (T - w). This is nanoGPT's `get_lr` with
lr_decay_iters = T. (Optax and transformers divide by w, so that step 0 has a learning rate
of 0.)

In the table, f is final_lr_ratio, and [x] means f + (1 - f) x. t is the fraction of the
steps after the warmup that have passed, c is the number of cycles since the warmup, and v is
the fraction of the cooldown that has passed.

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
cosine_restarts    [(1 + cos pi x) / 2], with x the fraction of a cycle, which may grow
linear             [1 - t]
polynomial         [(1 - t) ** power]
inverse_sqrt       max(f, (1 + c) ** -1/2)
one_cycle          as cosine, with a ramp along a cosine
wsd_linear         1, then [1 - v] over the last cooldown_fraction of training
wsd_sqrt           1, then [1 - sqrt v]
wsd_cosine         1, then [(1 + cos pi v) / 2]
rex                [(1 - t) / (1 - (1 - rex_beta) t)]
=================  ==============================================================

A triangle starts and ends each cycle at f, so a warmup before it rises only to f.
"""
