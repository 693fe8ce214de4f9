"""Random changes of waves; masks of spectra are drawn in the branch, `SpecMask`."""

import tensorflow as tf

from mmkeras.augment.seeds import uniform


def add_noise(tensors, name, options, seeds):
    """Adds white noise to the real part of a sound.

    The ratio of the sound's power to the noise's is drawn, in dB, between
    `audio_snr_db` and `audio_snr_db` + 30.
    """
    wave, real = tensors[name], tensors[f"{name}_samples"]  # (batch, samples), (batch,)
    clip = wave.shape[1]
    inside = tf.range(clip)[None, :] < real[:, None]
    noise = tf.map_fn(
        lambda seed: tf.random.stateless_normal((clip,), seed),
        seeds,
        fn_output_signature=tf.TensorSpec((clip,), tf.float32),
    )
    count = tf.maximum(tf.cast(real, tf.float32), 1)
    power = tf.reduce_sum(tf.square(wave), axis=1) / count
    snr_db = options.audio_snr_db + 30 * uniform(seeds + [1, 0], 1)[:, 0]
    level = tf.sqrt(power * 10 ** (-snr_db / 10))
    noisy = tf.where(inside, wave + level[:, None] * noise, wave)
    return {**tensors, name: noisy}


def shift_sound(tensors, name, options, seeds):
    """Moves a sound in its clip by up to `audio_shift` of the clip, either way.

    Silence comes in before it; what leaves the clip is lost, but for one sample.
    """
    wave, real = tensors[name], tensors[f"{name}_samples"]  # (batch, samples), (batch,)
    clip = wave.shape[1]
    share = (uniform(seeds, 1)[:, 0] * 2 - 1) * options.audio_shift
    by = tf.cast(tf.round(share * clip), tf.int32)
    by = tf.clip_by_value(by, 1 - real, clip - 1)
    by = tf.where(real > 0, by, 0)
    places = tf.range(clip)[None, :] - by[:, None]
    inside = (places >= 0) & (places < clip)
    moved = tf.gather(wave, tf.clip_by_value(places, 0, clip - 1), batch_dims=1)
    samples = tf.minimum(real + by, clip)
    moved = tf.where(inside, moved, 0.0)
    return {**tensors, name: moved, f"{name}_samples": samples}


def gain_sound(tensors, name, options, seeds):
    """Makes a sound louder or softer by up to `audio_gain_db`; cuts it at 1."""
    gain_db = (uniform(seeds, 1) * 2 - 1) * options.audio_gain_db  # (batch, 1)
    # Row by row: a power's last bit hangs on its place in a longer vector.
    gain = tf.map_fn(lambda one: 10 ** (one / 20), gain_db)
    return {**tensors, name: tf.clip_by_value(tensors[name] * gain, -1.0, 1.0)}
