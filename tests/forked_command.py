"""The command in processes forked from one which has its imports and kernels: a start costs a tenth of a second.

Each run is a process of its own, with its own arguments, folder, environment, output and exit code. For tests of what
the command says; what it imports, and how it takes signals, is shown by processes that start from nothing.
"""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

SERVER = """
import importlib, json, os, pkgutil, runpy, sys
import curator, curator.config, curator.report.commands, curator.stages.dedup.fuzzy
from curator.kernels.warm import warm
from hydra.core.plugins import Plugins
for module in pkgutil.iter_modules(curator.config.__path__, "curator.config."):
    importlib.import_module(module.name)
for name in curator.__all__:
    getattr(curator, name)
Plugins.instance()
warm()
words = None
for line in sys.stdin:
    request = json.loads(line)
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        continue
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, (path, flags) in enumerate(zip(request["files"], (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY))):
        os.dup2(os.open(path, flags), number)
    words = request["words"]
    break
if words is not None:
    sys.argv = ["curator", *words]
    runpy.run_module("curator", run_name="__main__", alter_sys=True)
"""


@contextmanager
def forked_command(folder, environment):
    """A function like ``subprocess.run`` that runs ``python -m curator`` with some words.

    Args:
        folder: for the files that take the output of the runs.
        environment: of the process that is forked from.
    """
    out, err = Path(folder, "out"), Path(folder, "err")
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def run(words, *, cwd, env):
        for path in (out, err):
            path.write_bytes(b"")
        files = ["/dev/null", str(out), str(err)]
        request = {"words": words, "folder": str(cwd), "environment": env, "files": files}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        return subprocess.CompletedProcess(words, int(server.stdout.readline()), out.read_text(), err.read_text())

    try:
        yield run
    finally:
        server.communicate(timeout=60)
