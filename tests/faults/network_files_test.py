"""A model on a network file system is read and not mapped: what its server does is an error with a name and never a signal that ends the process.
io_shim.cpp makes every file system one of the network."""

import errno

import pytest

from lives import Life, commit_of, make_tiny, results, undisturbed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny"))


def test_the_bytes_are_those_of_a_local_run_after_a_kill_too(folder):
    local, remote = folder / "local", folder / "remote"
    Life(remote, folder, network=0, call=commit_of(undisturbed(local, folder), 4), action="kill")
    life = Life(remote, folder, network=0)
    assert life.code == 0 and life.resumed_from() > 0, life.errors
    assert results(remote) == results(local)


@pytest.mark.parametrize("code, reason", [(errno.EIO, "Input/output error"), (errno.ESTALE, "Stale file handle")])
def test_a_server_that_fails_is_an_error_that_names_the_file(folder, code, reason):
    life = Life(folder / f"failing-{code}", folder, network=code)
    assert life.code == 4, life.errors
    assert life.lines("error: ") == [f"error: cannot read {folder}/model/model.safetensors: {reason}"]
