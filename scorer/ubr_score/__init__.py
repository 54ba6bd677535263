"""Body coordinates of CT scans, without torch.

`score` writes tables for any number of scans, as the command `ubr-score` does. `Scorer` reads
one series after the other in memory.
"""

from .pretrain.data.volume import Volume
from .pretrain.reading.regions import Regions
from .pretrain.scores.alone import Reading, Scorer, score
from .weights.exported import Exported

__all__ = ["Exported", "Reading", "Regions", "Scorer", "Volume", "score"]
