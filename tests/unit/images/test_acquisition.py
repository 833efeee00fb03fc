"""What images say of how they were taken, and the units and scales of OME-Zarr stores."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ome_types
import pytest
import tifffile

from snakescope.errors import InputError
from snakescope.images import (
    Acquisition,
    ChannelFacts,
    open_image,
    read_acquisition,
    read_headers,
    store_axes,
    store_image,
    unit_problem,
)
from snakescope.images.acquisition import iso_time, model_name, objective_name

# ---------------------------------------------------------------------------- OME-XML

OME = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" Creator="ScopeControl 2.1"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:schemaLocation="http://www.openmicroscopy.org/Schemas/OME/2016-06
 http://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd">
<Instrument ID="Instrument:0">
<Microscope Manufacturer="Nikon" Model="Ti2"/>
<Objective ID="Objective:0:0" Model="Wrong 10x" NominalMagnification="10"/>
</Instrument>
<Instrument ID="Instrument:1">
<Microscope Manufacturer="Zeiss" Model="LSM  880"/>
<Detector ID="Detector:1:0" Manufacturer="Hamamatsu" Model="Flash4.0"/>
<Detector ID="Detector:1:1" Model="Flash9.9 not in use"/>
<Objective ID="Objective:1:0" NominalMagnification="20" LensNA="0.8"/>
<Objective ID="Objective:1:1" Model="Plan-Apochromat 63x/1.4 Oil" NominalMagnification="63" LensNA="1.4"
 Immersion="Oil"/>
</Instrument>
<Image ID="Image:0" Name="cells">
<AcquisitionDate>2024-03-31T12:30:15.25+02:00</AcquisitionDate>
<InstrumentRef ID="Instrument:1"/>
<ObjectiveSettings ID="Objective:1:1"/>
<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="8" SizeY="6" SizeC="2" SizeZ="1" SizeT="1">
<Channel ID="Channel:0:0" Name="green" Fluor="EGFP" ExcitationWavelength="0.488" ExcitationWavelengthUnit="µm"
 EmissionWavelength="509" ContrastMethod="Fluorescence" AcquisitionMode="LaserScanningConfocalMicroscopy"
 SamplesPerPixel="1"><DetectorSettings ID="Detector:1:0"/></Channel>
<Channel ID="Channel:0:1" Name="mCherry" ExcitationWavelength="561" AcquisitionMode="LaserScanningConfocalMicroscopy"
 SamplesPerPixel="1"><DetectorSettings ID="Detector:1:0"/></Channel>
<TiffData/>
<Plane TheZ="0" TheT="0" TheC="0" ExposureTime="0.05"/>
<Plane TheZ="0" TheT="0" TheC="1" ExposureTime="50" ExposureTimeUnit="ms"/>
</Pixels></Image></OME>"""

FULL = Acquisition(
    instrument="Zeiss LSM 880",
    objective="Plan-Apochromat 63x/1.4 Oil",
    magnification=63.0,
    numerical_aperture=1.4,
    immersion="Oil",
    imaging_mode="LaserScanningConfocalMicroscopy",
    channels=(
        ChannelFacts("green", "EGFP", 488.0, 509.0, "Fluorescence", 50.0),
        ChannelFacts("mCherry", None, 561.0, None, None, 50.0),
    ),
    acquired_at="2024-03-31T10:30:15Z",
    detector="Hamamatsu Flash4.0",
    software="ScopeControl 2.1",
)


def ome_tiff(path: Path, xml: str = OME) -> Path:
    tifffile.imwrite(path, np.zeros((2, 6, 8), "u2"), description=xml.encode(), metadata=None)
    return path


def of_ome(tmp_path: Path, *changes: tuple[str, str]) -> Acquisition:
    xml = OME
    for old, new in changes:
        assert old in xml
        xml = xml.replace(old, new)
    return read_acquisition(ome_tiff(tmp_path / "a.ome.tif", xml))


def test_ome_tiff_gives_all_it_says(tmp_path: Path) -> None:
    ome_types.validate_xml(OME)
    assert of_ome(tmp_path) == FULL


def test_summary_says_what_is_known(tmp_path: Path) -> None:
    assert of_ome(tmp_path).summary() == (
        "objective Plan-Apochromat 63x/1.4 Oil; detector Hamamatsu Flash4.0; channels: "
        "green (EGFP, Fluorescence, excitation 488 nm, emission 509 nm), mCherry (excitation 561 nm); exposure 50 ms"
    )


