"""`classify` and `regress`: rows as tf.Example, one API of TensorFlow Serving each.

What they take and give stands in classifier.cc and regressor.cc of
https://github.com/tensorflow/serving, servables/tensorflow: one input, `inputs`, of
serialized tf.Example; `classes` and `scores`, (rows, classes), or `outputs`, (rows,);
and, where --enable_signature_method_name_check asks for it, the name of the method in
the signature, which `tf.saved_model.save` cannot write.
"""

import tensorflow as tf

# What TensorFlow's own `write_out` calls; it has no public name.
from tensorflow.python.saved_model import fingerprinting_utils

from mmkeras.export import signatures
from mmkeras.tasks.classification import Classification
from mmkeras.tasks.regression import Regression

METHODS = {Classification: "classify", Regression: "regress"}
# Output of the method: the key of the task's answer with the same numbers.
NUMBERS = {"classify": {"scores": "probabilities"}, "regress": {"outputs": "value"}}
PREFIX = "tensorflow/serving/"


def targets(tasks):
    """Which targets can be asked so.

    Args:
        tasks: {target: task}.

    Returns:
        {signature: (target, "classify" or "regress")}; the signature is called as its
        method, `<target>_<method>` where there are several targets.
    """
    return {
        signatures.served_as(tasks, target, METHODS[type(task)]): (
            target,
            METHODS[type(task)],
        )
        for target, task in tasks.items()
        if type(task) in METHODS
    }


def endpoints(run, answering):
    """The signatures, as `signatures.endpoints` gives them.

    Each feature is called as an input of `serving_default` and holds one value, bytes;
    one that is not there is missing. A tf.Example that cannot be parsed fails the whole
    request; a file that cannot be read counts as missing, and no `error` tells it.

    Args:
        run: a `run.Run`.
        answering: what `serving_default` runs.
    """
    takes = [tf.TensorSpec([None], tf.string, name="inputs")]
    return {
        name: (_telling(run, answering, target, method), takes)
        for name, (target, method) in targets(run.tasks).items()
    }


def _telling(run, answering, target, method):
    cell = tf.io.FixedLenFeature([], tf.string, default_value="")
    features = dict.fromkeys(signatures.served(run), cell)
    task = run.tasks[target]

    def serve(inputs):
        raws = tf.io.parse_example(inputs, features)
        answers = answering(*(raws[name] for name in features))
        told = {
            output: answers[signatures.served_as(run.tasks, target, key)]
            for output, key in NUMBERS[method].items()
        }
        if method == "classify":
            labels = tf.constant([task.labels])
            told["classes"] = tf.tile(labels, [tf.size(inputs), 1])
        return told

    return serve


def gives(method):
    """Names of the outputs of a method."""
    return [*NUMBERS[method], *(["classes"] if method == "classify" else [])]


def write_methods(run, target):
    """Says in a version's folder which signature belongs to which method.

    Args:
        run: a `run.Run`.
        target: path of the folder.
    """
    found = targets(run.tasks)
    if not found:
        return
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(
        str(target)
    )
    for name, (_, method) in found.items():
        updater.replace_method_name(name, PREFIX + method)
    updater.save()
    fingerprinting_utils.write_fingerprint(str(target))


def promised(run):
    """What `proof` asks of these signatures, {signature: see `proof.prove`}."""
    return {
        name: {
            "method": PREFIX + method,
            "numbers": {
                output: signatures.served_as(run.tasks, target, key)
                for output, key in NUMBERS[method].items()
            },
            "classes": run.tasks[target].labels if method == "classify" else None,
        }
        for name, (target, method) in targets(run.tasks).items()
    }
