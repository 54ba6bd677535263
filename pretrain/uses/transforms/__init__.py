"""Transforms for MONAI (`.monai`) and TorchIO (`.torchio`), which read where a CT lies in the body.

Either module needs its library: the extras `monai` and `torchio`.
"""
