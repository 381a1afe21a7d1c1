"""One function a converter, each with that converter's own ways of naming and of writing things down.

Sizes are tiny; the names, the order of the nodes and the oddities are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.foreign import FLOAT, FLOAT16, UINT8, Net

BUILDERS: dict[str, Callable[[], onnx.ModelProto]] = {}


def builder(function: Callable[[], onnx.ModelProto]) -> Callable[[], onnx.ModelProto]:
    BUILDERS[function.__name__] = function
    return function


@builder
def tf2onnx_keras() -> onnx.ModelProto:
    """tf2onnx of a Keras model: NHWC input, one Transpose, convs under their scope, mean, MatMul, Softmax."""
    n, p = Net(1, opset=13, ir=7, producer="tf2onnx"), "StatefulPartitionedCall/small"
    x = n.input("input_1", ("unk__611", 16, 16, 3))
    x = n("Transpose", x, out=f"{p}/block1_conv1/Conv2D__6:0", name=f"{p}/block1_conv1/Conv2D__6", perm=[0, 3, 1, 2])
    x = n.conv(x, 3, 8, w=f"{p}/block1_conv1/Conv2D/ReadVariableOp:0",
               bias=f"{p}/block1_conv1/BiasAdd/ReadVariableOp:0",
               name=f"{p}/block1_conv1/BiasAdd", out=f"{p}/block1_conv1/BiasAdd:0")  # fmt: skip
    x = n("Relu", x, name=f"{p}/block1_conv1/Relu", out=f"{p}/block1_conv1/Relu:0")
    x = n.conv(x, 8, 8, w="const_fold_opt__77", bias="const_fold_opt__78", stride=2,
               name=f"{p}/block1_conv2/Conv2D", out=f"{p}/block1_bn/FusedBatchNormV3:0")  # fmt: skip
    x = n("Relu", x, name=f"{p}/block1_act/Relu", out=f"{p}/block1_act/Relu:0")
    x = n("MaxPool", x, name=f"{p}/block1_pool/MaxPool", out=f"{p}/block1_pool/MaxPool:0", kernel_shape=[2, 2],
          strides=[2, 2])  # fmt: skip
    x = n("GlobalAveragePool", x, name=f"{p}/avg_pool/Mean", out=f"{p}/avg_pool/Mean:0")
    x = n("Squeeze", x, n.const([2, 3], "const_axes__24", np.int64), name=f"{p}/avg_pool/Mean_Squeeze__90",
          out=f"{p}/avg_pool/Mean_Squeeze__90:0")  # fmt: skip
    x = n("MatMul", x, n.weight((8, 5), f"{p}/predictions/MatMul/ReadVariableOp:0"), name=f"{p}/predictions/MatMul",
          out=f"{p}/predictions/MatMul:0")  # fmt: skip
    x = n("Add", x, n.weight((5,), f"{p}/predictions/BiasAdd/ReadVariableOp:0"), name=f"{p}/predictions/BiasAdd",
          out=f"{p}/predictions/BiasAdd:0")  # fmt: skip
    x = n("Softmax", x, name=f"{p}/predictions/Softmax", out="predictions", axis=-1)
    return n.model(x, shapes={x: ("unk__612", 5)})


@builder
def tf2onnx_mobilenet() -> onnx.ModelProto:
    """tf2onnx with depthwise + BN folded into Mul/Add, Relu6 as Clip or Min, SAME padding by a Pad node, NHWC tail."""
    n, p = Net(2, opset=13, ir=7, producer="tf2onnx"), "StatefulPartitionedCall/mobilenetv2_1.00_224"
    x = n.input("input_2", (None, None, None, 3))
    x = n("Transpose", x, out="Conv1/Conv2D__8:0", name="Conv1/Conv2D__8", perm=[0, 3, 1, 2])
    x = n("Pad", x, n.const([0, 0, 0, 0, 0, 0, 1, 1], "const_fold_opt__1", np.int64), name=f"{p}/Conv1_pad/Pad",
          out=f"{p}/Conv1_pad/Pad:0")  # fmt: skip
    x = n.conv(x, 3, 8, stride=2, pads=0, w="const_fold_opt__310", bias="const_fold_opt__311",
               name=f"{p}/bn_Conv1/FusedBatchNormV3", out=f"{p}/bn_Conv1/FusedBatchNormV3:0")  # fmt: skip
    six, zero = n.const(np.float32(6), "const_6"), n.const(np.float32(0), "const_0")
    x = n("Clip", x, zero, six, name=f"{p}/Conv1_relu/Relu6", out=f"{p}/Conv1_relu/Relu6:0")
    first = x
    x = n.conv(x, 8, 8, group=8, bias=False, w="const_fold_opt__312", name=f"{p}/expanded_conv_depthwise/depthwise",
               out=f"{p}/expanded_conv_depthwise/depthwise:0")  # fmt: skip
    x = n.bn(x, 8, [f"{p}/expanded_conv_depthwise_BN/ReadVariableOp{s}:0" for s in ("", "_1")]
             + [f"{p}/expanded_conv_depthwise_BN/FusedBatchNormV3/ReadVariableOp{s}:0" for s in ("", "_1")],
             name=f"{p}/expanded_conv_depthwise_BN/FusedBatchNormV3",
             out=f"{p}/expanded_conv_depthwise_BN/FusedBatchNormV3:0", epsilon=0.001)  # fmt: skip
    x = n("Clip", x, zero, six, name=f"{p}/expanded_conv_depthwise_relu/Relu6", out="expanded_relu:0")
    x = n.conv(x, 8, 8, 1, w="const_fold_opt__313", bias="const_fold_opt__314",
               name=f"{p}/expanded_conv_project_BN/FusedBatchNormV3",
               out=f"{p}/expanded_conv_project_BN/Fused:0")  # fmt: skip
    x = n("Add", x, first, name=f"{p}/block_2_add/add", out=f"{p}/block_2_add/add:0")
    x = n("Transpose", x, name="Transpose__900", out="Transpose__900:0", perm=[0, 2, 3, 1])
    x = n("Mul", x, n.const(np.ones(8, np.float32) * 1.5, "scale"), name=f"{p}/scale/mul", out="scaled:0")
    x = n("ReduceMean", x, name=f"{p}/global_average_pooling2d/Mean", out=f"{p}/global_average_pooling2d/Mean:0",
          axes=[1, 2], keepdims=0)  # fmt: skip
    x = n("MatMul", x, n.weight((8, 4), f"{p}/predictions/MatMul/ReadVariableOp:0"), name=f"{p}/predictions/MatMul",
          out=f"{p}/predictions/MatMul:0")  # fmt: skip
    x = n("Add", x, n.weight((4,), f"{p}/predictions/BiasAdd/ReadVariableOp:0"), name=f"{p}/predictions/BiasAdd",
          out=f"{p}/predictions/BiasAdd:0")  # fmt: skip
    x = n("Softmax", x, name=f"{p}/predictions/Softmax", out="predictions")
    return n.model(x, shapes={x: (None, 4)})


@builder
def paddle() -> onnx.ModelProto:
    """paddle2onnx: p2o names, weights by layer, hardswish written out by op, SE gate by hard-sigmoid."""
    n = Net(3, opset=11, ir=7, producer="PaddlePaddle")
    x = n.input("x", (-1, 3, 16, 16))
    x = n.conv(x, 3, 8, bias=False, w="conv2d_0.w_0", stride=2, name="p2o.Conv.0", out="conv2d_98.tmp_0")
    x = n.bn(x, 8, [f"batch_norm_0.{s}" for s in ("w_0", "b_0", "w_1", "w_2")], name="p2o.BatchNormalization.0",
             out="batch_norm_0.tmp_3")  # fmt: skip
    three, six = n.const(np.float32([3]), "p2o.helper.constant.1"), n.const(np.float32([6]), "p2o.helper.constant.2")
    low = n.const(np.float32(0), "p2o.helper.constant.3")
    high = n.const(np.float32(6), "p2o.helper.constant.4")
    y = n("Add", x, three, name="p2o.Add.1", out="p2o.helper.add.1")
    y = n("Clip", y, low, high, name="p2o.Clip.0", out="p2o.helper.clip.0")
    y = n("Mul", x, y, name="p2o.Mul.0", out="p2o.helper.mul.0")
    x = n("Div", y, six, name="p2o.Div.0", out="hardswish_0.tmp_0")
    trunk = x
    x = n.conv(x, 8, 8, bias=False, group=8, w="conv2d_1.w_0", name="p2o.Conv.1", out="conv2d_99.tmp_0")
    x = n.bn(x, 8, [f"batch_norm_1.{s}" for s in ("w_0", "b_0", "w_1", "w_2")], name="p2o.BatchNormalization.1",
             out="batch_norm_1.tmp_3")  # fmt: skip
    x = n("Relu", x, name="p2o.Relu.0", out="relu_0.tmp_0")
    s = n("GlobalAveragePool", x, name="p2o.GlobalAveragePool.0", out="pool2d_0.tmp_0")
    s = n.conv(s, 8, 4, 1, bias="conv2d_2.b_0", w="conv2d_2.w_0", name="p2o.Conv.2", out="conv2d_100.tmp_1")
    s = n("Relu", s, name="p2o.Relu.1", out="relu_1.tmp_0")
    s = n.conv(s, 4, 8, 1, bias="conv2d_3.b_0", w="conv2d_3.w_0", name="p2o.Conv.3", out="conv2d_101.tmp_1")
    s = n("HardSigmoid", s, name="p2o.HardSigmoid.0", out="hardsigmoid_0.tmp_0", alpha=0.2, beta=0.5)
    x = n("Mul", x, s, name="p2o.Mul.2", out="elementwise_mul_0")
    x = n("Add", x, trunk, name="p2o.Add.4", out="tmp_0")
    x = n("GlobalAveragePool", x, name="p2o.GlobalAveragePool.1", out="pool2d_1.tmp_0")
    x = n("Flatten", x, name="p2o.Flatten.0", out="flatten_0.tmp_0", axis=1)
    x = n("MatMul", x, n.weight((8, 6), "linear_0.w_0"), name="p2o.MatMul.0", out="linear_1.tmp_0")
    x = n("Add", x, n.weight((6,), "linear_0.b_0"), name="p2o.Add.6", out="linear_1.tmp_1")
    x = n("Softmax", x, name="p2o.Softmax.0", out="softmax_0.tmp_0", axis=-1)
    return n.model(x, shapes={x: (-1, 6)})


@builder
def caffe() -> onnx.ModelProto:
    """caffe2onnx: blob names as nodes, fixed batch, Scale after BatchNorm, in-place suffixes, Softmax as "prob"."""
    n = Net(4, opset=9, ir=4, producer="caffe2onnx")
    x = n.input("data", (1, 3, 16, 16))
    x = n.conv(x, 3, 8, bias="conv1_b", w="conv1_W", name="conv1", out="conv1_Y")
    x = n.bn(x, 8, [f"bn_conv1_{s}" for s in ("scale", "bias", "mean", "var")], name="bn_conv1", out="bn_conv1_Y")
    x = n("Mul", x, n.const(n.rng.uniform(0.5, 1.5, (1, 8, 1, 1)), "scale_conv1_s"), name="scale_conv1_mul",
          out="scale_conv1_mul_Y")  # fmt: skip
    x = n(
        "Add", x, n.const(n.rng.standard_normal((1, 8, 1, 1)), "scale_conv1_b"), name="scale_conv1", out="scale_conv1_Y"
    )
    x = n("Relu", x, name="relu_conv1", out="relu_conv1_Y")
    x = n("LRN", x, name="norm1", out="norm1_Y", size=5)
    x = n("MaxPool", x, name="pool1", out="pool1_Y", kernel_shape=[2, 2], strides=[2, 2])
    x = n("Reshape", x, n.const([1, -1], "fc2_reshape_shape", np.int64), name="fc2_reshape", out="fc2_reshape_Y")
    x = n("Gemm", x, n.weight((7, 512), "fc2_W"), n.weight((7,), "fc2_b"), name="fc2", out="fc2_Y", transB=1)
    x = n("Softmax", x, name="prob", out="prob_Y", axis=1)
    return n.model(x, shapes={x: (1, 7)})


@builder
def pytorch_1() -> onnx.ModelProto:
    """PyTorch 1.1, opset 9: numeric tensors, Op_12 nodes, unfused norms, module weights as graph inputs, IR 4."""
    n = Net(5, opset=9, ir=4, producer="pytorch")
    x = n.input("input.1", (1, 3, 16, 16))
    x = n.conv(x, 3, 8, bias=False, w="conv1.weight", stride=2, name="Conv_0", out="123")
    x = n.bn(x, 8, [f"bn1.{s}" for s in ("weight", "bias", "running_mean", "running_var")],
             name="BatchNormalization_1", out="124")  # fmt: skip
    x = trunk = n("Relu", x, name="Relu_2", out="125")
    for i in range(2):
        x = n.conv(
            x, 8, 8, bias=False, w=f"layer1.0.conv{i + 1}.weight", name=f"Conv_{3 * i + 3}", out=f"{126 + 3 * i}"
        )
        x = n.bn(x, 8, [f"layer1.0.bn{i + 1}.{s}" for s in ("weight", "bias", "running_mean", "running_var")],
                 name=f"BatchNormalization_{3 * i + 4}", out=f"{127 + 3 * i}")  # fmt: skip
        if i == 0:
            x = n("Relu", x, name="Relu_5", out="128")
    x = n("Add", x, trunk, name="Add_8", out="131")
    x = n("Relu", x, name="Relu_9", out="132")
    y = n("GlobalAveragePool", x, name="GlobalAveragePool_10", out="133")
    batch = n("Gather", n("Shape", y, name="Shape_11", out="134"), n.node_const(np.int64(0), "135", "Constant_12"),
              name="Gather_13", out="136", axis=0)  # fmt: skip
    rows = n("Unsqueeze", batch, name="Unsqueeze_15", out="138", axes=[0])
    shape = n("Concat", rows, n.node_const(np.array([-1]), "139"), name="Concat_17", out="140", axis=0)
    y = n("Reshape", y, shape, name="Reshape_18", out="141")
    y = n("Gemm", y, n.weight((6, 8), "fc.weight"), n.weight((6,), "fc.bias"), name="Gemm_19", out="142", transB=1)
    return n.model(y, shapes={y: (1, 6)}, weights_as_inputs=True)


@builder
def pytorch_names_lost() -> onnx.ModelProto:
    """Fused by torch and run through a simplifier: numeric weights too, so nothing tells the module."""
    n = Net(6, opset=11, ir=6, producer="pytorch")
    x = n.input("input", ("batch", 3, "height", "width"))
    x = n.conv(x, 3, 8, w="501", bias="502", name="Conv_0", out="500")
    x = n("Relu", x, name="Relu_1", out="317")
    trunk = x
    x = n.conv(x, 8, 8, w="504", bias="505", name="Conv_2", out="503")
    x = n("Relu", x, name="Relu_3", out="320")
    x = n.conv(x, 8, 8, w="507", bias="508", name="Conv_4", out="506")
    x = n("Add", x, trunk, name="Add_5", out="323")
    x = n("Relu", x, name="Relu_6", out="324")
    x = n("MaxPool", x, name="MaxPool_7", out="325", kernel_shape=[2, 2], strides=[2, 2])
    x = n("GlobalAveragePool", x, name="GlobalAveragePool_8", out="326")
    x = n("Flatten", x, name="Flatten_9", out="327", axis=1)
    x = n("Gemm", x, n.weight((6, 8), "fc.weight"), n.weight((6,), "fc.bias"), name="Gemm_10", out="output", transB=1)
    return n.model(x, shapes={x: ("batch", 6)})


@builder
def yolo() -> onnx.ModelProto:
    """YOLOv8, TorchScript: /model.0/conv/Conv, SiLU as Sigmoid and Mul, C2f split, SPPF, resize, a (1, 6, A) output."""
    n = Net(7, opset=17, ir=8, producer="pytorch")
    x = n.input("images", (1, 3, 32, 32))

    def block(x: str, path: str, cin: int, cout: int, stride: int = 1, k: int = 3) -> str:
        x = n.conv(x, cin, cout, k, stride=stride, w=f"{path[1:].replace('/', '.')}.conv.weight",
                   bias=f"{path[1:].replace('/', '.')}.conv.bias", name=f"{path}/conv/Conv",
                   out=f"{path}/conv/Conv_output_0")  # fmt: skip
        gate = n("Sigmoid", x, name=f"{path}/act/Sigmoid", out=f"{path}/act/Sigmoid_output_0")
        return n("Mul", x, gate, name=f"{path}/act/Mul", out=f"{path}/act/Mul_output_0")

    x = block(x, "/model.0", 3, 8, 2)
    x = block(x, "/model.1/cv1", 8, 8, 1, 1)
    sizes = n.node_const(np.array([4, 4]), "onnx::Split_70", "Constant_0")
    n("Split", x, sizes, name="/model.1/Split", out=["/model.1/Split_output_0", "/model.1/Split_output_1"], axis=1)
    a = block("/model.1/Split_output_1", "/model.1/m.0/cv1", 4, 4)
    a = block(a, "/model.1/m.0/cv2", 4, 4)
    a = n("Add", "/model.1/Split_output_1", a, name="/model.1/m.0/Add", out="/model.1/m.0/Add_output_0")
    x = n("Concat", "/model.1/Split_output_0", "/model.1/Split_output_1", a, name="/model.1/Concat",
          out="/model.1/Concat_output_0", axis=1)  # fmt: skip
    x = early = block(x, "/model.1/cv2", 12, 8, 1, 1)
    x = block(x, "/model.2", 8, 8, 2)
    p = [x]
    for i in range(2):
        end = f"_{i}" if i else ""
        p.append(n("MaxPool", p[-1], name=f"/model.3/m/MaxPool{end}", out=f"/model.3/m/MaxPool{end}_output_0",
                   kernel_shape=[5, 5], pads=[2] * 4, strides=[1, 1]))  # fmt: skip
    x = n("Concat", *p, name="/model.3/Concat", out="/model.3/Concat_output_0", axis=1)
    x = block(x, "/model.3/cv2", 24, 8, 1, 1)
    scales = n.node_const(np.float32([1, 1, 2, 2]), "/model.4/Constant_output_0", "/model.4/Constant")
    x = n("Resize", x, "", scales, name="/model.4/Resize", out="/model.4/Resize_output_0", mode="nearest",
          coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    x = n("Concat", x, early, name="/model.5/Concat", out="/model.5/Concat_output_0", axis=1)
    box = n.conv(x, 16, 4, 1, w="model.6.cv2.0.2.weight", bias="model.6.cv2.0.2.bias",
                 name="/model.6/cv2.0/cv2.0.2/Conv", out="/model.6/cv2.0/cv2.0.2/Conv_output_0")  # fmt: skip
    cls = n.conv(x, 16, 2, 1, w="model.6.cv3.0.2.weight", bias="model.6.cv3.0.2.bias",
                 name="/model.6/cv3.0/cv3.0.2/Conv", out="/model.6/cv3.0/cv3.0.2/Conv_output_0")  # fmt: skip
    both = n("Concat", box, cls, name="/model.6/Concat", out="/model.6/Concat_output_0", axis=1)
    flat = n("Reshape", both, n.node_const(np.array([1, 6, -1]), "/model.6/Constant_output_0"),
             name="/model.6/Reshape", out="/model.6/Reshape_output_0")  # fmt: skip
    parts = n.node_const(np.array([4, 2]), "onnx::Split_380")
    n("Split", flat, parts, name="/model.6/Split", out=["/model.6/Split_output_0", "/model.6/Split_output_1"], axis=1)
    cls = n("Sigmoid", "/model.6/Split_output_1", name="/model.6/Sigmoid", out="/model.6/Sigmoid_output_0")
    box = n("Mul", "/model.6/Split_output_0", n.node_const(np.float32(8), "/model.6/Constant_9_output_0"),
            name="/model.6/Mul_2", out="/model.6/Mul_2_output_0")  # fmt: skip
    out = n("Concat", box, cls, name="/model.6/Concat_5", out="output0", axis=1)
    return n.model(out, shapes={out: (1, 6, 256)})


@builder
def mxnet() -> onnx.ModelProto:
    """MXNet's resnetv15 of the model zoo: weights as graph inputs, IR 3, opset 7, data normalised by a BatchNorm."""
    n, p = Net(8, opset=7, ir=3, producer=""), "resnetv15"
    x = n.input("data", (1, 3, 16, 16))
    x = n.conv(x, 3, 8, bias=False, w=f"{p}_conv0_weight", stride=2, name=f"{p}_conv0_fwd", out=f"{p}_conv0_fwd")
    x = n.bn(x, 8, [f"{p}_batchnorm0_{s}" for s in ("gamma", "beta", "running_mean", "running_var")],
             name=f"{p}_batchnorm0_fwd", out=f"{p}_batchnorm0_fwd", epsilon=1e-5)  # fmt: skip
    x = n("Relu", x, name=f"{p}_relu0_fwd", out=f"{p}_relu0_fwd")
    x = trunk = n("MaxPool", x, name=f"{p}_pool0_fwd", out=f"{p}_pool0_fwd", kernel_shape=[3, 3], strides=[2, 2],
                  pads=[1] * 4)  # fmt: skip
    x = n.conv(x, 8, 8, bias=False, w=f"{p}_stage1_conv0_weight", name=f"{p}_stage1_conv0_fwd",
               out=f"{p}_stage1_conv0_fwd")  # fmt: skip
    x = n.bn(x, 8, [f"{p}_stage1_batchnorm0_{s}" for s in ("gamma", "beta", "running_mean", "running_var")],
             name=f"{p}_stage1_batchnorm0_fwd", out=f"{p}_stage1_batchnorm0_fwd")  # fmt: skip
    x = n("Add", trunk, x, name=f"{p}_stage1__plus0", out=f"{p}_stage1__plus0")
    x = n("Relu", x, name=f"{p}_stage1_activation0", out=f"{p}_stage1_activation0")
    x = n("GlobalAveragePool", x, name=f"{p}_pool1_fwd", out=f"{p}_pool1_fwd")
    x = n("Flatten", x, name="flatten_170", out="flatten_170")
    x = n("Gemm", x, n.weight((6, 8), f"{p}_dense0_weight"), n.weight((6,), f"{p}_dense0_bias"),
          name=f"{p}_dense0_fwd", out=f"{p}_dense0_fwd", transB=1)  # fmt: skip
    return n.model(x, shapes={x: (1, 6)}, weights_as_inputs=True)


