"""The commands that need no daemon: its settings, and what a file says. In come words of a command line, out go lines
for people and documents for scripts.
"""
