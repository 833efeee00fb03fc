"""Every upstream name of the BIA RO-Crate in one place, with the version of the validator that they were checked with.

The profile is an alpha version and has no address of its own; its names have changed from one version to the next. What
another version calls differently is changed here and nowhere else.
"""

from __future__ import annotations

from typing import Any, NamedTuple

# Names as in the models of this version (August 2026).
VALIDATOR, VERSION = "bia-ro-crate-validator", "0.3.1"

FOLDER, METADATA, FILE_LIST = "bia-crate", "ro-crate-metadata.json", "file_list.tsv"
RO_CRATE = "https://w3id.org/ro/crate/1.1"
BIA = "http://bia/"
CSVW = "http://www.w3.org/ns/csvw#"
SCHEMA = "http://schema.org/"
DARWIN_CORE = "http://rs.tdwg.org/dwc/terms/"
RDF_TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"

# Terms whose address ends otherwise than the term, and those whose address ends as the term.
_OTHER = {
    "associatedSpecimenImagingPreparationProtocol": BIA + "associatedImagingPreparationProtocol",
    "associatedImageAnalysisMethod": BIA + "associatedAnalysisMethod",
    "associatedImageCorrelationMethod": BIA + "associatedCorrelationMethod",
    "methodType": BIA + "annotationMethodType",
    "organismClassification": SCHEMA + "taxonomicRange",
    "scientificName": DARWIN_CORE + "scientificName",
    "commonName": DARWIN_CORE + "vernacularName",
    "columnName": CSVW + "name",
    "seeAlso": "http://www.w3.org/2000/01/rdf-schema#seeAlso",
}
_BIA_TERMS = (
    *("accessionId", "acknowledgement", "fundingStatement", "relatedPublication", "role"),
    *("authorNames", "yearPublished", "doi"),
    *("associatedBiologicalEntity", "associatedImageAcquisitionProtocol"),
    *("associatedProtocol", "associatedAnnotationMethod"),
    *("experimentalVariableDescription", "extrinsicVariableDescription", "intrinsicVariableDescription"),
    *("growthProtocol",),
    *("imagingInstrumentDescription", "imagingMethodName", "fbbiId", "fiducialsUsed", "transformationMatrix"),
)
_CSVW_TERMS = ("tableSchema", "column", "propertyUrl")
CONTEXT: list[Any] = [
    f"{RO_CRATE}/context",
    {"bia": BIA, "csvw": CSVW}
    | {term: BIA + term for term in _BIA_TERMS}
    | {term: CSVW + term for term in _CSVW_TERMS}
    | _OTHER,
]

# As the archive's own models write them, by SPDX identifier.
LICENCES = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
}

# Types of entities. Each may have exactly one of the profile's own; others stand before it.
STUDY = ["Dataset", "bia:Study"]
CONTRIBUTOR = ["Person", "bia:Contributor"]
AFFILIATION = ["Organization", "bia:Affiliation"]
PUBLICATION = ["ScholarlyArticle", "bia:Publication"]
GRANT = ["Grant", "bia:Grant"]
FUNDING_BODY = ["Organization", "bia:FundingBody"]
EXTERNAL_REFERENCE = ["bia:ExternalReference"]
DATASET = ["Dataset", "bia:Dataset"]
BIOSAMPLE, TAXON = ["bia:BioSample"], ["bia:Taxon"]
PROTOCOL, PREPARATION = ["bia:Protocol"], ["bia:SpecimenImagingPreparationProtocol"]
ACQUISITION, CORRELATION = ["bia:ImageAcquisitionProtocol"], ["bia:ImageCorrelationMethod"]
ANALYSIS, ANNOTATION_METHOD = ["bia:ImageAnalysisMethod"], ["bia:AnnotationMethod"]
FILE_LIST_TYPE = ["File", "bia:FileList", "csvw:Table"]
TABLE_SCHEMA, COLUMN = ["csvw:Schema"], ["csvw:Column"]

# What a row of the file list is; in full, since a cell has no context.
IMAGE, ANNOTATION_DATA = BIA + "Image", BIA + "AnnotationData"


class Column(NamedTuple):
    """A column of the file list."""

    name: str
    property: str


COLUMNS = (
    Column("file_path", BIA + "filePath"),
    Column("size_in_bytes", BIA + "sizeInBytes"),
    Column("dataset", SCHEMA + "isPartOf"),
    Column("type", RDF_TYPE),
    Column("name", SCHEMA + "name"),
    Column("source_image", BIA + "associatedSourceImage"),
    Column("biosample", BIA + "associatedBiologicalEntity"),
    Column("preparation", BIA + "associatedImagingPreparationProtocol"),
    Column("acquisition", BIA + "associatedImageAcquisitionProtocol"),
    Column("protocol", BIA + "associatedProtocol"),
    Column("annotation_method", BIA + "associatedAnnotationMethod"),
)
# Between several values of a cell.
JOINED_BY = ","
