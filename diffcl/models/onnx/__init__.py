"""The networks of a model as ONNX graphs, written and computed."""
