"""An npm project that has only what would be released: it is imported, required, compiled, and watches a job."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests import readme
from tests.browser_client.packages import HERE as BROWSER_CLIENT
from tests.browser_client.packages import install as install_tools
from tests.release.commands import Fault, node, npm

TSC = BROWSER_CLIENT / "node_modules" / "typescript" / "bin" / "tsc"
PEERS = ("react", "@types/react")
STRICT = ("--ignoreConfig", "--noEmit", "--strict", "--target", "es2022", "--lib", "es2023,dom", "--jsx", "react-jsx")
RESOLUTIONS = (("--module", "node16"), ("--module", "nodenext"), ("--module", "preserve"))

NAMES = "connect hasEnded useJob useJobs useMembers useMessages useSocket useStream useTopic"
IMPORTS = """
import * as client from "qrsocket";
import * as react from "qrsocket/react";
console.log(...Object.keys(client), ...Object.keys(react));
"""
REQUIRES = 'console.log(...Object.keys(require("qrsocket")), ...Object.keys(require("qrsocket/react")))'
# CommonJS in TypeScript's words; what "nodenext" takes, "node16" must refuse.
REQUIRES_TYPED = 'import { connect } from "qrsocket";\nimport { useJob } from "qrsocket/react";\nconnect; useJob;\n'
UNTIL_A_JOB_ENDS = """
const { log } = console;
console.log = (state, ...more) => (log(state, ...more), state === "succeeded" && process.exit());
setTimeout(() => process.exit(1), 20_000);
"""
REFUSAL_OF_TSC = "Consider writing a dynamic 'import(\"qrsocket\")' call instead"
REFUSAL_OF_NODE = "a dynamic import() which is available in all CommonJS modules"


def install(package: Path, folder: Path) -> None:
    """Install an npm package in *folder*, a project of ES modules, with the React that our tests run with."""
    install_tools()
    pinned = json.loads((BROWSER_CLIENT / "package.json").read_text())["devDependencies"]
    (folder / "package.json").write_text('{ "private": true, "type": "module" }')
    options = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    npm(["install", *options, package, *(f"{name}@{pinned[name]}" for name in PEERS)], cwd=folder)
    shutil.copy(BROWSER_CLIENT / "types" / "usage.tsx", folder)
    (folder / "requires.cts").write_text(REQUIRES_TYPED)


def check_imports(folder: Path) -> None:
    _expect(NAMES, node(["--input-type=module", "--eval", IMPORTS], cwd=folder))


def check_requires(folder: Path) -> None:
    """Require it as CommonJS does; a Node that cannot, which is older than 20.19, must say what to do."""
    _expect(NAMES, node(["--input-type=commonjs", "--eval", REQUIRES], cwd=folder))
    old = ["--no-experimental-require-module", "--input-type=commonjs", "--eval", REQUIRES]
    _expect(REFUSAL_OF_NODE, _refusal(lambda: node(old, cwd=folder)))


def check_types(folder: Path) -> None:
    """Compile what a user writes, and the mistakes in it that must be found, in each way to find a package."""
    for resolution in RESOLUTIONS:
        _compile(folder, *resolution, "usage.tsx")
    _compile(folder, "--module", "nodenext", "requires.cts")
    _expect(REFUSAL_OF_TSC, _refusal(lambda: _compile(folder, "--module", "node16", "requires.cts")))


def _compile(folder: Path, *words: str) -> str:
    return node([TSC, *STRICT, *words], cwd=folder)


async def watch(address: str, folder: Path) -> None:
    """Run the README's JavaScript on the first example at *address*, until it has shown how a job ended."""
    script = (
        readme.SCRIPTS[0].replace('"/socket/client.js"', '"qrsocket"').replace('"/socket', f'"ws://{address}/socket')
    )
    words = ["--input-type=module", "--eval", UNTIL_A_JOB_ENDS + script.replace("alice", "carol")]
    watching = asyncio.create_task(asyncio.to_thread(node, words, cwd=folder))
    await readme.queue_as("carol", address)
    _expect("succeeded 100", await watching)


def _refusal(command: Callable[[], str]) -> str:
    try:
        return command()
    except Fault as refused:
        return str(refused)


def _expect(wanted: str, output: str) -> None:
    if wanted not in output:
        raise Fault(f"{wanted!r} is not in the output:\n{output}")
