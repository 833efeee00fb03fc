"""What a site offers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from snakescope import layout
from snakescope.cluster.site import Partition, Site, SiteFile, read_site
from snakescope.errors import InputError


def write(folder: Path, config: str | None = None, site: str | None = None) -> Path:
    profile = folder / "profiles/slurm"
    profile.mkdir(parents=True)
    if config is not None:
        (profile / "config.yaml").write_text(config)
    if site is not None:
        (profile / "site.yaml").write_text(site)
    return folder


def test_a_profile_without_our_file_has_its_defaults(tmp_path: Path) -> None:
    site = read_site(write(tmp_path, "executor: slurm\njobs: 50\nretries: 2\n"))
    assert (site.executor, site.jobs, site.retries, site.account, site.partition) == ("slurm", 50, 2, None, None)
    assert (site.file.target_minutes, site.file.mem_margin_mb, site.file.grain) == (20, 400, "auto")
    assert (site.partitions, site.nodes, site.cores_per_job) == ({}, None, 8)


def test_a_file_of_comments_is_an_empty_one(tmp_path: Path) -> None:
    assert read_site(write(tmp_path, "# nothing\n", "# partitions:\n\n")).file == SiteFile()


@pytest.mark.parametrize(
    "text",
    [
        "default-resources: {slurm_account: lab, slurm_partition: cpu}",
        "default-resources: [slurm_account=lab, \"slurm_partition='cpu'\"]",
    ],
)
def test_account_and_partition_are_found_in_both_forms(tmp_path: Path, text: str) -> None:
    site = read_site(write(tmp_path, text))
    assert (site.account, site.partition) == ("lab", "cpu")


def test_what_else_all_jobs_ask_of_slurm_is_known_where_it_is_plain(tmp_path: Path) -> None:
    asked = {
        "qos": "long", "constraint": "attempt > 1 and 'a' or 'b'", "reservation": "mine", "mem_mb": 7,
        "slurm_extra": "'--mail-type=FAIL --x y'",
    }  # fmt: skip
    text = json.dumps({"default-resources": asked, "set-resources": {"deskew": {"reservation": "other"}}})
    site = read_site(write(tmp_path, text))
    assert site.others == {"qos": "long", "slurm_extra": "--mail-type=FAIL --x y"}


def test_what_is_changed_for_steps_in_a_list_is_not_read(tmp_path: Path) -> None:
    text = json.dumps({"default-resources": {"qos": "long"}, "set-resources": ["deskew:qos=short"]})
    assert read_site(write(tmp_path, text)).others == {}


def test_everything_wrong_is_told_with_its_place(tmp_path: Path) -> None:
    write(tmp_path, "", "target_minutes: 0\npartition: {}\npartitions: {cpu: {max_cpus: many}}\n")
    with pytest.raises(InputError) as told:
        read_site(tmp_path)
    text = str(told.value)
    assert "site.yaml: target_minutes" in text
    assert "site.yaml: partition:" in text
    assert "site.yaml: partitions.cpu.max_cpus" in text


def test_wrong_counts_and_a_missing_profile_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config.yaml: jobs: found 'few'; expected a whole number"):
        read_site(write(tmp_path, "jobs: few"))
    with pytest.raises(InputError, match=r"there is no such profile.\n    There are: slurm"):
        read_site(tmp_path, "pbs")
    (tmp_path / "profiles/slurm/config.yaml").write_text("default-resources: 5")
    with pytest.raises(InputError, match="default-resources: found 5; expected a mapping"):
        read_site(tmp_path)


def test_what_the_files_leave_open_is_taken_from_the_cluster() -> None:
    found = {
        "cpu": Partition(max_runtime_min=60, max_mem_mb=1000, max_cpus=4, nodes=3),
        "gpu": Partition(max_cpus=8, gpus=2, nodes=1),
    }
    file = SiteFile(partitions={"cpu": Partition(max_mem_mb=900, resources={"qos": "q"}), "other": Partition()})
    site = Site(file=file).completed(found, "gpu")
    assert list(site.partitions) == ["cpu", "other"]
    assert site.partitions["cpu"] == Partition(
        max_runtime_min=60, max_mem_mb=900, max_cpus=4, nodes=3, resources={"qos": "q"}
    )
    assert site.partitions["other"] == Partition()
    assert site.nodes is None


def test_without_partitions_the_profiles_or_the_clusters_own_is_used() -> None:
    found = {"cpu": Partition(nodes=3), "gpu": Partition(gpus=2, nodes=1)}
    assert list(Site(partition="gpu").completed(found, "cpu").partitions) == ["gpu"]
    assert list(Site().completed(found, "cpu").partitions) == ["cpu"]
    assert Site().completed(found, "cpu").nodes == 3
    assert Site().completed(found).partitions == {}


def test_partitions_without_gpus_come_first_for_jobs_without() -> None:
    site = Site(file=SiteFile(max_runtime_min=30), partitions={"g": Partition(gpus=1), "c": Partition()})
    assert [name for name, _ in site.candidates(0)] == ["c", "g"]
    assert [name for name, _ in site.candidates(1)] == ["g", "c"]
    assert [partition.max_runtime_min for _, partition in site.candidates(0)] == [30, 30]


def test_the_shipped_profile_is_sound() -> None:
    site = read_site(layout.assets())
    assert site.executor == "snakescope"
    assert site.partitions == {}
