from __future__ import annotations

from dataclasses import replace

import av
import pytest

from vos_zoo.errors import VideoError
from vos_zoo.media.encodings import H264, PRORES_4444, VP9_ALPHA, find_encoder

KINDS = {"h264": H264, "vp9": VP9_ALPHA, "prores": PRORES_4444}


@pytest.mark.parametrize("kind", KINDS)
def test_pyav_has_an_encoder_for_every_kind(kind):
    encoding = KINDS[kind]
    codec = av.codec.Codec(find_encoder(encoding), "w")
    assert encoding.pixels in {pixels.name for pixels in codec.video_formats}
    # The container is one for files of these endings, as FFmpeg knows them.
    known = av.format.ContainerFormat(encoding.container, "w").extensions | {"m4v", "mov"}
    assert {suffix[1:] for suffix in encoding.suffixes} <= known


def test_the_best_encoder_that_is_there_is_taken():
    assert find_encoder(replace(VP9_ALPHA, encoders=("no_such_encoder", "libvpx-vp9", "libx264"))) == "libvpx-vp9"


def test_an_encoder_that_is_not_there_is_named_with_what_is():
    with pytest.raises(VideoError) as raised:
        find_encoder(replace(VP9_ALPHA, encoders=("no_such_encoder", "nor_this")))
    message = str(raised.value)
    assert "no VP9 with alpha encoder (looked for no_such_encoder, nor_this)" in message
    assert "H.264 (libx264)" in message
    assert "ProRes 4444 (prores_ks)" in message
