"""When something is done: whose turn it is, who waits for what, how long until the next try, and how often another
program may undo a repair before it waits. Knows keys and times, and nothing of networks.
"""
