"""Files of Keras that are damaged, or made to do harm: by name, how each is written, and what is said of it."""

import io
import json
import zipfile

import h5py
import keras
import numpy as np

_CODE = {"class_name": "__lambda__", "config": {"code": "4wAAAA==", "defaults": None, "closure": None}}
_LAMBDA = {"class_name": "Lambda", "module": "keras.layers", "config": {"name": "harm", "function": _CODE}}


def layer(kind, name="it", module="keras.layers", **config):
    return {"class_name": kind, "module": module, "registered_name": None, "config": {"name": name, **config}}


def function(name, module):
    return {"class_name": "function", "module": module, "config": name, "registered_name": name}


def sequential(*layers, name="s", width=4):
    first = layer("InputLayer", "z", batch_shape=[None, width], dtype="float32")
    return layer("Sequential", name, "keras", layers=[first, *layers])


def empty_weights():
    file = io.BytesIO()
    with h5py.File(file, "w") as root:
        root.create_group("layers")
    return file.getvalue()


def keras_file(config=None, *, weights=None, version="3.15.1", more=()):
    """Writes a .keras file with any description, and any other members."""

    def write(path):
        text = config if isinstance(config, str) else json.dumps(config or sequential(layer("Flatten")))
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": version}))
            archive.writestr("config.json", text)
            archive.writestr("model.weights.h5", empty_weights() if weights is None else weights)
            for member, content in more:
                archive.writestr(member, content)

    return write


def h5_file(config=None, *, version="2.8.0", change=None):
    """Writes an .h5 file with any description, and whatever else is changed in it."""

    def write(path):
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = config if isinstance(config, str | bytes) else json.dumps(config or {})
            file.attrs["keras_version"] = version
            if change:
                change(file)

    return write


def old(*layers):
    """As Keras 2 describes it."""
    return {"class_name": "Sequential", "config": {"name": "s", "layers": [*layers]}}


def op(name):
    return old({"class_name": "TFOpLambda", "config": {"name": "w", "function": name}, "inbound_nodes": []})


def weights_of(change):
    file = io.BytesIO()
    with h5py.File(file, "w") as root:
        change(root)
    return file.getvalue()


def _external_link(root):
    root["layers"] = h5py.ExternalLink("/etc/passwd", "/")


def _soft_link(root):
    root["a"] = h5py.SoftLink("/b")


def _external_data(root):
    root.create_dataset("w", [4], "u1", external=[("/etc/passwd", 0, 4)])


def _virtual(root):
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "w", (4,))
    root.create_virtual_dataset("w", layout)


def _cycle(root):
    root.create_group("a/b")
    root["a/b/again"] = root["a"]


def _huge(root):
    root.create_dataset("w", [10**10], "f4", chunks=True)


def _bomb(root):
    root.create_dataset("w", [2**26], "f4", chunks=(2**22,), compression="gzip", fillvalue=0)[: 2**22] = 0


def _nested(depth):
    return "[" * depth + "]" * depth


_HELD = "holds code, in the layer"
_DENSE = {"name": "d", "units": 2}

