"""Where text comes from and how it becomes batches.

`load` turns sources into token shards and a tokenizer; `TrainStream` makes training batches a pure function of (data
seed, sequence numbers); `evaluation_batches` walks the validation split once. Sequence s is the same whatever the batch
size, so nothing about the data is ever saved or restored.
"""
