"""Sources of desired state: gRPC clients, CNI runtimes, state files. Each owns one partition of it and writes nothing
else; what a client waits for, it waits for here.
"""
