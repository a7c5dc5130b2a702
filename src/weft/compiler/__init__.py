"""Agent program → MLIR → placed module → Deployment. The only importer of xDSL."""
