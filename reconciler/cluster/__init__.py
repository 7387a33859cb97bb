"""One node among many, by etcd. In comes what the cluster's keys say, as of one revision and then change by change; out
go this node's presence, the prefixes that it holds, and a `ClusterView` of the other nodes. Nothing here is imported
unless the settings have `cluster`.

What etcd does not say is never taken for "gone": if etcd is away, silent, compacted or restored from a backup, what is
known stays as it is.
"""
