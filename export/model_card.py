"""The bundle's README.md: what the model is, how good, and how to use it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from export.formats import Format
from export.source import COLOURS, Source
from serving.contract.attributes import BINARY, number_text
from serving.contract.manifest import NORMAL, PREMULTIPLIED, UNIFORM, ModelInfo

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
| latent | {latent_dim} components, {law} |
{classes}
{origin}
{scores}

## Use it

```python
from serving import Generator

generator = Generator.load("path/to/this/folder")
images = generator.sample(16, seed=7{condition})  # uint8 [16, {height}, {width}, {channels}]
```

{styles}```sh
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

{framework}, {formats} agree on fixed latents in batches of up to 64; the samplers on fixed seeds, in
{samplers}.

| against {framework} | read by | largest difference in [-1, 1] | differing uint8 values |
| --- | --- | --- | --- |
{parity}
{chapters}
## Intended use and limits

For pictures where nobody is deceived by them: demonstrations, tests, teaching, augmentation of data like its own.
They resemble the training data and nothing else. {quality}
A generator can reproduce training images: mind the data's licence.
"""
_STYLES = """\
A latent becomes a style for each layer, and `truncation` draws these towards their mean (ψ). Both halves are there by
themselves:

```python
w = generator.map(seeds=[7, 8], truncation=0.7)  # float32 [2, layers, components]
images = generator.synthesise(generator.mix(w[:1], w[1:], {layers}))  # shapes of seed 7, colours of seed 8
```

"""
_LAWS = {NORMAL: "standard normal", UNIFORM: "uniform from -1 to 1"}
_LAYOUTS = {
    "": "Random samples.",
    "label": "Each row shows one class.",
    "attributes": "Each row shows an attribute from its least to its greatest value, in the order below, others being "
    "typical: a number of one seed, a binary one of four seeds at either.",
}
_SCORES = {
    "frechet_distance": "Fréchet distance",
    "frechet_floor": "the same of real images",
    "precision": "precision",
    "recall": "recall",
    "label_accuracy": "label accuracy",
    "attribute_accuracy": "attribute accuracy",
    "attribute_correlation": "attribute correlation",
}


