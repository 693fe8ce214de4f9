"""Files that are whole or not there."""

import hashlib

import pytest

from mmkeras import disk


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "it"
    path.write_text("old")
    with disk.replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert partial.name == ".partial-it"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "it"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), disk.replacing(path) as partial:
        partial.write_text("ne")
        raise OSError("full")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_there_when_all_its_files_are(tmp_path):
    folder = tmp_path / "new" / "it"
    with disk.filling(folder) as partial:
        (partial / "one").write_text("1")
        assert partial.name.startswith(disk.PARTIAL) and not folder.exists()
    assert (folder / "one").read_text() == "1"
    with disk.filling(folder) as partial:  # another process was faster
        (partial / "one").write_text("2")
    with pytest.raises(OSError, match="full"):
        with disk.filling(folder.with_name("other")) as partial:
            (partial / "one").write_text("3")
            raise OSError("full")
    assert (folder / "one").read_text() == "1"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_digest_is_of_the_bytes_alone(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"ab" * 300_000)
    two.write_bytes(one.read_bytes()[2:])
    assert disk.digest(one) == hashlib.sha256(one.read_bytes()).hexdigest()
    assert disk.digest(two, b"ab") == disk.digest(one) != disk.digest(two)


def test_a_lock_is_for_one_and_ends_with_its_file(tmp_path):
    path = tmp_path / "lock"
    with open(path, "w") as one, open(path, "w") as other:
        assert disk.locked(one) and not disk.locked(other)
    with open(path, "w") as third:
        assert disk.locked(third)
