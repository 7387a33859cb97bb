"""Sources of desired state. Each owns one partition of it and writes nothing else."""
