"""The client commands of `netplumb`: arguments to a request, the answer to a table, JSON or YAML.

Only `commands` and `options` are imported for `--help`; gRPC and the models load when a command runs.
"""
