#!/usr/bin/env python3
"""Checks an Android archive before a phone does: its layout, its Java classes, and the native libraries in it.

    check_aar.py babil.aar [--report]           the library
    check_aar.py --model babil-en-fr.aar        a model as an asset

- the files that an AAR has, libraries for known ABIs alone, a manifest of minSdk 24;
- bytecode of Java 8 at most;
- ELF of the ABI's machine, stripped, of 8 MiB at most; segments aligned to pages of 16 KB; no stack that is executable,
  no text relocations, no search path;
- NEEDED are libraries of bionic, and every undefined symbol is one that they export at API level 24;
- the exported JNI functions are exactly the `native` methods of the classes, and the others exactly those of babil.h.

Of a model: that its asset is an archive that compresses nothing, with all files of the model in one folder.

No dependencies: class files and ELF are read here.
"""

import argparse
import io
import re
import struct
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
API = 24
PAGE = 16384
LARGEST = 8 << 20
# ABI folder -> ELF's number of the machine.
MACHINES = {"arm64-v8a": 183, "x86_64": 62}
MODEL_FILES = {"AndroidManifest.xml", "classes.jar", "R.txt",
               "META-INF/com/android/build/gradle/aar-metadata.properties"}
FILES = MODEL_FILES | {"proguard.txt"}
ASSET = "assets/babil/en-fr.zip"
ASSET_FILES = {f"en-fr/{name}" for name in
               ("config.json", "generation_config.json", "vocab.json", "source.spm", "model.safetensors")}
ANDROID = "{http://schemas.android.com/apk/res/android}"


class Elf:
    """What the dynamic linker reads of a 64-bit little-endian library."""

    LOAD, DYNAMIC, GNU_STACK = 1, 2, 0x6474E551
    NEEDED, HASH, STRTAB, SYMTAB, SONAME = 1, 4, 5, 6, 14
    RPATH, TEXTREL, RUNPATH, FLAGS, GNU_HASH = 15, 22, 29, 30, 0x6FFFFEF5
    SYMTAB_SECTION = 2

    def __init__(self, content):
        self.content = content
        if content[:6] != b"\x7fELF\x02\x01":
            raise ValueError("no 64-bit little-endian ELF file")
        kind, self.machine = self.unpack("HH", 16)
        if kind != 3:
            raise ValueError("no shared library")
        programs, sections = self.unpack("QQ", 32)
        size, count, section_size, section_count, _ = self.unpack("HHHHH", 54)
        # (type, flags, offset, address, file size, memory size, alignment)
        headers = [self.unpack("IIQQ8xQQQ", programs + i * size) for i in range(count)]
        self.loads = [header for header in headers if header[0] == self.LOAD]
        self.executable_stack = any(flags & 1 for kind, flags, *_ in headers if kind == self.GNU_STACK)
        types = [self.unpack("I", sections + i * section_size + 4)[0] for i in range(section_count)]
        self.stripped = self.SYMTAB_SECTION not in types
        self.tags = []
        for _, _, offset, _, length, _, _ in (header for header in headers if header[0] == self.DYNAMIC):
            entries = (self.unpack("QQ", at) for at in range(offset, offset + length, 16))
            for tag, value in entries:
                if tag == 0:
                    break
                self.tags.append((tag, value))
        self.strings = self.offset(self.tag(self.STRTAB))
        self.needed = [self.string(value) for tag, value in self.tags if tag == self.NEEDED]
        self.soname = next((self.string(value) for tag, value in self.tags if tag == self.SONAME), None)
        self.undefined, self.exported = set(), set()
        self._symbols()

    def unpack(self, form, offset):
        return struct.unpack_from("<" + form, self.content, offset)

    def tag(self, wanted):
        return next(value for tag, value in self.tags if tag == wanted)

    def has(self, *wanted):
        return any(tag in wanted for tag, _ in self.tags)

    def offset(self, address):
        """Where in the file lies what is mapped at `address`."""
        for _, _, offset, start, length, _, _ in self.loads:
            if start <= address < start + length:
                return offset + address - start
        raise ValueError(f"nothing is mapped at {address:#x}")

    def string(self, index):
        start = self.strings + index
        return self.content[start:self.content.index(0, start)].decode()

    def _symbols(self):
        table = self.offset(self.tag(self.SYMTAB))
        for i in range(1, self._symbol_count()):
            name, info, _, section = self.unpack("IBBH", table + 24 * i)
            if info >> 4 == 1 and section == 0:
                self.undefined.add(self.string(name))
            elif info >> 4 in (1, 2) and section != 0:
                self.exported.add(self.string(name))

    def _symbol_count(self):
        """The dynamic symbol table does not say its length: a hash table does."""
        if self.has(self.HASH):
            return self.unpack("II", self.offset(self.tag(self.HASH)))[1]
        table = self.offset(self.tag(self.GNU_HASH))
        buckets, first, words, _ = self.unpack("IIII", table)
        start = table + 16 + 8 * words
        last = max(self.unpack(f"{buckets}I", start), default=0)
        if last < first:
            return first
        chain = start + 4 * buckets
        while not self.unpack("I", chain + 4 * (last - first))[0] & 1:
            last += 1
        return last + 1

    def wants_text_relocations(self):
        return self.has(self.TEXTREL) or any(tag == self.FLAGS and value & 4 for tag, value in self.tags)


