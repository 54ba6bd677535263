"""Values that no sound file has, put into one place of a file in its own format.

Checksums that the format has are made anew: these stand for a writer that is wrong, or hostile, and
not for a disk.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.common.mutations import Mutation, Random

NUMBERS: tuple[Any, ...] = (
    *(0, -1, -5, 10**10, 2**63, -(2**31) - 1, 10**400, 1e-300, 1e38),
    *(float("nan"), float("inf"), float("-inf")),
)
OTHERS: tuple[Any, ...] = (
    *("", "text", "../../outside", "\x1b[31mred\x1b[0m", "=cmd|' /C calc'!A0", "x" * 100_000),
    *(None, True, [], {}, [[[]]], {"a": {"b": []}}, "\u202e\u0000\ud800"),
)


CHANGED: list[tuple[Any, Any]] = []
"""What the last mutation put where: values before and after, as far as it tells."""


def _noted(before: Any, after: Any) -> Any:
    CHANGED[:] = [(before, after)]
    return after


def _value(rng: Random) -> Any:
    choices = NUMBERS if rng.random() < 0.6 else OTHERS
    return choices[int(rng.integers(len(choices)))]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def replaced(value: Any, rng: Random) -> Any:
    """A nested value in which one value is wild, or is missing.

    Every name on a level is as likely to be chosen, however much it holds.
    """
    if not isinstance(value, dict | list) or not value:
        return _noted(value, _value(rng))
    owner, name = value, _any_of(value, rng)
    while isinstance(inner := owner[name], dict | list) and inner and rng.random() < 0.8:
        owner, name = inner, _any_of(inner, rng)
    if rng.random() < 0.15:
        _noted(owner.pop(name), None)
    else:
        owner[name] = _noted(owner[name], _value(rng))
    return value


def _any_of(value: Any, rng: Random) -> Any:
    names = list(value) if isinstance(value, dict) else range(len(value))
    return names[int(rng.integers(len(names)))]


def wild_json(data: bytes, rng: Random) -> bytes:
    """One value of a JSON file."""
    value = replaced(json.loads(data), rng)
    if isinstance(value, dict) and "crc32" in value:  # a row of a store
        rest = {name: one for name, one in value.items() if name != "crc32"}
        value["crc32"] = f"{zlib.crc32(json.dumps(rest).encode()):08x}"
    text = json.dumps(value)
    return text.encode("utf-8", "surrogatepass")


def wild_lines(data: bytes, rng: Random) -> bytes:
    """One value of a file with a JSON text in each line."""
    lines = data.splitlines()
    at = int(rng.integers(len(lines)))
    return b"\n".join([*lines[:at], wild_json(lines[at], rng), *lines[at + 1 :]]) + b"\n"


def wild_yaml(data: bytes, rng: Random) -> bytes:
    """One value of a YAML file."""
    text: str = yaml.safe_dump(replaced(yaml.safe_load(data), rng))
    return text.encode("utf-8", "replace")


def wild_csv(data: bytes, rng: Random) -> bytes:
    """One cell of a table, or its column."""
    rows = list(csv.reader(io.StringIO(data.decode())))
    row = rows[int(rng.integers(len(rows)))]
    if row:
        at = int(rng.integers(len(row)))
        row[at] = _noted(row[at], _plain(_value(rng)).replace("\ud800", ""))
    if rng.random() < 0.1:
        column = int(rng.integers(len(rows[0])))
        rows = [[*one[:column], *one[column + 1 :]] for one in rows]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def wild_nifti(data: bytes, rng: Random) -> bytes:
    """One number of the header."""
    packed = data[:2] == b"\x1f\x8b"
    if packed:
        data = zlib.decompress(data, 31)
    ints = [(at, "<h") for at in (0, *range(40, 56, 2), 68, 70, 72, 74, 252, 254)]
    floats = [(at, "<f") for at in (*range(76, 108, 4), 108, 112, 116, *range(256, 328, 4))]
    at, form = [*ints, *floats][int(rng.integers(len(ints) + len(floats)))]
    whole = (0, -1, 3, 7, 32767, -32768, 512, 64, 2304, 1536)
    parts = tuple(n for n in NUMBERS if abs(n) <= 1e38 or n != n or n in (float("inf"), -np.inf))
    pool = whole if form == "<h" else parts
    new = pool[int(rng.integers(len(pool)))]
    value = struct.pack(form, new)
    _noted(struct.unpack_from(form, data, at)[0], new)
    data = data[:at] + value + data[at + len(value) :]
    return gzip_of(data) if packed else data


def gzip_of(data: bytes) -> bytes:
    """Packed by gzip, without a date."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def wild_header(data: bytes, rng: Random) -> bytes:
    """One value in the text header of NRRD or MetaImage."""
    ends = [data.find(mark) for mark in (b"\n\n", b"ElementDataFile") if mark in data]
    end = min(ends) if ends else len(data)
    lines = data[:end].split(b"\n")
    at = int(rng.integers(len(lines)))
    mark = b" = " if b" = " in lines[at] else b": "
    name, found, value = lines[at].partition(mark)
    if found:
        words = value.split(b" ")
        place = int(rng.integers(len(words)))
        new = _noted(words[place].decode("utf-8", "replace"), _plain(_value(rng)))
        words[place] = new.encode("utf-8", "replace")
        lines[at] = name + mark + (b" ".join(words) if rng.random() < 0.8 else words[0])
    return b"\n".join(lines) + data[end:]


