"""Export models to files for other runtimes: :func:`export_onnx`, :func:`export_program`, :func:`export_aoti`."""

from attnzoo.export.exported import Exported, export_aoti, export_onnx, export_program

__all__ = ["Exported", "export_aoti", "export_onnx", "export_program"]