def test_summary_says_the_exposure_of_each_channel_where_they_differ() -> None:
    channels = (ChannelFacts("a", exposure_ms=10.0), ChannelFacts(exposure_ms=0.5), ChannelFacts())
    assert Acquisition(channels=channels).summary() == "channels: a (exposure 10 ms), channel 2 (exposure 0.5 ms)"


def test_summary_adds_to_the_objective_what_its_name_does_not_hold() -> None:
    told = Acquisition(objective="Plan 100", magnification=10.0, numerical_aperture=1.0, immersion="Oil").summary()
    assert told == "objective Plan 100 (10x, NA 1, immersion Oil)"
    assert Acquisition(immersion="Oil").summary() == "immersion Oil"


def test_a_file_that_says_nothing_gives_nothing(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "bare.ome.tif", np.zeros((2, 6, 8), "u2"), ome=True, metadata={"axes": "CYX"})
    found = read_acquisition(tmp_path / "bare.ome.tif")
    assert found == Acquisition(software=found.software)
    assert (found.software or "").startswith("tifffile")
    tifffile.imwrite(tmp_path / "plain.tif", np.zeros((6, 8), "u2"), software="some program", datetime=True)
    assert read_acquisition(tmp_path / "plain.tif") == Acquisition()
    assert Acquisition().summary() is None


@pytest.mark.parametrize(
    ("change", "field", "expected"),
    [
        (('NominalMagnification="63"', 'NominalMagnification="0"'), "magnification", None),
        (('LensNA="1.4"', 'LensNA="-1"'), "numerical_aperture", None),
        (('LensNA="1.4"', 'LensNA="nan"'), "numerical_aperture", None),
        (('Immersion="Oil"', 'Immersion="Other"'), "immersion", None),
        (('AcquisitionMode="LaserScanningConfocalMicroscopy"', 'AcquisitionMode="Other"'), "imaging_mode", None),
        (('Model="LSM  880"', 'Model="Unknown"'), "instrument", "Zeiss"),
        (('Model="LSM  880"', 'Model="ZEISS LSM"'), "instrument", "ZEISS LSM"),
        (('Model="Plan-Apochromat 63x/1.4 Oil"', 'Model=""'), "objective", "63x/1.4 Oil"),
        (('<ObjectiveSettings ID="Objective:1:1"/>', ""), "objective", None),
        (('<ObjectiveSettings ID="Objective:1:1"/>', '<ObjectiveSettings ID="Objective:9"/>'), "objective", None),
        (('<InstrumentRef ID="Instrument:1"/>', ""), "instrument", None),
        (('<DetectorSettings ID="Detector:1:0"/>', ""), "detector", None),
        (("2024-03-31T12:30:15.25+02:00", "2024-03-31T12:30:15"), "acquired_at", "2024-03-31T12:30:15"),
        (("2024-03-31T12:30:15.25+02:00", "1970-01-01T00:00:00"), "acquired_at", None),
        (("2024-03-31T12:30:15.25+02:00", "yesterday at T"), "acquired_at", None),
    ],
)
def test_ome_xml_leaves_unknown_what_it_does_not_truly_say(
    change: tuple[str, str], field: str, expected: str | None, tmp_path: Path
) -> None:
    assert getattr(of_ome(tmp_path, change), field) == expected


@pytest.mark.parametrize("wavelength", ["0", "-509", "inf", "green"])
def test_a_wavelength_that_is_none_is_unknown(wavelength: str, tmp_path: Path) -> None:
    found = of_ome(tmp_path, ('EmissionWavelength="509"', f'EmissionWavelength="{wavelength}"'))
    assert found.channels[0] == ChannelFacts("green", "EGFP", 488.0, None, "Fluorescence", 50.0)


def test_exposures_that_differ_between_planes_are_no_exposure(tmp_path: Path) -> None:
    more = '<Plane TheZ="0" TheT="0" TheC="0" ExposureTime="{}"/></Pixels>'
    assert of_ome(tmp_path, ("</Pixels>", more.format("0.0501"))).channels[0].exposure_ms == 50
    assert of_ome(tmp_path, ("</Pixels>", more.format("0.2"))).channels[0].exposure_ms is None


