"""Whatever the input and however it is cut, exact deduplication equals ten lines of plain Python."""

import json
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curator import ExactDeduplication, LocalExecutor, Pipeline, Read, Write, verify_output

alphabet = st.sampled_from(["a", "B", "é", " ", "\n", '"', "\\", "\u2028", "😀", "\t", "\x1f", "\x85", "İ", "ς"])
texts = st.text(alphabet, max_size=6)
records = st.lists(
    st.fixed_dictionaries({"text": texts}, optional={"id": st.integers(0, 3) | texts, "n": st.integers(-2, 2)}),
    max_size=40,
)


def plain(found, case, white_space):
    seen, kept = set(), []
    for row, record in enumerate(found):
        key = record["text"].lower() if case == "lower" else record["text"]
        key = " ".join(key.split()) if white_space == "collapse" else key
        if key and key in seen:
            continue
        seen.add(key)
        kept.append(row)
    return kept


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    records,
    st.booleans(),
    st.integers(1, 400),
    st.sampled_from(["keep", "lower"]),
    st.sampled_from(["keep", "collapse"]),
    st.booleans(),
)
def test_exact_equals_plain_python_for_any_split(found, ascii_only, split_bytes, case, white_space, ends_with_newline):
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in.jsonl")
        lines = [json.dumps(record, ensure_ascii=ascii_only) for record in found]
        content = "\n".join(lines) + ("\n" if lines and ends_with_newline else "")
        source.write_bytes(content.encode())
        stages = [
            Read(str(source), split_bytes=split_bytes),
            ExactDeduplication(case=case, white_space=white_space),
            Write(Path(folder, "out"), durability="fast"),
        ]
        result = Pipeline(stages).run(LocalExecutor())
        output = b"".join(path.read_bytes() for path in sorted(Path(folder, "out").glob("*.jsonl")))
        kept = plain(found, case, white_space)
        assert output.decode() == "".join(lines[row] + "\n" for row in kept)
        assert result.counts["removed"] == len(found) - len(kept)
        assert verify_output(Path(folder, "out")).problems == []
