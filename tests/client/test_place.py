import pytest

from mmkeras.client import Client, place


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8501", "no server's URL: localhost:8501. Expected http://host"),
        ("ftp://host/v1/models/a", "no server's URL"),
        ("http://host/elsewhere", "no server's URL"),
        ("http://host:1", "http://host:1 names no model, and a server lists none: "),
        ("http://host:1", "give http://host:1/v1/models/NAME, or the name as `model`"),
        ("http://host:99999", "no server's URL: http://host:99999. Port out of range"),
        ("http://host:x", "Port could not be cast to integer value as 'x'"),
        ("http://[::1/v1", "no server's URL: http://[::1/v1. Invalid IPv6 URL"),
        ("grpc://host/v1/models/a", "has no port, and gRPC has none by default: "),
        ("grpc://host/v1/models/a", "is 8500, as in grpc://host:8500"),
    ],
)
def test_urls_that_are_none(url, message):
    with pytest.raises(ValueError) as caught:
        Client(url)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (1.0, "expected a number as int, or a label as str, got 1.0"),
        (-1, "version: expected 0 to 9223372036854775807, got -1"),
        (2**63, "version: expected 0 to 9223372036854775807, got 9223372036854775808"),
    ],
)
def test_versions_that_are_none(version, message):
    with pytest.raises(ValueError, match=message):
        place.read("http://host", ["http"], "pets", version)


def test_what_is_given_goes_before_what_the_url_has():
    url = "http://host:1/v1/models/pets/versions/3"
    found = place.Place("http", "http://host:1", "pets", 3)
    assert place.read(url, ["http"]) == found
    assert place.read(url, ["http"], "birds", "new") == found._replace(
        model="birds", version="new"
    )


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "två", "-x", 'a"b', "..", "a b"])
def test_a_name_that_fits_no_url_is_refused(name):
    with pytest.raises(ValueError, match="cannot be called .*: expected ASCII letters"):
        place.check_name(name)
