"""Pushes a tiny GGUF model to a registry in Ollama's format: tiny_gguf.py HOST REPOSITORY TAG."""

import hashlib
import json
import struct
import sys
import urllib.request

WIDTH = 32
WORDS = ["<unk>", "<s>", "</s>"] + [chr(97 + letter) for letter in range(29)]

METADATA = [
    ("general.architecture", "llama"),
    ("general.name", "tiny"),
    ("general.file_type", 0),
    ("llama.context_length", 32),
    ("llama.embedding_length", WIDTH),
    ("llama.block_count", 1),
    ("llama.feed_forward_length", WIDTH),
    ("llama.attention.head_count", 2),
    ("llama.attention.head_count_kv", 2),
    ("llama.attention.layer_norm_rms_epsilon", 1e-5),
    ("llama.rope.dimension_count", 16),
    ("tokenizer.ggml.model", "llama"),
    ("tokenizer.ggml.tokens", WORDS),
    ("tokenizer.ggml.scores", [0.0] * len(WORDS)),
    ("tokenizer.ggml.token_type", [2, 3, 3] + [1] * 29),
]

BLOCK = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
TENSORS = (
    [("token_embd", [WIDTH, WIDTH]), ("output_norm", [WIDTH]), ("output", [WIDTH, WIDTH])]
    + [(f"blk.0.{name}", [WIDTH]) for name in ("attn_norm", "ffn_norm")]
    + [(f"blk.0.{name}", [WIDTH, WIDTH]) for name in BLOCK]
)


def text(value):
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def typed(value):
    """The GGUF type number, and the encoded value."""
    if isinstance(value, str):
        return 8, text(value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    kind = typed(value[0])[0]
    return 9, struct.pack("<IQ", kind, len(value)) + b"".join(typed(item)[1] for item in value)


def gguf():
    header = struct.pack("<4sIQQ", b"GGUF", 3, len(TENSORS), len(METADATA))
    for key, value in METADATA:
        kind, encoded = typed(value)
        header += text(key) + struct.pack("<I", kind) + encoded
    offset = 0
    for name, shape in TENSORS:
        header += text(f"{name}.weight") + struct.pack("<I", len(shape))
        header += b"".join(struct.pack("<Q", length) for length in shape)
        header += struct.pack("<IQ", 0, offset)
        length = 4
        for side in shape:
            length *= side
        offset += length
    header += bytes(-len(header) % 32)
    return header + struct.pack("<f", 0.01) * (offset // 4)


def put(url, body, content_type):
    request = urllib.request.Request(url, data=body, method="PUT", headers={"content-type": content_type})
    urllib.request.urlopen(request).close()


def push_blob(base, media_type, body):
    begun = urllib.request.urlopen(urllib.request.Request(f"{base}/blobs/uploads/", data=b"", method="POST"))
    digest = "sha256:" + hashlib.sha256(body).hexdigest()
    place = begun.headers["location"]
    put(f"{place}{'&' if '?' in place else '?'}digest={digest}", body, "application/octet-stream")
    return {"mediaType": media_type, "digest": digest, "size": len(body)}


def main():
    host, repository, tag = sys.argv[1:]
    base = f"http://{host}/v2/{repository}"
    description = {"model_format": "gguf", "model_family": "llama", "model_families": ["llama"], "file_type": "F32"}
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": push_blob(base, "application/vnd.docker.container.image.v1+json", json.dumps(description).encode()),
        "layers": [
            push_blob(base, "application/vnd.ollama.image.model", gguf()),
            push_blob(base, "application/vnd.ollama.image.license", b"MIT"),
        ],
    }
    put(f"{base}/manifests/{tag}", json.dumps(manifest).encode(), kind)


main()
