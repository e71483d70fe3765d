"""Data: from text to token shards, and from tokens to batches.

`dataset.load` turns sources into token streams and a tokenizer. `TrainStream` makes each
training batch a pure function of the data seed and the sequence numbers. The
sequence with a given number is the same for every batch size, so a checkpoint holds no state
of the data.
`evaluation_batches` reads the validation split once.
"""