def test_the_only_instrument_of_a_file_needs_no_reference(tmp_path: Path) -> None:
    start, rest = OME.split('<Instrument ID="Instrument:0">')
    xml = start + rest.split("</Instrument>", 1)[1].replace('<InstrumentRef ID="Instrument:1"/>', "")
    assert read_acquisition(ome_tiff(tmp_path / "a.ome.tif", xml)) == FULL


def test_several_modes_are_all_told(tmp_path: Path) -> None:
    xml = OME.replace('AcquisitionMode="LaserScanningConfocalMicroscopy"', 'AcquisitionMode="WideField"', 1)
    found = read_acquisition(ome_tiff(tmp_path / "a.ome.tif", xml))
    assert found.imaging_mode == "WideField; LaserScanningConfocalMicroscopy"


def test_each_image_of_a_file_has_its_own_facts(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        for name in ("one", "two"):
            tif.write(np.zeros((1, 6, 8), "u2"), metadata={"axes": "CYX", "Channel": {"Name": [name]}})
    names = [read_acquisition(tmp_path / "a.ome.tif", scene).channels[0].name for scene in (0, 1)]
    assert names == ["one", "two"]


def test_imagej_labels_name_channels(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    metadata = {"axes": "CYX", "Labels": ["DAPI", "GFP"]}
    tifffile.imwrite(path, np.zeros((2, 6, 8), "u2"), imagej=True, metadata=metadata)
    assert read_acquisition(path) == Acquisition(channels=(ChannelFacts("DAPI"), ChannelFacts("GFP")))
    assert read_acquisition(path).summary() == "channels: DAPI, GFP"


# ---------------------------------------------------------------------------- files that cannot be read


def with_entity(kind: str, secret: Path, xml: str) -> str:
    """Put a document type before the root, whose entity x reads another file or is very long."""
    entity = {
        "external entity": f'<!ENTITY x SYSTEM "{secret.as_uri()}">',
        "parameter entity": f'<!ENTITY % p SYSTEM "{secret.as_uri()}"> %p;',
        "bomb": '<!ENTITY e0 "lol">'
        + "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
        + '<!ENTITY x "&e9;">',
    }[kind]
    return f"<!DOCTYPE a [{entity}]>{xml}"


@pytest.mark.parametrize(
    ("kind", "message"),
    [("external entity", "undefined entity"), ("parameter entity", "undefined entity"), ("bomb", "amplification")],
)
@pytest.mark.parametrize("make", ["tiff", "zarr", "lif"])
def test_hostile_xml_is_refused_and_reads_no_other_file(kind: str, message: str, make: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.dtd"
    secret.write_text('<!ENTITY x "2020-01-01T00:00:00">')
    ome = OME.split("?>", 1)[1].replace("<AcquisitionDate>", "<AcquisitionDate>&x;")
    if make == "tiff":
        path = ome_tiff(tmp_path / "a.ome.tif", with_entity(kind, secret, ome))
    elif make == "zarr":
        path = series(tmp_path / "a.zarr", with_entity(kind, secret, ome))
    else:
        path = lif(tmp_path / "a.lif", with_entity(kind, secret, LIF_IMAGE.format(extra="<Name>&x;</Name>")))
    # tifffile refuses the XML itself, and then knows no axes
    with pytest.raises(InputError, match="does not fit its planes" if make == "tiff" else message) as refused:
        read_acquisition(path)
    assert "2020" not in str(refused.value)


def damaged(folder: Path) -> dict[str, Path]:
    """One file each of what cannot be read."""
    (folder / "empty.tif").write_bytes(b"")
    (folder / "text.nd2").write_text("not an image")
    (folder / "short.tif").write_bytes(ome_tiff(folder / "whole.ome.tif").read_bytes()[:-40])
    (folder / "empty.zarr").mkdir()
    (folder / "nd2.nd2").write_bytes(b"\xda\xce\xbe\x0a" + bytes(100))
    (folder / "czi.czi").write_bytes(b"ZISRAWFILE" + bytes(1000))
    (folder / "lif.lif").write_bytes(b"\x70\0\0\0" + bytes(100))
    names = ("missing.tif", "empty.tif", "text.nd2", "short.tif", "empty.zarr", "nd2.nd2", "czi.czi", "lif.lif")
    return {name: folder / name for name in names}


def test_what_cannot_be_opened_raises_the_same_error(tmp_path: Path) -> None:
    for path in damaged(tmp_path).values():
        with pytest.raises(InputError) as opened:
            open_image(path)
        with pytest.raises(InputError) as asked:
            read_acquisition(path)
        assert str(asked.value) == str(opened.value)


@pytest.mark.parametrize("scene", [-1, 1])
def test_a_scene_that_is_not_there_is_refused(scene: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"has no scene {scene}; it has 1, counted from 0"):
        read_acquisition(ome_tiff(tmp_path / "a.ome.tif"), scene)


# ---------------------------------------------------------------------------- OME-Zarr


def zarr(path: Path, channels: tuple[str, ...] = ("DAPI", "GFP")) -> Path:
    array = np.zeros((2, 3, 6, 8), "u2")
    store_image(path, array, axes="czyx", voxel_size_um=(0.5, 0.2, 0.1), channels=channels)
    return path


def series(path: Path, xml: str | None) -> Path:
    """A series of one image as bioformats2raw lays it out, of version 0.4."""
    zarr_json(path / "0", {"axes": AXES, "datasets": LEVELS}, version="0.4")
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / ".zattrs").write_text('{"bioformats2raw.layout": 3}')
    (path / "OME").mkdir()
    if xml is not None:
        (path / "OME" / "METADATA.ome.xml").write_text(xml, "utf-8")
    return path


def test_ome_zarr_names_its_channels(tmp_path: Path) -> None:
    found = read_acquisition(zarr(tmp_path / "a.zarr"))
    assert found == Acquisition(channels=(ChannelFacts("DAPI"), ChannelFacts("GFP")))


def test_ome_zarr_series_gives_what_its_ome_xml_says(tmp_path: Path) -> None:
    assert read_acquisition(series(tmp_path / "a.zarr", OME)) == FULL


def test_ome_xml_that_does_not_fit_the_series_is_not_used(tmp_path: Path) -> None:
    two = OME.replace("</Image>", "</Image>" + OME.split("</Instrument>")[-1].removesuffix("</OME>"))
    assert read_acquisition(series(tmp_path / "a.zarr", two)) == Acquisition()
    assert read_acquisition(series(tmp_path / "b.zarr", None)) == Acquisition()


# ---------------------------------------------------------------------------- vendor files


def test_czi_of_a_widefield_microscope(shared_data: Path) -> None:
    found = read_acquisition(shared_data / "vendor_formats" / "CellDivision_T3_Z5_CH2_X240_Y170.czi")
    assert found == Acquisition(
        instrument="Zeiss Castor.Stand",
        objective="Plan-Apochromat 50x/1.2",
        magnification=50.0,
        numerical_aperture=1.2,
        immersion="Water",
        imaging_mode="WideField",
        channels=(
            ChannelFacts("LED555", "Alexa Fluor 555", 553.0, 568.0, "Fluorescence", 100.0),
            ChannelFacts("LED470", "Alexa Fluor 488", 493.0, 517.0, "Fluorescence", 200.0),
        ),
        acquired_at="2016-02-12T09:41:02Z",
        detector="Axiocam 506",
        software="ZEN 3.2 (blue edition) 3.2.0.00001",
    )


def test_czi_takes_the_objective_that_the_image_refers_to(shared_data: Path) -> None:
    found = read_acquisition(shared_data / "vendor_formats" / "LLS7_small.czi")
    assert (found.objective, found.magnification, found.numerical_aperture) == ("Objective Observation", 44.83, 1.0)
    assert (found.instrument, found.imaging_mode) == ("Zeiss Lattice Lightsheet", "LatticeLightsheet")
    assert [(c.excitation_nm, c.emission_nm, c.exposure_ms) for c in found.channels] == [(561, 642, 30), (488, 561, 30)]
    assert (found.acquired_at, found.immersion) == ("2019-11-23T13:27:18Z", "Water")


def test_nd2_of_a_confocal_microscope(shared_data: Path) -> None:
    found = read_acquisition(shared_data / "vendor_formats" / "cluster.nd2")
    assert found == Acquisition(
        instrument="Nikon Ti",
        objective="Plan Apo λ 60x",
        magnification=60.0,
        numerical_aperture=0.95,
        imaging_mode="laserScanConfocal",
        channels=(
            ChannelFacts("5-FAM/pH 9.0", None, 488.0, 525.0, "fluorescence"),
            ChannelFacts("FM 4-64/2% CHAPS", None, 561.0, 700.0, "fluorescence"),
        ),
        acquired_at="2014-06-18T13:55:23Z",  # the file's text says 15:55:27, local summer time
        detector="Nikon A1plus",
        software="NIS-Elements AR 4.20.01 (Build 982)",
    )


def test_lif_of_a_confocal_microscope(shared_data: Path) -> None:
    path = shared_data / "vendor_formats" / "xz-example.lif"
    assert read_acquisition(path) == Acquisition(
        instrument="Leica TCS SP8 (DMI6000B-CS)",
        objective="HC PL APO CS2 63x/1.30 GLYC",
        magnification=63.0,
        numerical_aperture=1.3,
        immersion="GLYC",
        imaging_mode="Confocal",
        channels=(ChannelFacts(fluorophore="FITC"), ChannelFacts(fluorophore="TRITC")),
        acquired_at="2021-03-04T16:39:17Z",
        detector="HyD 1; HyD 3",
        software="LAS X 3.5.7.23225",
    )
    assert read_acquisition(path, 2).acquired_at == "2021-03-04T16:42:50Z"


def test_a_vendor_file_has_facts_for_each_scene_of_its_headers(shared_data: Path) -> None:
    for path in sorted((shared_data / "vendor_formats").glob("*.[cnl]*")):
        scenes = len(read_headers(path))
        read_acquisition(path, scenes - 1)
        with pytest.raises(InputError, match=f"has no scene {scenes}"):
            read_acquisition(path, scenes)


LIF_IMAGE = """<LMSDataContainerHeader Version="2"><Element Name="root"><Children><Element Name="one"><Data><Image>
<ImageDescription><Channels>
<ChannelDescription DataType="0" ChannelTag="0" Resolution="8" NameOfMeasuredQuantity="" Min="0" Max="255" Unit=""
 LUTName="Green" IsLUTInverted="0" BytesInc="0" BitInc="0"/>
<ChannelDescription DataType="0" ChannelTag="0" Resolution="8" NameOfMeasuredQuantity="" Min="0" Max="255" Unit=""
 LUTName="Red" IsLUTInverted="0" BytesInc="12" BitInc="0"/>
</Channels><Dimensions>
<DimensionDescription DimID="1" NumberOfElements="4" Origin="0" Length="3e-6" Unit="m" BitInc="0" BytesInc="1"/>
<DimensionDescription DimID="2" NumberOfElements="3" Origin="0" Length="2e-6" Unit="m" BitInc="0" BytesInc="4"/>
</Dimensions></ImageDescription>{extra}</Image></Data><Memory Size="24" MemoryBlockID="MemBlock_1"/></Element>
</Children></Element></LMSDataContainerHeader>"""

LIF_CAMERA = """<TimeStampList NumberOfTimeStamps="1">0 </TimeStampList>
<Attachment Name="HardwareSetting" Software="LAS X" SystemTypeName="THUNDER" DataSourceTypeName="Camera">
<ATLCameraSettingDefinition Magnification="0" NumericalAperture="0.8" Immersion="DRY">
<WideFieldChannelConfigurator CameraName="K5-1">
<WideFieldChannelInfo UserDefName="GFP" ContrastingMethodName="FLUO" EmissionWavelength="525" ExposureTime="0.05"/>
<WideFieldChannelInfo UserDefName="" ContrastingMethodName="TL-BF" EmissionWavelength="0" ExposureTime="{exposure}"/>
</WideFieldChannelConfigurator></ATLCameraSettingDefinition></Attachment>"""


def lif(path: Path, xml: str) -> Path:
    """Just enough of the LIF layout: the XML and one block of pixels."""
    text, name = xml.encode("utf-16-le"), "MemBlock_1".encode("utf-16-le")
    head = struct.pack("<IIBI", 0x70, len(text) + 5, 0x2A, len(text) // 2) + text
    block = struct.pack("<IIBQBI", 0x70, len(name) + 14, 0x2A, 24, 0x2A, len(name) // 2) + name + bytes(24)
    path.write_bytes(head + block)
    return path


def test_lif_of_a_camera(tmp_path: Path) -> None:
    xml = LIF_IMAGE.format(extra=LIF_CAMERA.format(exposure="20 ms"))
    assert read_acquisition(lif(tmp_path / "a.lif", xml)) == Acquisition(
        instrument="Leica THUNDER",
        objective="NA 0.8 DRY",
        numerical_aperture=0.8,
        immersion="DRY",
        channels=(
            ChannelFacts("GFP", emission_nm=525.0, contrast_method="FLUO", exposure_ms=50.0),
            ChannelFacts(contrast_method="TL-BF", exposure_ms=20.0),
        ),
        detector="K5-1",
        software="LAS X",
    )
    xml = LIF_IMAGE.format(extra=LIF_CAMERA.format(exposure="automatic"))
    assert read_acquisition(lif(tmp_path / "a.lif", xml)).channels[1].exposure_ms is None


def test_lif_that_says_nothing(tmp_path: Path) -> None:
    assert read_acquisition(lif(tmp_path / "a.lif", LIF_IMAGE.format(extra=""))) == Acquisition()


# ---------------------------------------------------------------------------- words and times


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((None, 63.0, 1.4, "Oil"), "63x/1.4 Oil"),
        ((" ", 2.5, None, None), "2.5x"),
        ((None, None, 0.8, None), "NA 0.8"),
        ((None, None, None, "Oil"), None),
        (("N  PLAN", 63.0, 1.4, "Oil"), "N PLAN"),
    ],
)
def test_an_objective_without_a_model_is_named_by_its_figures(arguments: Any, expected: str | None) -> None:
    assert objective_name(*arguments) == expected


def test_a_manufacturer_is_told_once() -> None:
    assert model_name("Nikon", "Ti2") == "Nikon Ti2"
    assert model_name("Nikon", "NIKON Ti2") == "NIKON Ti2"
    assert model_name("", "unknown") is None


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2016-02-12T09:41:02.4915604Z", "2016-02-12T09:41:02Z"),
        ("2016-01-01T00:30:00+01:00", "2015-12-31T23:30:00Z"),
        ("2016-02-12T09:41:02", "2016-02-12T09:41:02"),
        ("2016-02-12", None),
        ("0001-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59-12:00", None),
        ("", None),
        (None, None),
    ],
)
def test_times_are_utc_where_the_zone_is_known(time: str | None, expected: str | None) -> None:
    assert iso_time(time) == expected


