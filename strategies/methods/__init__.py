"""The methods: who trains which units in a round."""
