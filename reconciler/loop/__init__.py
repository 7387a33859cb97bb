"""The one loop. Marked keys come in, in slices of a few milliseconds each gets its pass, here or in a thread beside
it; outcomes go to `status`. The node's own objects come before any attachment's, and links are removed many at a
time.
"""
