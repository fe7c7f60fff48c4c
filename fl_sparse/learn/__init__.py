"""Local training: jobs, learners, and what they share. Trained parts come back as they are, or as factors."""
