"""A plan as Kubernetes manifests: Ray (through KubeRay) places its nodes, one gateway serves it."""
