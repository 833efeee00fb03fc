"""Identifiers: every usual spelling gives the one form that is handed in, and what is refused says why."""

from __future__ import annotations

import datetime
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakescope.study.identifiers import (
    CC0,
    CC_BY,
    TermId,
    doi,
    email,
    licence,
    orcid,
    release_date,
    ror,
    split_term_id,
    term_id,
)

CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
# Of real people and organisations, from the documents of ORCID and ROR.
ORCIDS = ["0000-0002-1825-0097", "0000-0001-5109-3700", "0000-0002-1694-233X"]
RORS = ["02catss52", "03yrm5c26", "00f54p054", "042nb2s44", "013meh722", "052gg0110"]


def refusal(check: Callable[[str], object], text: str) -> str:
    with pytest.raises(ValueError, match=r"found|remove") as caught:
        check(text)
    assert not str(caught.value).endswith(".")
    return str(caught.value)


@st.composite
def orcids(draw: st.DrawFn) -> str:
    """A right one, by the definition: each digit times two to its place, the last one to none, leaves 1 modulo 11."""
    digits = draw(st.text(string.digits, min_size=15, max_size=15))
    values = [int(digit) for digit in digits]
    above = sum(value * 2 ** (15 - place) for place, value in enumerate(values))
    last = next(value for value in range(11) if (above + value) % 11 == 1)
    full = digits + "0123456789X"[last]
    return "-".join(full[at : at + 4] for at in range(0, 16, 4))


@st.composite
def rors(draw: st.DrawFn) -> str:
    """A right one: number and check digits together leave 1 when divided by 97."""
    body = "0" + draw(st.text(CROCKFORD, min_size=6, max_size=6))
    number = sum(CROCKFORD.index(character) * 32**place for place, character in enumerate(reversed(body)))
    last = next(value for value in range(2, 99) if (number * 100 + value) % 97 == 1)
    return f"{body}{last:02d}"


@pytest.mark.parametrize("known", ORCIDS)
def test_an_orcid_is_taken_bare_and_as_an_address(known: str) -> None:
    spellings = [known, known.lower(), f" {known}\n", f"https://orcid.org/{known}", f"http://www.orcid.org/{known}/"]
    assert {orcid(text) for text in [*spellings, f"orcid.org/{known}", f"ORCID:{known}"]} == {known}


@given(orcids())
def test_a_right_orcid_is_taken_and_taken_again(text: str) -> None:
    assert orcid(orcid(f"https://orcid.org/{text}")) == text


@given(orcids(), st.sampled_from("0123456789X"))
def test_an_orcid_with_another_check_digit_is_refused(text: str, last: str) -> None:
    if last != text[-1]:
        assert "whose last digit does not fit the others" in refusal(orcid, text[:-1] + last)


@given(orcids(), st.integers(0, 13))
def test_an_orcid_with_two_digits_swapped_is_refused(text: str, place: int) -> None:
    digits = list(text.replace("-", ""))
    if digits[place] != digits[place + 1]:
        digits[place], digits[place + 1] = digits[place + 1], digits[place]
        joined = "".join(digits)
        assert "typing errors" in refusal(orcid, "-".join(joined[at : at + 4] for at in range(0, 16, 4)))


@pytest.mark.parametrize(
    "text",
    [
        "0000000218250097",
        "0000-0002-1825-009",
        "0000-0002-1825-00977",
        "https://example.org/0000-0002-1825-0097",
        "Jane Doe",
        "٠٠٠٠-0002-1825-0097",
        "0000-0002-1825-0097, 0000-0001-5109-3700",
    ],
)
def test_what_is_no_orcid_is_refused_with_an_example(text: str) -> None:
    assert refusal(orcid, text).endswith("expected an ORCID iD, e.g. 0000-0002-1825-0097")


@pytest.mark.parametrize("text", ["none", "None", "N/A", "unknown", "", "  ", "-", "TBD"])
@pytest.mark.parametrize(("check", "what"), [(orcid, "ORCID iD"), (ror, "ROR id"), (doi, "DOI")])
def test_a_word_for_nothing_is_answered_with_removing_the_key(
    check: Callable[[str], str], what: str, text: str
) -> None:
    assert refusal(check, text) == f"found {text!r}; remove the key when there is no {what}"


