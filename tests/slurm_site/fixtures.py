"""The site as a fixture: one for all tests of a session, whole again after each."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from slurm_site import SlurmSite, why_not


def need_slurm() -> None:
    """Skip where no Slurm can be brought up, but fail where CI promises it."""
    reason = why_not()
    if reason and os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(f"no Slurm for the tests: {reason}; .ci/run installs what they need")
    if reason:
        pytest.skip(f"no Slurm for the tests: {reason}")


@pytest.fixture(scope="session")
def slurm_site_of_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmSite]:
    """A Slurm with three nodes of two CPUs."""
    need_slurm()
    site = SlurmSite(tmp_path_factory.mktemp("slurm") / "site")
    try:
        site.start(owner=os.getpid())
        yield site
    finally:
        site.stop(now=True)


@pytest.fixture
def slurm_cluster(slurm_site_of_session: SlurmSite, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmSite]:
    """The site of this session, free and whole; the environment leads to it."""
    for name in set(os.environ) - set(slurm_site_of_session.env):
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_CONF", str(slurm_site_of_session.conf))
    yield slurm_site_of_session
    slurm_site_of_session.mend()