# ---------------------------------------------------------------------------- units and scales of a store

AXES = [
    {"name": "t", "type": "time", "unit": "second"},
    {"name": "c", "type": "channel"},
    {"name": "z", "type": "space", "unit": "parsnip"},
    {"name": "y", "type": "space"},
    {"name": "x", "type": "space", "unit": "micrometer"},
]
LEVELS = [
    {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 0.5, 0.2, 0.1]}]},
    {"path": "1", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 1.0, 0.4, 0.2]}]},
]


def zarr_json(path: Path, multiscale: Any, *, version: str = "0.5") -> Path:
    path.mkdir(parents=True)
    if version == "0.5":
        ome = {"version": "0.5", "multiscales": [multiscale]}
        (path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "attributes": {"ome": ome}}))
    else:
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps({"multiscales": [multiscale]}))
    return path


def store_units(path: Path, scene: int = 0) -> dict[str, str | None]:
    return {name: axis.unit for name, axis in store_axes(path, scene).items()}


def store_scale(path: Path) -> dict[str, float]:
    return {name: axis.scale for name, axis in store_axes(path).items() if axis.scale is not None}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_units_and_scale_are_those_of_the_store(version: str, tmp_path: Path) -> None:
    path = zarr_json(tmp_path / "a.zarr", {"axes": AXES, "datasets": LEVELS}, version=version)
    assert store_units(path) == {"t": "second", "c": None, "z": "parsnip", "y": None, "x": "micrometer"}
    assert store_scale(path) == {"t": 1.0, "c": 1.0, "z": 0.5, "y": 0.2, "x": 0.1}