@builder
def keras2onnx() -> onnx.ModelProto:
    """keras2onnx 1.7: symbolic N, NHWC, Transpose and back, bare layer names, activations under their layer."""
    n = Net(9, opset=11, ir=6, producer="keras2onnx")
    x = n.input("input_1", ("N", 16, 16, 3))
    x = n("Transpose", x, name="Transpose6", out="adjusted_input2", perm=[0, 3, 1, 2])
    x = n.conv(x, 3, 8, w="conv2d", bias="conv2d_bias", name="conv2d", out="convolution_output1")
    x = n("Relu", x, name="Relu1", out="conv2d_Relu_0")
    x = n.bn(x, 8, ["gamma", "beta", "mean", "variance"], name="batch_normalization", out="batch_normalization_out")
    x = n("MaxPool", x, name="max_pooling2d", out="max_pooling2d_output_0", kernel_shape=[2, 2], strides=[2, 2])
    x = n("Transpose", x, name="Transpose9", out="max_pooling2d_transposed", perm=[0, 2, 3, 1])
    x = n("Reshape", x, n.const([-1, 512], "shape_tensor", np.int64), name="flatten", out="flatten_output")
    x = n("MatMul", x, n.weight((512, 6), "dense/kernel:0"), name="dense", out="dense0")
    x = n("Add", x, n.weight((6,), "dense/bias:0"), name="Add", out="biased_tensor_name")
    x = n("Softmax", x, name="Softmax", out="dense", axis=-1)
    return n.model(x, shapes={x: ("N", 6)})


