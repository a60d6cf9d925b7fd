"""What the audit says of files: data and outputs are those of the experiment, and models name what they came from."""

import spikefield.files as files
from spikefield.experiments.finished import Finished


def data(done: Finished) -> list[str]:
    """The data are those that the experiment read, and every model names them and its teacher."""
    expected, found = dict(done.marker["data"]), []
    for session_id, known in expected.items():
        if (now := done.corpus.hashes.get(session_id)) != known:
            found.append(f"{session_id}: " + ("has changed since the experiment" if now else "is gone"))
    stages = [done.out / "models" / name / "stage.json" for name in done.models]
    stages += (done.out / "stages").glob("[!.]*/stage.json")  # what was trained further
    keys = {files.read_json(path)["key"] for path in stages if path.is_file()}
    for name, model in done.models.items():
        named = model.lineage.get("data", {})
        wrong = sorted(s for s in {*model.trained_on, *named} if s not in named or named[s] != expected.get(s))
        found += [f"{name}: was trained on other data than {', '.join(wrong)} of this experiment"] if wrong else []
        for parent in ("teacher", "from"):
            if parent in model.lineage and model.lineage[parent] not in keys:
                found.append(f"{name}: its {'teacher' if parent == 'teacher' else 'start'} is not of this experiment")
    return found


def unchanged(done: Finished) -> list[str]:
    """Models are whole, and every output still has the hash that the experiment noted when it ended."""
    found = [f"models/{name}: {why}" for name, why in done.broken.items()]
    noted = done.run.get("files")
    if not noted:
        return [*found, "run.json notes no hashes of the outputs. Run the experiment again to have them written"]
    for name, known in noted.items():
        path = done.out / name
        if not path.is_file():
            found.append(f"{name} is gone")
        elif files.sha256(path) != known:
            found.append(f"{name} has changed")
    held = {f"models/{name}/config.json" for name in (*done.models, *done.broken)}
    return found + [f"{name} was added after the experiment" for name in sorted(held - set(noted))]
