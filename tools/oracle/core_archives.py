"""Compressed bytes for tests/core/jsonl_test.cpp, made by Python's gzip and by python-zstandard (pip install zstandard)."""
import gzip

import zstandard

first, second = b'{"a": 1}\n{"a": 2}', b'\n{"a": 3}\n'
print("gzip, two members:", (gzip.compress(first, mtime=0) + gzip.compress(second, mtime=0)).hex())
compressor = zstandard.ZstdCompressor(write_checksum=True)
skippable = bytes.fromhex("532a4d18") + (3).to_bytes(4, "little") + b"abc"
print("zstd, two frames: ", (compressor.compress(first) + skippable + compressor.compress(second)).hex())