@builder
def unnamed() -> onnx.ModelProto:
    """No node has a name, tensors are numbers, weights Constant nodes, shared by Identity chains; all sizes free."""
    n = Net(10, opset=13, ir=7)
    x = n.input("0", ("a", 3, "b", "c"))
    w = n.node_const((n.rng.standard_normal((8, 3, 3, 3)) / 5).astype(np.float32), "1")
    w = n("Identity", n("Identity", w, out="2"), out="3")
    x = n("Conv", x, w, out="4", pads=[1] * 4)
    x = n("Identity", n("Identity", x, out="5"), out="6")
    x = n("LeakyRelu", x, out="7", alpha=0.1)
    w = n.node_const((n.rng.standard_normal((8, 8, 3, 3)) / 9).astype(np.float32), "8")
    y = n("Conv", x, w, out="9", pads=[1] * 4)
    y = n("Identity", y, out="10")
    x = n("Sum", x, y, out="11")
    x = n("PRelu", x, n.node_const(np.float32([[[0.2]]]), "12"), out="13")
    x = n("AveragePool", x, out="14", kernel_shape=[2, 2], strides=[2, 2])
    x = n("ReduceMean", x, out="15", axes=[2, 3], keepdims=0)
    w = n.node_const((n.rng.standard_normal((8, 4)) / 3).astype(np.float32), "16")
    x = n("MatMul", x, w, out="17")
    x = n("LogSoftmax", x, out="18", axis=1)
    return n.model(x, shapes={x: ("a", "d")})


