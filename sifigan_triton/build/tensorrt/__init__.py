"""NVIDIA TensorRT: plans built from ONNX files, checked without a GPU, and compared with the machine that runs them."""
