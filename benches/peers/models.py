"""The GGUF files that are measured: random weights at the shapes of real models, quantised by `llama-quantize`."""

import random_model
from common import WORK, note, run
from peers import LLAMA_CPP_SOURCE, llama_cpp_programs

MODELS = ["smollm2-135m", "qwen2.5-0.5b", "gemma-3-270m", "llama-3.2-1b"]
# The first three are as `llama-quantize` writes them, which keeps the output matrix better. `-pure` is one type for all
# matrices; where rows are not whole blocks of it, the next simpler one.
TYPES = ["Q4_0", "Q4_K_M", "Q8_0", "Q5_0-pure", "Q4_K-pure", "TQ2_0-pure"]
FOLDER = WORK / "models"


def types_of(model):
    """Ternary weights make sense for larger models only."""
    return TYPES if model == "llama-3.2-1b" else TYPES[:-1]


def path(model, quant):
    return FOLDER / f"{model}-{quant}.gguf"


def prepare(models, types):
    """Writes the files that are not there."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for model in models:
        missing = [quant for quant in types_of(model) if quant in types and not path(model, quant).exists()]
        if not missing:
            continue
        note(f"{model}: making {', '.join(missing)}")
        whole = FOLDER / f"{model}.gguf"
        random_model.write(random_model.SHAPES[model], LLAMA_CPP_SOURCE / "models", whole)
        for quant in missing:
            quantize(whole, path(model, quant), quant)
        whole.unlink()


def quantize(whole, output, quant):
    """Quantises a GGUF file to one of `TYPES`. It gets its name when it is complete."""
    kind, _, pure = quant.partition("-")
    partial = output.with_suffix(".partial")
    run(llama_cpp_programs() / "llama-quantize", *(["--pure"] if pure else []), whole, partial, kind)
    partial.rename(output)
