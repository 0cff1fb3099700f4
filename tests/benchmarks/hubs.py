"""Responses of a Hugging Face hub and of ModelScope as files and nginx configuration, so that nginx alone serves."""

import hashlib
import json
import urllib.parse

from .data import COMMIT


def write(folder, datasets):
    """Writes locations.conf (for a server that sets $cdn), maps.conf, and the response files that they name."""
    folder.mkdir(parents=True)
    locations, paths = [], []
    for dataset in datasets:
        locations += _hugging_face(folder, dataset)
        locations += _model_scope(folder, dataset)
        paths += [
            f'    "{dataset.repo}:{urllib.parse.quote_plus(file.path)}" "{dataset.repo}/{file.path}";' for file in dataset.files
        ]
    (folder / "locations.conf").write_text("\n".join(locations))
    (folder / "maps.conf").write_text("\n".join([
        "map_hash_bucket_size 512;", "map_hash_max_size 8192;", "map $ms_asked $ms_path {", *paths, "}", "",
    ]))


def _answer(folder, dataset, name, document):
    path = folder / f"{dataset.repo.replace('/', '-')}-{name}.json"
    path.write_text(json.dumps(document))
    return path


def _hugging_face(folder, dataset):
    info = {
        "_id": "0", "id": dataset.repo, "modelId": dataset.repo, "sha": COMMIT, "private": False, "gated": False,
        "disabled": False, "downloads": 0, "likes": 0, "tags": [], "lastModified": "2026-01-01T00:00:00.000Z",
        "createdAt": "2026-01-01T00:00:00.000Z", "siblings": [{"rfilename": file.path} for file in dataset.files],
    }
    info = _answer(folder, dataset, "info", info)
    tree = _answer(folder, dataset, "tree", [_entry(file) for file in dataset.files])
    api = f"/api/models/{dataset.repo}"
    yield f"location = {api} {{ alias {info}; }}"
    for revision in ("main", COMMIT):
        yield f"location = {api}/revision/{revision} {{ alias {info}; }}"
        yield f"location = {api}/tree/{revision} {{ alias {tree}; }}"
        for file in dataset.files:
            path = f'"/{dataset.repo}/resolve/{revision}/{file.path}"'
            common = f"etag off; add_header X-Repo-Commit {COMMIT} always;"
            if file.is_large:
                yield (
                    f"location = {path} {{ {common} add_header X-Linked-Size {file.size} always;"
                    f" add_header X-Linked-ETag '\"{file.sha256}\"' always;"
                    f" return 302 $cdn/{dataset.repo}/{file.path}; }}"
                )
            else:
                yield (
                    f"location = {path} {{ {common} add_header ETag '\"{file.git_sha1}\"' always;"
                    f' alias "{dataset.folder}/{file.path}"; }}'
                )


def _entry(file):
    if not file.is_large:
        return {"type": "file", "oid": file.git_sha1, "size": file.size, "path": file.path}
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{file.sha256}\nsize {file.size}\n".encode()
    oid = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()
    lfs = {"oid": file.sha256, "size": file.size, "pointerSize": len(pointer)}
    return {"type": "file", "oid": oid, "size": file.size, "path": file.path, "lfs": lfs}


def _model_scope(folder, dataset):
    files = [
        {
            "Type": "blob", "Name": file.path.rsplit("/", 1)[-1], "Path": file.path, "Size": file.size,
            "Sha256": file.sha256, "IsLFS": file.is_large, "InCheck": False, "Mode": "33188", "Revision": COMMIT,
            "CommitMessage": "upload", "CommittedDate": 1767225600, "CommitterName": "bench",
        }
        for file in dataset.files
    ]

    def wrapped(data):
        return {"Code": 200, "Success": True, "Message": "success", "RequestId": "0", "Data": data}

    listing = _answer(folder, dataset, "ms-files", wrapped({"Files": files, "IsVisual": False}))
    info = _answer(folder, dataset, "ms-info", wrapped({"Id": 1, "Path": dataset.repo, "Name": dataset.repo.split("/")[1]}))
    branch = {"Revision": "master", "CreatedAt": 1767225600}
    revisions = _answer(folder, dataset, "ms-revisions", wrapped({"RevisionMap": {"Branches": [branch], "Tags": []}}))
    api = f"/api/v1/models/{dataset.repo}"
    yield f"location = {api} {{ alias {info}; }}"
    yield f"location = {api}/revisions {{ alias {revisions}; }}"
    yield f"location = {api}/repo/files {{ alias {listing}; }}"
    yield f'location = {api}/repo {{ set $ms_asked "{dataset.repo}:$arg_FilePath"; try_files /$ms_path =404; }}'
