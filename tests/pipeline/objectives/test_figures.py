from pipeline.objectives.figures import format_metrics


def test_format_metrics():
    means = {"d_loss": 0.5, "d_acc_real": 0.25, "d_acc_fake": 0.75, "r1": 0.125, "g_loss": 2.0}
    expected = "[D loss: 0.5000, acc.: 50.0% (real 25.0%, generated 75.0%)] [G loss: 2.0000] r1 0.125"
    assert format_metrics(means) == expected
