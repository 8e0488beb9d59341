"""Imports TensorFlow and Keras, and lists the GPUs that TensorFlow sees."""

import time

from pipeline.diagnosis.children.telling import tell


def main() -> None:
    """Tells the fields of `pipeline.diagnosis.facts.TensorFlow`."""
    start = time.perf_counter()
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    tell(
        version=tf.__version__,
        seconds=round(time.perf_counter() - start, 1),
        cuda=str(build.get("cuda_version", "")) if build.get("is_cuda_build") else "",
        cudnn=str(build.get("cudnn_version", "")),
        capabilities=list(build.get("cuda_compute_capabilities", ())),
    )
    gpus = tf.config.list_physical_devices("GPU")
    tell(gpus=[str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)) for gpu in gpus])
    try:
        import keras

        tell(keras=keras.__version__, backend=keras.backend.backend())
    except Exception as error:
        lines = str(error).splitlines() or [""]
        tell(keras_failure=f"{type(error).__name__}: {lines[0][:200]}")


if __name__ == "__main__":
    main()
