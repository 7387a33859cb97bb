"""PURE: desired and observed objects come in, decisions go out, and nothing here waits or does I/O. `render` turns a
record into kernel objects; `plan` finds what differs, and in which order to change it; `unrender` and `rebuild` recover
the records of a lost store from marks in the kernel. The rest decides what is ours, who holds a port, and what foreign
firewalls mean.
"""