@pytest.mark.parametrize("known", RORS)
def test_a_ror_id_becomes_its_address(known: str) -> None:
    full = f"https://ror.org/{known}"
    assert {ror(text) for text in [known, known.upper(), full, f"{full}/", f"http://ror.org/{known}"]} == {full}


@given(rors())
def test_a_right_ror_id_is_taken_and_taken_again(text: str) -> None:
    assert ror(ror(text)) == f"https://ror.org/{text}"


@given(rors(), st.integers(0, 99))
def test_a_ror_id_with_other_check_digits_is_refused(text: str, last: int) -> None:
    if f"{last:02d}" != text[-2:]:
        assert "whose last two digits do not fit" in refusal(ror, f"{text[:-2]}{last:02d}")


@pytest.mark.parametrize(
    "text", ["12catss52", "02catss5", "02catss522", "02cilou52", "https://grid.ac/02catss52", "EMBL"]
)
def test_what_is_no_ror_id_is_refused_with_an_example(text: str) -> None:
    assert refusal(ror, text).endswith("expected a ROR id, e.g. https://ror.org/02catss52")


@pytest.mark.parametrize(
    "text", ["jane.doe@example.org", "j+omics@bio.example.ac.uk", "O'Neil_1@x-y.org", "a@b.co", "Jane@Example.ORG"]
)
def test_an_email_stays_as_it_is_but_for_blanks_around_it(text: str) -> None:
    assert email(text) == email(f" {text}\t") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "jane",
        "jane@example",
        "@example.org",
        "jane@",
        "jane@@example.org",
        "jane doe@example.org",
        "Jane <jane@example.org>",
        "<jane@example.org>",
        "jane@example.org;",
        "jane@example.org,",
        "jane@example.org.",
        "a@x.org, b@x.org",
        "mailto:jane@example.org",
        "jane..doe@example.org",
        ".jane@example.org",
        "jane@-example.org",
        "jane@example..org",
        "jane@example.1",
        "jane\u200b@example.org",
        "jane@example.org\u200b",
        "jane(at)example.org",
        "n/a",
        "jane@example.org\nb@x.org",
    ],
)
def test_what_is_not_one_plain_email_is_refused(text: str) -> None:
    assert "expected one e-mail address and nothing else, e.g. jane.doe@example.org" in refusal(email, text)


@pytest.mark.parametrize(
    "text",
    [
        "10.1038/s41592-021-01166-8",
        "doi:10.1038/s41592-021-01166-8",
        "DOI: 10.1038/s41592-021-01166-8",
        "https://doi.org/10.1038/s41592-021-01166-8",
        "http://dx.doi.org/10.1038/s41592-021-01166-8",
        "doi.org/10.1038/s41592-021-01166-8 ",
    ],
)
def test_a_doi_becomes_bare(text: str) -> None:
    assert doi(text) == "10.1038/s41592-021-01166-8"


@pytest.mark.parametrize(
    "text", ["10.1002/(SICI)1097-0258(19980815)17:15<1661::AID-SIM968>3.0.CO;2-2", "10.5281/zenodo.1"]
)
def test_odd_but_right_dois_are_taken(text: str) -> None:
    assert doi(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "10.1038/s41592.",
        "10.1038/",
        "10.1038",
        "11.1038/x",
        "10.xxxx/abc",
        "10.1038/a b",
        "https://example.org/10.1038/x",
        "10.1038/a, 10.1038/b",
        "PMID:34059829",
    ],
)
def test_what_is_no_doi_is_refused_with_an_example(text: str) -> None:
    assert refusal(doi, text).endswith("expected a DOI, e.g. 10.1038/s41592-021-01166-8")


@pytest.mark.parametrize(
    "text",
    [
        "CC0",
        "cc0",
        "CC0-1.0",
        "CC0 1.0",
        "CC-0",
        "Creative Commons Zero",
        "CC0 1.0 Universal",
        CC0.name,
        CC0.spdx,
        CC0.url,
        "http://creativecommons.org/publicdomain/zero/1.0",
        "https://creativecommons.org/publicdomain/zero/1.0/",
        "https://creativecommons.org/publicdomain/zero/1.0/deed.en",
    ],
)
def test_spellings_of_cc0(text: str) -> None:
    assert licence(text) is CC0


