"""How it is said: the gRPC contract, its server and clients. Knows the models, never the reconciler."""
