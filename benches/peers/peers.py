"""The engines beside which babil is measured, and babil itself: built or installed under `target/peers`.

- llama.cpp: its source comes in the source package of `llama-cpp-python`. Built for this CPU, with its own threads in
  place of OpenMP. A CPU with AMX also gets a build without it. Needs CMake, Ninja and a C++ compiler (Debian: cmake
  ninja-build g++).
- candle: candle-transformers' quantised models, which our own programs run with `--backend candle`, built for this CPU:
  candle chooses its instructions when it is compiled.
- mistral.rs: its program `mistralrs`, built for this CPU. 0.8.1 is the newest version on crates.io; 0.9, of which its
  authors claim more speed, is not there and is not measured.
- whisper.cpp: its source comes in the source package of `pywhispercpp`, whose compiled package is for plain AVX2. Its
  library, built for this CPU.
- ONNX Runtime: Python packages, its own provider for CPUs and OpenVINO's plugin, reached by our own programs with `--npu`.
  OpenVINO's plugin offers only CPUs of Intel; on others it needs BABIL_ONNXRUNTIME_PLUGINS (see `just npu`).
- CTranslate2: a Python package, installed with the other requirements.

What is there is not built again; remove its folder to do so. Our own programs are built each time.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from importlib import metadata
from pathlib import Path

from common import ROOT, WORK, commit, cpu_has, note, run

LLAMA_CPP_PYTHON = "0.3.36"
PYWHISPERCPP = "1.5.1"
MISTRAL_RS = "0.8.1"
MISTRAL_RS_ARITHMETIC = [
    *("mistralrs-core", "mistralrs-quant", "candle-core", "candle-nn", "half", "float8", "bytemuck", "num-traits", "pulp"),
    *("gemm", "gemm-common", "gemm-f16", "gemm-f32", "gemm-f64", "rayon", "rayon-core", "crossbeam-deque", "memmap2"),
    *("safetensors", "tokenizers", "tokio", "rand", "rand_distr", "hashbrown", "indexmap"),
]
ONNXRUNTIME = {"onnxruntime": "1.31.1", "onnxruntime-ep-openvino": "1.8.1"}
# mistral.rs takes by far the longest to build.
NAMES = ["llama.cpp", "candle", "ctranslate2", "whisper.cpp", "onnxruntime", "mistral.rs"]

# Our own programs, as users get them, and for candle.
OURS = WORK / "babil"
CANDLE = WORK / "candle"
MISTRALRS = WORK / "mistralrs" / "bin" / "mistralrs"
LLAMA_CPP = WORK / "llama.cpp"
LLAMA_CPP_SOURCE = LLAMA_CPP / "source"
WHISPER_CPP = WORK / "whisper.cpp" / "src" / "libwhisper.so"
VERSIONS = WORK / "versions.json"

# CMake's options. The second ones are what CPUs with AMX have, without AMX.
NATIVE = ["GGML_NATIVE=ON"]
WITHOUT_AMX = [
    "GGML_NATIVE=OFF",
    *(f"GGML_{name}=ON" for name in ("AVX2", "FMA", "F16C", "BMI2", "AVX_VNNI", "AVX512")),
    *(f"GGML_AVX512_{name}=ON" for name in ("VBMI", "VNNI", "BF16")),
]


def llama_cpp_builds():
    """{name: folder of its programs} of the builds that count on this CPU, the best one first."""
    names = ["llama.cpp", "llama.cpp without AMX"] if cpu_has("amx_int8") else ["llama.cpp"]
    return {name: LLAMA_CPP / ("native" if name == "llama.cpp" else "without-amx") / "bin" for name in names}


def llama_cpp_programs():
    """The folder of the best build's programs."""
    return next(iter(llama_cpp_builds().values()))