@builder
def gelu_hardswish_mish() -> onnx.ModelProto:
    """Activations written out in every way that exporters have: each must come out as one layer."""
    n = Net(11, opset=13)
    x = n.input("x", ("n", 3, 8, 8))

    def scalar(value: float) -> str:
        return n.const(np.float32(value))

    x = n.conv(x, 3, 6, w="stem.weight", bias="stem.bias", name="/stem/Conv", out="stem")
    x = n("Mul", x, n("Sigmoid", x, name="/a/Sigmoid"), name="/a/Mul", out="silu")
    x = n.conv(x, 6, 6, name="/b/conv/Conv", out="b")
    e = n("Erf", n("Div", x, scalar(2**0.5), name="/b/act/Div"), name="/b/act/Erf")
    e = n("Mul", x, n("Add", e, scalar(1), name="/b/act/Add"), name="/b/act/Mul")
    x = n("Mul", e, scalar(0.5), name="/b/act/Mul_1", out="gelu")
    x = n.conv(x, 6, 6, name="/c/conv/Conv", out="c")
    h = n("Clip", n("Add", x, scalar(3), name="/c/act/Add"), scalar(0), scalar(6), name="/c/act/Clip")
    x = n("Div", n("Mul", x, h, name="/c/act/Mul"), scalar(6), name="/c/act/Div", out="hardswish")
    x = n.conv(x, 6, 6, name="/d/conv/Conv", out="d")
    x = n("Mul", x, n("Tanh", n("Softplus", x, name="/d/act/Softplus"), name="/d/act/Tanh"), name="/d/act/Mul",
          out="mish")  # fmt: skip
    x = n.conv(x, 6, 6, name="/e/conv/Conv", out="e")
    cube = n("Pow", x, scalar(3), name="/e/act/Pow")
    t = n("Add", x, n("Mul", cube, scalar(0.044715), name="/e/act/Mul"), name="/e/act/Add")
    t = n("Tanh", n("Mul", t, scalar((2 / np.pi) ** 0.5), name="/e/act/Mul_1"), name="/e/act/Tanh")
    t = n("Add", t, scalar(1), name="/e/act/Add_1")
    x = n("Mul", n("Mul", x, scalar(0.5), name="/e/act/Mul_2"), t, name="/e/act/Mul_3", out="gelu_tanh")
    x = n.conv(x, 6, 6, name="/f/conv/Conv", out="f")
    x = n("Mul", x, n("HardSigmoid", x, name="/f/act/HardSigmoid", alpha=1 / 6, beta=0.5), name="/f/act/Mul",
          out="hardswish_2")  # fmt: skip
    x = n.conv(x, 6, 6, name="/g/conv/Conv", out="g")
    h = n("Relu", n("Add", x, scalar(3), name="/g/act/Add"), name="/g/act/Relu")
    h = n("Min", h, scalar(6), name="/g/act/Min")
    x = n("Mul", x, n("Mul", h, scalar(1 / 6), name="/g/act/Mul"), name="/g/act/Mul_1", out="hardswish_3")
    x = n("GlobalAveragePool", x, name="/pool/GlobalAveragePool", out="pooled")
    x = n("Flatten", x, name="/Flatten", out="flat")
    x = n("Gemm", x, n.weight((3, 6), "fc.weight"), n.weight((3,), "fc.bias"), name="/fc/Gemm", out="y", transB=1)
    return n.model(x, shapes={x: ("n", 3)})


