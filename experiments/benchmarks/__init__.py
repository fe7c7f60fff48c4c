"""What benchmarks run outside this project's own process: one script a tool, each in an environment of its own."""
