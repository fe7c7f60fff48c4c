"""State that outlives a round: moments and residuals."""
