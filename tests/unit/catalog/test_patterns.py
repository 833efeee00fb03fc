"""File names: what a pattern reads from them, and which namings are recognised."""

from __future__ import annotations

import pytest

from snakescope.catalog.patterns import compile_pattern
from snakescope.catalog.proposal import find_naming, read_names
from snakescope.errors import InputError


@pytest.mark.parametrize(
    ("pattern", "name", "fields"),
    [
        ("{series}_ch{c}_stack{t}.tif", "cell_ch0_stack0012.tif", {"series": "cell", "c": "0", "t": "12"}),
        ("{series}_ch{c}_stack{t}.tif", "a_ch1_b_ch0_stack3.TIF", {"series": "a_ch1_b", "c": "0", "t": "3"}),
        ("{series}_ch{c}_stack{t}", "x/y/cell_ch0_stack1.ome.tif", {"series": "cell", "c": "0", "t": "1"}),
        ("{series}_t{t}.tif", "cell_t1.nd2", None),
        ("{series}_t{t}.tif", "cell_tx.tif", None),
        ("{series}_t{t}", "cell t3 _t004.czi", {"series": "cell t3 ", "t": "4"}),
        ("*_t{t}_*", "whatever_t007_488nm_9msec.tif", {"t": "7"}),
        ("{{{series}}}_t{t}", "{a b}_t1.tif", {"series": "a b", "t": "1"}),
        ("{well}_w{c:d}*", "A01_w1GFP.tif", {"well": "A01", "c": "1"}),
        ("{series}/ch{c}/t{t}", "day 1/cell 2/chGFP/t03.tif", {"series": "day 1/cell 2", "c": "GFP", "t": "3"}),
        ("{series}.(x)_t{t}", "aZ(x)_t1.tif", None),
    ],
)
def test_a_pattern_reads_the_fields_of_a_name(pattern: str, name: str, fields: dict[str, str] | None) -> None:
    assert compile_pattern(pattern).parse(name) == fields


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("img.tif", "found no field"),
        ("{series_t{t}.tif", "found '{'; expected a field such as {t} or {well}, in small letters"),
        ("{T}_x.tif", "found '{T}'; expected a field"),
        ("{}_{t}.tif", "found '{}'; expected a field"),
        ("{t:x}.tif", "found '{t:x}'; expected a field"),
        ("{t}_{t}.tif", "the field {t} is there 2 times; expected once"),
        ("{id}_{path}_t{t}.tif", "the field {path} is a column that the image itself fills"),
        ("a}_{t}", "found '}'; expected a field"),
    ],
)
def test_a_wrong_pattern_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        compile_pattern(pattern)
    assert message in str(caught.value)
    assert f"pattern {pattern!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "name", "series"),
    [
        ("{series}_t{t}", "cell_t1.tif", "cell"),
        ("{series}_t{t}", "day1/b/cell_t1.tif", "day1/b/cell"),
        ("{series}_s{position}_t{t}", "cell_s3_t1.tif", "cell/position3"),
        ("{series}_{drug}_t{t}", "cell_dmso_t1.tif", "cell"),
        ("{drug}_{well}_t{t}", "dmso_A01_t1.tif", "dmso/A01"),
        ("img_time{t}", "Pos0/img_time1.tif", "Pos0"),
        ("img_time{t}", "img_time1.tif", "img"),
        ("{t}", "12.tif", "series"),
    ],
)
def test_the_series_holds_the_folder_and_the_place_on_the_plate(pattern: str, name: str, series: str) -> None:
    compiled = compile_pattern(pattern)
    fields = compiled.parse(name)
    assert fields is not None
    assert compiled.series(name, fields) == series


def times_channels(template: str) -> list[str]:
    """Names for 3 time points and 2 channels; `l` is the laser, `m` a clock, `n` a channel's name."""
    return [
        template.format(t=t, c=c, l=(488, 560)[c], m=9990533 + 4529 * t, n=("GFP", "Cy5")[c], a="AB"[c], d=c + 1)
        for t in range(3)
        for c in range(2)
    ]