class ClassFile:
    """The version, the name and the native methods of a class file."""

    def __init__(self, content):
        file = io.BytesIO(content)

        def take(form):
            return struct.unpack(">" + form, file.read(struct.calcsize(">" + form)))

        magic, _, self.version, count = take("IHHH")
        if magic != 0xCAFEBABE:
            raise ValueError("no class file")
        constants, i = {}, 1
        while i < count:
            (tag,) = take("B")
            if tag == 1:
                constants[i] = file.read(take("H")[0]).decode("utf-8", "surrogatepass")
            elif tag in (5, 6):
                file.read(8)
                i += 1
            elif tag in (7, 8, 16, 19, 20):
                constants[i] = take("H")[0]
            else:
                file.read({3: 4, 4: 4, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 17: 4, 18: 4}[tag])
            i += 1
        _, this, _, interfaces = take("HHHH")
        self.name = constants[constants[this]]
        file.read(2 * interfaces)
        self.natives = []
        for kind in ("fields", "methods"):
            for _ in range(take("H")[0]):
                flags, name, _, attributes = take("HHHH")
                if kind == "methods" and flags & 0x0100:
                    self.natives.append(constants[name])
                for _ in range(attributes):
                    file.read(take("HI")[1])

    def exports(self):
        """The names under which the JVM looks for the native methods."""
        # Those would be told apart by their signatures.
        if len(set(self.natives)) < len(self.natives):
            raise ValueError(f"{self.name} overloads a native method")
        return {f"Java_{mangled(self.name)}_{mangled(name)}" for name in self.natives}


def mangled(name):
    known = {"/": "_", "_": "_1", ";": "_2", "[": "_3"}
    return "".join(known.get(c) or (c if c.isascii() and c.isalnum() else f"_0{ord(c):04x}") for c in name)


def bionic():
    """Library -> what it exports at the API level."""
    symbols = {}
    for line in (HERE / "bionic" / f"api{API}-arm64.txt").read_text().splitlines():
        library, symbol = line.split()
        symbols.setdefault(f"{library}.so", set()).add(symbol)
    return symbols


def header_functions():
    header = re.sub(r"/\*.*?\*/", "", (HERE / "include" / "babil.h").read_text(), flags=re.DOTALL)
    return set(re.findall(r"\b(babil_\w+)\(", header))