@builder
def squeeze_excite() -> onnx.ModelProto:
    """A gate is no activation: x * sigmoid(conv(pool(x))), by Sigmoid and by HardSigmoid, and a spatial gate."""
    n = Net(12, opset=15)
    x = n.input("x", (1, 3, 8, 8))
    x = n.conv(x, 3, 8, w="stem.weight", name="/stem/Conv", out="s")
    x = n("Relu", x, name="/act/Relu", out="r")
    for k, op in enumerate(("Sigmoid", "HardSigmoid")):
        g = n("ReduceMean", x, name=f"/se{k}/ReduceMean", axes=[2, 3], keepdims=1)
        g = n("Relu", n.conv(g, 8, 4, 1, name=f"/se{k}/fc1/Conv"), name=f"/se{k}/act/Relu")
        g = n(op, n.conv(g, 4, 8, 1, name=f"/se{k}/fc2/Conv"), name=f"/se{k}/gate/{op}")
        x = n("Mul", x, g, name=f"/se{k}/Mul", out=f"se{k}")
    g = n("Sigmoid", n.conv(x, 8, 1, 1, name="/spatial/conv/Conv"), name="/spatial/Sigmoid")
    x = n("Mul", g, x, name="/spatial/Mul", out="spatial")
    x = n("GlobalAveragePool", x, name="/pool/GlobalAveragePool", out="p")
    x = n.conv(x, 8, 5, 1, w="head.weight", name="/head/Conv", out="scores")
    return n.model(x, shapes={x: (1, 5, 1, 1)})


