"""The check must notice each mistake: archives that are right but for one thing, made here byte by byte.

    python3 -m unittest android/check_aar_test.py
"""

import io
import struct
import unittest
import zipfile

import check_aar
from check_aar import Elf, model_problems, problems

NATIVES = ["open", "close_all", "überall"]
EXPORTS = ["Java_dev_babil_Native_open", "Java_dev_babil_Native_close_1all", "Java_dev_babil_Native__000fcberall"]


def class_file(natives=NATIVES, version=52, name="dev/babil/Native"):
    """A class with native methods, one of Java's own, and a constant that takes two places."""
    texts = [name, "()V", "plain", *natives]
    pool = b"\x05" + bytes(8)
    pool += b"".join(struct.pack(">BH", 1, len(text.encode())) + text.encode() for text in texts)
    pool += struct.pack(">BH", 7, 3)
    this = 3 + len(texts)
    methods = [(0x0109, 6 + i) for i in range(len(natives))] + [(0x0009, 5)]
    body = struct.pack(">HHHHHH", 0x20, this, 0, 0, 0, len(methods))
    body += b"".join(struct.pack(">HHHH", flags, name, 4, 0) for flags, name in methods)
    return struct.pack(">IHHH", 0xCAFEBABE, 0, version, this + 1) + pool + body + struct.pack(">H", 0)


