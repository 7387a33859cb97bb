"""What happened, kept for people: outcomes come in; a bounded number of events goes to a file, to the log and to
clients that follow. Nothing is decided here, and recording an event never blocks."""
