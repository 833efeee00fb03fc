"""Terms of FBbi, NCBI Taxonomy and EDAM that studies use, and what is doubtful about a term that somebody wrote.

The table beside this module holds common terms only, so a term missing from it is a warning, never an error.
With an ontology as an OBO file every id of that ontology is checked. Nothing here asks the network.
Ids and labels of the table are facts of FBbi (CC BY 4.0), NCBI Taxonomy and EDAM (CC BY-SA 4.0).
"""

from __future__ import annotations

import csv
import difflib
import functools
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakescope.errors import Problem, problem
from snakescope.study.identifiers import TermId, split_term_id, term_id
from snakescope.tool.base import short

TABLE = Path(__file__).with_name("ontologies.tsv")
_SYNONYM = re.compile(r'"((?:[^"\\]|\\.)*)"\s*([A-Z]*)\s*([\w:-]*)')


@dataclass(frozen=True)
class Term:
    """One term of an ontology.

    Parameters
    ----------
    id
        Its id.
    label
        Its name in the ontology; of a species the scientific one.
    synonyms
        Other names, also ones that only facilities use; of a species the common name first.
    common_name
        Of a species; None when it has none, or for other terms.
    """

    id: TermId
    label: str
    synonyms: tuple[str, ...] = ()
    common_name: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Label and synonyms."""
        return (self.label, *self.synonyms)

    def __str__(self) -> str:
        return f"{self.id} ({self.label})"


@dataclass(frozen=True)
class _Retired:
    """An obsolete or merged term: what it was called, what stands for it now, whether that is sure."""

    label: str
    instead: tuple[TermId, ...]
    is_sure: bool


@dataclass(frozen=True)
class _Official:
    """What an OBO file says of its own ontology; `prefix` is None when no file was given."""

    source: str = ""
    prefix: str | None = None
    terms: Mapping[TermId, Term] = field(default_factory=dict)
    retired: Mapping[TermId, _Retired] = field(default_factory=dict)


class Ontologies:
    """The terms that are known: by id, by label and by synonym, without regard to case, hyphens or blanks."""

    def __init__(self, table: Iterable[Term], official: _Official) -> None:
        self._official = official
        self._terms = {term.id: term for term in table}
        self._in_table = {meant.prefix for meant in self._terms}
        for term in official.terms.values():
            self._terms[term.id] = _merged(self._terms.get(term.id), term)
        self._by_name: dict[str, dict[str, Term]] = {}
        for number in (1, None):  # a label comes before the synonyms of all other terms
            for term in self._terms.values():
                for name in term.names[:number]:
                    self._by_name.setdefault(term.id.prefix, {}).setdefault(_key(name), term)

    def __iter__(self) -> Iterator[Term]:
        return iter(self._terms.values())

    def find(self, text: str, prefix: str | None = None) -> Term | None:
        """Look a term up by id, label or synonym.

        Parameters
        ----------
        text
            Id in any of its forms, or a name.
        prefix
            Ontology to look in; None for all, FBbi before NCBITaxon before EDAM.
        """
        meant = split_term_id(text)
        if meant in self._terms:
            return self._terms[meant] if prefix in (None, meant.prefix) else None
        found = (self._by_name[name].get(_key(text)) for name in self._prefixes(prefix))
        return next(filter(None, found), None)

    def near(self, text: str, prefix: str | None = None) -> list[Term]:
        """Terms of which `text` may be a name with a typing error, the closest first, three at most."""
        names = {name: term for each in self._prefixes(prefix) for name, term in self._by_name[each].items()}
        text = _key(text)
        close = difflib.get_close_matches(text, names, n=50, cutoff=0.7)
        return list(dict.fromkeys(names[name] for name in close if _is_near(text, name)))[:3]

    def organism(self, text: str) -> Term | None:
        """Look a species up by scientific name, common name or taxon id, with or without ``NCBITaxon:``."""
        return self.find(f"NCBITaxon:{text.strip()}" if text.strip().isdecimal() else text, "NCBITaxon")

    def imaging_method(self, text: str) -> Term | None:
        """Look a term of FBbi up by id or name."""
        return self.find(text, "FBbi")

    def check(self, text: str, label: str | None, where: str, prefix: str | None = None) -> list[Problem]:
        """Say what is doubtful about a term: all of it warnings.

        Parameters
        ----------
        text
            Id, or a name.
        label
            Name written beside the id; None when there is none.
        where
            File and key.
        prefix
            Ontology that the term should be of; None for any.

        Returns
        -------
        A malformed or unknown id, an id of another ontology, an obsolete one, an unknown name, or a label that does
        not fit the id. An id of an ontology of which nothing is known here passes.
        """
        meant = self._meant(text, prefix)
        if meant is None:
            return [self._not_a_term(text, where, prefix)]
        if prefix not in (None, meant.prefix):
            return [Problem(where, f"found {meant}; expected a term of {prefix}", self._suggestion(label, prefix))]
        doubt = self._doubt(meant, label)
        if doubt:
            return [Problem(where, *doubt)]
        term = self._terms.get(meant)
        if term is None or label is None or _key(label) in map(_key, term.names):
            return []
        return [
            Problem(where, f"{meant} is {term.label!r}; found {short(label)}", self._suggestion(label, meant.prefix))
        ]

    def _prefixes(self, prefix: str | None) -> list[str]:
        return [name for name in self._by_name if prefix in (None, name)]

    def _meant(self, text: str, prefix: str | None) -> TermId | None:
        term = self.find(text, prefix)
        if term is not None:
            return term.id
        try:
            return term_id(text)
        except ValueError:
            return None

    def _not_a_term(self, text: str, where: str, prefix: str | None) -> Problem:
        if split_term_id(text) is not None:
            try:
                term_id(text)
            except ValueError as error:
                return Problem(where, str(error))
        of = f" of {prefix}" if prefix else ""
        fix = self._suggestion(text, prefix) or "Give the id of the term."
        return Problem(where, f"found {short(text)}; expected a term{of}, by id or by a name known here", fix)

    def _doubt(self, meant: TermId, label: str | None = None) -> tuple[str, str | None] | None:
        """What speaks against an id, and what to do; None for nothing."""
        retired = self._official.retired.get(meant)
        named = self._suggestion(label, meant.prefix)
        if retired:
            return f"found {meant} ({retired.label}), which is obsolete", self._successors(retired) or named
        if meant.prefix == self._official.prefix:
            is_there = meant in self._official.terms
            return None if is_there else (f"found {meant}; {self._official.source} has no such term", named)
        if meant in self._terms or meant.prefix not in self._in_table:
            return None
        look = f"See whether {meant.url} is what you mean, or check it with --ontology FILE.obo."
        return f"found {meant}, which is not among the common terms known here", named or look

    def _successors(self, retired: _Retired) -> str | None:
        known = _either(str(self._terms.get(one, one)) for one in retired.instead)
        if not known:
            return None
        return f"Use {known} instead." if retired.is_sure else f"The ontology says to consider {known}."

    def _suggestion(self, label: str | None, prefix: str | None) -> str | None:
        if label is None:
            return None
        term = self.find(label, prefix)
        if term is not None and self._doubt(term.id) is None:
            return f"{short(label)} is {term}."
        near = [term for term in self.near(label, prefix) if self._doubt(term.id) is None]
        return f"Did you mean {_either(map(str, near))}?" if near else None


def load(obo: Path | None = None) -> Ontologies:
    """Read the table of common terms and, if given, a whole ontology.

    Parameters
    ----------
    obo
        Ontology as an OBO file, not compressed.

    Raises
    ------
    InputError
        If the file cannot be read or holds no terms.
    """
    return Ontologies(_table(), _read_obo(obo) if obo else _Official())


@functools.cache
def _table() -> tuple[Term, ...]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return tuple(_table_term(row) for row in rows)


def _table_term(row: Mapping[str, str]) -> Term:
    synonyms = tuple(filter(None, row["synonyms"].split("|")))
    name = synonyms[0] if synonyms and row["id"].startswith("NCBITaxon:") else None
    is_abbreviation = name is not None and re.match(r"[A-Z]\. ", name)
    return Term(term_id(row["id"]), row["label"], synonyms, None if is_abbreviation else name)


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name.casefold()).strip()


def _is_near(text: str, name: str) -> bool:
    """Whether each word of one has its counterpart in the other: 'Mus musculus' is not near 'Mus spretus'."""
    ours, theirs = _telling_words(text), _telling_words(name)
    pairs = [(a, b) for a in ours for b in theirs if _is_near_word(a, b)]
    return {a for a, _ in pairs} == set(ours) and {b for _, b in pairs} == set(theirs)


def _telling_words(key: str) -> list[str]:
    words = key.split()
    return [word for word in words if not word.startswith("microscop")] or words


def _is_near_word(a: str, b: str) -> bool:
    # Most short words are abbreviations, where two equal letters of three mean nothing.
    cutoff = 0.75 if min(len(a), len(b)) > 4 else 0.85
    return difflib.SequenceMatcher(None, a, b).ratio() >= cutoff


def _either(texts: Iterable[str]) -> str:
    *most, last = list(texts) or [""]
    return f"{', '.join(most)} or {last}" if most else last


def _merged(common: Term | None, official: Term) -> Term:
    if common is None:
        return official
    names = dict.fromkeys((*common.synonyms, common.label, *official.synonyms))
    names.pop(official.label, None)
    return Term(official.id, official.label, tuple(names), common.common_name or official.common_name)


def _read_obo(path: Path) -> _Official:
    nodes, header = _stanzas(path)
    named = {meant: data for text, data in nodes if (meant := split_term_id(text)) and data.get("name")}
    if not named:
        raise problem(path, "found no terms; expected an OBO file, such as fbbi.obo")
    prefix = _own_prefix(named, str(header.get("ontology", "")))
    terms, retired = {}, {}
    for meant, data in named.items():
        if data.get("is_obsolete") == "true":
            retired[meant] = _retired(data)
            continue
        terms[meant] = _obo_term(meant, data)
        for text in data.get("alt_id", ()):
            if former := split_term_id(text):
                retired[former] = _Retired(f"merged into {data['name']}", (meant,), is_sure=True)
    return _Official(path.name, prefix, terms, {key: value for key, value in retired.items() if key not in terms})


def _stanzas(path: Path) -> tuple[Iterable[tuple[str, dict[str, Any]]], dict[str, Any]]:
    """Id and tags of each term, obsolete ones too, and the tags of the header."""
    import obonet  # half a second, with what it needs, for something that few commands do

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise problem(path, "no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise problem(path, f"cannot be read ({error}); expected an OBO file, such as fbbi.obo") from error
    if "[Term]" not in text:
        raise problem(path, "found no terms; expected an OBO file, such as fbbi.obo")
    try:
        graph = obonet.read_obo(io.StringIO(text), ignore_obsolete=False)
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise problem(path, f"is not a well-formed OBO file ({reason}); expected one such as fbbi.obo") from error
    return graph.nodes(data=True), graph.graph


def _own_prefix(ids: Iterable[TermId], ontology: str) -> str:
    """Prefix of the ontology itself: files also hold some terms that it borrows."""
    counts = Counter(one.prefix for one in ids)
    words = re.split(r"\W+", ontology.casefold())
    return next((prefix for prefix in counts if prefix.casefold() in words), counts.most_common(1)[0][0])


def _retired(data: Mapping[str, Any]) -> _Retired:
    certain, possible = ([*filter(None, map(split_term_id, data.get(tag, ())))] for tag in ("replaced_by", "consider"))
    return _Retired(data["name"].removeprefix("obsolete "), tuple(certain or possible), is_sure=bool(certain))


def _obo_term(meant: TermId, data: Mapping[str, Any]) -> Term:
    found = [match.groups() for text in data.get("synonym", ()) if (match := _SYNONYM.match(text))]
    found.sort(key=lambda parts: (parts[2] != "genbank_common_name", parts[1] != "EXACT"))
    synonyms = dict.fromkeys(re.sub(r"\\(.)", r"\1", name) for name, _, _ in found)
    common = next((name for name, _, kind in found if kind.endswith("common_name")), None)
    return Term(meant, data["name"], tuple(synonyms), common)
