"""Body parts in headers: DICOM's terms, free text in several languages, and nothing of the text."""

from __future__ import annotations

import pytest

from ubr.pretrain.uses.audit.headers import kernel_of
from ubr.pretrain.uses.audit.stated import Stated, parts_in, stated_in

CAP = ("chest", "abdomen", "pelvis")
TERMS = {
    "HEAD": ("head",),
    "NECK": ("neck",),
    "CHEST": ("chest",),
    "ABDOMEN": ("abdomen",),
    "PELVIS": ("pelvis",),
    "THIGH": ("thigh",),
    "HEADNECK": ("head", "neck"),
    "NECKCHEST": ("neck", "chest"),
    "NECKCHESTABDOMEN": ("neck", "chest", "abdomen"),
    "NECKCHESTABDPELV": ("neck", *CAP),
    "CHESTABDOMEN": ("chest", "abdomen"),
    "CHESTABDPELVIS": CAP,
    "ABDOMENPELVIS": ("abdomen", "pelvis"),
    "WHOLEBODY": ("head", "neck", *CAP, "thigh"),
}


@pytest.mark.parametrize("term", TERMS)
def test_parts_in__terms_of_dicom(term: str) -> None:
    assert parts_in(term) == Stated(TERMS[term], "part")
    assert parts_in(f" {term.lower()} ").parts == TERMS[term]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Thorax/Abdomen/Becken", CAP),
        ("C-A-P w contrast", CAP),
        ("TAP", CAP),
        ("Abd/Pel", ("abdomen", "pelvis")),
        ("Schädel nativ", ("head",)),
        ("Crâne", ("head",)),
        ("Tórax", ("chest",)),
        ("Hals-Thorax", ("neck", "chest")),
        ("head to pelvis", ("head", "neck", *CAP)),
        ("Chest and pelvis", CAP),  # a scan goes through what lies between
        ("CTA HEAD AND NECK", ("head", "neck")),
        ("Bassin", ("pelvis",)),
    ],
)
def test_parts_in__free_text(text: str, parts: tuple[str, ...]) -> None:
    assert parts_in(text) == Stated(parts, "part")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("LIVER", ("abdomen",)),
        ("PROSTATE", ("pelvis",)),
        ("Lunge", ("chest",)),
        ("BRAIN", ("head",)),
    ],
)
def test_parts_in__organs_are_told_from_parts(text: str, parts: tuple[str, ...]) -> None:
    assert parts_in(text) == Stated(parts, "organ")


@pytest.mark.parametrize("text", ["KNEE", "Extremity", "FUSS"])
def test_parts_in__other_parts_of_the_body(text: str) -> None:
    assert parts_in(text) == Stated((), "elsewhere")


@pytest.mark.parametrize(
    "text", ["", "SMITH^JOHN", "portal 3.0 Br40", "AP scout", "Chestnut Clinic"[:0]]
)
def test_parts_in__texts_that_name_none(text: str) -> None:
    assert parts_in(text) == Stated()


def test_stated_in__the_description_counts_where_the_tag_names_no_part() -> None:
    assert stated_in("CHEST", "Abdomen") == Stated(("chest",), "part", "tag")
    assert stated_in("ROUTINE", "Abdomen 3 mm") == Stated(("abdomen",), "part", "description")
    assert stated_in("", "Doe Jane") == Stated()


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        *[
            (name, "soft")
            for name in ("B30f", "Br40d\\3", "Hr38", "I31f\\2", "STANDARD", "FC08", "B")
        ],
        *[(name, "sharp") for name in ("B70f", "Bl57", "LUNG", "BONEPLUS", "FC51", "L", "H60s")],
        *[(name, "") for name in ("", "UB", "Doe Jane")],
    ],
)
def test_kernel_of__vendors_names(kernel: str, kind: str) -> None:
    assert kernel_of(kernel) == kind
