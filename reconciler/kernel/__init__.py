"""The only place that knows netlink, pyroute2 and libnftables: models come in, bytes go to the kernel, and what it
answers comes out as models, or as one of the errors Retryable, Terminal and Conflict.

Each of the kernel's protocols has a package of its own; what takes only one file is here.
"""
