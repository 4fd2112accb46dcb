"""How a packed file begins, whatever its name says."""

_BEGINNINGS = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
}


def packing_of(start: bytes) -> str | None:
    """The program that packed a file with these first bytes (8 are enough), or None."""
    return next((name for beginning, name in _BEGINNINGS.items() if start.startswith(beginning)), None)