def wild_png(data: bytes, rng: Random) -> bytes:
    """One byte or number of a chunk, with its checksum made anew."""
    chunks, at = [], 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], bytearray(data[at + 8 : at + 8 + length])))
        at += 12 + length
    name, body = chunks[0] if rng.random() < 0.7 else chunks[int(rng.integers(len(chunks)))]
    if name == b"IHDR" and rng.random() < 0.6:
        size = (0, 1, 2**31 - 1, 100_000, 49)[int(rng.integers(5))]
        body[4 * int(rng.integers(2)) :][:4] = b""
        body[0:4] = struct.pack(">I", size)
        del body[13:]
    elif body:
        body[int(rng.integers(len(body)))] ^= 1 << int(rng.integers(8))
    out = data[:8]
    for name, body in chunks:
        crc = zlib.crc32(name + bytes(body))
        out += struct.pack(">I", len(body)) + name + bytes(body) + struct.pack(">I", crc)
    return out


TAGS = (
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PixelSpacing", "ImagePositionPatient"),
    *("ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "RescaleType", "Modality"),
    *("InstanceNumber", "AcquisitionNumber", "SliceThickness", "SeriesInstanceUID", "ImageType"),
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "PatientID", "NumberOfFrames"),
    *("BodyPartExamined", "SpecificCharacterSet", "GantryDetectorTilt", "PatientPosition"),
)


def wild_dicom(data: bytes, rng: Random) -> bytes:
    """One tag, as whatever bytes a writer may leave there."""
    import pydicom
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    dataset = pydicom.dcmread(io.BytesIO(data))
    keyword = TAGS[int(rng.integers(len(TAGS)))]
    tag = Tag(tag_for_keyword(keyword) or 0)
    vr = dictionary_VR(tag)
    if rng.random() < 0.1:
        if tag in dataset:
            del dataset[tag]
    else:
        old = str(dataset[tag].value) if tag in dataset else ""
        value = _noted(old, _plain(_value(rng))).encode("utf-8", "replace")[:60_000]
        if vr == "US":
            value = struct.pack("<H", (0, 1, 3, 47, 65535)[int(rng.integers(5))])
        elif rng.random() < 0.4:
            value = b"\\".join([value] * int(rng.integers(2, 7)))
        value += b" " * (len(value) % 2)
        dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    out = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        dataset.save_as(out)
    return out.getvalue()


