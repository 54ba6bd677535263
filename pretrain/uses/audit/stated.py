"""The body parts that a header states, in DICOM's terms or in free text.

Terms of BodyPartExamined (PS3.16, Annex L) and descriptions in English, German, French, Spanish,
Italian, Portuguese and Dutch become parts from head to thigh. Only this module's fixed terms are
returned; header text, which may contain names, is discarded.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from ...reading.parts import PARTS

Kind = Literal["part", "organ", "elsewhere", ""]


@dataclass(frozen=True)
class Stated:
    """What a header says that a series shows.

    parts: of `PARTS`, superior to inferior. kind: "part" where it names parts; "organ" where it
    names an organ or site in them; "elsewhere" for another part of the body, such as a knee; ""
    where it names none that is known. by: "tag" for BodyPartExamined, "description" for
    SeriesDescription, "" where neither names one.
    """

    parts: tuple[str, ...] = ()
    kind: Kind = ""
    by: Literal["tag", "description", ""] = ""


def stated_in(tag: str, description: str) -> Stated:
    """What a header states: the tag, and where it names no part the description."""
    for by, text in (("tag", tag), ("description", description)):
        if (found := parts_in(text)).kind:
            return Stated(found.parts, found.kind, by)  # type: ignore[arg-type]
    return Stated()


def parts_in(text: str) -> Stated:
    """The parts that a text names; those between the first and the last of them are meant too."""
    words = _plain(text)
    named, organs = _named(words, _PARTS), _named(words, _ORGANS)
    if named:
        return Stated(_filled(named, words), "part")
    if organs:
        return Stated(tuple(part for part in PARTS if part in organs), "organ")
    return Stated((), "elsewhere") if re.search(_ELSEWHERE, words) else Stated()


def _plain(text: str) -> str:
    """Lower case without accents, words set apart by single spaces."""
    text = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    return " ".join(re.findall(r"[a-z]+|\d+", text))


def _named(words: str, patterns: dict[str, tuple[str, ...]]) -> set[str]:
    """Every part that one of the patterns finds."""
    return {
        part for pattern, parts in patterns.items() if re.search(pattern, words) for part in parts
    }


def _filled(named: set[str], words: str) -> tuple[str, ...]:
    """The parts named; of head and pelvis and what lies between, all that are between two of the
    trunk, since a scan goes through them.
    """
    places = sorted(PARTS.index(part) for part in named)
    for a, b in pairwise(places.copy()):
        if PARTS[a] != "head" or re.search(r"\b(to|bis|a|al|tot)\b", words):
            places += range(a, b)
    return tuple(PARTS[k] for k in sorted({*places}))


_TRUNK = ("chest", "abdomen", "pelvis")
_TORSO_AND_NECK = ("neck", *_TRUNK)

_PARTS: dict[str, tuple[str, ...]] = {
    r"\bwhole ?body|wholebody|ganzkorper|corps entier|cuerpo (entero|completo)|corpo (inteiro|int"
    r"ero)|total ?body|\bwb\b|polytrauma|\bpan ?scan": PARTS,
    # DICOM's compounds, cut to sixteen characters, and their usual abbreviations
    r"neckchestabd(omen|pelv)?|necktopelvis": ("neck", "chest", "abdomen"),
    r"neckchestabdpelv": _TORSO_AND_NECK,
    r"neckchest": ("neck", "chest"),
    r"headneck|\bh ?n\b|kopf hals|\borl\b": ("head", "neck"),
    r"chestabd": ("chest", "abdomen"),
    r"(chest)?abd(omen)?pelv|\bthorabd": ("abdomen", "pelvis"),
    r"chestabdpelv|\b[ct] ?a ?p\b|\bcap\b|\btap\b|\btorso\b|\btrunk\b|\brumpf\b": _TRUNK,
    r"\ba ?p\b(?! ?(view|proj|scout))": ("abdomen", "pelvis"),
    r"\bhead\b|\bkopf\b|schadel|schaedel|\bskull|\bcrane\b|\bcrani|\btete\b|\bcabeza|\bcabeca|"
    r"\btesta\b|\bhoofd|headneck": ("head",),
    r"\bneck|\bhals\b|\bcou\b|\bcuello|\bpescoco|\bcollo\b|cervico": ("neck",),
    r"\bchest|thora[xck]|\btorax|\btorac|\bborst|\bbrust(korb)?\b": ("chest",),
    r"\babd|\bbauch|\bventre\b|\baddom|\bbuik": ("abdomen",),
    r"pelvi[sce]|\bpelv?\b|\bbecken|\bbassin\b|\bbacino|\bbekken|abdpelv": ("pelvis",),
    r"\bthigh|oberschenkel|\bcuisse|\bmuslo|\bfemora": ("thigh",),
}
"""A pattern of plain text -> the parts that it names."""

_ORGANS: dict[str, tuple[str, ...]] = {
    r"\bbrain|\bhirn|gehirn|cerveau|cerebr|encefal|encephal|\borbit|\bsinus|\bnnh\b|\bface|"
    r"\bfacial|\bmaxil|\bjaw|mandib|\biac|temporal|felsenbein|\bpituit|hypophys|\bear\b|\beye": (
        "head",
    ),
    r"thyroid|schilddruse|laryn|pharyn|carotis|carotid|\bcsp(ine)?\b|\bhws\b|cervical|\bc spine": (
        "neck",
    ),
    r"\blung|\blunge|\bpoumon|pulmon|\bpolmon|heart|\bherz|\bcoeur|cardia|coron|corazon|mediast|"
    r"breast|mamma|\bsein\b|esophag|oesophag|sternum|\brib|\btsp(ine)?\b|\bbws\b|thoracic spine|"
    r"bronch|\bpe\b|\baorta thor": ("chest",),
    r"\bliver|\bleber|\bfoie|hepat|higado|fegato|kidney|\bnier|\brein|renal|\brene\b|pancrea|"
    r"spleen|\bmilz|\bsplen|stomach|\bmagen|gastr|adrenal|nebenniere|gallbl|biliar|\bbile|"
    r"lumbar|\blws\b|\blsp(ine)?\b|\blspine|duoden": ("abdomen",),
    r"\bcolon|\bkolon|colorec|intestin|\bbowel|\bdarm\b|uret|urogra": ("abdomen", "pelvis"),
    r"prostat|bladder|\bblase\b|vessie|uter|cervix|ovar|rectum|rectal|\bhip\b|\bhufte|\bhanche|"
    r"cadera|sacr|coccyx": ("pelvis",),
}
"""Organs and sites -> the parts in which they lie."""

_ELSEWHERE = (
    r"extremit|\bknee|\bknie|\bgenou|rodilla|\bankle|\bfoot|\bfuss|\bpied\b|\bhand\b|\bwrist|"
    r"\belbow|\bellenbogen|shoulder|schulter|epaule|hombro|\barm\b|\bleg\b|\bcalf|tibia|humer|"
    r"forearm|finger|\btoe"
)
"""Parts of the body that are none of `PARTS`."""
