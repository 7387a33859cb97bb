"""What wakes the loop: kernel events, commits to nftables, names in /run/netns, proxy neighbours, for which the kernel
sends no events, and other firewalls. Only marks go out: what is marked is read anew, so a lost event delays a repair
but never leads to a wrong decision."""
