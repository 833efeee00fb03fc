"""A pipeline goes to a site without a network, in an image and in packages, and does there what it did here.

Apptainer, its images and the packages are real; the command ``conda`` is a stand-in (`deployment.conda_stand_in`).
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from deployment.conda import CondaSite
from deployment.packs import COUNT_ZEROS, MODEL, make_study, write_images, zeros_tool
from deployment.studies import ToolStudy, make_outside
from integration_helpers import snakescope
from snakescope.runner.folder import init
from tiny_tools import write_rows

SIZES = {"a": 30, "b": 50, "c": 64}
# Fails on any machine but that of the image, so that nobody takes the host's programs for the image's.
ONLY_IN_BUSYBOX = f'if command -v python3 bash; then echo "error: this is no bare busybox"; exit 9; fi; {COUNT_ZEROS}'


@pytest.fixture
def there() -> Iterator[Path]:
    """Another site: a folder that no image sees by itself."""
    with make_outside() as outside:
        yield outside


def call(*words: str | Path, cwd: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command that has to succeed."""
    done = snakescope(*words, cwd=cwd, **options)  # type: ignore[arg-type]
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def results(root: Path) -> dict[str, bytes]:
    return {path.parts[-3]: path.read_bytes() for path in root.glob("results/*/zeros/out.txt")}


def rows(root: Path, images: Path) -> None:
    """A new sheet over images of these sizes."""
    write_rows(root, [{"id": name, "path": str(path)} for name, path in write_images(images, SIZES).items()])


