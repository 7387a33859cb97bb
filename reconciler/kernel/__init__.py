"""The only place that knows netlink, pyroute2 and libnftables: models come in, bytes go to the kernel, and what it
answers comes out as models, or as one of the errors Retryable, Terminal and Conflict.

Where the kernel needs a language of its own there is a room for it; what takes one file lies here.
"""
