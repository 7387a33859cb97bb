"""What the administrator said. A file, variables and flags come in, one frozen Settings goes out, or the list of all
mistakes with the place of each. YAML documents with their line numbers are read here, for state files too.
"""
