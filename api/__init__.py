"""The interface: the gRPC contract in `v1`, its `server` and its `client`s, the command line and the CNI plugin, which
are clients too. `wishes` and `answers` convert between messages and models. Knows the models, never the reconciler.
"""
