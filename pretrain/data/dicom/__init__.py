"""CT series in DICOM, in two passes.

`read_header` reads one file's header without its pixels, cheap enough for a whole archive.
`group_series` makes series of what it returned, `read_series` a `Volume` of one of them, and
`read_some` some of its slices.
"""

from .headers import CT, ENHANCED, Header, NotDicomError, Slice, read_header
from .pixels import read_series
from .series import first_at_each_position, group_series
from .some import Some, read_some

__all__ = [
    "CT",
    "ENHANCED",
    "Header",
    "NotDicomError",
    "Slice",
    "Some",
    "first_at_each_position",
    "group_series",
    "read_header",
    "read_series",
    "read_some",
]
