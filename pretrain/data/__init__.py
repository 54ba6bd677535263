"""From scans to slices on the network's grid."""
