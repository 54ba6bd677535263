"""What score curves say: arrays in, findings out. Nothing here reads a scan or a network."""
