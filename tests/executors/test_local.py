import subprocess
import sys

import pytest

from curator import LocalExecutor
from tests.executors.suite import ExecutorSuite


class TestLocal(ExecutorSuite):
    @pytest.fixture
    def executor(self):
        return LocalExecutor()


def test_the_local_executor_never_imports_ray(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    program = (
        "import sys; from curator import *; "
        f"Pipeline([Read({str(tmp_path / 'a.jsonl')!r}), ExactDeduplication(), Write({str(tmp_path / 'out')!r})])"
        ".run(LocalExecutor()); assert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
