#!/usr/bin/env python3
"""The licences of all crates inside the program, as they ask for: each with its version, and their texts, each once.

    cli/dist/licences.py TARGET FEATURES > THIRD-PARTY.txt
"""

import json
import subprocess
import sys
from pathlib import Path

NAMES = ("licen", "copying", "notice", "unlicense")


def metadata(target, features):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    command += ["--manifest-path", Path(__file__).parents[1] / "Cargo.toml"]
    command += ["--no-default-features", "--features", features]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def linked(crates):
    """The ids of what is linked into `babil`: neither tests nor what runs at build time, which include all macros."""
    nodes = {node["id"]: node for node in crates["resolve"]["nodes"]}
    macros = {
        package["id"]
        for package in crates["packages"]
        if any("proc-macro" in part["kind"] for part in package["targets"])
    }
    waiting = [crates["resolve"]["root"]]
    found = set()
    while waiting:
        crate = waiting.pop()
        if crate in found or crate in macros:
            continue
        found.add(crate)
        for needed in nodes[crate]["deps"]:
            if any(kind["kind"] is None for kind in needed["dep_kinds"]):
                waiting.append(needed["pkg"])
    return found


def texts(package):
    """The files of a crate that say how it may be used."""
    files = [file for file in Path(package["manifest_path"]).parent.iterdir() if file.is_file()]
    return sorted(file for file in files if file.name.lower().startswith(NAMES))


def main():
    target, features = sys.argv[1:]
    crates = metadata(target, features)
    ids = linked(crates)
    packages = [package for package in crates["packages"] if package["id"] in ids and package["source"]]
    packages.sort(key=lambda package: (package["name"], package["version"]))

    print("babil contains these crates. Their sources, unchanged, are at crates.io and at the addresses given.\n")
    shared = {}
    for package in packages:
        where = package["repository"] or ""
        print(f"{package['name']} {package['version']}: {package['license'] or 'see below'}, {where}")
        for file in texts(package):
            text = "\n".join(line.rstrip() for line in file.read_text(errors="replace").strip().splitlines())
            shared.setdefault(text, []).append(f"{package['name']} {package['version']}")
    for text, names in shared.items():
        print(f"\n{'=' * 80}\n{', '.join(names)}\n{'=' * 80}\n\n{text}")


if __name__ == "__main__":
    main()
