"""PURE: desired and observed objects come in, decisions go out, and nothing here waits or does I/O. `render` says
what a wish is in the kernel, `plan` what differs and in which order to change it, `unrender` and `rebuild` what the
kernel's marks tell of a store that was lost, the rest what is ours, who holds a port, and what foreign firewalls
mean.
"""
