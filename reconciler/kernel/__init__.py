"""The only place that knows pyroute2 and libnftables: bytes in, models out."""
