"""Identifiers as people write them, brought to the one form that is handed in, or refused with a reason.

Pure text in, value out: looks nothing up, so an id that is well formed may still not exist.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

_NOTHING = frozenset(
    [
        "",
        "-",
        "?",
        "n/a",
        "na",
        "nil",
        "none",
        "null",
        "not applicable",
        "not available",
        "tba",
        "tbd",
        "todo",
        "unknown",
    ]
)
_ORCID = re.compile(
    r"(?:(?:https?://)?(?:www\.)?orcid\.org/|orcid:)?([0-9]{4}(?:-[0-9]{4}){2}-[0-9]{3}[0-9X])/?", re.I | re.A
)
_ROR = re.compile(r"(?:(?:https?://)?(?:www\.)?ror\.org/|ror:)?(0[0-9a-hjkmnp-tv-z]{6}[0-9]{2})/?", re.I | re.A)
_DOI = re.compile(r"(?:(?:https?://)?(?:www\.|dx\.)?doi\.org/|doi:\s*)?(10\.[0-9]{4,9}(?:\.[0-9]+)*/\S*[^\s.,;])", re.I)
_LOCAL_PART = r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*"
_DOMAIN_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_EMAIL = re.compile(rf"{_LOCAL_PART}@(?:{_DOMAIN_LABEL}\.)+[a-z](?:[a-z0-9-]*[a-z0-9])", re.I | re.A)
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def _found(value: object) -> str:
    text = repr(value)
    return "found " + (text if len(text) <= 60 else text[:57] + "...")


def _refuse_nothing(text: str, what: str) -> None:
    if text.strip().casefold() in _NOTHING:
        raise ValueError(f"{_found(text)}; remove the key when there is no {what}")


def orcid(text: str) -> str:
    """Bring an ORCID iD to its bare form, ``0000-0002-1825-0097``.

    Parameters
    ----------
    text
        Bare or as an address.

    Raises
    ------
    ValueError
        If the form or the check digit (ISO 7064, mod 11-2) is wrong.
    """
    _refuse_nothing(text, "ORCID iD")
    match = _ORCID.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{_found(text)}; expected an ORCID iD, e.g. 0000-0002-1825-0097")
    bare = match[1].upper()
    if bare[-1] != _mod_11_2(bare[:-1].replace("-", "")):
        raise ValueError(
            f"{_found(text)}, whose last digit does not fit the others; expected an ORCID iD without typing errors"
        )
    return bare


def _mod_11_2(digits: str) -> str:
    total = 0
    for digit in digits:
        total = (total + int(digit)) * 2
    return "0123456789X"[(12 - total % 11) % 11]


def ror(text: str) -> str:
    """Bring a ROR id to its full address, ``https://ror.org/02catss52``.

    Parameters
    ----------
    text
        Bare or as an address.

    Raises
    ------
    ValueError
        If the form or the two check digits (ISO 7064, mod 97-10) are wrong.
    """
    _refuse_nothing(text, "ROR id")
    match = _ROR.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{_found(text)}; expected a ROR id, e.g. https://ror.org/02catss52")
    bare = match[1].lower()
    if bare[-2:] != _mod_97_10(bare[:-2]):
        raise ValueError(
            f"{_found(text)}, whose last two digits do not fit the rest; expected a ROR id without typing errors"
        )
    return f"https://ror.org/{bare}"


def _mod_97_10(base32: str) -> str:
    number = 0
    for character in base32:
        number = number * 32 + _CROCKFORD.index(character)
    return f"{98 - number * 100 % 97:02d}"


def email(text: str) -> str:
    """Check an e-mail address; only blanks around it are taken off.

    Raises
    ------
    ValueError
        If it is not one plain address.
    """
    address = text.strip()
    if not _EMAIL.fullmatch(address):
        raise ValueError(f"{_found(text)}; expected one e-mail address and nothing else, e.g. jane.doe@example.org")
    return address


def doi(text: str) -> str:
    """Bring a DOI to its bare form, ``10.1038/s41592-021-01166-8``; upper and lower case stay.

    Parameters
    ----------
    text
        Bare, with ``doi:`` or as an address.

    Raises
    ------
    ValueError
        If it is none, or ends in a full stop, comma or semicolon of the sentence around it.
    """
    _refuse_nothing(text, "DOI")
    match = _DOI.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{_found(text)}; expected a DOI, e.g. 10.1038/s41592-021-01166-8")
    return match[1]


@dataclass(frozen=True)
class Licence:
    """A licence under which the BioImage Archive takes data.

    Parameters
    ----------
    name
        As BioStudies writes it.
    spdx
        Identifier of the SPDX list.
    url
        Legal code.
    """

    name: str
    spdx: str
    url: str


CC0 = Licence("CC0", "CC0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/legalcode")
CC_BY = Licence("CC BY 4.0", "CC-BY-4.0", "https://creativecommons.org/licenses/by/4.0/legalcode")
_LICENCE_ADDRESS = re.compile(
    r"(?:https?://)?(?:www\.)?creativecommons\.org/(publicdomain/zero/1\.0|licenses/by/4\.0)(?:/(?:legalcode|deed)(?:\.[a-z-]+)?)?/?",
    re.I | re.A,
)
_BY_SPELLING = {
    "publicdomain/zero/1.0": CC0,
    "licenses/by/4.0": CC_BY,
    "cc0": CC0,
    "cc01.0": CC0,
    "cc01.0universal": CC0,
    "cczero": CC0,
    "creativecommonszero": CC0,
    "creativecommonszero1.0": CC0,
    "creativecommonszerov1.0universal": CC0,
    "creativecommonscc0": CC0,
    "ccby4.0": CC_BY,
    "ccbyv4.0": CC_BY,
    "ccattribution4.0": CC_BY,
    "creativecommonsattribution4.0": CC_BY,
    "creativecommonsattribution4.0international": CC_BY,
    "creativecommonsby4.0": CC_BY,
}


def licence(text: str) -> Licence:
    """Recognise one of the two licences that the BioImage Archive takes, by name, SPDX identifier or address.

    Raises
    ------
    ValueError
        If it is another one, or CC BY without its version.
    """
    address = _LICENCE_ADDRESS.fullmatch(text.strip())
    spelling = address[1].lower() if address else re.sub(r"[\s_()-]+", "", text.casefold())
    if spelling not in _BY_SPELLING:
        raise ValueError(f"{_found(text)}; the BioImage Archive takes CC0 and CC BY 4.0 only")
    return _BY_SPELLING[spelling]


def release_date(value: str | datetime.date) -> datetime.date:
    """Read a day, written YYYY-MM-DD.

    Parameters
    ----------
    value
        Text, or the date that a YAML reader has made of it; a date with a time of day is refused.

    Raises
    ------
    ValueError
        If it has another form or there is no such day.
    """
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value
    text = str(value).strip()
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError(f"{_found(text)}; expected a date as YYYY-MM-DD, e.g. 2026-03-01")
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{_found(text)}, a day that does not exist; expected YYYY-MM-DD, e.g. 2026-03-01") from None


@dataclass(frozen=True, order=True)
class TermId:
    """Id of an ontology term.

    Parameters
    ----------
    prefix
        Ontology, such as ``FBbi``.
    local
        Rest of the id; for EDAM with its branch, ``operation_3443``.
    """

    prefix: str
    local: str

    @property
    def curie(self) -> str:
        """Short form: ``FBbi:00000369``, ``EDAM:operation_3443``."""
        return f"{self.prefix}:{self.local}"

    @property
    def underscore(self) -> str:
        """Last part of the address: ``FBbi_00000369``, ``operation_3443``."""
        return self.local if self.prefix == "EDAM" else f"{self.prefix}_{self.local}"

    @property
    def url(self) -> str:
        """Address; one of the OBO library unless the ontology is known to have its own."""
        return _BASES.get(self.prefix, _OBO) + self.underscore

    def __str__(self) -> str:
        return self.curie


_OBO = "http://purl.obolibrary.org/obo/"
_BASES = {
    "EDAM": "http://edamontology.org/",
    "EFO": "http://www.ebi.ac.uk/efo/",
    "CVCL": "https://www.cellosaurus.org/",
}
_ADDRESS = re.compile(
    r"https?://(?:purl\.obolibrary\.org/obo|(?:www\.)?edamontology\.org|www\.ebi\.ac\.uk/efo|www\.cellosaurus\.org)/",
    re.I | re.A,
)
_EDAM = re.compile(r"(?:EDAM[:_])?(operation|topic|data|format)[_:]([0-9A-Za-z]+)", re.I | re.A)
_TERM = re.compile(r"([A-Za-z][A-Za-z0-9_]*)[:_]([A-Za-z0-9]*[0-9][A-Za-z0-9]*)")
_PREFIXES = (
    *("BAO", "BTO", "CHEBI", "CL", "CLO", "CVCL", "DOID", "EDAM", "EFO", "FBbi", "FBbt", "GO", "HP", "MONDO"),
    *("NCBITaxon", "OBI", "PATO", "PO", "SO", "UBERON", "WBbt", "ZFA"),
)
_CASE = {prefix.casefold(): prefix for prefix in _PREFIXES}
_SYNTAX = {
    "EDAM": (
        "(operation|topic|data|format)_[0-9]{4}",
        "operation, topic, data or format, '_' and 4 digits, e.g. operation_3443",
    ),
    "FBbi": ("[0-9]{8}", "FBbi: and 8 digits, e.g. FBbi:00000369"),
    "NCBITaxon": ("[1-9][0-9]*", "NCBITaxon: and a number, e.g. NCBITaxon:9606"),
}


def split_term_id(text: str) -> TermId | None:
    """Take apart what is meant as a term id, right or wrong; None for other text, such as a name."""
    rest = _ADDRESS.sub("", text.strip(), count=1)
    if edam := _EDAM.fullmatch(rest):
        return TermId("EDAM", f"{edam[1].lower()}_{edam[2]}")
    if term := _TERM.fullmatch(rest):
        return TermId(_CASE.get(term[1].casefold(), term[1]), term[2])
    return None


def term_id(text: str) -> TermId:
    """Read the id of an ontology term.

    Parameters
    ----------
    text
        ``FBbi:00000369``, ``FBbi_00000369``, ``operation_3443``, ``EDAM:operation_3443`` or the address of one.

    Raises
    ------
    ValueError
        If it is none; the rest of the id is checked for EDAM, FBbi and NCBITaxon, and for others only
        to be letters and digits, at least one digit among them.
    """
    found = split_term_id(text)
    if found is None:
        raise ValueError(f"{_found(text)}; expected a term id, e.g. FBbi:00000369, NCBITaxon:9606 or operation_3443")
    pattern, expected = _SYNTAX.get(found.prefix, (".*", ""))
    if not re.fullmatch(pattern, found.local):
        raise ValueError(f"{_found(text)}; expected {expected}")
    return found
