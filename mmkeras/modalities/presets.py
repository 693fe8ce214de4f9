"""KerasHub's presets: of tokenizers here, of backbones in `branches`."""


def load(what, preset):
    """A part of a KerasHub preset.

    Args:
        what: `tokenizer` or `backbone`.
        preset: a name that KerasHub knows, or a local folder in KerasHub's or Hugging
            Face's format.

    Raises:
        FileNotFoundError: there is none, or it could not be fetched.
        ImportError: KerasHub is not installed.
    """
    hub = keras_hub()
    parts = {"tokenizer": hub.tokenizers.Tokenizer, "backbone": hub.models.Backbone}
    try:
        return parts[what].from_preset(preset)
    except Exception as error:
        raise FileNotFoundError(
            f"no {what} at `{preset}` ({error}). Expected the name of a KerasHub "
            "preset, which is fetched once and then kept, or a local folder in "
            "KerasHub's or Hugging Face's format"
        ) from error


def keras_hub():
    """The package; importing it registers its layers.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise ImportError(
            "branches of kind `kerashub` need KerasHub: pip install 'mmkeras[hub]'"
        ) from error
    return keras_hub
