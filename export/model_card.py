"""The bundle's README.md: what the model is, and how to use it."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pipeline.config import Config
from pipeline.data_spec import DataSpec
from serving.manifest import ModelInfo

_TEMPLATE = """\
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
| scores | none measured yet |

## Use it

```python
from serving import Generator

generator = Generator.load("path/to/this/folder")
images = generator.sample(16, seed=7{label})  # uint8 [16, {height}, {width}, {channels}]
```

```sh
python -m serving.sample --bundle=path/to/this/folder --n=25 --seed=1 --out=grid.png
```

Both need only numpy, onnxruntime and absl-py: `pip install mirage-gan`. In other languages, run
`generator.onnx` with any ONNX runtime:

| tensor | type | shape | meaning |
| --- | --- | --- | --- |
{tensors}

## How far it was checked

Keras, {formats} agree on fixed latents in batches of 1, 3 and 64:

| against Keras | largest difference in [-1, 1] | differing uint8 values |
| --- | --- | --- |
{parity}

## Limits

The images resemble the training data and nothing else. How good and how varied they are has not been
measured; look at the sheet. A generator can reproduce training images: mind the data's licence.
"""


def public_name(data: DataSpec) -> str:
    """Names a data set without the path that a folder has on the training machine."""
    prefix, separator, path = data.name.partition(":")
    return prefix + separator + PurePath(path).name if separator else data.name


def model_card(
    config: Config, data: DataSpec, info: ModelInfo, *, step: int, parameters: int, parity: Mapping[str, Any]
) -> str:
    """Writes the model card.

    Args:
      config: the run's configuration.
      data: the training data's description.
      info: the generator's description.
      step: step of the exported checkpoint.
      parameters: number of the generator's parameters.
      parity: figures of `export.parity.check_parity`.

    Returns:
      Markdown.
    """
    height, width, channels = info.image_shape
    tensors = [f"| `z` | float32 | N, {info.latent_dim} | latent, standard normal |"]
    if info.conditional:
        tensors.append(f"| `label` | int64 | N | class, 0 to {len(info.class_names) - 1} |")
    tensors.append(f"| `image` | float32 | N, {height}, {width}, {channels} | output in [-1, 1] |")
    return _TEMPLATE.format(
        kind="class-conditional" if info.conditional else "unconditional",
        dataset=public_name(data),
        layout="Each row shows one class." if info.conditional else "Random samples.",
        height=height,
        width=width,
        channels=channels,
        colours="grey" if channels == 1 else "RGB",
        latent_dim=info.latent_dim,
        classes=", ".join(info.class_names) or "none",
        model=config.model,
        parameters=parameters,
        objective=config.objective,
        version=data.version,
        examples=data.num_examples,
        steps=step,
        batch_size=config.batch_size,
        weights=f"weights averaged with a half life of {config.ema_images:,} images"
        if config.ema_images
        else "last weights",
        label=f', labels="{info.class_names[0]}"' if info.conditional else "",
        tensors="\n".join(tensors),
        formats=" and ".join({"saved_model": "the SavedModel", "onnx": "the ONNX file"}[name] for name in parity),
        parity="\n".join(
            f"| {name} | {figures['max_difference']:.1e} | {figures['pixel_share']:.3%} |"
            for name, figures in parity.items()
        ),
    )
