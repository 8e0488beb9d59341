"""What the commands say when something can't work, and how they end."""

# Exit status of the commands. Batch systems can tell a run that saved and stopped because it was told to,
# and one that only needs to be started again, from a mistake; Kubeflow retries at 128 and above.
MISTAKE = 1
INTERRUPTED = 130
PREEMPTED = 138
WORKER_LOST = 140
TERMINATED = 143  # told to stop when there was nothing to save


class MirageError(Exception):
    """A mistake that the user can mend.

    Its message is one sentence that says what was passed, what was expected and what to do. Command
    lines print it without a traceback and exit with status 1.
    """

    # Or Keras would add a layer's arguments to the sentence, and TensorFlow where in a traced function it was raised.
    _keras_call_info_injected = True
    ag_pass_through = True


class WorkerLostError(MirageError):
    """Another worker of the cluster is gone or stuck; starting all of them again goes on from the last checkpoint."""
