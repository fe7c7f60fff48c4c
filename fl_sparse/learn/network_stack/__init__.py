"""Stacked networks under torch's autograd: a kind of network gives its pass forward, and a learner trains it."""