def wild_safetensors(data: bytes, rng: Random) -> bytes:
    """One value of the header; where one is JSON, of what that says."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    about = header.get("__metadata__", {})
    inner = [name for name, text in about.items() if text[:1] in "[{"]
    if inner and rng.random() < 0.5:
        name = inner[int(rng.integers(len(inner)))]
        value = replaced(json.loads(about[name]), rng)
        if isinstance(value, dict) and "seal" in value:  # ours
            rest = {k: v for k, v in value.items() if k != "seal"}
            text = json.dumps(rest, sort_keys=True).encode()
            value["seal"] = hashlib.sha256(text).hexdigest()
        about[name] = json.dumps(value)
    elif rng.random() < 0.2:
        size = (0, 10**10, 2**63, length + 8)[int(rng.integers(4))]
        return struct.pack("<Q", size) + data[8:]
    else:
        replaced(header, rng)
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def wild_torch(data: bytes, rng: Random) -> bytes:
    """One value of what `torch.save` wrote; a tensor may become NaN or of another shape."""
    import torch

    value = torch.load(io.BytesIO(data), weights_only=True)
    value = replaced(_lists(value), rng)
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def _lists(value: Any) -> Any:
    """Nested values that can be changed."""
    if isinstance(value, dict):
        return {name: _lists(one) for name, one in value.items()}
    return [_lists(one) for one in value] if isinstance(value, list | tuple) else value


class _Payload:
    """Opened by pickle, it leaves a mark."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


def payload(data: bytes, rng: Random) -> bytes:
    """Code that runs when a careless reader opens the file."""
    import pickle

    import torch

    if rng.random() < 0.5:
        return pickle.dumps({"model": _Payload(), "state_dict": _Payload()})
    out = io.BytesIO()
    torch.save({"state_dict": {"a": _Payload()}, "global_step": 2}, out)
    return out.getvalue()


def wild_numpy(data: bytes, rng: Random) -> bytes:
    """Another header of a `.npy` file."""
    size = int.from_bytes(data[8:10], "little")
    texts = (
        "{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000, 512), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<i2', 'fortran_order': True, 'shape': (-3,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 3), }",
        "(" * 1000,
    )
    text = texts[int(rng.integers(len(texts)))].encode().ljust(size - 1) + b"\n"
    return data[:8] + len(text).to_bytes(2, "little") + text + data[10 + size :]


def wild_parquet(data: bytes, rng: Random) -> bytes:
    """One column with other values, of another type, or missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(data))
    at = int(rng.integers(table.num_columns))
    name = table.column_names[at]
    kind, how = table.schema.field(at).type, int(rng.integers(4))
    _noted("", "" if how == 3 else None)
    if how == 0:
        table = table.remove_column(at)
    elif how == 1:
        table = table.set_column(at, name, pa.array(["text"] * table.num_rows))
    elif how == 2:
        table = table.set_column(at, name, pa.nulls(table.num_rows, kind))
    else:
        values = table.column(at).to_pylist()
        if values and pa.types.is_floating(kind):
            new = float(("nan", "inf", "-1", "1e30")[int(rng.integers(4))])
            values[int(rng.integers(len(values)))] = _noted(0.0, new)
        elif values and pa.types.is_integer(kind):
            values[int(rng.integers(len(values)))] = (-1, 2**14)[int(rng.integers(2))]
        else:
            values = values[::-1]
        table = table.set_column(at, name, pa.array(values, kind))
    about = {k: v for k, v in (table.schema.metadata or {}).items() if k != b"crc32"}
    out = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(about), out)
    written: bytes = out.getvalue().to_pybytes()
    return written


WILD: dict[str, Mutation] = {
    "json": wild_json,
    "lines": wild_lines,
    "yaml": wild_yaml,
    "csv": wild_csv,
    "nifti": wild_nifti,
    "header": wild_header,
    "png": wild_png,
    "dicom": wild_dicom,
    "safetensors": wild_safetensors,
    "torch": wild_torch,
    "numpy": wild_numpy,
    "parquet": wild_parquet,
}
