"""The one loop. Marked keys come in; each gets its pass, in slices of a few milliseconds on the event loop or in a
thread; outcomes go to `status`. The node's own objects come before any attachment's, and links are removed many at a
time.
"""