KERAS = {
    # Code, wherever it may stand.
    "plain.keras": (keras_file(sequential(_LAMBDA)), _HELD),
    "nested.keras": (keras_file(sequential(sequential(sequential(_LAMBDA)))), _HELD),
    "distributed.keras": (keras_file(sequential(layer("TimeDistributed", layer=_LAMBDA))), _HELD),
    "bidirectional.keras": (
        keras_file(sequential(layer("Bidirectional", layer=layer("LSTM"), backward_layer=_LAMBDA))),
        _HELD,
    ),
    "cell.keras": (keras_file(sequential(layer("RNN", cell=_LAMBDA))), _HELD),
    "activation.keras": (keras_file(sequential(layer("Dense", units=2, activation=_CODE))), "holds code"),
    "initializer.keras": (keras_file(sequential(layer("Dense", units=2, kernel_initializer=_LAMBDA))), _HELD),
    "registered.keras": (
        keras_file(sequential({**_LAMBDA, "class_name": "Other", "registered_name": "keras>Lambda"})),
        _HELD,
    ),
    "dotted.keras": (keras_file(sequential(layer("layers.Lambda", "harm", "keras", function=_CODE))), _HELD),
    "source.keras": (keras_file(sequential({**_LAMBDA, "module": "keras.src.layers.core.lambda_layer"})), _HELD),
    "typed.keras": (keras_file(sequential(layer("Theirs", function_type="lambda", function=["x"]))), _HELD),
    "compiled.keras": (keras_file({**sequential(), "compile_config": {"loss": _CODE}}), "holds code"),
    "old_plain.h5": (
        h5_file(old({"class_name": "Lambda", "config": {"name": "l", "function": ["x", None, None]}})),
        _HELD,
    ),
    "old_nested.h5": (h5_file(old(old(old({"class_name": "Lambda", "config": {"name": "l"}})))), _HELD),
    "old_wrapped.h5": (h5_file(old({"class_name": "TimeDistributed", "config": {"layer": _LAMBDA}})), _HELD),
    "old_213.keras": (keras_file(sequential(_LAMBDA), version="2.13.1"), _HELD),
    # Functions and classes that do more than compute.
    "system.keras": (
        keras_file(sequential(layer("Dense", units=2, activation=function("system", "os")))),
        "the function system of os is not known",
    ),
    "eval.keras": (
        keras_file(sequential(layer("Dense", units=2, activation=function("eval", "builtins")))),
        "calls builtins.eval: more than computing",
    ),
    "exec.h5": (
        h5_file(
            old(
                {
                    "class_name": "Dense",
                    "config": {**_DENSE, "activation": {"class_name": "function", "config": "exec"}},
                }
            )
        ),
        "calls builtins.exec",
    ),
    "get_file.keras": (
        keras_file(sequential(layer("Dense", units=2, activation=function("get_file", "keras.utils")))),
        "calls keras.utils.get_file",
    ),
    "load.keras": (
        keras_file(sequential(layer("Dense", units=2, activation=function("load_model", "keras.src.saving")))),
        "calls keras.src.saving.load_model",
    ),
    "popen.keras": (
        keras_file(sequential(layer("Popen", "p", "subprocess", args=["touch", "/tmp/harm"]))),
        "the layer p .Popen of subprocess. is not known",
    ),
    "typespec.keras": (
        keras_file(
            sequential(
                {
                    "class_name": "__typespec__",
                    "module": "os",
                    "spec_name": "system",
                    "registered_name": None,
                    "config": ["x"],
                }
            )
        ),
        "__typespec__ of os is not known",
    ),
    "numpy_load.keras": (
        keras_file(sequential(layer("Dense", units=2, activation=function("load", "numpy")))),
        "the function load of numpy is not known",
    ),
    "unknown.keras": (
        keras_file(sequential(layer("InstanceNormalization", "conv_1", "tensorflow_addons.layers"))),
        "the layer conv_1 .InstanceNormalization of tensorflow_addons.layers. is not known; pass --custom_objects=",
    ),
    "write_file.h5": (h5_file(op("io.write_file")), "calls io.write_file in the layer TFOpLambda"),
    "raw_op.h5": (h5_file(op("raw_ops.WriteFile")), "calls raw_ops.WriteFile"),
    "py_function.h5": (h5_file(op("py_function")), "calls py_function"),
    "gfile.h5": (h5_file(op("io.gfile.remove")), "calls io.gfile.remove"),
    "no_function.h5": (h5_file(op(["tf", "print"])), "more than computing"),
    # Descriptions that are none.
    "deep.keras": (keras_file(_nested(200_000)), "is a damaged .keras file"),
    "deep.h5": (h5_file("x" + _nested(20_000)), "has a damaged description"),
    "number.keras": (keras_file("3"), "can't be opened by Keras"),
    "list.keras": (keras_file("[1, 2]"), "can't be opened by Keras"),
    "null.h5": (h5_file("null", version="3.1"), "can't be opened by Keras"),
    "bytes.h5": (h5_file(b"\xff\xfe{}"), "has a damaged description"),
    "empty_text.h5": (h5_file(""), "has a damaged description"),
    "no_layers.keras": (keras_file(layer("Sequential", "s", "keras")), "can't be opened by Keras"),
    "version.keras": (keras_file(version={"a": 1}), "is a damaged .keras file"),
    # Numbers that can't be.
    "units.keras": (keras_file(sequential(layer("Dense", units=10**10))), "announces 10,000,000,000"),
    "filters.h5": (
        h5_file(old({"class_name": "Conv2D", "config": {"filters": 10**15, "kernel_size": 3}})),
        "announces",
    ),
    "table.keras": (keras_file(sequential(layer("Embedding", input_dim=10**12, output_dim=8))), "announces"),
    "infinite.keras": (keras_file('{"class_name": "Dense", "config": {"units": 1e999}}'), "announces"),
    "negative.keras": (keras_file(sequential(layer("Dense", units=-1))), "can't be opened by Keras"),
    "words.keras": (keras_file(sequential(layer("Dense", units="many"))), "can't be opened by Keras"),
    "width.keras": (keras_file(sequential(layer("Flatten"), width=10**13)), "is too large for a latent or a picture"),
    "repeat.keras": (keras_file(sequential(layer("RepeatVector", n=10**10))), "is too large for"),
    "kernel.keras": (
        keras_file(sequential(layer("Dense", units=900_000), layer("Dense", "b", units=900_000))),
        "far more memory",
    ),
    "no_weights.keras": (keras_file(sequential(layer("Dense", units=2))), "can't be opened by Keras"),
    # Zip files.
    "slip.keras": (keras_file(more=[("../../escaped.txt", "x")]), "holds '../../escaped.txt', which leads out of it"),
    "absolute.keras": (keras_file(more=[("/tmp/escaped.txt", "x")]), "holds '/tmp/escaped.txt', which leads out"),
    "windows.keras": (keras_file(more=[("assets/..\\..\\escaped.txt", "x")]), "which leads out of it"),
    "drive.keras": (keras_file(more=[("C:/escaped.txt", "x")]), "which leads out of it"),
    "bomb.keras": (keras_file(weights=b"\0" * 2**27), "announces 134,"),
    "asset_bomb.keras": (keras_file(more=[("assets/a", b"\0" * 2**27)]), "announces 134,"),
    "config_bomb.keras": (keras_file(" " * 2**26 + "1"), "announces 67|is longer than"),
    "no_hdf5.keras": (keras_file(weights=b"nothing"), "model.weights.h5 of .* is a damaged HDF5 file"),
    "linked.keras": (keras_file(weights=weights_of(_external_link)), "holds a link, /layers"),
    "outside.keras": (keras_file(weights=weights_of(_external_data)), "has the values of /w in other files"),
    # HDF5 files.
    "external_link.h5": (h5_file(change=_external_link), "holds a link, /layers"),
    "soft_link.h5": (h5_file(change=_soft_link), "holds a link, /a"),
    "external_data.h5": (h5_file(change=_external_data), "has the values of /w in other files"),
    "virtual.h5": (h5_file(change=_virtual), "has the values of /w in other files"),
    "cycle.h5": (h5_file(change=_cycle), "can't be opened by|holds a group in itself"),
    "huge.h5": (h5_file(change=_huge), "announces 10,000,000,000 weights"),
    "bomb.h5": (h5_file(change=_bomb), "announces 67,108,864 weights"),
}


