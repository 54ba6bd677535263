"""The consumers: detectors that start from a trunk."""
