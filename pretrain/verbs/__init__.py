"""The verbs of `ubr-pretrain`.

Options and help come from the signatures and docstrings of the functions behind the verbs. Each
verb imports them when it is called, and they import torch when they are: the list of verbs and the
help of each open at once.
"""
