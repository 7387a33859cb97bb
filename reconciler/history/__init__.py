"""What happened, kept for people: outcomes come in, a bounded number of events goes to a file, to the log and to those
who follow. Nothing is decided by it, and whoever tells it something waits for nothing.
"""
