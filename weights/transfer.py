"""Moving tensors into a module, with a receipt: a transfer is complete or it raises.

Nothing is matched by suffix and nothing is skipped silently. Half-loaded weights show only as a bad average precision, weeks later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class TransferError(ValueError):
    """A transfer that was not complete; the text says what was missing, unexpected or of another shape."""


@dataclass(frozen=True)
class Receipt:
    """What a transfer did. loaded: names that hold the source's numbers now; left: names of the target that the source does not train."""

    loaded: tuple[str, ...]
    left: tuple[str, ...]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], *, prefix: str = "") -> Receipt:
    """Copy `tensors` into `module`, every one or none.

    Args:
        module: the target. Its tensors outside `prefix` are left alone and listed in the receipt.
        tensors: name -> tensor, names as under the prefix.
        prefix: where the trunk sits in the target, with its dot ("backbone.").

    Raises:
        TransferError: a tensor is missing, unexpected, of another shape or kind; the module is then unchanged.
    """
    target = module.state_dict()
    trunk = {name: t for name, t in target.items() if name.startswith(prefix)}
    source = {prefix + name: t for name, t in tensors.items()}
    missing, unexpected = sorted(set(trunk) - set(source)), sorted(set(source) - set(trunk))
    common = sorted(set(trunk) & set(source))
    unlike = [f"{n} {tuple(source[n].shape)} for {tuple(trunk[n].shape)}" for n in common if source[n].shape != trunk[n].shape]
    cast = [f"{n} {source[n].dtype} for {trunk[n].dtype}" for n in common if source[n].dtype != trunk[n].dtype]
    troubles = (("missing", missing), ("unexpected", unexpected), ("of another shape", unlike), ("of another kind", cast))
    faults = [f"{len(names)} {word} ({_some(names)})" for word, names in troubles if names]
    if faults:
        raise TransferError(f"incomplete transfer, nothing was loaded: {'; '.join(faults)}")
    with torch.no_grad():
        for name in common:
            trunk[name].copy_(source[name])
    after = module.state_dict()
    wrong = [n for n in common if not torch.equal(after[n].cpu(), source[n].cpu())]
    if wrong:
        raise TransferError(f"{len(wrong)} tensors differ after loading ({_some(wrong)})")
    return Receipt(tuple(common), tuple(sorted(set(target) - set(trunk))))
