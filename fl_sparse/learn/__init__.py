"""Local training: jobs, learners, and what they share. Trained weights come back as arrays, or as factors."""
