"""Model steps as code for devices: a checkpoint's steps become tensors (export), one `Target` says how to compile them.

The only importers of torch_mlir, iree.compiler and iree.turbine (extra `codegen`)."""
