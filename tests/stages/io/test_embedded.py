import json
import subprocess
import sys
from pathlib import Path

import pytest
from loguru import logger

from curator.stages.io import embedded
from curator.stages.io.embedded import describe_embedded, embedded_documents, write_embedded

CHECKOUT = Path(embedded.__file__).parents[3]


@pytest.fixture(scope="module")
def documents():
    return list(embedded_documents())


@pytest.fixture
def library(tmp_path, monkeypatch):
    """An empty standard library and no distributions."""
    root = tmp_path / "library"
    root.mkdir()
    monkeypatch.setattr(embedded, "_stdlib_root", lambda: root)
    monkeypatch.setattr(embedded.metadata, "distributions", lambda: iter(()))
    return root


@pytest.fixture
def messages():
    lines = []
    sink = logger.add(lines.append, level="DEBUG", format="{message}")
    yield lines
    logger.remove(sink)


def test_documents_come_from_both_sources(documents):
    assert {document["source"] for document in documents} == {"stdlib", "distribution"}
    texts = {document["id"]: document["text"] for document in documents}
    assert "Directory tree generator" in texts["stdlib/os.py::walk"]
    assert "dist/pytest/METADATA" in texts


def test_ids_are_unique_and_texts_are_not_empty(documents):
    assert len({document["id"] for document in documents}) == len(documents)
    assert all(document["text"].strip() for document in documents)


def test_exact_duplicates_exist_in_both_sources(documents):
    for source in ("stdlib", "distribution"):
        texts = [document["text"] for document in documents if document["source"] == source]
        assert len(set(texts)) < len(texts)


def test_two_processes_with_different_hash_seeds_write_the_same_bytes(tmp_path):
    script = (
        "import sys, pathlib; from curator.stages.io.embedded import write_embedded;"
        "print(len(write_embedded(pathlib.Path(sys.argv[1]))))"
    )
    shards = []
    for seed in ("1", "2"):
        command = [sys.executable, "-c", script, str(tmp_path / seed)]
        subprocess.run(command, env={"PYTHONHASHSEED": seed}, check=True, cwd=CHECKOUT)
        shards.append({path.name: path.read_bytes() for path in (tmp_path / seed).iterdir()})
    assert shards[0] == shards[1]


def test_reading_the_library_imports_nothing():
    script = (
        "import sys; from curator.stages.io.embedded import embedded_documents;"
        "before = set(sys.modules); n = sum(1 for _ in embedded_documents());"
        "new = set(sys.modules) - before;"
        "print(n, sorted(new & {'antigravity', 'this', 'turtle', 'tkinter', 'asyncio', 'rich'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert int(done.stdout.split()[0]) > 1000
    assert done.stdout.split()[1] == "[]"


def test_shards_hold_all_documents_in_order_and_have_about_equal_sizes(documents, tmp_path):
    shards = write_embedded(tmp_path / "made" / "here")
    assert [path.name for path in shards] == [f"embedded-{n:05d}.jsonl" for n in range(4)]
    assert sorted(path.name for path in shards[0].parent.iterdir()) == [p.name for p in shards]
    content = [path.read_bytes() for path in shards]
    assert all(part.endswith(b"\n") for part in content)
    assert [json.loads(line) for part in content for line in part.splitlines()] == documents
    sizes = [len(part) for part in content]
    assert max(sizes) < 1.5 * min(sizes)


def test_writing_twice_replaces_the_shards(library, tmp_path):
    (library / "one.py").write_text('"""First."""')
    assert len(write_embedded(tmp_path / "out")) == 1
    (library / "one.py").write_text('"""Second."""')
    (shard,) = write_embedded(tmp_path / "out")
    assert json.loads(shard.read_bytes())["text"] == "Second."


def test_definitions_are_found_in_source_order_below_conditions_and_handlers(library):
    (library / "pkg").mkdir()
    (library / "pkg" / "m.py").write_text(
        '"""Module."""\n'
        "try:\n    import x\nexcept ImportError:\n    def a():\n        'In a handler.'\n"
        "else:\n    def a():\n        'In an else.'\n"
        "class B:\n    'A class.'\n    async def c(self):\n        'A method.'\n"
        "    def d(self):\n        pass\n    def e(self):\n        '  '\n"
    )
    assert [(document["id"], document["text"]) for document in embedded_documents()] == [
        ("stdlib/pkg/m.py", "Module."),
        ("stdlib/pkg/m.py::a", "In a handler."),
        ("stdlib/pkg/m.py::a#2", "In an else."),
        ("stdlib/pkg/m.py::B", "A class."),
        ("stdlib/pkg/m.py::B.c", "A method."),
    ]


@pytest.mark.parametrize(
    "content",
    [b"def broken(:\n", b'"""\xff\xfe"""\n', b'"""Null."""\n\x00', b"# coding: no-such-codec\n"],
    ids=["syntax-error", "not-utf8", "null-byte", "unknown-codec"],
)
def test_a_file_that_does_not_parse_is_left_out_and_counted(library, messages, content):
    (library / "bad.py").write_bytes(content)
    (library / "good.py").write_text('"""Good."""')
    assert [document["id"] for document in embedded_documents()] == ["stdlib/good.py"]
    assert "embedded input: 1 unreadable files left out: ['bad.py']\n" in messages


def test_tests_and_installed_packages_are_not_entered(library):
    for folder in ("test", "pkg/tests", "site-packages/rich", "idlelib"):
        (library / folder).mkdir(parents=True)
        (library / folder / "m.py").write_text('"""Not read."""')
    assert list(embedded_documents()) == []


def test_invalid_escapes_in_the_library_do_not_warn(library):
    (library / "old.py").write_text('"""Old."""\nx = "\\d"\ny = 1 is 1\n')
    assert len(list(embedded_documents())) == 1


def test_lone_surrogates_become_question_marks_so_that_the_text_is_unicode(library, tmp_path):
    (library / "odd.py").write_text('"""A \\ud800 surrogate."""')
    (shard,) = write_embedded(tmp_path / "out")
    assert json.loads(shard.read_bytes())["text"] == "A ? surrogate."


def test_an_installation_without_sources_gives_no_shards(library, tmp_path):
    assert write_embedded(tmp_path / "out") == []


def test_the_description_names_python_and_the_number_of_distributions():
    version = ".".join(map(str, sys.version_info[:3]))
    assert describe_embedded().startswith(f"docstrings of the Python {version} standard library")
    assert describe_embedded().endswith(" installed distributions")
