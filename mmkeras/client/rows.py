"""Raw rows as a server can be sent them: texts and bytes, nothing else."""


def checked(rows):
    """Rows or columns, as lists.

    Args:
        rows: see `Client.predict`.

    Returns:
        A list of {served name: str or bytes}, or {served name: list of str or bytes}.

    Raises:
        ValueError: there are none, they do not have the same names or lengths, or
            hold what is neither a text nor bytes.
    """
    return _columns(rows) if isinstance(rows, dict) else _rows(rows)


def as_bytes(value):
    """A text or bytes as bytes."""
    return value.encode("utf-8") if isinstance(value, str) else bytes(value)


def _columns(columns):
    for name, values in columns.items():
        if isinstance(values, str | bytes):
            kind = type(values).__name__
            raise ValueError(
                f"column `{name}` is {kind}, expected a list: columns are "
                '{"text": ["seven", "nine"]}, one row alone is [{"text": "seven"}]'
            )
    columns = {name: list(values) for name, values in columns.items()}
    lengths = {name: len(values) for name, values in columns.items()}
    if not lengths:
        raise _nothing()
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(f"columns must be of one length, one or more: {lengths}")
    for name, values in columns.items():
        for at, value in enumerate(values):
            _check_cell(at, name, value)
    return columns


def _rows(rows):
    rows = list(rows)
    if not rows:
        raise _nothing()
    for at, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(
                f"row {at} is {type(row).__name__}, expected a dict of what each input "
                'is given, as {"text": "seven"}'
            )
        if set(row) != set(rows[0]):
            raise ValueError(
                f"row {at} has the inputs {sorted(row)}, row 0 {sorted(rows[0])}: each "
                'needs them all, and "" is missing'
            )
        for name, value in row.items():
            _check_cell(at, name, value)
    return rows


def _nothing():
    return ValueError("no rows: give a list of {served name: value}, or columns")


def _check_cell(at, name, value):
    if isinstance(value, bytes | bytearray | memoryview):
        return
    where = f"row {at}, `{name}`"
    if not isinstance(value, str):
        raise ValueError(
            f"{where}: expected str or bytes, got {type(value).__name__} ({value!r}). "
            'Missing is "", a number is written as text, a file is its bytes, '
            "Path(...).read_bytes()"
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}: no UTF-8: {error.reason}") from error
