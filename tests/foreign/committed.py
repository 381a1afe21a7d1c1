"""How the files in tests/foreign/files/ were made: by converters whose frameworks are too large for the tests.

    python -m tests.foreign.committed keras|tensorflow|jax|paddle DIR

Each runs in an environment of its own: `tensorflow-cpu tf2onnx`, `jax jax2onnx flax` or `paddlepaddle paddle2onnx`. The
weights are random, a few kB a file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def make_keras(folder: Path) -> None:
    """Keras 3: its own export by tf2onnx, and tf2onnx called by hand; a network that rescales, and one of a lecture."""
    import keras
    import tensorflow as tf
    import tf2onnx

    keras.utils.set_random_seed(0)
    layers = keras.layers

    def lecture() -> Any:
        x = inputs = keras.Input((32, 32, 3), name="input_layer")
        for block, width in ((1, 8), (2, 8)):
            for k in (1, 2):
                x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"block{block}_conv{k}")(x)
            x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        return keras.Model(inputs, layers.Dense(5, activation="softmax", name="predictions")(x), name="lecture")

    def mobile() -> Any:
        x = inputs = keras.Input((32, 32, 3))
        x = layers.Rescaling(1 / 127.5, offset=-1)(x)
        x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
        x = y = layers.ReLU(max_value=6)(layers.BatchNormalization()(x))
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
        x = layers.Activation("hard_swish")(layers.BatchNormalization()(x))
        gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
        gate = layers.Conv2D(8, 1, activation="hard_sigmoid")(layers.Conv2D(4, 1, activation="relu")(gate))
        x = layers.Add()([layers.Multiply()([x, gate]), y])
        x = layers.Conv2D(8, 1, activation="swish")(x)
        x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
        return keras.Model(inputs, layers.Dense(5)(x), name="mobile")

    for net in (lecture(), mobile()):
        net(tf.zeros((1, 32, 32, 3)))
        net.export(str(folder / f"keras3-{net.name}.onnx"), format="onnx", verbose=False)
        signature = (tf.TensorSpec((None, 32, 32, 3), tf.float32, name="input_1"),)
        call = tf.function(lambda x, net=net: net(x, training=False), input_signature=signature)
        path = str(folder / f"tf2onnx-{net.name}.onnx")
        tf2onnx.convert.from_function(call, input_signature=signature, opset=13, output_path=path)


def make_tensorflow(folder: Path) -> None:
    """TensorFlow without Keras: variables of a module, uint8 pictures, outputs as of its object detection."""
    import tensorflow as tf
    import tf2onnx

    tf.random.set_seed(0)

    class Detector(tf.Module):
        def __init__(self) -> None:
            super().__init__(name="detector")
            self.w = [tf.Variable(tf.random.normal((3, 3, cin, cout)) * 0.2, name=f"conv{k}/kernel")
                      for k, (cin, cout) in enumerate(((3, 8), (8, 8), (8, 7)))]  # fmt: skip

        @tf.function(input_signature=[tf.TensorSpec((1, None, None, 3), tf.uint8, name="input_tensor")])
        def __call__(self, x: Any) -> Any:
            x = tf.image.resize(tf.cast(x, tf.float32), (32, 32)) / 127.5 - 1.0
            for w in self.w[:2]:
                x = tf.nn.relu6(tf.nn.conv2d(x, w, 2, "SAME"))
            rows = tf.reshape(tf.nn.conv2d(x, self.w[2], 1, "SAME"), (1, -1, 7))
            corner = tf.sigmoid(rows[..., :2])
            boxes = tf.concat((corner * 0.5, corner * 0.5 + 0.3), -1)
            scores = tf.sigmoid(rows[..., 4:])
            best = tf.reduce_max(scores, -1)
            picked = tf.image.non_max_suppression(boxes[0], best[0], 10)
            return {
                "detection_boxes": tf.gather(boxes, picked, axis=1),
                "detection_scores": tf.gather(best, picked, axis=1),
                "detection_classes": tf.cast(tf.gather(tf.argmax(scores, -1), picked, axis=1) + 1, tf.float32),
                "num_detections": tf.cast(tf.shape(picked), tf.float32),
            }

    class Classifier(tf.Module):
        def __init__(self) -> None:
            super().__init__(name="classifier")
            self.w = tf.Variable(tf.random.normal((3, 3, 3, 8)) * 0.2, name="stem/weights")
            self.d = tf.Variable(tf.random.normal((3, 3, 8, 1)) * 0.2, name="depth/weights")
            self.v = tf.Variable(tf.random.normal((8, 5)) * 0.3, name="logits/weights")

        @tf.function(input_signature=[tf.TensorSpec((1, 32, 32, 3), tf.float32, name="Placeholder")])
        def __call__(self, x: Any) -> Any:
            with tf.name_scope("stem"):
                x = tf.nn.leaky_relu(tf.nn.conv2d(x, self.w, 2, "SAME"), name="act")
            with tf.name_scope("depth"):
                x = tf.nn.relu(tf.nn.depthwise_conv2d(x, self.d, (1, 1, 1, 1), "SAME"))
            return tf.nn.softmax(tf.matmul(tf.reduce_mean(x, (1, 2)), self.v), name="probabilities")

    for net in (Detector(), Classifier()):
        call = net.__call__.get_concrete_function()
        path = str(folder / f"tensorflow-{net.name}.onnx")
        spec = net.__call__.input_signature
        tf2onnx.convert.from_function(net.__call__, input_signature=spec, opset=13, output_path=path)
        del call


def make_jax(folder: Path) -> None:
    """JAX: a Flax network with channels last, and one of functions alone."""
    import jax
    import jax.numpy as jnp
    import onnx
    from flax import nnx
    from jax2onnx import to_onnx

    class Net(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.first = nnx.Conv(3, 8, (3, 3), strides=2, rngs=rngs)
            self.norm = nnx.BatchNorm(8, use_running_average=True, rngs=rngs)
            self.second = nnx.Conv(8, 8, (3, 3), rngs=rngs)
            self.head = nnx.Linear(8, 5, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = y = nnx.relu(self.norm(self.first(x)))
            x = nnx.gelu(self.second(x)) + y
            return nnx.softmax(self.head(jnp.mean(x, axis=(1, 2))))

    key = jax.random.split(jax.random.key(0), 3)
    w = jax.random.normal(key[0], (8, 3, 3, 3)) * 0.2
    v = jax.random.normal(key[1], (8, 5)) * 0.3

    def plain(x: Any) -> Any:
        x = jax.lax.conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))
        return jnp.mean(jax.nn.silu(x), axis=(2, 3)) @ v

    for name, call, shape in (("flax", Net(nnx.Rngs(0)), (1, 32, 32, 3)), ("functions", plain, (1, 3, 32, 32))):
        onnx.save(to_onnx(call, [shape]), folder / f"jax-{name}.onnx")


def make_paddle(folder: Path) -> None:
    """Paddle 3: a classifier, and a detector with the second input of PP-YOLOE, named as its new compiler names."""
    import paddle
    from paddle import nn
    from paddle.static import InputSpec

    paddle.seed(0)

    class Block(nn.Layer):  # type: ignore[misc]
        def __init__(self, cin: int, cout: int, stride: int) -> None:
            super().__init__()
            self.conv = nn.Conv2D(cin, cout, 3, stride, 1, bias_attr=False)
            self.bn = nn.BatchNorm2D(cout)
            self.act = nn.Hardswish()

        def forward(self, x: Any) -> Any:
            return self.act(self.bn(self.conv(x)))

    class Classifier(nn.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(Block(3, 8, 2), Block(8, 8, 2), nn.Conv2D(8, 8, 1), nn.ReLU())
            self.head = nn.Linear(8, 5)

        def forward(self, x: Any) -> Any:
            return nn.functional.softmax(self.head(self.body(x).mean([2, 3])))

    class Detector(nn.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Sequential(Block(3, 8, 2), Block(8, 8, 2)), nn.Conv2D(8, 7, 1)

        def forward(self, image: Any, scale_factor: Any) -> Any:
            rows = self.head(self.body(image)).flatten(2).transpose([0, 2, 1])
            corner = nn.functional.sigmoid(rows[:, :, :2]) * 16
            boxes = paddle.concat((corner, corner + 12), -1) / paddle.concat((scale_factor, scale_factor), 1).unsqueeze(
                1
            )
            scores = nn.functional.sigmoid(rows[:, :, 4:])
            best, label = scores.max(-1, keepdim=True), scores.argmax(-1, keepdim=True)
            return paddle.concat((label.astype("float32"), best, boxes), -1).squeeze(0)

    picture = InputSpec([None, 3, 32, 32], "float32", "x")
    specs = [InputSpec([1, 3, 32, 32], "float32", "image"), InputSpec([1, 2], "float32", "scale_factor")]
    for name, net, spec in (("classifier", Classifier(), [picture]), ("detector", Detector(), specs)):
        net.eval()
        paddle.onnx.export(net, str(folder / f"paddle-{name}"), input_spec=spec, opset_version=13)


MAKERS = {"keras": make_keras, "tensorflow": make_tensorflow, "jax": make_jax, "paddle": make_paddle}

if __name__ == "__main__":
    target = Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    MAKERS[sys.argv[1]](target)
