"""The bundle's README.md: what the model is, how good, and how to use it."""

import json
from collections.abc import Mapping
from typing import Any

from export.source import Source
from serving.contract.manifest import GENERATOR_FILE, INT8_FILE, SAMPLER_FILE

# The head is what Hugging Face reads of a model card.
_TEMPLATE = """\
---
library_name: onnx
pipeline_tag: unconditional-image-generation
tags: [gan, image-generation, onnx, mirage-gan]
license: other
license_name: that-of-the-training-data
---

# A {kind} generator of {dataset} images

![samples](samples.png)

{layout}

| | |
| --- | --- |
| image | {height} x {width}, {colours} |
| latent | {latent_dim} components, standard normal |
| classes | {classes} |
| network | {model}, {parameters:,} parameters |
| objective | {objective} |
| data | {dataset} {version}, {examples:,} training images |
| training | {steps:,} steps of {batch_size} images; {weights} |
{scores}

## Use it

```python
from serving import Generator

generator = Generator.load("path/to/this/folder")
images = generator.sample(16, seed=7{label})  # uint8 [16, {height}, {width}, {channels}]
```

```sh
python -m serving.sample --bundle=path/to/this/folder --n=25 --seed=1 --out=grid.png
python -m export.verify path/to/this/folder
```

The first two need only numpy, onnxruntime and absl-py: `pip install mirage-gan`. In other languages, run one of the
ONNX files. (onnxruntime 1.32 reports itself to its makers unless `ORT_DISABLE_TELEMETRY=1` is in the environment; the
two above see to that.)

| file | tensor | type | shape | meaning |
| --- | --- | --- | --- | --- |
{tensors}

{elsewhere}

## How far it was checked

Keras, {formats} agree on fixed latents in batches of up to 64; the samplers on fixed seeds, in
{samplers}.

| against Keras | read by | largest difference in [-1, 1] | differing uint8 values |
| --- | --- | --- | --- |
{parity}
{int8}
## Intended use and limits

For pictures where nobody is deceived by them: demonstrations, tests, teaching, augmentation of data like its own.
They resemble the training data and nothing else. {quality}
A generator can reproduce training images: mind the data's licence.
"""
_NAMES = {"saved_model": "the SavedModel", "onnx": "the ONNX file", "litert": "the LiteRT file"}
_SCORES = {
    "frechet_distance": "Fréchet distance",
    "frechet_floor": "the same of real images",
    "precision": "precision",
    "recall": "recall",
    "label_accuracy": "label accuracy",
}


def model_card(source: Source, sections: Mapping[str, Any]) -> str:
    """Writes the model card.

    Args:
      source: what is exported.
      sections: `scores`, `parity` and perhaps `onnx` and `int8` of the manifest.

    Returns:
      Markdown.
    """
    config, data, info = source.config, source.data, source.info
    height, width, channels = info.image_shape
    return _TEMPLATE.format(
        kind="class-conditional" if info.conditional else "unconditional",
        dataset=source.data_name,
        layout="Each row shows one class." if info.conditional else "Random samples.",
        height=height,
        width=width,
        channels=channels,
        colours="grey" if channels == 1 else "RGB",
        latent_dim=info.latent_dim,
        classes=", ".join(info.class_names).replace("|", "\\|") or "none",
        model=config.model,
        parameters=source.model.count_params(),
        objective=config.objective,
        version=data.version,
        examples=data.num_examples,
        steps=source.step,
        batch_size=config.batch_size,
        weights=f"weights averaged with a half life of {config.ema_images:,} images"
        if config.ema_images
        else "last weights",
        scores=_score_rows(sections["scores"]),
        label=f", labels={json.dumps(info.class_names[0], ensure_ascii=False)}" if info.conditional else "",
        tensors=_tensors(source, sections["onnx"]),
        elsewhere=_elsewhere(source.info.conditional, sections),
        samplers=", ".join(sections["sampler_readers"]) or "none",
        formats=" and ".join(_NAMES[name] for name in sections["parity"]),
        parity="\n".join(
            f"| {name} | {', '.join(figures['readers'])} | {figures['max_difference']:.1e} | "
            f"{figures['pixel_share']:.3%} |"
            for name, figures in sections["parity"].items()
        ),
        int8=_int8(sections.get("int8")),
        quality="How good and how varied they are is measured above; look at the sheet too."
        if sections["scores"]
        else "How good and how varied they are has not been measured; look at the sheet.",
    )