def test_units_and_scale_of_our_own_store(tmp_path: Path) -> None:
    path = zarr(tmp_path / "a.zarr")
    assert store_units(path) == {"c": None, "z": "micrometer", "y": "micrometer", "x": "micrometer"}
    assert store_scale(path) == {"c": 1.0, "z": 0.5, "y": 0.2, "x": 0.1}
    assert [unit_problem(axis, unit) for axis, unit in store_units(path).items()] == [None] * 4


def test_units_of_an_image_in_a_series(tmp_path: Path) -> None:
    assert store_units(series(tmp_path / "a.zarr", None), 0)["x"] == "micrometer"
    with pytest.raises(InputError, match="has no scene 1; it has 1"):
        store_units(tmp_path / "a.zarr", 1)


def test_scale_of_all_levels_counts_too(tmp_path: Path) -> None:
    common = [{"type": "scale", "scale": [3, 1, 1, 1, 2]}]
    multiscale = {"axes": AXES, "datasets": LEVELS, "coordinateTransformations": common}
    assert store_scale(zarr_json(tmp_path / "a.zarr", multiscale))["x"] == 0.2
    assert store_scale(tmp_path / "a.zarr")["t"] == 3


def test_a_scale_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    no_scale = [{"path": "0", "coordinateTransformations": [{"type": "translation", "translation": [1] * 5}]}]
    assert store_scale(zarr_json(tmp_path / "a.zarr", {"axes": AXES, "datasets": no_scale})) == {}
    old = {"axes": ["z", "y", "x"], "datasets": [{"path": "0"}]}
    assert store_scale(zarr_json(tmp_path / "b.zarr", old, version="0.4")) == {}
    assert store_units(tmp_path / "b.zarr") == {"z": None, "y": None, "x": None}


