"""The store: the pixels of many series and what is known of them.

It is made once by `ingest` and read by everything else.

    STORE/
      store.json              format and the version that made it
      catalog.parquet         one row per series, taken or left out; made from the rows in series/,
                              and made anew whenever it lags behind them
      series/KEY.b2nd         blosc2, int16 [z, y, x], one slice per chunk
      series/KEY.json         the row of a series that was taken; written after its pixels, so its
                              presence is what "done" means
      series/KEY.left.json    the row of one that was left out; beside KEY.json, why that one could
                              not be replaced
      grids/                  slices resampled for training (`bank`)
      private/                the secret of the patients' keys, and which key came from which path.
                              Delete this folder before the store leaves the hospital; training
                              never reads it.

Rows, slices, tables and grids carry a CRC-32, which is compared when they are read. Stores of
earlier versions have none and are read all the same.

Every file appears whole or not at all, so a kill leaves nothing half made. One ingest at a time
writes a store; a second is refused. The catalog is a pure function of the rows.

Nothing outside private/ identifies a patient. A series' key is a hash of its UID. Patient ids are
short, so anyone could hash all of them and compare: the patient's key is therefore keyed with the
store's secret. Series are ordered by a digest of their content, which does not depend on the
secret: the same scans ingested anew give the same order, and so the same split by patient. Of two
series with the same content under different UIDs the catalog keeps one, since otherwise they could
end up on both sides of a split.
"""

from .catalog import DAMAGED, SAME_CONTENT
from .folder import Store
from .made import FORMAT
from .rows import LEFT_OUT, TAKEN, SeriesRow, StoreError

__all__ = [
    "DAMAGED",
    "FORMAT",
    "LEFT_OUT",
    "SAME_CONTENT",
    "TAKEN",
    "SeriesRow",
    "Store",
    "StoreError",
]
