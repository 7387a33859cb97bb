"""The daemon's side of the contract. Requests come in from a unix socket, are bounded and made into wishes, and go to
`workloads`, the protocol that the reconciler implements; its answers and errors go out as messages and status codes.
"""
