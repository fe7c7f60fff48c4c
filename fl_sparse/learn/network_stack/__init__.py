"""Stacked networks under torch's autograd: a kind of network is its pass forward; a learner trains cohorts of it."""
