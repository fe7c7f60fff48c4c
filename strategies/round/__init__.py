"""One round of any method: draw, cut, send, check, add up."""
