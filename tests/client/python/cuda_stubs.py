"""Puts empty libraries in the place of CUDA's, so that PyTorch loads without them: it calls none of them on a CPU.

    python cuda_stubs.py SITE_PACKAGES/torch/lib
"""

import collections
import pathlib
import re
import subprocess
import sys
import tempfile

CUDA = re.compile(r"lib(cu|nccl|nv)")


def output(*command: object) -> str:
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def main(folder: pathlib.Path) -> None:
    libraries = [path for path in folder.glob("*.so*") if not CUDA.match(path.name)]
    wanted: set[str] = set()
    # The library that a version of symbols belongs to; versions are known by these names alone.
    owner: dict[str, str] = {}
    symbols: set[str] = set()
    for path in libraries:
        wanted |= {name for name in re.findall(r"\(NEEDED\).*\[(.*)\]", output("readelf", "-d", path)) if CUDA.match(name)}
        library = ""
        for line in output("readelf", "-V", path).splitlines():
            if found := re.search(r"File: (\S+)", line):
                library = found[1]
            elif found := re.search(r"Name: (\S+)\s+Flags", line):
                owner[found[1]] = library
        symbols |= {line.split()[-1] for line in output("nm", "-D", "--undefined-only", path).splitlines() if line.strip()}
    parts: dict[str, dict[str, list[str]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for symbol in symbols:
        name, _, version = symbol.partition("@")
        if version and owner.get(version) in wanted:
            parts[owner[version]][version].append(name)
        elif not version and re.match(r"cu|nccl|nvrtc|nvshmem|__cuda", name):
            # Of some library, it is not told which.
            for library in wanted:
                parts[library][""].append(name)
    with tempfile.TemporaryDirectory() as work:
        source, versions = pathlib.Path(work) / "stub.c", pathlib.Path(work) / "versions"
        for library in sorted(wanted):
            own = parts[library]
            source.write_text("".join(f"void {name}(void) {{}}\n" for names in own.values() for name in names))
            versions.write_text("".join(f"{version} {{ global: {'; '.join(names)}; }};\n"
                                        for version, names in own.items() if version))
            script = [f"-Wl,--version-script={versions}"] if versions.stat().st_size else []
            output("gcc", "-w", "-shared", "-fPIC", f"-Wl,-soname,{library}", *script, "-o", folder / library, source)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
