"""How it is said: the gRPC contract in `v1`, its `server` and its `client`s, the command line and the CNI plugin,
which both are clients too. `wishes` and `answers` convert between messages and models. Knows the models, never the
reconciler.
"""
