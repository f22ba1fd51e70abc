"""Small Parquet files and their rows by pyarrow: writes tests/core/parquet_rows.json.

Run with the package pyarrow: python tools/oracle/parquet_rows.py
"""
import io
import json
import math
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def written(table, **options):
    """The file's bytes. The Arrow schema is stored where a type (dictionary, large_string) comes from it alone."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **{"write_statistics": False, "store_schema": False, "compression": "none", **options})
    return sink.getvalue()


def rows_of(data):
    def plain(value):  # NaN is a missing value
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and math.isnan(value) else value

    return plain(pq.read_table(io.BytesIO(data)).to_pylist())


def main():
    hh = [
        {
            "chosen": f"\n\nHuman: Question {i}, caf\u00e9 \u4f60\u597d \U0001f600?\n\nAssistant: {'Yes' * i}.",
            "rejected": f"\n\nHuman: Question {i}, caf\u00e9 \u4f60\u597d \U0001f600?\n\nAssistant: \"No\"\\.",
        }
        for i in range(5)
    ]
    pairs = pa.Table.from_pylist(hh)
    dialogues = pa.table(
        {
            "messages": pa.array(
                [
                    [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Hello, friend."}],
                    None,
                    [],
                    [{"role": "system", "content": None}, None, {"role": "user", "content": ""}],
                ],
                MESSAGES,
            ),
            "strength": pa.array([1, None, 4, 2], pa.int64()),
        }
    )
    numbers = pa.table(
        {
            **{f"i{bits}": pa.array([-(2 ** (bits - 1)), None, 2 ** (bits - 1) - 1], pa.type_for_alias(f"int{bits}")) for bits in (8, 16, 32, 64)},
            **{f"u{bits}": pa.array([0, None, 2**bits - 1], pa.type_for_alias(f"uint{bits}")) for bits in (8, 16, 32, 64)},
            "f32": pa.array([0.1, None, -1.5], pa.float32()),
            "f64": pa.array([0.1, float("nan"), 1e300], pa.float64()),
            "flag": pa.array([True, None, False]),
            "nothing": pa.nulls(3),
            "ids": pa.array([[1, 403], None, []], pa.list_(pa.int64())),
            "nested": pa.array([{"a": [[1], []], "b": {"c": "x"}}, None, {"a": None, "b": {"c": None}}]),
        }
    )
    kinds = pa.table(
        {
            "source": pa.array(["harbour", None, "pier", "harbour"]).dictionary_encode(),
            "long": pa.array(["one", "two", None, "four"], pa.large_string()),
            "longs": pa.array([["a"], [], None, ["b", None]], pa.large_list(pa.large_string())),
            "two": pa.array([[1, 2], [3, 4], None, [5, 6]], pa.list_(pa.int32(), 2)),
        }
    )
    many = pa.table({"n": pa.array(range(200), pa.int16()), "text": [f"row {i}" * (i % 3) for i in range(200)]})
    good = {
        "pairs": written(pairs),
        "pairs, plain pages": written(pairs, use_dictionary=False),
        "pairs, snappy": written(pairs, compression="snappy"),
        "pairs, zstd, pages of version 2": written(pairs, compression="zstd", data_page_version="2.0"),
        "pairs, gzip": written(pairs, compression="gzip"),
        "dialogues": written(dialogues),
        "numbers": written(numbers),
        "dictionaries, large and fixed lists": written(kinds, store_schema=True),
        "many rows in groups of 70": written(many, row_group_size=70, compression="zstd"),
        "no rows": written(pairs.slice(0, 0)),
    }

    def text_column(values):  # bytes that need not be UTF-8, under the type of text
        return pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())

    bad = {
        "image": written(pa.table({"text": ["x"], "picture": pa.array([{"bytes": b"\x89PNG"}])})),
        "decimal": written(pa.table({"text": ["x"], "price": pa.array([1], pa.decimal128(5, 2))})),
        "time": written(pa.table({"when": pa.array([0], pa.timestamp("ms"))})),
        "map": written(pa.table({"scores": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32()))})),
        "one name twice": written(pa.table([["x"], ["y"]], names=["text", "text"])),
        "no columns": written(pa.table({"text": ["x"]}).select([])),
        "infinite": written(pa.table({"n": [1, 2, 3], "score": [0.5, 1.5, float("-inf")]})),
        "invalid UTF-8": written(pa.table({"text": text_column([b"good"] * 69 + [b"caf\xe9"] + [b"good"] * 5)})),
        "invalid UTF-8 in a list": written(pa.table({"tags": pa.ListArray.from_arrays([0, 1, 2, 3], text_column([b"a", b"\xff", b"c"]))})),
        "a row of 80 MiB": written(pa.table({"parts": [["x"], ["y" * 2**20] * 80]}), compression="zstd"),
        "texts of 2 GiB": written(pa.table({"text": pa.DictionaryArray.from_arrays(pa.array([0] * 32), ["y" * 2**26])}), compression="zstd"),
        "a list of 5 million nulls": written(pa.table({"ids": pa.array([[None] * 5_000_000], pa.list_(pa.int8()))}), compression="zstd"),
        "checksum": written(pa.table({"text": ["one", "two"]}), use_dictionary=False, write_page_checksum=True).replace(b"two", b"tvo", 1),
    }
    lines = [json.dumps({"name": name, "hex": data.hex(), "rows": rows_of(data)}) for name, data in good.items()]
    lines += [json.dumps({"name": name, "hex": data.hex()}) for name, data in bad.items()]
    path = pathlib.Path(__file__).parents[2] / "tests" / "core" / "parquet_rows.json"
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    for line in lines:
        print(len(line), line[:60])


if __name__ == "__main__":
    main()
