"""How the figures that objectives report are told to people. Needs only the standard library."""

from collections.abc import Mapping


def format_metrics(means: Mapping[str, float]) -> str:
    """Formats figures for a log line: losses as numbers, D's accuracies as percentages.

    Args:
      means: figures by name. `d_acc_real` and `d_acc_fake`, in [0, 1], are joined to the accuracy over
        all images that D judged.

    Returns:
      Such as `[D loss: 0.6591, acc.: 61.5% (real 60.2%, generated 62.8%)] [G loss: 0.8032]`.
    """
    parts = []
    real, fake = means.get("d_acc_real"), means.get("d_acc_fake")
    accuracy = ""
    if real is not None and fake is not None:
        accuracy = f", acc.: {50 * (real + fake):.1f}% (real {100 * real:.1f}%, generated {100 * fake:.1f}%)"
    if "d_loss" in means:
        parts.append(f"[D loss: {means['d_loss']:.4f}{accuracy}]")
    if "g_loss" in means:
        parts.append(f"[G loss: {means['g_loss']:.4f}]")
    shown = {"d_loss", "g_loss", "d_acc_real", "d_acc_fake"}
    parts += [f"{name} {value:.4g}" for name, value in means.items() if name not in shown]
    return " ".join(parts)
