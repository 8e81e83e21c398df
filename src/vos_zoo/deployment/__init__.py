"""From a model to fixed graphs: ONNX, archives of ``torch.export`` and compiled packages."""