@pytest.mark.parametrize(
    "multiscale",
    [
        None,
        [],
        {"datasets": [], "axes": AXES},
        {"datasets": LEVELS, "axes": 3},
        {"datasets": LEVELS, "axes": []},
        {"datasets": LEVELS, "axes": [{"type": "space"}]},
    ],
)
def test_a_store_without_usable_axes_is_our_error(multiscale: Any, tmp_path: Path) -> None:
    path = zarr_json(tmp_path / "a.zarr", multiscale)
    for ask in (store_units, store_scale):
        with pytest.raises(InputError, match=r"a\.zarr: "):
            ask(path)


@pytest.mark.parametrize("scale", [["a"] * 5, [{}] * 5, 7])
def test_a_scale_that_is_no_number_is_our_error(scale: Any, tmp_path: Path) -> None:
    levels = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}]
    path = zarr_json(tmp_path / "a.zarr", {"axes": AXES, "datasets": levels})
    with pytest.raises(InputError, match="has OME-Zarr metadata that cannot be read"):
        store_scale(path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "{}", '{"attributes": []}', '{"attributes": {"ome": 3}}', "[" * 100_000, "\xff"]
)
def test_json_that_is_no_image_is_our_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_text(content, "latin-1")
    for ask in (store_units, store_scale):
        with pytest.raises(InputError):
            ask(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("x"), "is a file; expected the folder of an OME-Zarr store"),
        (lambda path: path.mkdir(), "is an empty folder"),
    ],
)
def test_what_is_no_store_is_our_error(make: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    make(tmp_path / "a.zarr")
    with pytest.raises(InputError, match=message):
        store_units(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("axis", "unit", "found"),
    [
        ("z", "parsnip", "the z axis has the unit 'parsnip'; expected a unit of length such as micrometer"),
        ("x", "um", "the x axis has the unit 'um'; expected a unit of length such as micrometer"),
        ("y", "second", "the y axis has the unit 'second'; expected a unit of length such as micrometer"),
        ("y", "Micrometer", "the y axis has the unit 'Micrometer'; expected a unit of length such as micrometer"),
        ("y", None, "the y axis has no unit; expected a unit of length such as micrometer"),
        ("t", None, "the t axis has no unit; expected a unit of time such as second"),
        ("t", "meter", "the t axis has the unit 'meter'; expected a unit of time such as second"),
        ("x", "micrometer", None),
        ("z", "angstrom", None),
        ("t", "millisecond", None),
        ("t", "hour", None),
        ("c", None, None),
        ("c", "nanometer", None),
    ],
)
def test_units_are_those_that_ome_zarr_allows(axis: str, unit: str | None, found: str | None) -> None:
    assert unit_problem(axis, unit) == found


def test_units_and_scale_import_no_zarr(tmp_path: Path) -> None:
    path = zarr_json(tmp_path / "a.zarr", {"axes": AXES, "datasets": LEVELS})
    program = (
        "import sys; from pathlib import Path; from snakescope.images import store_axes;"
        "store_axes(Path(sys.argv[1]));"
        "sys.exit(str({'zarr', 'yaozarrs', 'tifffile'} & sys.modules.keys() or '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
