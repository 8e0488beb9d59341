"""SavedModels, .tflite files and what is no network: by name, how each is written, and what is said of it."""

import os
import pickle
import zipfile

import numpy as np
import tensorflow as tf

from tests import foreign_networks as made


def module_of(function, **more):
    """A SavedModel of a function of z [N, 4]."""

    def write(path):
        module = tf.Module()
        for name, value in more.items():
            setattr(module, name, value)
        module.make = tf.function(function, input_signature=[tf.TensorSpec([None, 4], tf.float32, "z")])
        tf.saved_model.save(module, str(path), signatures=module.make)

    return write


def picture(z, plus=0.0):
    return tf.tanh(tf.reshape(tf.tile(z, [1, 4]), [-1, 4, 4, 1]) + plus)


def _inner(z):
    @tf.function
    def inner(z):
        tf.io.write_file("/tmp/mirage_harm.txt", "harm")
        return z

    return picture(inner(z))


def _saves(z):
    tf.raw_ops.SaveV2(prefix="/tmp/mirage_harm", tensor_names=["a"], shape_and_slices=[""], tensors=[z])
    return picture(z)


def _large(z):
    return picture(z, tf.reduce_max(tf.fill([tf.cast(1e5 + z[0, 0], tf.int32), 100_000], 1.0)))


def _endless(z):
    return picture(tf.while_loop(lambda i, z: i >= 0.0, lambda i, z: (i + 0.5, tf.tanh(z)), (0.0, z))[1])


def _mapped(z):
    return picture(z, tf.raw_ops.ImmutableConst(dtype=tf.float32, shape=[1], memory_region_name="/etc/passwd"))


def _printed(z):
    tf.print(z)
    return picture(z)


class _Resource(tf.saved_model.experimental.TrackableResource):
    """Writes where it is made again."""

    def _create_resource(self):
        return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[], shared_name="mirage_harm")

    def _initialize(self):
        tf.io.write_file("/tmp/mirage_harm.txt", "harm")


def changed_model(change):
    """A SavedModel with something done to its folder."""

    def write(path):
        made.save_module(path)
        change(path)

    return write


def _change_proto(change):
    def done(path):
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        proto = SavedModel.FromString((path / "saved_model.pb").read_bytes())
        change(proto.meta_graphs[0])
        (path / "saved_model.pb").write_bytes(proto.SerializeToString())

    return changed_model(done)


def _custom_operation(meta):
    next(each for each in meta.graph_def.library.function if "make" in each.signature.name).node_def[0].op = "Theirs"


def _pickled(path):
    (path / "variables" / "variables.data-00000-of-00001").write_bytes(pickle.dumps([1, 2, 3]))


def _linked(path):
    data = path / "variables" / "variables.data-00000-of-00001"
    data.unlink()
    data.symlink_to("/dev/zero")


def _linked_to_a_file(path):
    data = path / "variables" / "variables.data-00000-of-00001"
    data.unlink()
    data.symlink_to("/etc/passwd")


def _piped(path):
    os.mkfifo(path / "assets_pipe")


def _without(name):
    return lambda path: (path / name).unlink()