def model_card(source: Source, sections: Mapping[str, Any], formats: Sequence[Format]) -> str:
    """Writes the model card.

    Args:
      source: what is exported.
      sections: `scores`, `parity`, `sampler_readers` and those of formats of the manifest.
      formats: what it is exported as.

    Returns:
      Markdown.
    """
    info = source.info
    height, width, channels = info.image_shape
    titles = {each.name: each.title or each.name for each in formats}
    return _TEMPLATE.format(
        kind={"label": "class-conditional", "attributes": "conditional"}.get(info.condition, "unconditional"),
        dataset=source.name,
        layout=_LAYOUTS[info.condition],
        height=height,
        width=width,
        channels=channels,
        colours=COLOURS[channels],
        latent_dim=info.latent_dim,
        law=_LAWS[info.latent_distribution],
        classes=_what(info),
        origin="\n".join(f"| {name} | {text} |" for name, text in source.card().items()),
        framework=source.reference().framework,
        scores=_score_rows(sections["scores"]),
        condition=_example(info),
        styles=_STYLES.format(layers=info.styles[0] // 2) if info.styles else "",
        tensors=_tensors(info, sections, formats),
        elsewhere=_elsewhere(info, sorted(formats, key=lambda each: not each.served)),
        samplers=", ".join(sections["sampler_readers"]) or "none",
        formats=" and ".join(f"the {titles[name]}" for name in sections["parity"]),
        parity="\n".join(
            f"| {name} | {', '.join(figures['readers'])} | {figures['max_difference']:.1e} | "
            f"{figures['pixel_share']:.3%} |"
            for name, figures in sections["parity"].items()
        ),
        chapters="".join(each.chapter(sections[each.name]) for each in formats if sections.get(each.name) is not None),
        quality="How good and how varied they are is measured above; look at the sheet too."
        if sections["scores"]
        else "How good and how varied they are has not been measured; look at the sheet.",
    )


def _what(info: ModelInfo) -> str:
    """Rows of the classes or the attributes."""
    if not info.attributes:
        return f"| classes | {_cell(', '.join(info.class_names)) or 'none'} |"
    rows = []
    for each in info.attributes:
        low, high, typical = map(number_text, (each.low, each.high, each.typical))
        values = f"{low} or {high}" if each.kind == BINARY else f"a number from {low} to {high}"
        rows.append(f"| attribute {_cell(each.name)} | {values}, typically {typical} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _example(info: ModelInfo) -> str:
    """What the call of `sample` says of the picture."""
    if info.attributes:
        first, last = info.attributes[0], info.attributes[-1]
        values = ", ".join(
            f"{json.dumps(each.name, ensure_ascii=False)}: {number_text(each.typical)}"
            for each in dict.fromkeys((first, last))
        )
        return f", attributes={{{values}}}"
    return f", labels={json.dumps(info.class_names[0], ensure_ascii=False)}" if info.class_names else ""


def _score_rows(scores: Mapping[str, Any]) -> str:
    if not scores:
        return "| scores | none measured yet |"
    rows = [f"| {text} | {scores[name]:.4g} |" for name, text in _SCORES.items() if name in scores]
    how = [f"{scores['num_samples']:,} samples"]
    if "extractor" in scores:
        how.append(f"extractor `{scores['extractor']}`")
    if "reference" in scores:  # which runs of older versions don't say
        how.append(f"reference {scores['reference']}")
    return "\n".join([*rows, f"| scores are of | {', '.join(how)} |"])


def _tensors(info: ModelInfo, sections: Mapping[str, Any], formats: Iterable[Format]) -> str:
    """Rows of the files whose signatures the manifest has."""
    models = {
        file: signature
        for each in formats
        for file, signature in (sections.get(each.name) or {}).get("models", {}).items()
    }
    meanings = {
        "z": f"latent, {_LAWS[info.latent_distribution]}",
        "seed": "any number",
        "label": f"class, 0 to {len(info.class_names) - 1}",
        "attributes": _cell(", ".join(each.name for each in info.attributes)),
        "truncation": "ψ: styles become mean + ψ (w - mean); may be left out"
        if info.styles
        else "factor of the latent; may be left out",
        "w": "styles, one for each layer",
        "image": f"output in [-1, 1], beyond which it is cut off{f', colours {info.alpha}' if info.alpha else ''}",
        "pixels": f"output in 0 to 255{', colours straight' if info.alpha else ''}",
    }
    rows = []
    for file, signature in models.items():
        for tensor in [*signature["inputs"], *signature["outputs"]]:
            shape = ", ".join(str(size) for size in tensor["shape"]) or "none"
            meaning = meanings.get(tensor["name"], "")
            rows.append(f"| `{file}` | `{tensor['name']}` | {tensor['dtype']} | {shape} | {meaning} |")
    return "\n".join(rows) or "| none exported | | | | |"


def _elsewhere(info: ModelInfo, formats: Iterable[Format]) -> str:
    """What holds in which format and runtime."""
    parts = ["A batch must hold at least one picture; an empty one is refused."]
    if info.conditional:
        wrong = "An attribute beyond its values" if info.attributes else "A label of no class"
        cut = "" if info.attributes else " (which reads its low 32 bits only)"
        parts.append(
            f"{wrong} is refused; where a runtime can't refuse it, as OpenVINO{cut}, it makes a plain "
            f"{'half transparent' if info.alpha else 'grey'} picture."
        )
    if info.alpha == PREMULTIPLIED:
        parts.append(
            "Colours of `image` are multiplied by alpha; those of `pixels`, and of PNG files, are not: with all values "
            "rounded to levels from 0 to 255, and a colour c that is more than alpha a cut to that, they are "
            "(255 c + a // 2) // a in whole numbers, and 0 where a is 0."
        )
    return "\n".join(f"- {part}" for part in [*parts, *(note for each in formats for note in each.notes(info))])
