"""What wakes the loop: kernel events, commits to nftables, names in /run/netns, proxy neighbours that no event tells
of, and other firewalls. Only marks go out: what is marked is read anew, so an event that is lost costs time and no
truth.
"""
