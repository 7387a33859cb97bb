"""Manifests as people write them, read as a state file is."""

from __future__ import annotations

from netplumb.models.networkpolicy import Namespace, NetworkPolicy
from netplumb.reconciler.settings import documents


def policies(text: str) -> list[NetworkPolicy]:
    return [NetworkPolicy.model_validate(it.data) for it in documents.read(text.encode()).documents]


def namespace(name: str, **labels: str) -> Namespace:
    metadata = {"name": name, "labels": labels}
    return Namespace.model_validate({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


HEAD = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
"""
DENY_ALL = (
    HEAD
    + """
metadata: {name: default-deny-all, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
"""
)
DENY_INGRESS = (
    HEAD
    + """
metadata: {name: default-deny-ingress, namespace: shop}
spec:
  podSelector: {}
  policyTypes:
  - Ingress
"""
)
ONLY_DNS = (
    HEAD
    + """
metadata: {name: only-dns, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
  - to:
    - namespaceSelector: {}
      podSelector:
        matchLabels: {k8s-app: kube-dns}
    ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
"""
)
FROM_ONE_APP = (
    HEAD
    + """
metadata: {name: api-allow, namespace: shop}
spec:
  podSelector:
    matchLabels: {app: db}
  ingress:
  - from:
    - podSelector:
        matchLabels: {app: web}
"""
)
FROM_A_NAMESPACE = (
    HEAD
    + """
metadata: {name: from-prod, namespace: shop}
spec:
  podSelector:
    matchLabels: {app: db}
  ingress:
  - from:
    - namespaceSelector:
        matchLabels: {purpose: production}
"""
)
FROM_AN_APP_ELSEWHERE = (
    HEAD
    + """
metadata: {name: from-monitoring, namespace: shop}
spec:
  podSelector:
    matchLabels: {app: db}
  ingress:
  - from:
    - namespaceSelector:
        matchExpressions:
        - {key: kubernetes.io/metadata.name, operator: In, values: [monitoring]}
      podSelector:
        matchLabels: {app: web}
"""
)
ONLY_A_PORT = (
    HEAD
    + """
metadata: {name: only-5432, namespace: shop}
spec:
  podSelector:
    matchLabels: {app: db}
  ingress:
  - ports:
    - port: 5432
"""
)
A_RANGE = (
    HEAD
    + """
metadata: {name: a-range, namespace: shop}
spec:
  podSelector:
    matchLabels: {app: web}
  policyTypes: [Egress]
  egress:
  - to:
    - ipBlock: {cidr: 10.0.0.0/24}
    ports:
    - {protocol: TCP, port: 32000, endPort: 32768}
"""
)
FROM_OUTSIDE = (
    HEAD
    + """
metadata: {name: from-outside, namespace: shop}
spec:
  podSelector:
    matchLabels: {app: web}
  ingress:
  - from:
    - ipBlock:
        cidr: 172.17.0.0/16
        except:
        - 172.17.1.0/24
"""
)
ALLOW_ALL = (
    HEAD
    + """
metadata: {name: allow-all, namespace: shop}
spec:
  podSelector: {}
  ingress:
  - {}
"""
)
