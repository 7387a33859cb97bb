"""The commands that need no daemon: settings, checking files, what is wrong with a node. Command lines come in; lines
for people and documents for scripts go out."""
