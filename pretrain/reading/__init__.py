"""Reading score curves: arrays in, findings out. Nothing here reads a scan or runs a network."""
