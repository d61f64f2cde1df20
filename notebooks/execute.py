"""python notebooks/execute.py [--data FOLDER]: run every notebook, and store its outputs in it.

Pictures are stored with 256 colours, so that a code host shows the notebooks and the repository
stays small. A digest of the code cells, and of the defaults that results depend on, says for which
of them the outputs are current.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

from bnn.config.canonical import canonical, digest
from bnn.config.compose import compose

HERE = Path(__file__).resolve().parent
COLOURS = 256
WIDTH = 720
"""Pixels of the widest picture that is stored."""
DIGEST = "code_digest"
"""Key of a notebook's metadata."""


def code_digest(notebook: NotebookNode) -> str:
    """Digest of the code cells of a notebook and of the defaults that results depend on."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    parts = [*code, digest(canonical(compose([])))]
    return hashlib.sha256("\n\n".join(parts).encode()).hexdigest()[:16]


def small_png(content: bytes) -> bytes:
    """A PNG with at most `WIDTH` pixels across and `COLOURS` colours."""
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)))
    file = io.BytesIO()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return file.getvalue()


def strip(notebook: NotebookNode, folder: str) -> None:
    """Reduce outputs to text and small pictures, without counts, times and the scratch folder."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.execution_count, cell.metadata = None, NotebookNode()
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = None
            if "text" in output:
                output.text = output.text.replace(folder, ".")
            data = output.get("data", {})
            if "image/png" in data:
                small = small_png(base64.b64decode(data["image/png"]))
                output.data = NotebookNode({"image/png": base64.b64encode(small).decode()})


def execute(path: Path, data: Path | None) -> None:
    """Run a notebook in a scratch folder and store its outputs.

    Args:
        path: notebook file.
        data: folder of the data sets; None: what the environment says.
    """
    notebook = nbformat.read(path, as_version=4)
    if data is not None:
        os.environ["BNN_DATA_ROOT"] = str(data.resolve())
    os.environ["PYTHONPATH"] = str(HERE.parent)
    os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "2")
    with tempfile.TemporaryDirectory() as scratch:
        resources = {"metadata": {"path": scratch}}
        NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=resources).execute()
        strip(notebook, scratch)
    kept = {key: notebook.metadata[key] for key in ("kernelspec", "language_info")}
    notebook.metadata = NotebookNode({**kept, DIGEST: code_digest(notebook)})
    nbformat.write(notebook, path)


def main() -> None:
    """Run every notebook of this folder, or those that are named."""
    parser = argparse.ArgumentParser(prog="python notebooks/execute.py", description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, help="notebooks (default: all)")
    parser.add_argument(
        "--data", type=Path, help="folder that holds MNIST (default: the library's)"
    )
    asked = parser.parse_args()
    for path in asked.notebooks or sorted(HERE.glob("*.ipynb")):
        execute(path, asked.data)
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main()
