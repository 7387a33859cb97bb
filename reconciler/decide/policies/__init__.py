"""PURE: network policies, from what Kubernetes' documentation says of them to what the kernel is told."""
