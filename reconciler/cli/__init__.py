"""The commands that need no daemon: its settings, what a file says, what is wrong with a node. In come words of a
command line, out go lines for people and documents for scripts.
"""
