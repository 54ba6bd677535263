"""Networks that are about to be filled: zeros where a library would draw random numbers.

To draw a hundred million numbers takes seconds, and the next line replaces them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode


class Zeroed(TorchFunctionMode):
    """A context in which modules are made with zeros instead of random numbers.

    What is not random, such as a norm's ones, is set as always. PyTorch's random numbers stay where
    they are.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        if func not in _RANDOM:
            return func(*args, **given)
        with torch.no_grad():
            return (given["tensor"] if "tensor" in given else args[0]).zero_()


# Other functions of `init` call these; a mode is not asked about what these call themselves.
_RANDOM: frozenset[Callable[..., Any]] = frozenset(
    [Tensor.uniform_, Tensor.normal_, init.uniform_, init.normal_, init.kaiming_uniform_]
)