LLSM = "_{l}nm_0000000msec_{m:010d}msecAbs"
NAMINGS = {
    "lattice light-sheet: stack": (
        times_channels("cell2_ch{c}_CAM1_stack{t:04d}" + LLSM + "_000x_000y_000z_0000t.tif"),
        "{series}_ch{c}_CAM1_stack{t}_{wavelength_nm}nm_*msec_{time_ms}msecAbs*",
        {"series": "cell2", "c": "0", "t": "0", "wavelength_nm": "488", "time_ms": "9990533"},
        1,
    ),
    "lattice light-sheet: old": (
        times_channels("Ex06_z0p5_ch{c}_stack{t:04d}" + LLSM + ".tif"),
        "{series}_ch{c}_stack{t}_{wavelength_nm}nm_*msec_{time_ms}msecAbs*",
        {"series": "Ex06_z0p5", "c": "0", "t": "0", "wavelength_nm": "488", "time_ms": "9990533"},
        1,
    ),
    "lattice light-sheet: iterations of two cameras": (
        times_channels("Scan_Iter_{t:04d}_Cam{a}_ch{c}_CAM1_stack0000" + LLSM + "_000x_000y_000z_0000t.tif"),
        "{series}_Iter_{t}_Cam{c}_CAM1_stack*_{wavelength_nm}nm_*msec_{time_ms}msecAbs*",
        {"series": "Scan", "c": "A_ch0", "t": "0", "wavelength_nm": "488", "time_ms": "9990533"},
        1,
    ),
    "lattice light-sheet: tiles": (
        [
            name
            for tile in ("000x_000y_000z", "000x_001y_000z")
            for name in times_channels("S_Iter_{t:04d}_ch{c}_CAM1_stack0000" + LLSM + f"_{tile}_0000t.tif")
        ],
        "{series}_Iter_{t}_ch{c}_CAM1_stack*_{wavelength_nm}nm_*msec_{time_ms}msecAbs_{tile}z_*t",
        {"series": "S", "c": "0", "t": "0", "wavelength_nm": "488", "time_ms": "9990533", "tile": "000x_000y_000"},
        2,
    ),
    "Micro-Manager 2": (
        times_channels("Pos0/img_channel{c:03d}_position000_time{t:09d}_z000.tif"),
        "img_channel{c}_position{position:d}_time{t}_z{z}",
        {"c": "0", "position": "000", "t": "0", "z": "0"},
        1,
    ),
    "Micro-Manager 1.4": (
        times_channels("Pos1/img_{t:09d}_{n}_000.tif"),
        "img_{t}_{c}_{z}",
        {"t": "0", "c": "Cy5", "z": "0"},
        1,
    ),
    "MetaMorph": (
        times_channels("exp_w{d}{n}_t{t}.TIF"),
        "{series}_w{c}_t{t}",
        {"series": "exp", "c": "1GFP", "t": "0"},
        1,
    ),
    "MetaMorph: stage positions": (
        [name for s in (1, 2) for name in times_channels("exp_w{d}{n}_s" + str(s) + "_t{t}.TIF")],
        "{series}_w{c}_s{position:d}_t{t}",
        {"series": "exp", "c": "1GFP", "position": "1", "t": "0"},
        2,
    ),
    "Opera Phenix": (
        times_channels("r01c02f03p01-ch{d}sk{t}fk1fl1.tiff"),
        "r{row:d}c{col:d}f{field:d}p{z}-ch{c:d}sk{t}fk*fl*",
        {"row": "01", "col": "02", "field": "03", "z": "1", "c": "1", "t": "0"},
        1,
    ),
    "Yokogawa": (
        times_channels("Plate_C02_T{t:04d}F001L01A01Z01C{d:02d}.tif"),
        "{series}_{well}_T{t}F{field:d}L*A*Z{z}C{c:d}",
        {"series": "Plate", "well": "C02", "t": "0", "field": "001", "z": "1", "c": "1"},
        1,
    ),
    "ImageXpress": (
        times_channels("TimePoint_{t}/Exp_A01_s2_w{d}3E5AB1C2-0000.TIF"),
        "TimePoint_{t}/{series}_{well}_s{site:d}_w{c:d}*",
        {"t": "0", "series": "Exp", "well": "A01", "site": "2", "c": "1"},
        1,
    ),
    "Zeiss": (
        times_channels("Exp-01_s1t{t:02d}c{d}_ORG.tif"),
        "{series}_s{position:d}t{t}c{c:d}_ORG",
        {"series": "Exp-01", "position": "1", "t": "0", "c": "1"},
        1,
    ),
    "Nikon": (
        times_channels("foo_xy01t{t:03d}c{d}.tif"),
        "{series}_xy{position:d}t{t}c{c:d}",
        {"series": "foo", "position": "01", "t": "0", "c": "1"},
        1,
    ),
    "tags": (
        times_channels("embryo 3_t{t:03d}_c{d}.ome.tif"),
        "{series}_t{t}_c{c:d}",
        {"series": "embryo 3", "t": "0", "c": "1"},
        1,
    ),
    "a tag with a dash": ([f"a-t{t}.tif" for t in range(12)], "{series}-t{t}", {"series": "a", "t": "0"}, 1),
    "SlideBook": (
        [f"{name}_T{t:04d}.tif" for name in ("mut", "wt") for t in range(12)],
        "{series}_T{t}",
        {"series": "mut", "t": "0"},
        2,
    ),
    "channels only": (
        [f"cell_{cell}_c{c}.tif" for cell in range(10) for c in range(2)],
        "{series}_c{c:d}",
        {"series": "cell_0", "c": "0"},
        10,
    ),
}