def run_there(
    archive: Path, there: Path, sdm: str, before: Sequence[str], env: Mapping[str, str]
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Unpack without a network, make a sheet, and run."""
    options = {"before": before, "env": dict(env)}
    tested = call("unpack", archive, there / "new site", cwd=there, **options)
    rows(there / "new site", there / "data")
    call("lint", cwd=there / "new site", **options)
    done = call("run", "--sdm", sdm, cwd=there / "new site", **options)
    assert f"Tools run in {'Apptainer images' if sdm == 'apptainer' else 'conda environments'}: zeros" in done.stderr
    return there / "new site", tested


@pytest.fixture
def boxed(busybox_image: Path, tmp_path: Path) -> ToolStudy:
    """A study whose tool runs in an image, with a model and a case."""
    study = make_study(tmp_path / "here", tmp_path / "data", zeros_tool(ONLY_IN_BUSYBOX, container="envs/box.sif"))
    shutil.copy(busybox_image, study.root / "envs/box.sif")
    rows(study.root, tmp_path / "data")
    return study


@pytest.mark.container
@pytest.mark.network_off
@pytest.mark.slow
def test_an_image_goes_to_a_site_without_a_network_and_makes_the_same(
    boxed: ToolStudy, tmp_path: Path, there: Path, network_off: list[str]
) -> None:
    call("run", "--sdm", "apptainer", cwd=boxed.root)
    here = results(boxed.root)
    assert len(here) == 3
    told = call("pack", "--out", there / "a.tar", cwd=boxed.root).stdout
    digest = hashlib.sha256((there / "a.tar").read_bytes()).hexdigest()
    assert told.endswith(f"a.tar, sha256 {digest}\n")
    shutil.rmtree(tmp_path / "here")
    shutil.rmtree(tmp_path / "data")
    new, tested = run_there(there / "a.tar", there, "apptainer", network_off, os.environ)
    assert "passed  zeros/works: " in tested.stdout
    assert "(apptainer: images/zeros.sif)" in tested.stdout
    assert tested.stdout.endswith("1 passed, 0 failed\n")
    assert results(new) == here
    record = json.loads((new / "records/a/zeros.json").read_text())
    assert record["environment"]["image"] == "images/zeros.sif"
    assert record["environment"]["sha256"] == hashlib.sha256((new / "images/zeros.sif").read_bytes()).hexdigest()
    assert sorted(path.name for path in there.iterdir()) == ["a.tar", "data", "new site"]
    again = call("pack", "--out", there / "again.tar", "--json", cwd=new)
    assert [image["sha256"] for image in json.loads(again.stdout)["images"]] == [record["environment"]["sha256"]]


@pytest.mark.conda
@pytest.mark.network_off
@pytest.mark.slow
def test_packages_go_to_a_site_without_a_network_and_without_their_channel(
    conda_site: CondaSite, tmp_path: Path, there: Path, network_off: list[str]
) -> None:
    channel = CondaSite(conda_site.root, tmp_path / "channel", conda_site.environment)
    channel.add_package("zero-words", "2.0", {"share/zero-words": "x"})
    channel.add_package("zeros", "1.0", {"bin/zeros": f"#!/bin/sh\n{COUNT_ZEROS}\n"}, ["zero-words"])
    tool = zeros_tool(conda="envs/zeros.yaml") | {"command": ["zeros", "{out.text}", "{in.image}"]}
    study = make_study(tmp_path / "here", tmp_path / "data", tool)
    environment = channel.write_environment(study.root / "envs/zeros.yaml", "zeros 1.*")
    channel.pin(environment, "zeros-1.0", "zero-words-2.0")
    rows(study.root, tmp_path / "data")
    call("run", "--sdm", "conda", cwd=study.root, env=dict(channel.environment))
    here = results(study.root)
    (made,) = study.root.glob(".snakemake/conda/*/conda-meta")
    names = sorted(path.name for path in made.glob("*.json"))
    call("pack", "--out", there / "a.tar", cwd=study.root)
    for folder in ("here", "data", "channel"):
        shutil.rmtree(tmp_path / folder)
    shutil.rmtree(conda_site.root / "pkgs")  # what the packages were unpacked to
    new, tested = run_there(there / "a.tar", there, "conda", network_off, channel.environment)
    assert "(conda: envs/zeros.yaml)" in tested.stdout
    assert results(new) == here
    (made,) = new.glob(".snakemake/conda/*/conda-meta")
    assert sorted(path.name for path in made.glob("*.json")) == names
    assert len(list(new.glob("packages/noarch/*"))) == 2
    again = call("pack", "--out", there / "again.tar", cwd=new)
    assert "package          2" in again.stdout


@pytest.mark.container
@pytest.mark.slow
def test_a_site_without_apptainer_is_told_what_was_not_run(boxed: ToolStudy, there: Path) -> None:
    call("pack", "--out", there / "a.tar", "--quiet", cwd=boxed.root)
    path = os.pathsep.join(item for item in os.environ["PATH"].split(":") if not Path(item, "apptainer").exists())
    done = snakescope("unpack", there / "a.tar", there / "new", cwd=there, env={**os.environ, "PATH": path})
    assert done.returncode == 3
    assert "not run  zeros/works: " in done.stdout
    assert "there is no program apptainer or singularity on the PATH" in done.stdout
    assert done.stdout.endswith("0 passed, 0 failed, 1 not run: what they need is missing\n")
    assert (there / "new/images/zeros.sif").is_file()
    quiet = call("unpack", there / "a.tar", there / "other", "--no-test", cwd=there)
    assert quiet.stdout.endswith("the tools' test cases were not run\n")


@pytest.mark.container
@pytest.mark.slow
def test_a_case_that_fails_there_is_told_by_the_exit_status(boxed: ToolStudy, there: Path) -> None:
    call("pack", "--out", there / "a.tar", cwd=boxed.root)
    done = snakescope("unpack", there / "a.tar", there / "new", "--sdm", "none", "--json", cwd=there)
    assert done.returncode == 1
    (case,) = json.loads(done.stdout)["cases"]
    assert "this is no bare busybox" in case["problems"][0]


@pytest.mark.container
def test_the_same_study_makes_the_same_archive(boxed: ToolStudy, there: Path) -> None:
    listed = call("pack", "--out", there / "a.tar", "--dry-run", "--json", cwd=boxed.root)
    assert list(there.iterdir()) == []
    call("pack", "--out", there / "a.tar", cwd=boxed.root)
    shutil.copytree(boxed.root, there / "copy")
    call("pack", "--study", there / "copy", "--out", there / "b.tar", cwd=there)
    assert (there / "a.tar").read_bytes() == (there / "b.tar").read_bytes()
    with tarfile.open(there / "a.tar") as archive:
        names = archive.getnames()
        sizes = {member.name: member.size for member in archive}
    would = {file["path"]: file["size"] for file in json.loads(listed.stdout)["files"]}
    assert list(would) == names[1:]
    assert {path: size for path, size in would.items() if sizes[path] != size} == {"envs/images.lock.yaml": 0}
    assert not [name for name in names if name.startswith(("results", "config/samples", "config/study"))]
    assert b"/here" not in (there / "a.tar").read_bytes(), "a path of this machine"
    refused = snakescope("pack", "--out", there / "a.tar", cwd=boxed.root)
    assert refused.returncode == 2
    assert "is there already" in refused.stderr


def study_of(root: Path, **parts: str) -> ToolStudy:
    study = make_study(root / "here", root / "data", zeros_tool(**parts))
    (study.root / "box.sif").write_bytes(b"no image, but a file")
    return study


def refusal(study: ToolStudy, *words: str) -> str:
    """What is said when a study cannot be packed; nothing has been written then."""
    before = sorted(study.root.parent.rglob("*"))
    done = snakescope("pack", *words, cwd=study.root)
    assert done.returncode == 2, done.stdout + done.stderr
    assert sorted(study.root.parent.rglob("*")) == before
    assert "Traceback" not in done.stderr
    return done.stderr


def test_all_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    study = study_of(tmp_path, conda="envs/zeros.yaml")
    study.write("envs/zeros.yaml", {"channels": ["https://me:hush@channel.example/x"], "dependencies": ["zeros"]})
    (study.root / "models/wisdom.txt").write_bytes(MODEL + b"more")
    profile = study.root / "profiles/local/config.yaml"
    profile.write_text(profile.read_text() + "storage-s3-secret-key: hush-key\n")
    told = refusal(study)
    assert "tool 'zeros': it has no image and no list of exact packages." in told
    assert "snakescope tool pin zeros" in told
    assert "models/wisdom.txt has the sha256" in told
    assert "envs/zeros.yaml: line 2: " in told
    assert "profiles/local/config.yaml: line " in told
    assert told.count("this reads like a password or key") == 2
    assert "hush" not in told
    (study.root / "models/wisdom.txt").unlink()
    assert "there is no file models/wisdom.txt" in refusal(study, "--no-images")


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("none.sif", "its image none.sif is not there, and it has no list of exact packages"),
        ("models", "is a folder; a pack holds image files"),
        ("docker://registry.example/a:1", "has no digest, so nothing says which one it is"),
        ("box.sif", "its sha256 is .*; envs/images.lock.yaml says 000"),
    ],
)
def test_an_image_that_cannot_go_in_is_told(image: str, said: str, tmp_path: Path) -> None:
    study = study_of(tmp_path, container="box.sif")
    study.write("config/images.yaml", {"zeros": image})
    study.write("envs/images.lock.yaml", {"box.sif": {"file_sha256": "0" * 64}})
    assert re.search(said, refusal(study))


def test_an_image_in_a_registry_is_told_to_be_fetched_and_nothing_is_left_when_it_cannot_be(
    tmp_path: Path, network_off: list[str]
) -> None:
    image = "docker://registry.example/a@sha256:" + "1" * 64
    study = study_of(tmp_path, container=image)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "apptainer").write_text("#!/bin/sh\necho 'FATAL: no such host' >&2; exit 255\n")
    (programs / "apptainer").chmod(0o755)
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    dry = call("pack", "--dry-run", "--no-images", cwd=study.root)
    assert "warning: For the tool 'zeros' neither image nor packages go in" in dry.stdout
    dry = call("pack", "--dry-run", cwd=study.root, env=env)
    assert "image            1  0 bytes, 1 to be fetched" in dry.stdout
    before = sorted(tmp_path.rglob("*"))
    done = snakescope("pack", cwd=study.root, env=env, before=network_off)
    assert done.returncode == 3
    assert f"image {image}: apptainer could not pull it: FATAL: no such host" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
    kept = study.root / ".snakemake/singularity" / f"{hashlib.md5(image.encode()).hexdigest()}.simg"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"as Snakemake has pulled it")
    call("pack", "--out", tmp_path / "a.tar", cwd=study.root, before=network_off)
    call("unpack", tmp_path / "a.tar", tmp_path / "new", "--no-test", cwd=tmp_path)
    assert (tmp_path / "new/images/zeros.sif").read_bytes() == b"as Snakemake has pulled it"
    lock = yaml.safe_load((tmp_path / "new/envs/images.lock.yaml").read_text())
    assert lock["images/zeros.sif"]["built_from"] == image


def test_pin_files_are_held_to_their_word(tmp_path: Path) -> None:
    study = study_of(tmp_path, conda="envs/zeros.yaml")
    study.write("envs/zeros.yaml", {"channels": ["x"], "dependencies": ["zeros"]})
    channel = tmp_path / "a channel/noarch"
    channel.mkdir(parents=True)
    (channel / "zeros-1.0-0.conda").write_bytes(b"package")
    md5 = hashlib.md5(b"package").hexdigest()
    lines = [
        "@EXPLICIT",
        f"{channel.as_uri()}/zeros-1.0-0.conda#{md5[::-1]}",
        f"{channel.as_uri()}/other-1.0-0.conda#{md5}",
        f"{channel.as_uri()}/third-1.0-0.conda",
        f"ftp://channel.example/noarch/four-1-0.conda#{md5}",
        "zeros=1.0",
    ]
    pins = study.root / "envs/zeros.linux-64.pin.txt"
    pins.write_text("\n".join(lines) + "\n")
    told = refusal(study)
    for number, said in enumerate(["its digest", "there is no file", "without its digest", "by ftp:", "by address"], 2):
        assert f"pin.txt: line {number}: " in told
        assert said in told
    pins.write_text(f"@EXPLICIT\nhttps://me:hush@127.0.0.1:9/noarch/zeros-1.0-0.conda#{md5}\n")
    secret = snakescope("pack", cwd=study.root)
    assert secret.returncode == 3, "an address that does not go in may have a password"
    assert "https://...@127.0.0.1:9/noarch/zeros-1.0-0.conda: cannot be fetched" in secret.stderr
    pins.write_text(f"@EXPLICIT\n{channel.as_uri()}/zeros-1.0-0.conda#{md5}\n")
    (study.root / "envs/zeros.post-deploy.sh").write_text("pip install zeros\n")
    packed = call("pack", "--out", tmp_path / "a.tar", cwd=study.root)
    assert "warning: envs/zeros.post-deploy.sh runs when the environment is made, and calls pip" in packed.stdout
    there = call("unpack", tmp_path / "a.tar", tmp_path / "new site", "--no-test", cwd=tmp_path)
    assert "warning: envs/zeros.post-deploy.sh" in there.stdout
    placed = (tmp_path / "new site/envs/zeros.linux-64.pin.txt").read_text().splitlines()
    assert placed == ["@EXPLICIT", f"{(tmp_path / 'new site').as_uri()}/packages/noarch/zeros-1.0-0.conda#{md5}"]


def test_packages_are_fetched_by_https_and_checked(tmp_path: Path) -> None:
    (tmp_path / "served/noarch").mkdir(parents=True)
    (tmp_path / "served/noarch/zeros-1.0-0.conda").write_bytes(b"package")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "served"))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    study = study_of(tmp_path, conda="envs/zeros.yaml")
    study.write("envs/zeros.yaml", {"channels": ["x"], "dependencies": ["zeros"]})
    pins = study.root / "envs/zeros.linux-64.pin.txt"
    environment = {**os.environ, "no_proxy": "*"}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/noarch/zeros-1.0-0.conda"
        pins.write_text(f"@EXPLICIT\n{address}#{hashlib.sha256(b'package').hexdigest()}\n")
        dry = call("pack", "--dry-run", cwd=study.root, env=environment)
        assert "package          1  0 bytes, 1 to be fetched" in dry.stdout
        call("pack", "--out", tmp_path / "a.tar", cwd=study.root, env=environment)
        pins.write_text(f"@EXPLICIT\n{address}#{'0' * 64}\n")
        wrong = snakescope("pack", "--out", tmp_path / "b.tar", cwd=study.root, env=environment)
        pins.write_text(f"@EXPLICIT\n{address.replace('zeros', 'none')}#{'0' * 64}\n")
        absent = snakescope("pack", "--out", tmp_path / "b.tar", cwd=study.root, env=environment)
        server.shutdown()
    assert (wrong.returncode, absent.returncode) == (2, 3)
    assert "what was fetched has not the digest" in wrong.stderr
    assert "cannot be fetched (" in absent.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "data", "here", "served"]
    with tarfile.open(tmp_path / "a.tar") as archive:
        found = archive.extractfile("packages/noarch/zeros-1.0-0.conda")
        assert found is not None
        assert found.read() == b"package"


def test_the_shipped_pipeline_goes_in_with_the_installed_tools(tmp_path: Path) -> None:
    init(tmp_path / "here")
    refused = snakescope("pack", cwd=tmp_path / "here")
    assert refused.returncode == 2
    assert refused.stderr.count(".sif is not there, and it has no list of exact packages") == 6
    told = call("pack", "--no-images", "--out", tmp_path / "a.tar", cwd=tmp_path / "here").stdout
    assert "warning: config/psf.tif, which the pipeline reads, is not there and is not packed: bring it along." in told
    call("unpack", tmp_path / "a.tar", tmp_path / "new", "--no-test", cwd=tmp_path)
    checked = call("compile", "--check", cwd=tmp_path / "new")
    assert checked.stdout == "rules are up to date\n"
