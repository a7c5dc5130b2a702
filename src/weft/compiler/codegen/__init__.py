"""Model steps → tensors → machine code: one artifact per partition and target. The only importer of torch_mlir and IREE."""