@pytest.mark.parametrize("case", NAMINGS)
def test_usual_namings_are_recognised(case: str) -> None:
    files, pattern, fields, n_series = NAMINGS[case]
    files = sorted(files)
    reading = find_naming(files)
    assert reading is not None
    proposal = reading.proposal(files, accepted=False)
    assert proposal.pattern == pattern
    assert proposal.fields == fields
    assert (proposal.matched, proposal.total, proposal.n_series) == (len(files), len(files), n_series)
    assert proposal.supported
    # What is proposed is what --pattern then does.
    again = read_names(compile_pattern(pattern), "as given", files)
    assert again.series == reading.series
    assert again.duplicates == 0


@pytest.mark.parametrize(
    ("times", "step"),
    [
        ({0: 100, 1: 4629, 2: 9159, 3: 13688}, "4.529"),
        ({0: 0, 2: 5000, 3: 7500}, "2.5"),  # one is missing
        ({3: 7500, 0: 0, 1: 2500, 2: 5000}, "2.5"),
        ({0: 0, 1: 2500, 2: 60_000}, None),  # somebody had a coffee
        ({0: 0}, None),
        ({0: 7, 1: 7, 2: 7}, None),  # all the same: a clock that stood still
        ({0: 9, 1: 5, 2: 1}, None),
    ],
)
def test_times_in_names_tell_the_step(times: dict[int, int], step: str | None) -> None:
    names = {t: f"cell_ch0_stack{t:04d}_488nm_0000000msec_{ms:010d}msecAbs.tif" for t, ms in times.items()}
    other = "cell_ch1_stack0000_560nm_0000000msec_0000000009msecAbs.tif"  # a channel of its own
    pattern = compile_pattern("{series}_ch{c}_stack{t}_*nm_*msec_{time_ms}msecAbs")
    reading = read_names(pattern, "as given", [*names.values(), other])
    assert reading.time_steps == (dict.fromkeys(names.values(), step) if step else {})


@pytest.mark.parametrize(
    ("files", "planes"),
    [
        ([f"Pos0/img_channel000_position000_time{t:09d}_z{z:03d}.tif" for t in range(3) for z in range(5)], 5),
        ([f"Series001_t{t:02d}_z{z:02d}_ch{c:02d}.tif" for t in range(2) for z in range(4) for c in range(2)], 4),
        ([f"r01c02f01p{p:02d}-ch{c}sk1fk1fl1.tiff" for p in range(1, 8) for c in (1, 2)], 7),
        ([f"stack_z{z:03d}.tif" for z in range(30)], 30),
    ],
)
def test_a_file_for_each_plane_is_recognised_and_not_supported(files: list[str], planes: int) -> None:
    reading = find_naming(files)
    assert reading is not None
    proposal = reading.proposal(files, accepted=False)
    assert proposal.z_planes == planes
    assert not proposal.supported


@pytest.mark.parametrize(
    "files",
    [
        [f"cell_{number:03d}.tif" for number in range(10)],
        ["a.tif", "b.tif"],
        ["cell_t1.tif"],
        [],
        [f"{name}_t1.tif" for name in "abc"],
    ],
)
def test_plain_numbers_and_single_files_are_left_alone(files: list[str]) -> None:
    assert find_naming(files) is None


def test_files_that_do_not_fit_are_named() -> None:
    files = [f"cell_t{t}.tif" for t in range(10)] + ["PSF.tif"]
    reading = find_naming(files)
    assert reading is not None
    proposal = reading.proposal(files, accepted=False)
    assert (proposal.matched, proposal.total, proposal.unmatched) == (10, 11, ("PSF.tif",))
