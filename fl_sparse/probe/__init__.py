"""How much a frozen encoder's features tell about classes: nearest neighbours and linear probes."""