def listed(names, most=8):
    names = sorted(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def library_problems(abi, content, natives, libraries, functions):
    """What a phone would not load, or apps would miss."""
    try:
        elf = Elf(content)
    except (ValueError, StopIteration, struct.error) as error:
        yield f"cannot be read: {error}"
        return
    if elf.machine != MACHINES[abi]:
        yield f"is for machine {elf.machine}, not {MACHINES[abi]}"
    if len(content) > LARGEST:
        yield f"has {len(content)} bytes, more than {LARGEST}"
    if not elf.stripped:
        yield "is not stripped"
    if elf.soname != "libbabil_jni.so":
        yield f"calls itself {elf.soname}"
    for _, _, offset, address, _, _, alignment in elf.loads:
        if alignment < PAGE or (address - offset) % PAGE:
            yield f"has a segment at {address:#x}, aligned to {alignment}, which pages of {PAGE} bytes do not take"
    if elf.executable_stack:
        yield "wants a stack that is executable"
    if elf.wants_text_relocations():
        yield "wants its code to be relocated"
    if elf.has(Elf.RPATH, Elf.RUNPATH):
        yield "names folders to search for libraries"
    strangers = set(elf.needed) - set(libraries)
    if strangers:
        yield f"needs {listed(strangers)}, which no phone has"
    if abi == "arm64-v8a":
        there = set().union(*(libraries[name] for name in elf.needed if name in libraries))
        missing = elf.undefined - there
        if missing:
            yield f"asks for symbols that API level {API} does not have, or not in what it needs: {listed(missing)}"
    java = {name for name in elf.exported if name.startswith("Java_")}
    for names, problem in (
        (natives - java, "lacks native methods of the classes"),
        (java - natives, "exports native methods that no class declares"),
        (functions - elf.exported, "lacks functions of babil.h"),
        (elf.exported - java - functions, "exports what is nobody's business"),
    ):
        if names:
            yield f"{problem}: {listed(names)}"


def names_of(archive):
    return {name for name in archive.namelist() if not name.endswith("/")}


def manifest_problems(archive):
    manifest = ElementTree.fromstring(archive.read("AndroidManifest.xml"))
    if not manifest.get("package"):
        yield "the manifest has no package"
    sdk = manifest.find("uses-sdk")
    if sdk is None or sdk.get(ANDROID + "minSdkVersion") != str(API):
        yield f"the manifest is not for minSdk {API}"
    if manifest.find("uses-permission") is not None:
        yield "the manifest asks for permissions: apps that pull models ask for the network themselves"


def model_problems(archive):
    """What is wrong with the AAR of a model."""
    missing = (MODEL_FILES | {ASSET}) - names_of(archive)
    for name in sorted(missing):
        yield f"{name} is missing"
    if missing:
        return
    yield from manifest_problems(archive)
    try:
        asset = zipfile.ZipFile(io.BytesIO(archive.read(ASSET)))
    except zipfile.BadZipFile as error:
        yield f"{ASSET} is no archive: {error}"
        return
    for name in sorted(ASSET_FILES - names_of(asset)):
        yield f"{ASSET} lacks {name}"
    for name in sorted(names_of(asset) - ASSET_FILES):
        yield f"{ASSET} has {name}, which no model needs"
    for entry in asset.infolist():
        if entry.compress_type != zipfile.ZIP_STORED:
            yield f"{ASSET} compresses {entry.filename}: what is compressed cannot be mapped"


def problems(archive):
    """What is wrong with the AAR of the library."""
    names = names_of(archive)
    for name in sorted(FILES - names):
        yield f"{name} is missing"
    if FILES - names:
        return
    yield from manifest_problems(archive)
    natives = set()
    with zipfile.ZipFile(io.BytesIO(archive.read("classes.jar"))) as jar:
        classes = [ClassFile(jar.read(name)) for name in jar.namelist() if name.endswith(".class")]
        natives_inside = [name for name in jar.namelist() if name.endswith((".so", ".dll", ".dylib"))]
    if natives_inside:
        yield f"classes.jar has native libraries: {listed(natives_inside)}"
    if not classes:
        yield "classes.jar has no classes"
    strangers = {file.name for file in classes if not file.name.startswith("dev/babil/")}
    if strangers:
        yield f"classes.jar has classes of others: {listed(strangers)}"
    for file in classes:
        natives |= file.exports()
        if file.version > 52:
            yield f"{file.name} is bytecode {file.version}, newer than Java 8"
    found = {name for name in names if name.startswith("jni/")}
    libraries = bionic()
    functions = header_functions()
    if "jni/arm64-v8a/libbabil_jni.so" not in found:
        yield "jni/arm64-v8a/libbabil_jni.so is missing"
    for name in sorted(found):
        match = re.fullmatch(r"jni/([^/]+)/libbabil_jni\.so", name)
        if not match or match[1] not in MACHINES:
            yield f"{name} has no place in it"
            continue
        for problem in library_problems(match[1], archive.read(name), natives, libraries, functions):
            yield f"{name} {problem}"


def report(archive):
    for info in sorted(archive.infolist(), key=lambda info: info.filename):
        print(f"{info.file_size:>10}  {info.filename}")
    for name in archive.namelist():
        if name.startswith("jni/") and name.endswith(".so"):
            elf = Elf(archive.read(name))
            java = sum(name.startswith("Java_") for name in elf.exported)
            print(f"{name}: needs {listed(elf.needed)}; {len(elf.undefined)} symbols of them; {java} native methods")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("aar", type=Path)
    parser.add_argument("--model", action="store_true", help="it is the archive of a model")
    parser.add_argument("--report", action="store_true", help="print what is in it, too")
    args = parser.parse_args()
    with zipfile.ZipFile(args.aar) as archive:
        if args.report:
            report(archive)
        found = list((model_problems if args.model else problems)(archive))
    for problem in found:
        print(f"{args.aar.name}: {problem}", file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