def write_data_set(path):
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros([10, 28, 28], np.uint8)


def write_checkpoint_weights(path):
    with h5py.File(path, "w") as file:
        file.create_group("layers/dense/vars")["0"] = np.zeros([2, 2], np.float32)


KERAS |= {
    "data_set.h5": (write_data_set, "holds data, but neither a network nor weights"),
    "only_weights.weights.h5": (write_checkpoint_weights, "holds weights only; pass --model="),
}


def write_lambda(path):
    """As Keras itself writes one."""
    keras.Sequential([keras.layers.Input([4]), keras.layers.Lambda(lambda x: x + 1)]).save(path)


def changed_bytes(change):
    """A .keras file whose bytes are changed."""

    def write(path):
        keras_file()(path)
        content = bytearray(path.read_bytes())
        change(content)
        path.write_bytes(content)

    return write


def _damage(content):
    start = content.index(b"config.json") + len("config.json")
    content[start : start + 9] = b"\xff" * 9


def _encrypt(content):
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := content.find(signature, start) + 1) > 0:
            content[start - 1 + place] |= 1


def _halve(content):
    del content[len(content) // 2 :]


KERAS |= {
    "code.keras": (write_lambda, "holds code, in the layer Lambda 'lambda"),
    "code.h5": (write_lambda, "holds code, in the layer Lambda 'lambda"),
    "broken.keras": (keras_file("{" * 1000), "is a damaged .keras file"),
    "bits.keras": (changed_bytes(_damage), "is a damaged .keras file"),
    "secret.keras": (changed_bytes(_encrypt), "is a damaged .keras file .*encrypted"),
    "half.keras": (changed_bytes(_halve), "is a damaged .keras file"),
    "half.h5": (lambda path: path.write_bytes(empty_weights()[:100]), "is a damaged HDF5 file"),
}


def write_endless(path):
    """HDF5's library steps back by as much as it goes forward, for ever."""
    h5_file(old())(path)
    content = bytearray(path.read_bytes())
    first = content.index(b"GCOL") + 16
    content[first + 8 : first + 16] = (2**64 - 16).to_bytes(8, "little")
    path.write_bytes(content)


_UGLY = "\n\x1b[31m\ud800" + "long" * 10_000
KERAS |= {
    "ugly_layer.keras": (keras_file(sequential({**_LAMBDA, "config": {"name": _UGLY}})), "holds code, in the layer"),
    "ugly_kind.keras": (keras_file(sequential(layer(_UGLY, "it", _UGLY))), "can't be opened: the layer it"),
}
KERAS["endless.h5"] = (write_endless, "being looked through takes it longer than")
