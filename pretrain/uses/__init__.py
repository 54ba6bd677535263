"""What scores are used for.

Regions from labels or masks, crops, levels, pages, audits and the choice of series, Structured
Reports, transforms of MONAI and TorchIO, and the demonstration.
"""
