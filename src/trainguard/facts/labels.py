"""What a label says of a position without saying which token comes there."""

#: The label of a position that is not trained on: the `ignore_index` of torch's CrossEntropyLoss,
#: which the models and collators of transformers and TRL take over.
IGNORED_LABEL = -100
