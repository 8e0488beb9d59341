"""StyleGAN2's networks as the paper writes them, slowly: kernels of each sample, zeros between pixels, whole filters.

All is float64. Weights come from Keras's layers, in their order; structure and arithmetic are written here again.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

ROOT = math.sqrt(2)
FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def weights(model):
    """Weights by layer and name."""
    return {layer.name: {v.name: np.asarray(v, np.float64) for v in layer.variables} for layer in model.layers}


def activated(x, gain=ROOT):
    return np.where(x > 0, x, 0.2 * x) * gain


def unit(x):
    return x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-8)


def dense(x, layer, rate=1.0):
    return x @ layer["kernel"] * (rate / math.sqrt(x.shape[1])) + layer["bias"] * rate


def spread(x):
    """Puts a zero behind each pixel."""
    n, height, width, planes = x.shape
    out = np.zeros((n, 2 * height, 2 * width, planes))
    out[:, ::2, ::2] = x
    return out


def padded(x, before, behind):
    return np.pad(x, [(0, 0), (before, behind), (before, behind), (0, 0)])


def correlated(x, kernels):
    """Valid cross-correlation of each sample with its own kernel, [N, k, k, C, D] or [1, k, k, C, D]."""
    size = kernels.shape[1]
    windows = sliding_window_view(x, (size, size), axis=(1, 2))  # [N, H, W, C, k, k]
    kernels = np.broadcast_to(kernels, (len(x), *kernels.shape[1:]))
    return np.einsum("nhwcij,nijcd->nhwd", windows, kernels)


def filtered(x, before, behind, gain=1.0):
    planes = x.shape[-1]
    return correlated(padded(x, before, behind), (gain * FILTER[:, :, None, None] * np.eye(planes))[None])


def doubled(x):
    return filtered(spread(x), 2, 1, 4.0)


def mapped(layers, x, rate=0.01):
    while layers:
        x = activated(dense(x, layers.pop(0), rate))
    return x


def embedded(layers, label):
    return unit(dense(np.eye(len(layers["embedded_label"]["kernel"]))[label], layers["embedded_label"]))


def mapping(layers, z, label=None, depth=2):
    """Styles [N, W]."""
    x = unit(z)
    if label is not None:
        x = np.concatenate([x, embedded(layers, label)], 1)
    return mapped([layers[f"dense_{i}"] for i in range(depth)], x)


def styled(x, w, layer, doubles, noise):
    s = w @ layer["affine_kernel"] / math.sqrt(w.shape[1]) + layer["affine_bias"]
    kernel = layer["kernel"].swapaxes(2, 3) if doubles else layer["kernel"]
    kernels = kernel[None] / math.sqrt(math.prod(kernel.shape[:3])) * s[:, None, None, :, None]
    kernels = kernels / np.sqrt((kernels**2).sum((1, 2, 3), keepdims=True) + 1e-8)
    if doubles:  # a transposed convolution, as one of zeros between pixels with the kernel turned round
        x = correlated(padded(spread(x)[:, :-1, :-1], 2, 2), kernels[:, ::-1, ::-1])
        x = filtered(x, 1, 1, 4.0)
    else:
        x = correlated(padded(x, 1, 1), kernels)
    return activated(x + layer["noise_strength"] * (layer["noise"] if noise is None else noise) + layer["bias"])


def to_image(x, w, layer):
    s = (w @ layer["affine_kernel"] / math.sqrt(w.shape[1]) + layer["affine_bias"]) / math.sqrt(x.shape[-1])
    return correlated(x, layer["kernel"][None] * s[:, None, None, :, None]) + layer["bias"]


def synthesis(layers, styles, size, noise=lambda name: None):
    """Images of styles [N, L, W], of (height, width)."""
    x = np.repeat(layers["constant"]["constant"][None], len(styles), 0)
    image, side, count = 0.0, 4, styles.shape[1]
    for i in range(0, count, 2):
        if i:
            x = styled(x, styles[:, i - 1], layers[f"up_{side}"], True, noise(f"up_{side}"))
            image = doubled(image)
        x = styled(x, styles[:, i], layers[f"conv_{side}"], False, noise(f"conv_{side}"))
        image = image + to_image(x, styles[:, i + 1], layers[f"image_{side}"])
        side *= 2
    top, left = ((whole - part) // 2 for whole, part in zip(image.shape[1:3], size, strict=True))
    return image[:, top : top + size[0], left : left + size[1]]


def convolved(x, layer, gain=1.0, halves=False, active=True):
    size = layer["kernel"].shape[0]
    x = filtered(x, 1 + size // 2, 1 + size // 2) if halves else padded(x, size // 2, size // 2)
    x = correlated(x, layer["kernel"][None] / math.sqrt(math.prod(layer["kernel"].shape[:3])))
    x = x[:, ::2, ::2] if halves else x
    return activated(x + layer["bias"], gain * math.sqrt(2)) if active else x * gain


def discriminator(layers, image, whole, group, *, label=None, residual=True, depth=2):
    """Logits of images, put into the middle of `whole` (height, width)."""
    missing = [total - side for total, side in zip(whole, image.shape[1:3], strict=True)]
    image = np.pad(image, [(0, 0), *((each // 2, each - each // 2) for each in missing), (0, 0)])
    x = convolved(image, layers["from_image"])
    gain = math.sqrt(0.5) if residual else 1.0
    side = max(int(name.removeprefix("down_")) for name in layers if name.startswith("down_"))
    while side > 4:
        y = convolved(x, layers[f"conv_{side}"])
        y = convolved(y, layers[f"down_{side}"], gain, halves=True)
        x = y + convolved(x, layers[f"path_{side}"], gain, halves=True, active=False) if residual else y
        side //= 2
    planes = np.zeros((*x.shape[:3], 1))
    for start in range(0, len(x), group):
        planes[start : start + group] = np.sqrt(x[start : start + group].var(0) + 1e-8).mean()
    x = convolved(np.concatenate([x, planes], 3), layers["conv_4"])
    x = dense(activated(dense(x.reshape(len(x), -1), layers["features"])), layers["logits"])
    if label is None:
        return x[:, 0]
    told = mapped([layers[f"dense_{i}"] for i in range(depth)], embedded(layers, label))
    return (x * told).sum(1) / math.sqrt(x.shape[1])
