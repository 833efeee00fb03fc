"""PageTab, the archive's form of a submission, as JSON and as a table of tabs, both ways.

Knows the two notations and nothing of templates: which sections and attributes there are, and what they may say, is
`snakescope.study.pagetab.v5`'s. In the table a value stands as it is, as in the specification; the archive reads one
that starts with a quotation mark in its own way, so the JSON is what to hand in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from snakescope.errors import Problem


@dataclass
class Attribute:
    """One fact of a section; `reference` is whether the value is the accession of another section."""

    name: str
    value: str
    reference: bool = False
    qualifiers: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Link:
    """An address with what is said of it."""

    url: str
    attributes: list[Attribute] = field(default_factory=list)


@dataclass
class Section:
    """A part of a submission; `accno` is a name by which others refer to it."""

    type: str
    accno: str | None = None
    attributes: list[Attribute] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    subsections: list[Section] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        """All values of an attribute."""
        return [attribute.value for attribute in self.attributes if attribute.name == name]

    def value(self, name: str) -> str | None:
        """First value of an attribute; None without one."""
        return next(iter(self.values(name)), None)

    @property
    def label(self) -> str:
        """How to name it in a message: its type, and its title, name or accession."""
        name = self.value("Title") or self.value("Name") or self.accno
        return f"{self.type} {name!r}" if name and self.type != "Study" else self.type


@dataclass
class Submission:
    """A submission: facts for the archive, and the study below."""

    attributes: list[Attribute]
    section: Section


# ---------------------------------------------------------------------- writing


def json_text(submission: Submission) -> str:
    """Write a submission as JSON."""
    data = {
        "type": "submission",
        "attributes": [_attribute_json(attribute) for attribute in submission.attributes],
        "section": _section_json(submission.section),
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _attribute_json(attribute: Attribute) -> dict[str, Any]:
    data: dict[str, Any] = {"name": attribute.name, "value": attribute.value}
    if attribute.reference:
        data["reference"] = True
    if attribute.qualifiers:
        data["valqual"] = [{"name": name, "value": value} for name, value in attribute.qualifiers]
    return data


def _section_json(section: Section) -> dict[str, Any]:
    data: dict[str, Any] = {"type": section.type}
    if section.accno is not None:
        data["accno"] = section.accno
    data["attributes"] = [_attribute_json(attribute) for attribute in section.attributes]
    if section.links:
        data["links"] = [
            {"url": link.url, "attributes": [_attribute_json(attribute) for attribute in link.attributes]}
            for link in section.links
        ]
    if section.subsections:
        data["subsections"] = [_section_json(part) for part in section.subsections]
    return data


def tsv_text(submission: Submission) -> str:
    """Write a submission as a table of tabs."""
    head = ["Submission", *_attribute_lines(submission.attributes), ""]
    return "\n".join([*head, *_section_lines(submission.section, None)]).rstrip("\n") + "\n"


def _attribute_lines(attributes: Iterable[Attribute]) -> Iterator[str]:
    for attribute in attributes:
        yield f"{f'<{attribute.name}>' if attribute.reference else attribute.name}\t{attribute.value}"
        yield from (f"[{name}]\t{value}" for name, value in attribute.qualifiers)


def _section_lines(section: Section, parent: str | None) -> Iterator[str]:
    cells = [section.type, section.accno or "", *([parent] if parent else [])]
    yield "\t".join(cells).rstrip("\t")
    yield from _attribute_lines(section.attributes)
    yield ""
    for link in section.links:
        yield f"Link\t{link.url}"
        yield from _attribute_lines(link.attributes)
        yield ""
    for part in section.subsections:
        yield from _section_lines(part, None if section.type == "Study" else section.accno)


# ---------------------------------------------------------------------- reading


def parse_json(text: str, where: str, problems: list[Problem]) -> Submission | None:
    """Read a submission from JSON; what is wrong with its structure is added to `problems`, None is then returned."""
    before = len(problems)
    try:
        data = json.loads(text)
    except ValueError as error:
        problems.append(Problem(where, f"is not JSON ({error})"))
        return None
    if not isinstance(data, dict) or data.get("type") != "submission" or "section" not in data:
        problems.append(Problem(where, "found no submission; expected an object of type 'submission' with a section"))
        return None
    attributes = _attributes(data.get("attributes", []), f"{where}: attributes", problems)
    section = _section(data["section"], f"{where}: section", problems)
    return Submission(attributes, section) if len(problems) == before else None


def _section(data: Any, where: str, problems: list[Problem]) -> Section:
    if not isinstance(data, dict) or not isinstance(data.get("type"), str) or not data["type"]:
        problems.append(Problem(where, "has no type; expected an object with a text under 'type'"))
        return Section("")
    parts = _list(data, "subsections", where, problems)
    links = _list(data, "links", where, problems)
    for key in ("files", "sections"):
        if key in data:
            problems.append(Problem(f"{where}.{key}", "is not read by us; expected file lists and subsections only"))
    return Section(
        data["type"],
        data.get("accno"),
        _attributes(data.get("attributes", []), f"{where}.attributes", problems),
        [_link(item, f"{where}.links[{index}]", problems) for index, item in enumerate(links)],
        [_section(item, f"{where}.subsections[{index}]", problems) for index, item in enumerate(parts)],
    )


def _list(data: dict[str, Any], key: str, where: str, problems: list[Problem]) -> list[Any]:
    """A list of things or of lists of things (the archive's tables), flat."""
    found = data.get(key, [])
    if not isinstance(found, list):
        problems.append(Problem(f"{where}.{key}", "is no list"))
        return []
    return [item for entry in found for item in (entry if isinstance(entry, list) else [entry])]


def _link(data: Any, where: str, problems: list[Problem]) -> Link:
    if not isinstance(data, dict) or not isinstance(data.get("url"), str) or not data["url"]:
        problems.append(Problem(where, "has no address; expected an object with a text under 'url'"))
        return Link("")
    return Link(data["url"], _attributes(data.get("attributes", []), where, problems))


def _attributes(data: Any, where: str, problems: list[Problem]) -> list[Attribute]:
    if not isinstance(data, list):
        problems.append(Problem(where, "is no list"))
        return []
    return [_attribute(item, f"{where}[{index}]", problems) for index, item in enumerate(data)]


def _attribute(data: Any, where: str, problems: list[Problem]) -> Attribute:
    if not isinstance(data, dict) or not isinstance(data.get("name"), str) or not data["name"]:
        problems.append(Problem(where, "has no name; expected an object with a text under 'name'"))
        return Attribute("", "")
    value = data.get("value")
    if not isinstance(value, str):
        found = "no value" if value is None else repr(value)
        problems.append(Problem(f"{where} ({data['name']})", f"found {found}; expected a text under 'value'"))
        return Attribute(data["name"], "")
    qualifiers = [(str(item.get("name")), str(item.get("value"))) for item in data.get("valqual", [])]
    return Attribute(data["name"], value, data.get("reference") is True, qualifiers)


def parse_tsv(text: str, where: str, problems: list[Problem]) -> Submission | None:
    """Read a submission from a table; what is wrong is added to `problems`, None is then returned."""
    before = len(problems)
    blocks = list(_blocks(text))
    if len(blocks) < 2 or blocks[0][0][1] != ["Submission"]:
        problems.append(Problem(where, "found no submission; expected a block 'Submission' and then the study"))
        return None
    head = _attributes_of(blocks[0][1:], where, problems)
    root = _section_of(blocks[1], where, problems)
    by_accno, last = {root.accno: root}, root
    for block in blocks[2:]:
        number, cells = block[0]
        if cells[0] == "Link":
            url = cells[1] if len(cells) > 1 else ""
            last.links.append(Link(url, _attributes_of(block[1:], where, problems)))
            continue
        last = _section_of(block, where, problems)
        parent = by_accno.get(cells[2]) if len(cells) > 2 else root
        if parent is None:
            problems.append(Problem(f"{where}: line {number}", f"there is no section {cells[2]!r} above"))
            continue
        parent.subsections.append(last)
        by_accno.setdefault(last.accno, last)
    return Submission(head, root) if len(problems) == before else None


Line = tuple[int, list[str]]


def _blocks(text: str) -> Iterator[list[Line]]:
    block: list[Line] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            block.append((number, line.split("\t")))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _section_of(block: list[Line], where: str, problems: list[Problem]) -> Section:
    cells = block[0][1]
    accno = cells[1] if len(cells) > 1 and cells[1] else None
    return Section(cells[0], accno, _attributes_of(block[1:], where, problems))


def _attributes_of(lines: list[Line], where: str, problems: list[Problem]) -> list[Attribute]:
    found: list[Attribute] = []
    for number, cells in lines:
        name, value = cells[0], cells[1] if len(cells) > 1 else ""
        if len(cells) != 2 or (name.startswith("[") and not found):
            problems.append(Problem(f"{where}: line {number}", f"found {cells!r}; expected a name, a tab, a value"))
        elif name.startswith("[") and name.endswith("]"):
            found[-1].qualifiers.append((name[1:-1], value))
        else:
            reference = name.startswith("<") and name.endswith(">")
            found.append(Attribute(name[1:-1] if reference else name, value, reference))
    return found
