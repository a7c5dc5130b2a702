"""Model steps → tensors → machine code: one artifact per partition and target."""