def download(package, version, folder):
    """The source of a package of PyPI, unpacked in `folder`."""
    options = ["--quiet", "--no-deps", "--no-binary", package, "--dest", folder]
    run(sys.executable, "-m", "pip", "download", f"{package}=={version}", *options)
    name = package.replace("-", "_")
    archive = next(folder.glob(f"{name}-*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    archive.unlink()
    return next(folder.glob(f"{name}-*"))


def download_llama_cpp():
    note("llama.cpp: downloading its source")
    package = download("llama-cpp-python", LLAMA_CPP_PYTHON, LLAMA_CPP)
    source = package / "vendor" / "llama.cpp"
    keep_tile_configuration(source / "ggml" / "src" / "ggml-cpu" / "amx" / "mmq.cpp")
    source.rename(LLAMA_CPP_SOURCE)
    shutil.rmtree(package)


def keep_tile_configuration(file):
    """A barrier before AMX is configured. GCC 12 believes that `_tile_loadconfig` reads 8 bytes only, and drops the
    stores of the others: the program would end at its first tile."""
    text, call = file.read_text(encoding="utf-8"), "_tile_loadconfig(&tc);"
    if text.count(call) != 1:
        raise SystemExit(f"{file} does not have one {call}")
    file.write_text(text.replace(call, f'__asm__ volatile("" ::: "memory"); {call}'), encoding="utf-8")


def build_llama_cpp():
    if not LLAMA_CPP_SOURCE.exists():
        download_llama_cpp()
    targets = ["llama-bench", "llama-completion", "llama-quantize"]
    for name, folder in llama_cpp_builds().items():
        if all((folder / target).exists() for target in targets):
            continue
        note(f"{name}: building it, which takes a while")
        options = ["CMAKE_BUILD_TYPE=Release", "GGML_OPENMP=OFF", "LLAMA_OPENSSL=OFF", "LLAMA_BUILD_TESTS=OFF"]
        # Otherwise the commit of the repository around it.
        options += [f"LLAMA_BUILD_COMMIT={LLAMA_CPP_PYTHON}"]
        options += NATIVE if name == "llama.cpp" else WITHOUT_AMX
        defines = [f"-D{option}" for option in options]
        run("cmake", "-G", "Ninja", "-S", LLAMA_CPP_SOURCE, "-B", folder.parent, *defines)
        run("cmake", "--build", folder.parent, "--target", *targets)
        for file in folder.parent.rglob("*.o"):
            file.unlink()
    return f"of llama-cpp-python {LLAMA_CPP_PYTHON}, {run('c++', '--version').splitlines()[0]}"


def build_whisper_cpp():
    build = WHISPER_CPP.parents[1]
    if not WHISPER_CPP.exists():
        note("whisper.cpp: downloading and building it")
        source = download("pywhispercpp", PYWHISPERCPP, build) / "whisper.cpp"
        options = ["CMAKE_BUILD_TYPE=Release", "WHISPER_BUILD_EXAMPLES=OFF", "WHISPER_BUILD_TESTS=OFF"]
        defines = [f"-D{option}" for option in options + NATIVE]
        run("cmake", "-G", "Ninja", "-S", source, "-B", build, *defines)
        run("cmake", "--build", build, "--target", "whisper")
    return f"of pywhispercpp {PYWHISPERCPP}, {run('c++', '--version').splitlines()[0]}, OpenMP"


def build_candle():
    if not all((CANDLE / program).exists() for program in ("babil", "generation")):
        note("candle: building it, which takes minutes")
        build = CANDLE / "build"
        packages = ["-p", "babil", "--bin", "babil", "-p", "babil-benches", "--example", "generation"]
        features = ["--no-default-features", "--features", "babil/candle,babil-benches/candle"]
        cargo_build(packages + features, CANDLE, {"RUSTFLAGS": "-Ctarget-cpu=native", "CARGO_TARGET_DIR": str(build)})
        shutil.rmtree(build)
    return run("cargo", "pkgid", "candle-transformers", cwd=ROOT).strip().rpartition("@")[2]


def build_mistral_rs():
    if not MISTRALRS.exists():
        note("mistral.rs: building it, which takes very long")
        root, build = MISTRALRS.parents[1], WORK / "mistralrs-build"
        # Optimising all crates together takes more memory than small machines have, and all 734 fully takes hours: those
        # that hold its model's arithmetic and threads are, as a release is, and the rest (web server, images, sound) less.
        environment = {"RUSTFLAGS": "-Ctarget-cpu=native", "CARGO_PROFILE_RELEASE_LTO": "off"}
        environment |= {"CARGO_PROFILE_RELEASE_OPT_LEVEL": "1", "CARGO_TARGET_DIR": str(build)}
        command = ["cargo", "install", "mistralrs-cli", "--version", MISTRAL_RS, "--root", str(root)]
        for crate in MISTRAL_RS_ARITHMETIC:
            command += ["--config", f"profile.release.package.{crate}.opt-level=3"]
        subprocess.run(command, env=os.environ | environment, check=True, stdout=sys.stderr)
        shutil.rmtree(build)
    return f"{MISTRAL_RS}, the newest on crates.io (0.9 is not there and was not measured)"


def cargo_build(options, folder, environment=None):
    """Builds programs of ours and copies them to `folder`."""
    command = ["cargo", "build", "--release", *options, "--message-format", "json-render-diagnostics"]
    environment = os.environ | (environment or {})
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    folder.mkdir(parents=True, exist_ok=True)
    for line in done.stdout.splitlines():
        program = json.loads(line).get("executable") if line.startswith("{") else None
        if program:
            shutil.copy2(program, folder / Path(program).name)


def build_ours():
    examples = [f"--example={name}" for name in ("bandwidth", "generation", "speech", "translation")]
    cargo_build(["-p", "babil-benches", "--features", "npu", *examples], OURS)
    # By itself: programs that are built together share the features of them all.
    cargo_build(["-p", "babil", "--no-default-features", "--features", "standard"], OURS)
    isa = json.loads(run(OURS / "babil", "doctor", "--json"))["instruction_set"]
    version = run(OURS / "babil", "--version").split()[-1]
    return f"{version}, commit {commit()}, kernels {isa}"


def ctranslate2_version():
    return f"{metadata.version('ctranslate2')}, compute_type int8"


def build_onnxruntime():
    packages = [f"{name}=={version}" for name, version in ONNXRUNTIME.items()]
    run(sys.executable, "-m", "pip", "install", "--quiet", *packages)
    return ", ".join(f"{name} {version}" for name, version in ONNXRUNTIME.items())


def onnxruntime_devices():
    """{name: environment} of the devices that stand in for an NPU: those that this machine has."""
    environment = {"BABIL_ONNXRUNTIME": str(Path(sysconfig.get_path("platlib")) / "onnxruntime" / "capi")}
    found = run(OURS / "babil", "doctor", "--devices", "--json", env=os.environ | environment)
    kinds = {(device["provider"], device["kind"]) for device in json.loads(found)["devices"] if not device["problem"]}
    names = {"CPUExecutionProvider": "ONNX Runtime", "OpenVINOExecutionProvider": "OpenVINO"}
    return {
        f"{name}, {precision}": environment | {"BABIL_NPU": f"{provider}/cpu", "BABIL_NPU_PRECISION": precision}
        for provider, name in names.items()
        for precision in ("f32", "int8")
        if (provider, "cpu") in kinds
    }


def prepare(peers):
    """Builds or installs babil and `peers`, and notes the version of each when it is there."""
    build = {"llama.cpp": build_llama_cpp, "candle": build_candle, "mistral.rs": build_mistral_rs}
    build |= {"ctranslate2": ctranslate2_version, "whisper.cpp": build_whisper_cpp, "babil": build_ours}
    build |= {"onnxruntime": build_onnxruntime}
    WORK.mkdir(parents=True, exist_ok=True)
    for name in ["babil", *peers]:
        found = versions() | {name: build[name]()}
        VERSIONS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def versions():
    """{name: version} of what has been prepared."""
    return json.loads(VERSIONS.read_text(encoding="utf-8")) if VERSIONS.exists() else {}
