"""The firewalls of others, only ever read: nftables and iptables-legacy come out in the words of libnftables-json(5),
read as the kernel tells them and within bounds.
"""