@builder
def quantised() -> onnx.ModelProto:
    """QDQ int8 by onnxruntime: every tensor passes a QuantizeLinear/DequantizeLinear pair, weights are dequantised."""
    n = Net(13, opset=13, producer="onnx.quantize")

    def qdq(x: str, scale: float) -> str:
        s, z = n.const(np.float32(scale), f"{x}_scale"), n.const(np.uint8(128), f"{x}_zero_point")
        q = n("QuantizeLinear", x, s, z, name=f"{x}_QuantizeLinear", out=f"{x}_QuantizeLinear_Output")
        return n("DequantizeLinear", q, s, z, name=f"{x}_DequantizeLinear", out=f"{x}_DequantizeLinear_Output")

    def conv(x: str, cin: int, cout: int, path: str, k: int = 3) -> str:
        w = n.const(n.rng.integers(-127, 128, (cout, cin, k, k)).astype(np.int8), f"{path}.weight_quantized")
        s = n.const(n.rng.uniform(0.001, 0.003, cout), f"{path}.weight_scale")
        z = n.const(np.zeros(cout, np.int8), f"{path}.weight_zero_point")
        w = n("DequantizeLinear", w, s, z, name=f"{path}.weight_DequantizeLinear",
              out=f"{path}.weight_DequantizeLinear_Output", axis=0)  # fmt: skip
        node = "/" + path.replace(".", "/")
        return n("Conv", x, w, name=f"{node}/Conv", out=f"{node}/Conv_output_0", pads=[k // 2] * 4)

    x = qdq(n.input("input", ("batch", 3, 16, 16)), 0.02)
    x = n("Relu", conv(x, 3, 8, "conv1"), name="/relu/Relu", out="/relu/Relu_output_0")
    x = a = qdq(x, 0.02)
    x = qdq(conv(x, 8, 8, "layer1.conv"), 0.02)
    x = n("Add", x, a, name="/layer1/Add", out="/layer1/Add_output_0")
    x = qdq(x, 0.03)
    x = n("GlobalAveragePool", x, name="/avgpool/GlobalAveragePool", out="/avgpool/GlobalAveragePool_output_0")
    x = n("Flatten", qdq(x, 0.02), name="/Flatten", out="/Flatten_output_0")
    w = n.const(n.rng.integers(-127, 128, (5, 8)).astype(np.int8), "fc.weight_quantized")
    s, z = n.const(np.float32(0.003), "fc.weight_scale"), n.const(np.int8(0), "fc.weight_zero_point")
    w = n("DequantizeLinear", w, s, z,
          name="fc.weight_DequantizeLinear", out="fc.weight_DequantizeLinear_Output")  # fmt: skip
    x = n("Gemm", x, w, n.weight((5,), "fc.bias"), name="/fc/Gemm", out="output_QuantizeLinear_Input", transB=1)
    x = qdq(x, 0.02)
    n.nodes[-1].output[0] = "output"
    return n.model("output", shapes={"output": ("batch", 5)})


@builder
def half_precision() -> onnx.ModelProto:
    """float16 throughout, as converter_common and torch.half() write it; input and output in float16."""
    n = Net(14, opset=17)
    x = n.input("input", (1, 3, 16, 16), FLOAT16)

    def half(shape: tuple[int, ...], name: str) -> str:
        return n.weight(shape, name, np.float16)

    x = n("Conv", x, half((8, 3, 3, 3), "conv1.weight"), half((8,), "conv1.bias"), name="/conv1/Conv", out="a",
          pads=[1] * 4)  # fmt: skip
    x = n("Relu", x, name="/relu/Relu", out="b")
    x = n("GlobalAveragePool", x, name="/pool/GlobalAveragePool", out="c")
    x = n("Flatten", x, name="/Flatten", out="d")
    x = n("Gemm", x, half((4, 8), "fc.weight"), half((4,), "fc.bias"), name="/fc/Gemm", out="y", transB=1)
    return n.model(x, shapes={x: (1, 4)}, dtype=FLOAT16)


@builder
def normalises_itself() -> onnx.ModelProto:
    """uint8 NHWC bytes in, Cast, Transpose, (x - mean) / std in the graph, sigmoid at the end for several labels."""
    n = Net(15, opset=13)
    x = n.input("image", ("batch", 16, 16, 3), UINT8)
    x = n("Cast", x, name="cast", out="image_f", to=FLOAT)
    x = n("Transpose", x, name="to_nchw", out="image_nchw", perm=[0, 3, 1, 2])
    x = n("Sub", x, n.const(np.float32([123.7, 116.3, 103.5]).reshape(1, 3, 1, 1), "mean"), name="sub_mean", out="m")
    x = n("Div", x, n.const(np.float32([58.4, 57.1, 57.4]).reshape(1, 3, 1, 1), "std"), name="div_std", out="s")
    x = n.conv(x, 3, 8, w="backbone.conv.weight", name="backbone/conv/Conv", out="f")
    x = n("Relu", x, name="backbone/act/Relu", out="r")
    x = n("ReduceMean", x, name="pool/ReduceMean", axes=[-1, -2], keepdims=0, out="p")
    x = n("Gemm", x, n.weight((4, 8), "head.weight"), n.weight((4,), "head.bias"), name="head/Gemm", transB=1, out="z")
    x = n("Sigmoid", x, name="head/Sigmoid", out="probabilities")
    return n.model(x, shapes={x: ("batch", 4)})


@builder
def one_logit() -> onnx.ModelProto:
    """Grey input, fixed batch of 4, a single logit."""
    n = Net(16, opset=12)
    x = n.input("img", (4, 1, 12, 12))
    x = n.conv(x, 1, 4, w="net.0.weight", name="Conv_0", out="7")
    x = n("Elu", x, name="Elu_1", out="8")
    x = n("MaxPool", x, name="MaxPool_2", out="9", kernel_shape=[2, 2], strides=[2, 2])
    x = n("Reshape", x, n.const([4, -1], "shape", np.int64), name="Reshape_3", out="10")
    x = n("Gemm", x, n.weight((1, 144), "net.4.weight"), n.weight((1,), "net.4.bias"), name="Gemm_4", out="logit",
          transB=1)  # fmt: skip
    return n.model(x, shapes={x: (4, 1)})


@builder
def local_functions() -> onnx.ModelProto:
    """The dynamo exporter without optimisation: a model-local function for what a module does."""
    body = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="n0", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"], name="n1"),
    ]
    function = helper.make_function(
        "pkg.local", "ConvRelu", ["x", "w", "b"], ["y"], body, [helper.make_opsetid("", 18)]
    )
    n = Net(17, opset=18, pkg_local=1)
    x = n.input("x", ("N", 3, 8, 8))
    for i, cin in enumerate((3, 6)):
        w, b = n.weight((6, cin, 3, 3), f"block{i}.conv.weight"), n.weight((6,), f"block{i}.conv.bias")
        x = n("ConvRelu", x, w, b, domain="pkg.local", name=f"block{i}", out=f"block{i}_out")
    x = n("GlobalAveragePool", x, name="pool", out="pool_out")
    x = n("Flatten", x, name="flatten", out="flat")
    x = n("Gemm", x, n.weight((3, 6), "fc.weight"), n.weight((3,), "fc.bias"), name="fc", out="y", transB=1)
    return n.model(x, shapes={x: ("N", 3)}, functions=[function])


@builder
def computed_weights() -> onnx.ModelProto:
    """Weights made by ConstantOfShape, Reshape and Mul of constants, as the light_* graphs have."""
    n = Net(18, opset=9, ir=4)
    x = n.input("gpu_0/data_0", (1, 3, 12, 12))
    w = n("ConstantOfShape", n.const([4, 3, 3, 3], "gpu_0/conv1_w_0__SHAPE", np.int64), out="gpu_0/conv1_w_0",
          value=numpy_helper.from_array(np.float32([0.02])))  # fmt: skip
    x = n("Conv", x, w, out="gpu_0/conv1_1", pads=[1] * 4)
    x = n("Relu", x, out="gpu_0/conv1_2")
    flat = n.const(n.rng.standard_normal(4 * 4 * 3 * 3), "flat")
    w = n("Reshape", flat, n.const([4, 4, 3, 3], "shape", np.int64), out="gpu_0/conv2_w_0")
    w = n("Mul", w, n.const(np.float32(0.2), "gain"), out="gpu_0/conv2_w_1")
    x = n("Conv", x, w, out="gpu_0/conv2_1", pads=[1] * 4)
    x = n("Relu", x, out="gpu_0/conv2_2")
    x = n("GlobalAveragePool", x, out="gpu_0/pool5_1")
    x = n("Reshape", x, n.const([1, 4], "OC2_DUMMY_1", np.int64), out="OC2_DUMMY_0")
    x = n("Gemm", x, n.weight((5, 4), "gpu_0/pred_w_0"), n.weight((5,), "gpu_0/pred_b_0"), out="gpu_0/pred_1", transB=1)
    x = n("Softmax", x, out="gpu_0/softmax_1")
    return n.model(x, shapes={x: (1, 5)})


@builder
def depthwise_bias() -> onnx.ModelProto:
    """A bias of its own after each convolution, as TFLite converters leave it, and Conv + Scale + Shift."""
    n = Net(19, opset=13)
    x = n.input("x", (1, 3, 10, 10))
    x = n.conv(x, 3, 6, bias=False, w="w0", name="model/conv/Conv2D", out="model/conv/Conv2D:0")
    x = n(
        "Add",
        x,
        n.const(n.rng.standard_normal((1, 6, 1, 1)), "b0"),
        name="model/conv/BiasAdd",
        out="model/conv/BiasAdd:0",
    )
    x = n("Relu", x, name="model/re_lu/Relu", out="model/re_lu/Relu:0")
    x = n.conv(x, 6, 6, bias=False, group=6, w="w1", name="model/dw/depthwise", out="model/dw/depthwise:0")
    x = n("Add", x, n.const(n.rng.standard_normal((6, 1, 1)), "b1"), name="model/dw/BiasAdd", out="model/dw/BiasAdd:0")
    x = n.bn(x, 6, name="model/bn/FusedBatchNormV3", out="model/bn/FusedBatchNormV3:0")
    x = n("Relu", x, name="model/re_lu_1/Relu", out="model/re_lu_1/Relu:0")
    x = n("GlobalMaxPool", x, name="model/max/Max", out="model/max/Max:0")
    x = n("Flatten", x, name="model/flatten/Reshape", out="model/flatten/Reshape:0")
    x = n("MatMul", x, n.weight((6, 3), "w2"), name="model/dense/MatMul", out="model/dense/MatMul:0")
    x = n("Add", x, n.const(n.rng.standard_normal(3), "b2"), name="model/dense/BiasAdd", out="Identity:0")
    return n.model(x, shapes={x: (1, 3)})


def all_models() -> dict[str, Any]:
    return {name: function() for name, function in BUILDERS.items()}