def library(needed=("libc.so", "libdl.so"), undefined=("malloc", "dl_iterate_phdr"), exported=None, alignment=16384,
            address=0, machine=183, soname="libbabil_jni.so", tags=(), symtab=False, stack=6, weak=(), size=0,
            gnu_hash=True):
    """A shared library without code: one segment, a dynamic section, symbols."""
    exported = [*EXPORTS, *sorted(check_aar.header_functions())] if exported is None else exported
    strings, places = b"\0", {}
    for name in [*needed, *undefined, *exported, *weak, soname]:
        places[name] = len(strings)
        strings += name.encode() + b"\0"
    symbols = bytes(24)
    for name in undefined:
        symbols += struct.pack("<IBBHQQ", places[name], 0x12, 0, 0, 0, 0)
    for name in weak:
        symbols += struct.pack("<IBBHQQ", places[name], 0x22, 0, 0, 0, 0)
    first = len(symbols) // 24
    for name in exported:
        symbols += struct.pack("<IBBHQQ", places[name], 0x12, 0, 1, 0x1000, 0)
    count = len(symbols) // 24
    start = 64 + 3 * 56 + 2 * 64
    at_symbols, at_strings = start, start + len(symbols)
    at_hash = -(-(at_strings + len(strings)) // 8) * 8
    if gnu_hash:
        chain = [0] * (count - first)
        if chain:
            chain[-1] = 1
        hashed = struct.pack("<IIIIQI", 1, first, 1, 0, 0, first if chain else 0)
        hashed += struct.pack(f"<{len(chain)}I", *chain)
    else:
        hashed = struct.pack("<II", 1, count) + bytes(4 * (1 + count))
    at_dynamic = -(-(at_hash + len(hashed)) // 8) * 8
    entries = [(Elf.NEEDED, places[name]) for name in needed]
    entries += [(Elf.SONAME, places[soname]), (Elf.STRTAB, at_strings + address), (Elf.SYMTAB, at_symbols + address)]
    entries += [(Elf.GNU_HASH if gnu_hash else Elf.HASH, at_hash + address), *tags, (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    end = at_dynamic + len(dynamic)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 64 + 3 * 56, 0, 64, 56, 3, 64, 2, 0)
    programs = struct.pack("<IIQQQQQQ", 1, 5, 0, address, address, end, end, alignment)
    programs += struct.pack("<IIQQQQQQ", 2, 6, at_dynamic, at_dynamic + address, 0, len(dynamic), len(dynamic), 8)
    programs += struct.pack("<IIQQQQQQ", Elf.GNU_STACK, stack, 0, 0, 0, 0, 0, 16)
    sections = bytes(64) + struct.pack("<II", 0, 2 if symtab else 11) + bytes(56)
    content = (header + programs + sections + symbols + strings).ljust(at_hash, b"\0")
    return (content + hashed).ljust(at_dynamic, b"\0") + dynamic + bytes(size)


MANIFEST = '<manifest xmlns:android="http://schemas.android.com/apk/res/android" package="dev.babil">{}</manifest>'
SDK = '<uses-sdk android:minSdkVersion="24" />'


def aar(without=None, manifest=SDK, classes=None, **files):
    """An archive: `files` are libraries by ABI."""
    jar = io.BytesIO()
    with zipfile.ZipFile(jar, "w") as out:
        for name, content in (classes or {"dev/babil/Native.class": class_file()}).items():
            out.writestr(name, content)
    content = dict.fromkeys(check_aar.FILES, "")
    content |= {"AndroidManifest.xml": MANIFEST.format(manifest), "classes.jar": jar.getvalue()}
    for abi, data in (files or {"arm64_v8a": library()}).items():
        content[f"jni/{abi.replace('arm64_v8a', 'arm64-v8a')}/libbabil_jni.so"] = data
    content.pop(without, None)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        for name, data in content.items():
            out.writestr(name, data)
    return zipfile.ZipFile(archive)


def model(without=None, manifest=SDK, extra=(), without_file=None, compressed=None, asset=None):
    """The archive of a model, with all its files in an asset."""
    inside = io.BytesIO()
    with zipfile.ZipFile(inside, "w") as out:
        for name in sorted({*check_aar.ASSET_FILES, *extra} - {without_file}):
            out.writestr(name, bytes(100), zipfile.ZIP_DEFLATED if name == compressed else zipfile.ZIP_STORED)
    content = dict.fromkeys(check_aar.MODEL_FILES, "")
    content |= {"AndroidManifest.xml": MANIFEST.format(manifest), check_aar.ASSET: asset or inside.getvalue()}
    content.pop(without, None)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        for name, data in content.items():
            out.writestr(name, data)
    return zipfile.ZipFile(archive)


class Check(unittest.TestCase):
    def right(self, archive, check=problems):
        self.assertEqual(list(check(archive)), [])

    def wrong(self, archive, *words, check=problems):
        found = list(check(archive))
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0])

    def test_what_is_right_has_no_problems(self):
        self.right(aar())
        self.right(aar(arm64_v8a=library(gnu_hash=False)))
        self.right(aar(arm64_v8a=library(), x86_64=library(machine=62)))
        # A symbol that may be missing, and one at another address of the same page.
        self.right(aar(arm64_v8a=library(weak=["nobody_has_this"])))
        self.right(aar(arm64_v8a=library(address=0x40000)))

    def test_segments_that_pages_of_16_kb_do_not_take(self):
        self.wrong(aar(arm64_v8a=library(alignment=4096)), "aligned to 4096")
        self.wrong(aar(arm64_v8a=library(address=0x1000)), "0x1000")

    def test_symbols_that_a_phone_does_not_have(self):
        wrong = library(undefined=["malloc", "_Unwind_RaiseException"])
        self.wrong(aar(arm64_v8a=wrong), "symbols", "_Unwind_RaiseException")
        self.wrong(aar(arm64_v8a=library(undefined=["malloc", "_dl_find_object"])), "_dl_find_object")
        # It is there, but in a library that is not asked for.
        self.wrong(aar(arm64_v8a=library(undefined=["sinf"])), "sinf")
        self.right(aar(arm64_v8a=library(undefined=["sinf"], needed=["libm.so"])))

    def test_libraries_that_a_phone_does_not_have(self):
        self.wrong(aar(arm64_v8a=library(needed=["libc.so", "libdl.so", "libgcc_s.so.1"])), "libgcc_s.so.1")

    def test_native_methods(self):
        rest = sorted(check_aar.header_functions())
        self.wrong(aar(arm64_v8a=library(exported=EXPORTS[1:] + rest)), "lacks native", "Native_open")
        self.wrong(aar(arm64_v8a=library(exported=[*EXPORTS, "Java_dev_babil_Testing_panic", *rest])), "Testing_panic")
        self.wrong(aar(arm64_v8a=library(exported=EXPORTS + rest[1:])), "babil.h", rest[0])
        self.wrong(aar(arm64_v8a=library(exported=[*EXPORTS, *rest, "rust_eh_personality"])), "nobody's business")
        with self.assertRaisesRegex(ValueError, "overloads"):
            list(problems(aar(classes={"A.class": class_file(["open", "open"])})))

    def test_the_machine_and_the_form_of_the_library(self):
        self.wrong(aar(arm64_v8a=library(machine=62)), "machine 62")
        self.wrong(aar(arm64_v8a=library(symtab=True)), "stripped")
        self.wrong(aar(arm64_v8a=library(stack=7)), "stack")
        self.wrong(aar(arm64_v8a=library(tags=[(Elf.TEXTREL, 0)])), "relocated")
        self.wrong(aar(arm64_v8a=library(tags=[(Elf.RUNPATH, 1)])), "folders")
        self.wrong(aar(arm64_v8a=library(soname="libother.so")), "libother.so")
        self.wrong(aar(arm64_v8a=library(size=check_aar.LARGEST)), "bytes, more than")
        self.wrong(aar(arm64_v8a=b"\x7fELF\x01"), "cannot be read")

    def test_the_archive(self):
        self.wrong(aar(without="proguard.txt"), "proguard.txt is missing")
        self.wrong(aar(x86_64=library(machine=62)), "arm64-v8a/libbabil_jni.so is missing")
        self.wrong(aar(arm64_v8a=library(), mips=library()), "mips")
        self.wrong(aar(manifest='<uses-sdk android:minSdkVersion="21" />'), "minSdk")
        self.wrong(aar(manifest=SDK + '<uses-permission android:name="x" />'), "permissions")
        self.wrong(aar(classes={"A.class": class_file(version=55)}), "bytecode 55")
        strangers = {"A.class": class_file(), "B.class": class_file([], name="android/os/Build")}
        self.wrong(aar(classes=strangers), "android/os/Build")
        extra = {"A.class": class_file(), "natives/linux-x86_64/libbabil_jni.so": b""}
        self.wrong(aar(classes=extra), "native libraries")

    def test_a_model(self):
        def wrong(archive, *words):
            self.wrong(archive, *words, check=model_problems)

        self.right(model(), model_problems)
        wrong(model(without="classes.jar"), "classes.jar is missing")
        wrong(model(without=check_aar.ASSET), "en-fr.zip is missing")
        wrong(model(manifest='<uses-sdk android:minSdkVersion="21" />'), "minSdk")
        wrong(model(without_file="en-fr/vocab.json"), "lacks en-fr/vocab.json")
        wrong(model(extra=["en-fr/README.md"]), "README.md")
        wrong(model(compressed="en-fr/model.safetensors"), "compresses en-fr/model.safetensors")
        wrong(model(asset=b"no archive"), "no archive")


if __name__ == "__main__":
    unittest.main()
