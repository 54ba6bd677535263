"""The verbs of `ubr-pretrain`.

Options and help come from the signatures and docstrings of the functions behind the verbs. Each
verb imports them when it is called, so that the list of verbs opens at once.
"""