def _score_rows(scores: Mapping[str, Any]) -> str:
    if not scores:
        return "| scores | none measured yet |"
    rows = [f"| {text} | {scores[name]:.4g} |" for name, text in _SCORES.items() if name in scores]
    how = [f"{scores['num_samples']:,} samples"]
    if "extractor" in scores:
        how.append(f"extractor `{scores['extractor']}`, reference {scores['reference']}")
    return "\n".join([*rows, f"| scores are of | {', '.join(how)} |"])


def _tensors(source: Source, section: Mapping[str, Any] | None) -> str:
    if section is None:
        return "| none exported | | | | |"
    info = source.info
    meanings = {
        "z": "latent, standard normal",
        "seed": "any number",
        "label": f"class, 0 to {len(info.class_names) - 1}",
        "truncation": "factor of the latent; may be left out",
        "image": "output in [-1, 1]",
        "pixels": "output in 0 to 255",
    }
    rows = []
    for file in (GENERATOR_FILE, SAMPLER_FILE):
        signature = section["models"][file]
        for tensor in [*signature["inputs"], *signature["outputs"]]:
            shape = ", ".join(str(size) for size in tensor["shape"]) or "none"
            rows.append(f"| `{file}` | `{tensor['name']}` | {tensor['dtype']} | {shape} | {meanings[tensor['name']]} |")
    return "\n".join(rows)


def _elsewhere(conditional: bool, sections: Mapping[str, Any]) -> str:
    """What holds in which format and runtime."""
    parts = ["A batch must hold at least one picture; an empty one is refused."]
    if conditional:
        parts.append(
            "A label of no class is refused; where a runtime can't refuse it, as OpenVINO (which reads its low 32 bits "
            "only), it makes a plain grey picture."
        )
    if sections["onnx"]:
        parts.append(
            "In `sampler.onnx` the same seed and label give the same picture in every runtime that computes integers "
            "of 64 bits, as onnxruntime does on CPUs, in Node.js and in browsers. OpenVINO cuts them to 32: there all "
            "pictures of `sampler.onnx` are black; use `generator.onnx`, with latents from `serving.contract.latents`."
        )
    if "saved_model" in sections["parity"]:
        arguments = "seed, label" if conditional else "seed"
        parts.append(
            "The SavedModel's signature `serving_default` is that of `generator.onnx`, and `sample` that of "
            f"`sampler.onnx`; in Python, where a signature wants all of its inputs, `tf.saved_model.load(...).sample("
            f"{arguments})` does without `truncation`."
        )
    if "litert" in sections["parity"]:
        parts.append("The LiteRT file has the signature `serving_default`, that of `generator.onnx`.")
    return "\n".join(f"- {part}" for part in parts)


def _int8(section: Mapping[str, Any] | None) -> str:
    if section is None:
        return ""
    rows = []
    for name in ("float32", "int8"):
        scores, times = section["scores"][name], section["milliseconds"][name]
        accuracy = f"{scores['label_accuracy']:.4f}" if "label_accuracy" in scores else ""
        milliseconds = " | ".join(f"{each:.3f}" for each in times.values())
        rows.append(f"| {name} | {scores['frechet_distance']:.3f} | {accuracy} | {milliseconds} |")
    verdict = (
        f'`{INT8_FILE}` is a quarter of the size: `Generator.load(..., precision="int8")`.'
        if section["verdict"] == "shipped"
        else f"There is no int8 file: {section['verdict'].removeprefix('not shipped: ')}."
    )
    batches = " | ".join(f"ms for a batch of {size}, one thread" for size in section["milliseconds"]["int8"])
    head = f"| | Fréchet distance | label accuracy | {batches} |\n| --- | --- | --- | --- | --- |"
    return "\n".join(["\n## int8\n", verdict, "", head, *rows, ""])
