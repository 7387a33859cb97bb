"""What the administrator configured. A file, variables and flags come in; one frozen Settings goes out, or a list of
all mistakes and where they are. YAML documents with their line numbers are read here, for state files too."""
