#!/usr/bin/env python3
"""Writes the first corpora of the fuzz targets from fixtures/ and mappings/, into corpus/TARGET.

What is there already stays, so that what earlier runs found is kept.
"""

import hashlib
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# A seed longer than a run's -max_len would be cut to a message that ends anywhere.
BYTES_MAX = 4096


def messages():
    files = sorted((ROOT / "fixtures/hl7").glob("*.hl7"))
    files += sorted((ROOT / "fixtures/corpus").rglob("*.hl7"))
    return [path.read_bytes() for path in files]


def documents():
    """Without the layout, which would make them too long."""
    found = [path.read_bytes() for path in sorted((ROOT / "fixtures/xml").glob("*.xml"))]
    return [re.sub(rb">\s+<", b"><", document) for document in found]


def resources():
    """Without blanks at the beginning of lines, which would make them too long; some behind a path."""
    files = sorted((ROOT / "fixtures/corpus/fhir").rglob("*.*")) + sorted((ROOT / "fixtures/corpus/xml").rglob("*.xml"))
    found = [re.sub(rb"\n\s+", b"\n", path.read_bytes()) for path in files]
    paths = [b"Patient.identifier.where(system='urn:x').value", b"Observation.value.ofType(Quantity).value",
             b"Patient.birthDate.extension('u').value", b"Encounter.location[1].location.reference"]
    return found + [b"//" + path + b"\n" + one for path in paths for one in found]


def mappings():
    return [path.read_bytes() for path in sorted((ROOT / "mappings/hl7").glob("*.toml"))]


def seeds(target):
    if target == "hl7":
        return messages()
    if target == "xml":
        return documents()
    if target == "charset":
        # The first byte chooses the set: UTF-8, Shift-JIS, GB 18030.
        return [bytes([set_of]) + one for one in messages() + documents() for set_of in (1, 6, 8)]
    if target == "frame":
        # The first byte is the size of the pieces.
        return [b"\x07\x0b" + message[:200] + b"\x1c\r" for message in messages()]
    if target == "path":
        return re.findall(rb'"([A-Z][A-Z0-9]{2}[^"]{0,40})"', b"\n".join(mappings()))
    if target == "datetime":
        return re.findall(rb"(?<=[|^~])\d{4,14}(?:\.\d+)?(?:[+-]\d{4})?(?=[|^~\r\n])", b"\n".join(messages()))
    if target == "escape":
        fields = re.split(rb"[|\r\n]", b"\n".join(messages()))
        return [field for field in fields if b"\\" in field]
    if target == "fhir":
        return resources()
    if target == "mapping":
        return mappings()
    sys.exit(f"seed.py: no target {target}")


def main():
    for target in sys.argv[1:]:
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        found = {seed for seed in seeds(target) if len(seed) <= BYTES_MAX}
        if not found:
            sys.exit(f"seed.py: no seed for {target}")
        for seed in found:
            (folder / hashlib.sha1(seed).hexdigest()).write_bytes(seed)


if __name__ == "__main__":
    main()
