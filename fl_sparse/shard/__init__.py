"""Image shards: what a client stores of its images, which is their visible patches and nothing else."""
