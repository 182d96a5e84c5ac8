#!/usr/bin/env python3
"""Checks what of the Gradle project can be checked without Gradle and the Android SDK:

- manifests and resources are XML, and classes that manifests name have a file;
- every resource that code or a manifest names is there, and every one that is there is named;
- every alias of the version catalogue that a script names is there, and every one that is there is named;
- scripts include modules that exist, and files that they name by path exist.

Kotlin itself is parsed by kotlin/test.sh. No dependencies but Python 3.11.
"""

import re
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
ANDROID = "{http://schemas.android.com/apk/res/android}"


def resources(app):
    """(type, name) of each resource of an app."""
    found = set()
    for file in sorted((app / "src/main/res").rglob("*.xml")):
        root = ElementTree.parse(file).getroot()
        if root.tag != "resources":
            found.add((file.parent.name, file.stem))
            continue
        for item in root:
            found.add((item.tag, item.get("name").replace(".", "_")))
    return found


def named_resources(app):
    text = "\n".join(file.read_text() for file in sorted((app / "src/main/kotlin").rglob("*.kt")))
    named = set(re.findall(r"\bR\.(\w+)\.(\w+)", text))
    for file in [app / "src/main/AndroidManifest.xml", *sorted((app / "src/main/res").rglob("*.xml"))]:
        for kind, name in re.findall(r"\"@(\w+)/([\w.]+)\"", file.read_text()):
            named.add((kind, name.replace(".", "_")))
    return named


def manifest_problems(app):
    manifest = app / "src/main/AndroidManifest.xml"
    root = ElementTree.parse(manifest).getroot()
    sources = list((app / "src/main").rglob("*.kt")) + list((app / "src/main").rglob("*.java"))
    for element in root.iter():
        name = element.get(ANDROID + "name", "")
        if name.startswith(".") and not any(
            re.search(rf"\bclass {name[1:]}\b", source.read_text()) for source in sources
        ):
            yield f"{manifest}: there is no class {name}"


def catalogue_aliases(catalogue):
    """How scripts write each alias, by section."""
    for section in ("libraries", "plugins", "versions"):
        prefix = "" if section == "libraries" else section + "."
        for alias, value in catalogue[section].items():
            yield section, alias, "libs." + prefix + re.sub("[-_]", ".", alias), value


def catalogue_problems(gradle, scripts):
    catalogue = tomllib.loads((gradle / "gradle/libs.versions.toml").read_text())
    named = set()
    for script in scripts:
        named |= {re.sub(r"\.get$", "", name) for name in re.findall(r"\blibs\.[\w.]+", script.read_text())}
    used = {value.get("version", {}).get("ref") for section in ("libraries", "plugins")
            for value in catalogue[section].values()}
    known = set()
    for section, alias, written, _ in catalogue_aliases(catalogue):
        known.add(written)
        if written not in named and not (section == "versions" and alias in used):
            yield f"libs.versions.toml: nobody uses {alias}"
    for name in sorted(named - known):
        yield f"libs.versions.toml has no {name}"
    for missing in sorted(used - set(catalogue["versions"]) - {None}):
        yield f"libs.versions.toml has no version {missing}"


def script_problems(gradle, scripts):
    settings = (gradle / "settings.gradle.kts").read_text()
    moved = dict(re.findall(r'project\("(:[\w-]+)"\)\.projectDir = file\("([^"]+)"\)', settings))
    for module in re.findall(r'":([\w-]+)"', re.search(r"include\((.*?)\)", settings, re.DOTALL)[1]):
        folder = gradle / moved.get(f":{module}", module)
        if not (folder / "build.gradle.kts").is_file():
            yield f"settings.gradle.kts: {module} has no build.gradle.kts"
    for script in scripts:
        # Sources of other folders, and files that are read.
        for path in re.findall(r'"((?:\.\./)+[\w./-]+|[\w-]+\.pro)"', script.read_text()):
            if not (script.parent / path).exists():
                yield f"{script}: there is no {path}"
        for module in re.findall(r'project\("(:[\w-]+)"\)', script.read_text()):
            if f'"{module}"' not in settings:
                yield f"{script}: there is no module {module}"


def problems(android=HERE):
    gradle, sample = android / "gradle", android / "sample"
    scripts = sorted([*gradle.rglob("*.gradle.kts"), *sample.glob("*.gradle.kts")])
    for file in sorted([*gradle.rglob("*.xml"), *sample.rglob("*.xml")]):
        try:
            ElementTree.parse(file)
        except ElementTree.ParseError as error:
            yield f"{file}: {error}"
            return
    yield from manifest_problems(sample)
    there, named = resources(sample), named_resources(sample)
    for kind, name in sorted(named - there):
        yield f"sample: there is no resource {kind}/{name}"
    for kind, name in sorted(there - named):
        yield f"sample: nobody uses the resource {kind}/{name}"
    yield from catalogue_problems(gradle, scripts)
    yield from script_problems(gradle, scripts)


if __name__ == "__main__":
    found = list(problems())
    for problem in found:
        print(problem, file=sys.stderr)
    sys.exit(1 if found else 0)