@pytest.mark.parametrize(
    "text",
    [
        "CC BY 4.0",
        "cc-by-4.0",
        "CC_BY_4.0",
        "CC-BY 4.0",
        "Creative Commons Attribution 4.0 International",
        CC_BY.spdx,
        CC_BY.url,
        "https://creativecommons.org/licenses/by/4.0/",
        "CC BY 4.0 ",
        "CC-BY (4.0)",
    ],
)
def test_spellings_of_cc_by(text: str) -> None:
    assert licence(text) is CC_BY


def test_the_two_licences_as_biostudies_and_spdx_write_them() -> None:
    assert (CC0.name, CC0.spdx, CC_BY.name, CC_BY.spdx) == ("CC0", "CC0-1.0", "CC BY 4.0", "CC-BY-4.0")
    assert CC0.url == "https://creativecommons.org/publicdomain/zero/1.0/legalcode"
    assert CC_BY.url == "https://creativecommons.org/licenses/by/4.0/legalcode"


@pytest.mark.parametrize(
    "text",
    [
        "CC BY",
        "CC BY 3.0",
        "CC BY-SA 4.0",
        "CC BY-NC 4.0",
        "CC BY-ND 4.0",
        "MIT",
        "WTFPL",
        "",
        "none",
        "public domain",
        "https://creativecommons.org/licenses/by-nc/4.0/",
        "https://creativecommons.org/licenses/by/3.0/",
        "CC0 or CC BY 4.0",
    ],
)
def test_other_licences_are_refused(text: str) -> None:
    assert "the BioImage Archive takes CC0 and CC BY 4.0 only" in refusal(licence, text)


def test_a_release_date_is_read_from_text_or_a_date() -> None:
    day = datetime.date(2028, 2, 29)
    assert release_date("2028-02-29") == release_date(" 2028-02-29 ") == release_date(day) == day


@pytest.mark.parametrize("text", ["2026-02-30", "2027-02-29", "2026-13-01", "2026-00-10", "0000-01-01"])
def test_a_day_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"found '{text}', a day that does not exist; expected YYYY-MM-DD"):
        release_date(text)


@pytest.mark.parametrize(
    "value",
    [
        "01/03/2026",
        "2026-3-1",
        "20260301",
        "2026-W10-7",
        "2026-03",
        "1 March 2026",
        "2026-03-01T00:00",
        "soon",
        "",
        "٢٠٢٦-03-01",
        datetime.datetime(2026, 3, 1, 12),
    ],
)
def test_another_form_of_a_date_is_refused(value: str | datetime.datetime) -> None:
    with pytest.raises(ValueError, match=r"expected a date as YYYY-MM-DD, e\.g\. 2026-03-01"):
        release_date(value)


SPELLINGS = {
    TermId("FBbi", "00000369"): [
        *("FBbi:00000369", "FBbi_00000369", "fbbi:00000369", " FBBI:00000369 "),
        *("http://purl.obolibrary.org/obo/FBbi_00000369", "https://purl.obolibrary.org/obo/FBbi_00000369"),
    ],
    TermId("NCBITaxon", "9606"): ["NCBITaxon:9606", "ncbitaxon_9606", "http://purl.obolibrary.org/obo/NCBITaxon_9606"],
    TermId("EDAM", "operation_3443"): [
        *("operation_3443", "EDAM:operation_3443", "http://edamontology.org/operation_3443", "edam:Operation_3443"),
        *("EDAM_operation:3443", "https://edamontology.org/operation_3443"),
    ],
    TermId("EFO", "0002067"): ["EFO:0002067", "EFO_0002067", "http://www.ebi.ac.uk/efo/EFO_0002067"],
    TermId("CVCL", "0030"): ["CVCL_0030", "cvcl:0030", "https://www.cellosaurus.org/CVCL_0030"],
    TermId("CL", "0000540"): ["CL:0000540", "CL_0000540"],
    TermId("CLO", "0003684"): ["CLO:0003684"],
    TermId("WBls", "0000024"): ["WBls:0000024", "WBls_0000024"],
    TermId("FBbi_root", "00000000"): ["FBbi_root:00000000", "FBbi_root_00000000"],
}