def _v1_saves(path):
    """As TensorFlow 1 wrote them, whose restoring writes something, too."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        z = v1.placeholder(tf.float32, [None, 4], "z")
        scale = v1.get_variable("w", [1], initializer=v1.initializers.ones())
        session.run(v1.global_variables_initializer())
        harm = tf.raw_ops.SaveV2(prefix="/tmp/mirage_harm", tensor_names=["a"], shape_and_slices=[""], tensors=[scale])
        with tf.control_dependencies([harm]):
            main = tf.no_op("main")
        builder = v1.saved_model.Builder(str(path))
        signature = v1.saved_model.predict_signature_def({"z": z}, {"y": picture(z * scale)})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, main_op=main)
        builder.save()


SAVED_MODELS = {
    "reads": (
        module_of(lambda z: picture(z, tf.strings.to_number(tf.io.read_file("/etc/hostname")))),
        "it holds ReadFile",
    ),
    "writes": (module_of(_inner), "it holds WriteFile"),
    "saves": (module_of(_saves), "it holds SaveV2"),
    "python": (module_of(lambda z: picture(tf.numpy_function(lambda x: x, [z], tf.float32))), "it holds PyFunc"),
    "prints": (module_of(_printed), "it holds PrintV2"),
    "maps": (module_of(_mapped), "it holds ImmutableConst"),
    "globs": (
        module_of(lambda z: picture(z, tf.cast(tf.size(tf.io.matching_files("/etc/*")), tf.float32))),
        "it holds MatchingFiles",
    ),
    "initializes": (module_of(picture, held=_Resource()), "it holds WriteFile"),
    "v1_saves": (_v1_saves, "it holds .*SaveV2"),
    "own": (_change_proto(_custom_operation), "can't be loaded as a SavedModel"),
    "large": (module_of(_large), "far more memory"),
    "endless": (module_of(_endless), "being computed takes it longer than"),
    "no_signature": (changed_model(lambda path: tf.saved_model.save(tf.Module(), str(path))), "has no signature"),
    "pickled": (changed_model(_pickled), "can't be loaded as a SavedModel"),
    "linked": (changed_model(_linked), "holds variables/variables.data-00000-of-00001, which is no file"),
    "linked_to_a_file": (changed_model(_linked_to_a_file), "can't be loaded as a SavedModel"),
    "piped": (changed_model(_piped), "holds assets_pipe, which is no file"),
    "no_index": (changed_model(_without("variables/variables.index")), "can't be loaded as a SavedModel|is ended by"),
    "no_data": (changed_model(_without("variables/variables.data-00000-of-00001")), "can't be loaded as a SavedModel"),
    "no_graph": (changed_model(_without("saved_model.pb")), "without a saved_model.pb"),
    "only_bytes": (
        changed_model(lambda path: (path / "saved_model.pb").write_bytes(b"\xff" * 50)),
        "damaged saved_model.pb",
    ),
    "nothing_in_it": (changed_model(lambda path: (path / "saved_model.pb").write_bytes(b"")), "SavedModel"),
}


def litert_of(function, *operations):
    """A .tflite file of a function of z [1, 4]."""

    def write(path):
        concrete = tf.function(function, input_signature=[tf.TensorSpec([1, 4], tf.float32, "z")])
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete.get_concrete_function()])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, *operations]
        path.write_bytes(converter.convert())

    return write


def _flex(z):
    return picture(z, tf.strings.to_number(tf.io.read_file(tf.strings.as_string(z[0, 0]))))


LITERT = {
    "bytes.tflite": (lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + b"\xff" * 100), "can't be opened by LiteRT"),
    "head.tflite": (lambda path: path.write_bytes(b"\x1c\0\0\0TFL3"), "can't be opened by LiteRT"),
    "flex.tflite": (litert_of(_flex, tf.lite.OpsSet.SELECT_TF_OPS), "can't be opened by LiteRT"),
    "endless.tflite": (litert_of(_endless), "being computed takes it longer than"),
}


class Harm:
    """Is unpickled as a call."""

    def __reduce__(self):
        return exec, ("raise SystemExit('ran')",)


def _archive(members):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    return write


def _arrays(path):
    with path.open("wb") as file:
        np.savez(file, a=np.array([Harm()], object))


OTHERS = {
    "a.pkl": (lambda path: path.write_bytes(pickle.dumps(Harm())), "is a pickle, which can run any code"),
    "old.pkl": (lambda path: path.write_bytes(pickle.dumps(Harm(), protocol=0)), "as an ONNX file it can't be read"),
    "a.keras": (lambda path: path.write_bytes(pickle.dumps(Harm(), protocol=2)), "is a pickle"),
    "a.pt": (_archive({"archive/data.pkl": pickle.dumps(Harm())}), "is a file of torch.save"),
    "script.pt": (_archive({"m/data.pkl": b"", "m/code/__torch__.py": "import os"}), "is a file of torch.save"),
    "a.npz": (_arrays, "holds arrays of NumPy, and no network"),
    "a.npy": (lambda path: np.save(path, np.zeros(3)), "is an array of NumPy"),
    "a.gz": (lambda path: path.write_bytes(b"\x1f\x8b\x08\0" + b"\0" * 20), "is a gzip file"),
    "a.png": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20), "is a picture"),
    "readme.zip": (_archive({"readme.txt": "nothing"}), "none of Keras"),
    "empty.zip": (lambda path: path.write_bytes(b"PK\x05\x06" + b"\0" * 18), "as an ONNX file it can't be read"),
    "empty.h5": (lambda path: path.write_bytes(b""), "is empty"),
    "one_byte.onnx": (lambda path: path.write_bytes(b"\x08"), "as an ONNX file it can't be read"),
    "folder": (lambda path: path.mkdir(), "is a folder without a saved_model.pb"),
    "pipe.h5": (os.mkfifo, "is a pipe or a device"),
    "device.h5": (lambda path: path.symlink_to("/dev/zero"), "is a pipe or a device"),
    "nowhere.h5": (lambda path: path.symlink_to("nowhere"), "can't be read .No such file"),
    "itself.h5": (lambda path: path.symlink_to(path), "can't be read .Too many levels of symbolic links"),
    "missing.h5": (lambda path: None, "can't be read .No such file"),
    "a\nb.h5": (lambda path: path.write_bytes(b""), r"a\\nb.h5 is empty"),
    "ckpt-1.index": (lambda path: path.write_bytes(b"\0" * 40), "is a TensorFlow checkpoint"),
    "checkpoints": (
        lambda path: (path.mkdir(), (path / "ckpt-1.index").write_bytes(b"x")),
        "is a TensorFlow checkpoint",
    ),
    "run": (
        lambda path: (path / "checkpoints").mkdir(parents=True) or (path / "config.json").write_text("{}"),
        "pass --run_dir=",
    ),
    "bundle": (lambda path: path.mkdir() or (path / "manifest.json").write_text("{}"), "is a bundle of Mirage's"),
}
