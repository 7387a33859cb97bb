"""One node among many, by etcd. In comes what the cluster's keys say, as of one revision and then change by change; out
go this node's presence, the prefixes that it holds, and a `ClusterView` of the others. Nothing here is imported unless
the settings say `cluster`.

What etcd does not say is never taken for "gone": away, silent, compacted and gone back in time each leave what is known
as it is.
"""