@pytest.mark.parametrize(("meant", "text"), [(meant, text) for meant, texts in SPELLINGS.items() for text in texts])
def test_spellings_of_a_term_id(meant: TermId, text: str) -> None:
    assert term_id(text) == meant


@pytest.mark.parametrize("meant", SPELLINGS)
def test_each_form_of_a_term_id_is_read_back(meant: TermId) -> None:
    assert term_id(meant.curie) == term_id(meant.underscore) == term_id(meant.url) == meant


@pytest.mark.parametrize(
    ("text", "curie", "underscore", "url"),
    [
        ("FBbi_00000369", "FBbi:00000369", "FBbi_00000369", "http://purl.obolibrary.org/obo/FBbi_00000369"),
        ("topic_3383", "EDAM:topic_3383", "topic_3383", "http://edamontology.org/topic_3383"),
        ("EFO:0002067", "EFO:0002067", "EFO_0002067", "http://www.ebi.ac.uk/efo/EFO_0002067"),
        ("CVCL:0030", "CVCL:0030", "CVCL_0030", "https://www.cellosaurus.org/CVCL_0030"),
    ],
)
def test_the_forms_of_a_term_id(text: str, curie: str, underscore: str, url: str) -> None:
    found = term_id(text)
    assert (found.curie, found.underscore, found.url, str(found)) == (curie, underscore, url, curie)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FBbi:369", "expected FBbi: and 8 digits, e.g. FBbi:00000369"),
        ("FBbi:0000036A", "expected FBbi: and 8 digits, e.g. FBbi:00000369"),
        ("NCBITaxon:09606", "expected NCBITaxon: and a number, e.g. NCBITaxon:9606"),
        ("NCBITaxon:9606x", "expected NCBITaxon: and a number, e.g. NCBITaxon:9606"),
        ("operation_343", "expected operation, topic, data or format, '_' and 4 digits, e.g. operation_3443"),
        ("EDAM:3443", "expected operation, topic, data or format, '_' and 4 digits, e.g. operation_3443"),
        ("http://edamontology.org/operation_34433", "expected operation, topic, data or format"),
    ],
)
def test_a_term_id_that_its_ontology_cannot_have_is_refused(text: str, expected: str) -> None:
    assert refusal(term_id, text).startswith(f"found {text!r}; {expected}")


@pytest.mark.parametrize(
    "text",
    [
        "light sheet",
        "light_sheet",
        "confocal",
        "",
        "9606",
        "FBbi:",
        ":00000369",
        "FBbi 00000369",
        "FBbi:00000369 SPIM",
        "http://example.org/FBbi_00000369",
        "none",
        "unknown",
        "a:b:1",
    ],
)
def test_what_is_no_term_id_is_refused_with_examples(text: str) -> None:
    assert split_term_id(text) is None
    assert refusal(term_id, text).endswith("expected a term id, e.g. FBbi:00000369, NCBITaxon:9606 or operation_3443")


@given(st.text())
@pytest.mark.parametrize("check", [orcid, ror, email, doi, licence, release_date, term_id])
def test_any_text_is_taken_or_refused_in_one_sentence_on_one_line(check: Callable[[str], object], text: str) -> None:
    try:
        value = check(text)
    except ValueError as error:
        message = str(error)
        assert "\n" not in message
        assert len(message) < 220
    else:
        assert value is not None


@given(st.sampled_from([orcid, ror, email, doi]), st.text(max_size=5), orcids(), rors(), st.text(max_size=5))
def test_what_was_taken_is_taken_again_unchanged(
    check: Callable[[str], str], before: str, one: str, other: str, after: str
) -> None:
    for body in (one, other, "jane@example.org", "10.1038/x", "https://doi.org/10.1038/x"):
        try:
            once = check(before + body + after)
        except ValueError:
            continue
        assert check(once) == once
