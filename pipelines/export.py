"""Export: run folder -> SavedModel that answers raw texts, image bytes and WAV bytes.

    python pipelines/export.py runs/digits runs/digits/export

Half a minute, most of it the proof: a fresh process that imports only tensorflow
answers the test rows, and must agree with the trained model within 1e-5. Serve it:

    docker run -p 8501:8501 -e MODEL_NAME=digits \
        -v $PWD/runs/digits/export:/models/digits tensorflow/serving
"""

import argparse

from mmkeras import export, run

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("run")
parser.add_argument("folder", help="where TensorFlow Serving looks for versions")


def main(arguments=None):
    """Reads top to bottom: run, rows, export with proof, one answer."""
    options = parser.parse_args(arguments)

    # 1. The run, and rows whose answers are known.
    trained = run.open_folder(options.run)
    test = run.read_rows(trained).split("test")

    # 2. Decoding, model and labels in one graph; written only if the proof holds.
    path, found = export.saved_model(trained, options.folder, test)
    print(f"{path}: {found['rows']} rows, max difference {found['max_difference']:.1e}")

    # 3. What a client sends and gets: one string an input, as it came from the disk.
    columns = export.raw_columns(trained, test)
    first = {name: values[:1] for name, values in columns.items()}
    for name, values in export.answer(path, first).items():
        print(f"  {name}: {values[0]}")


if __name__ == "__main__":
    main()
